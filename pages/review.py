"""Review: the gallery where one finds what the model struggles with, and repairs labels."""

from __future__ import annotations

import math

import streamlit as st

from detector.api.signing import picture_path
from detector.errors import NotFound
from detector.jobs import annotated
from detector.palette import PAPER, Ink, label_inks
from detector.storage import annotating, jobs, models, samples
from detector.storage.functions import Label
from detector.storage.samples import Sample, SampleCounts, SampleFilter, Sort
from detector.words import count
from pages._gallery import GalleryState, LabelKey, Large, Tile, gallery, select, take
from pages._state import escape, function_labels, go, require_function, workspace
from pages._style import current_theme

PAGE_SIZE = 48
_GALLERY = "review"

_SORTS = {
    Sort.LEAST_CONFIDENT: "least confident first",
    Sort.MOST_CONFIDENT: "most confident first",
    Sort.NEWEST: "newest import first",
    Sort.OLDEST: "oldest import first",
    Sort.ANNOTATED_LAST: "newest label first",
    Sort.ANNOTATED_FIRST: "oldest label first",
}
#: What the address need not say.
_DEFAULTS = {"says": "any", "label": "any", "agreement": "any", "sort": Sort.LEAST_CONFIDENT.value}
#: Four beside each other on a wide screen, two on a phone.
_FILTER_WIDTH = 184


def _choice(label: str, name: str, options: dict[str, str]) -> str:
    """A select box that starts with what the address says under ``name``; the first option is the default."""
    wanted = st.query_params.get(name)
    return st.selectbox(
        label,
        list(options),
        index=list(options).index(wanted) if wanted in options else 0,
        format_func=lambda option: options.get(option, option),
        key=f"{name}-{st.query_params.get('function')}",
        width=_FILTER_WIDTH,
    )


def _filters(labels: list[Label], counts: SampleCounts) -> tuple[SampleFilter, Sort, dict[str, str]]:
    """The filter and order chosen, and what the address says of them."""
    says = {label.id: f"{label.name} ({counts.by_prediction.get(label.id, 0):,})" for label in labels}
    given = {label.id: f"{label.name} ({counts.by_label.get(label.id, 0):,})" for label in labels}
    with st.container(horizontal=True):
        predicted = _choice("Says", "says", {"any": "any", **says})
        annotated = _choice(
            "Label", "label", {"any": "any", **given, "none": f"no label ({counts.total - counts.annotated:,})"}
        )
        agrees = _choice(
            "Says and label",
            "agreement",
            {"any": "any", "differs": f"differ ({counts.differ:,})", "agrees": f"agree ({counts.agree:,})"},
        )
        sort = _choice("Order", "sort", {sort.value: words for sort, words in _SORTS.items()})
    where = SampleFilter(
        predicted=None if predicted == "any" else predicted,
        annotated=None if annotated == "any" else annotated,
        agrees={"any": None, "differs": False, "agrees": True}[agrees],
    )
    chosen = {"says": predicted, "label": annotated, "agreement": agrees, "sort": sort}
    return where, Sort(sort), {name: value for name, value in chosen.items() if value != _DEFAULTS[name]}


def _page(pages: int, state: dict[str, str], step: int) -> int:
    """The page at hand, ``step`` further; other filters or another order start at the first one."""
    wanted = st.query_params.get("page", "")
    if {name: value for name, value in st.query_params.items() if name in _DEFAULTS} != state:
        wanted = ""
    page = min(max(int(wanted), 1), pages) if wanted.isdecimal() and len(wanted) < 9 else 1
    if pages == 1:
        return 1
    key = f"page-{pages}-{st.query_params.get('function')}-{'-'.join(f'{name}={state[name]}' for name in state)}"
    if step:
        st.session_state[key] = min(max(st.session_state.get(key, page) + step, 1), pages)
    return st.pagination(pages, default=page, key=key)


def _keep_address(function_id: str, state: dict[str, str], page: int) -> None:
    """Write all that is shown into the address, once and whole on every run.

    Of two quick choices the browser sends the second with the address from before the first: an address that is changed
    piece by piece would lose the first.
    """
    place = {"function": function_id, **state, **({"page": str(page)} if page > 1 else {})}
    st.query_params.from_dict(place)
    # What was selected elsewhere is no longer in sight.
    if st.session_state.get("review-place", place) != place:
        select(_GALLERY, [])
    st.session_state["review-place"] = place


def _tile(sample: Sample, names: dict[str, str], inks: dict[str, Ink], neutral: Ink) -> Tile:
    label = names.get(sample.label_id or "")
    says = names.get(sample.predicted_label_id or "")
    return Tile(
        id=sample.id,
        thumbnail_url=picture_path(workspace().db, "thumbnail", sample.image_hash),
        label=label,
        label_colour=(inks[label] if label else neutral).text,
        prediction=says,
        prediction_colour=(inks[says] if says else neutral).fill,
        confidence=sample.confidence,
        differs=sample.agrees is False,
        title=sample.file_name,
    )


