"""The gallery on invented samples, with a server as slow as one likes: what `test_gallery.py` looks at.

Each gesture handed out is written down as a line, and a run takes at least as long as the address says
(``?slow=0.3``), so that a burst of keys stops run after run.
"""

from __future__ import annotations

import base64
import io
import json
import os
import sys
import time
from pathlib import Path

import streamlit as st
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).parents[2]))
from detector.charts.palette import PAPER, label_inks
from pages._confidence_range import confidence_range
from pages._gallery import Gesture, LabelKey, Large, Near, Tile, gallery, select, taking
from pages._style import apply_style, current_theme

PAGE, TOTAL = 24, 60
NAMES = ["real", "synthetic"]


@st.cache_data
def _picture(seed: int, width: int, height: int) -> str:
    image = Image.linear_gradient("L").resize((width, height)).rotate(37 * seed)
    hue = [(seed * 67 + shift) % 200 + 30 for shift in (0, 90, 150)]
    coloured = Image.merge("RGB", [image.point(lambda value, tone=tone: (value + tone) // 2) for tone in hue])
    ImageDraw.Draw(coloured).text((width / 3, height / 3), str(seed), fill="white", font_size=height / 3)
    buffer = io.BytesIO()
    coloured.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _write_down(gesture: Gesture) -> None:
    with Path(os.environ["GALLERY_DEMO_LOG"]).open("a", encoding="utf-8") as log:
        log.write(json.dumps([gesture.kind, list(gesture.ids), gesture.label, gesture.step]) + "\n")


def _act(gesture: Gesture) -> None:
    _write_down(gesture)
    if gesture.kind == "label":
        memory["changes"].append({id: memory["labels"].get(id) for id in gesture.ids})
        memory["labels"].update(dict.fromkeys(gesture.ids, gesture.label))
    elif gesture.kind == "undo" and memory["changes"]:
        memory["labels"].update(memory["changes"].pop())
    elif gesture.kind == "page":
        memory["page"] = min(max(memory["page"] + gesture.step, 0), -(-TOTAL // PAGE) - 1)
        select("demo", [])
    elif gesture.kind == "leave-all":
        memory["everything"] = False


def _tile(seed: int) -> Tile:
    label = memory["labels"].get(f"s{seed}")
    says = NAMES[seed % 2]
    return Tile(
        id=f"s{seed}",
        thumbnail_url=_picture(seed, 240, 160),
        label=label,
        label_colour=inks[label].text if label else paper.neutral.text,
        prediction=says,
        prediction_colour=inks[says].fill,
        confidence=0.5 + seed / 200,
        differs=label is not None and label != says,
        title=f"picture-{seed}.png",
        stack=3 if seed % 9 == 4 else 1,
        note="test set" if seed % 7 == 2 else "",
    )


def _large(seed: int) -> Large:
    tile = _tile(seed)
    near = [_tile((seed + step * 2) % TOTAL) for step in range(1, 6)]
    return Large(
        id=tile.id,
        image_url=_picture(seed, 900, 600),
        title=tile.title,
        width=900,
        height=600,
        label=tile.label,
        label_colour=tile.label_colour,
        says=tile.says,
        prediction=tile.prediction,
        differs=tile.differs,
        confidences=[
            (name, inks[name].fill, 0.5 + (seed / 200) * (1 if name == tile.prediction else -1)) for name in NAMES
        ],
        facts=[
            ("file", tile.title),
            ("size", "900 x 600, PNG, 31 kB"),
            ("source", "demo"),
            ("external id", f"ext-{seed}"),
        ],
        history=["22 Nov 2026, 10:12: real", "22 Nov 2026, 10:15: no label"],
        near=[Near(one.id, one.thumbnail_url, one.title, one.label, one.label_colour, "0.93") for one in near],
    )


st.set_page_config(layout="wide")
apply_style()
paper = PAPER[current_theme()]
inks = label_inks(NAMES, current_theme())
start = {f"s{seed}": NAMES[seed // 2 % 2] for seed in range(TOTAL) if seed % 5}
memory = st.session_state.setdefault("demo-labels", {"labels": start, "changes": [], "page": 0})
with taking("demo") as done:
    for gesture in done.gestures:
        _act(gesture)
time.sleep(float(st.query_params.get("slow", "0")))
st.title("Review", anchor=False)
low, high = confidence_range(
    [0] * 10 + [3, 8, 5, 9, 14, 22, 31, 40, 64, 120], *memory.get("range", (0.0, 1.0)), "range"
)
memory["range"] = (low, high)
st.caption(f"range {low:.2f} {high:.2f}")
every = range(TOTAL)
if st.query_params.get("only") == "unlabelled":
    every = [seed for seed in every if memory["labels"].get(f"s{seed}") is None]
shown = every[memory["page"] * PAGE : (memory["page"] + 1) * PAGE]
st.caption(f"page {memory['page'] + 1} · {len(done.selected)} selected")
if st.button("Select everything"):
    memory["everything"] = True
st.button("Select three", on_click=select, args=("demo", ["s0", "s1", "s2"]))
st.text_input("Words")
state = gallery(
    [_tile(seed) for seed in shown],
    done.selected,
    [LabelKey(name, name, inks[name].text) for name in NAMES],
    "demo",
    size=st.query_params.get("size", "M"),
    large=_large(int(done.opened[1:])) if done.opened else None,
    undoable=len(memory["changes"]),
    everything=TOTAL if memory.get("everything") else 0,
)