def _opened(function_id: str, sample_id: str | None, shown: list[Sample]) -> Sample | None:
    """The sample in the large view, also where its new label has just taken it out of the filter."""
    if sample_id is None:
        return None
    here = next((sample for sample in shown if sample.id == sample_id), None)
    try:
        sample = here or samples.get_sample(workspace().db, sample_id)
    except NotFound:
        return None
    return sample if sample.function_id == function_id else None


def _large(sample: Sample, tile: Tile) -> Large:
    """What this page knows of a sample without asking for more."""
    facts = samples.image_facts(workspace().db, [sample.image_hash]).get(sample.image_hash, {})
    return Large(
        id=sample.id,
        image_url=picture_path(workspace().db, "image", sample.image_hash),
        title=sample.file_name,
        width=facts.get("width", 0),
        height=facts.get("height", 0),
        label=tile.label,
        label_colour=tile.label_colour,
        says=tile.says,
        confidences=[(tile.prediction, tile.prediction_colour, tile.confidence)]
        if tile.prediction is not None and tile.confidence is not None
        else [],
        facts=[("file", sample.file_name), ("source", sample.source or "unknown")],
    )


def _changed(function_id: str, changed: int) -> None:
    if changed:
        annotated(workspace(), function_id)
        st.toast(f"{count(changed, 'label')} changed. A new model follows by itself.")


def _relabel(function_id: str, sample_ids: list[str], label_id: str | None) -> None:
    changed = annotating.annotate(workspace().db, sample_ids, label_id)
    select(_GALLERY, [])
    _changed(function_id, changed)


def _act(function_id: str, done: GalleryState) -> int:
    """Do what was done in the gallery since the last run; returns how many pages to turn."""
    db, changed = workspace().db, 0
    for gesture in done.gestures:
        if gesture.kind == "label":
            changed += annotating.annotate(db, gesture.ids, gesture.label)
        elif gesture.kind == "undo":
            undone = annotating.undo_last(db, function_id)
            changed += undone.changed if undone else 0
    _changed(function_id, changed)
    return sum(gesture.step for gesture in done.gestures)


def _actions(function_id: str, labels: list[Label], selected: list[str]) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{count(len(selected))} selected**" if selected else ":gray[Select images to label them:]")
        for label in labels:
            st.button(
                label.name,
                key=f"give-{label.id}",
                disabled=not selected,
                on_click=_relabel,
                args=(function_id, selected, label.id),
            )
        st.button(
            "no label", key="give-none", disabled=not selected, on_click=_relabel, args=(function_id, selected, None)
        )


chosen = require_function()
function_id = chosen.function.id
ws = workspace()
labels = function_labels(function_id)
done = take(_GALLERY)
step = _act(function_id, done)
counts = samples.count_by(ws.db, function_id)
st.title("Review", anchor=False)
sentence = st.empty()
if not counts.total:
    sentence.markdown(":gray[Here you will see every image with its label and what the model says of it.]")
    if st.button("Import images", type="primary"):
        go("import_images.py", function_id)
    st.stop()

where, sort, state = _filters(labels, counts)
matching = samples.count_samples(ws.db, function_id, where)
said_by = ""
if counts.predicted and chosen.function.live_model_id:
    version = models.get_model(ws.db, chosen.function.live_model_id).version
    said_by = f" · predictions are out-of-fold, from model {version}"
    if any(job.kind == "build" for job in jobs.list_jobs(ws.db, function_id)):
        said_by += " · a new model is on its way"
sentence.markdown(f":gray[{matching:,} of {count(counts.total, 'sample')} · {_SORTS[sort]}{escape(said_by)}]")
if not matching:
    _keep_address(function_id, state, 1)
    st.info("No sample matches these filters. Set one of them back to any.")
    st.stop()

pages = math.ceil(matching / PAGE_SIZE)
action_bar = st.container()
page = _page(pages, state, step)
_keep_address(function_id, state, page)
shown = samples.find_samples(ws.db, function_id, where, sort, PAGE_SIZE, (page - 1) * PAGE_SIZE)
theme = current_theme()
names = {label.id: label.name for label in labels}
inks = label_inks([label.name for label in labels], theme)
opened = _opened(function_id, done.opened, shown)
selected = gallery(
    [_tile(sample, names, inks, PAPER[theme].neutral) for sample in shown],
    done.selected,
    [LabelKey(label.id, label.name, inks[label.name].text) for label in labels],
    _GALLERY,
    large=_large(opened, _tile(opened, names, inks, PAPER[theme].neutral)) if opened else None,
    undoable=annotating.count_undoable(ws.db, function_id),
).selected
with action_bar:
    _actions(function_id, labels, selected)
