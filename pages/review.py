"""Review: the gallery where one finds what the model struggles with, and repairs labels."""

from __future__ import annotations

import math

import streamlit as st

from detector.api.signing import picture_path
from detector.jobs import annotated
from detector.palette import PAPER, Ink, label_inks
from detector.storage import jobs, models, samples
from detector.storage.functions import Label
from detector.storage.samples import Sample, SampleCounts, SampleFilter, Sort
from detector.words import count
from pages._gallery import Tile, gallery
from pages._state import escape, function_labels, go, require_function, workspace
from pages._style import current_theme

PAGE_SIZE = 48

_SORTS = {
    Sort.LEAST_CONFIDENT: "least confident first",
    Sort.MOST_CONFIDENT: "most confident first",
    Sort.NEWEST: "imported last first",
    Sort.OLDEST: "imported first first",
    Sort.ANNOTATED_LAST: "labelled last first",
    Sort.ANNOTATED_FIRST: "labelled first first",
}
_AGREEMENT = {"any": "any", "differs": "differs from label", "agrees": "agrees with label"}


def _filters(labels: list[Label], counts: SampleCounts) -> tuple[SampleFilter, Sort]:
    names = {label.id: label.name for label in labels}
    says, label, agreement, order = st.columns([3, 3, 3, 4])
    predicted = says.selectbox(
        "Says",
        ["any", *names],
        format_func=lambda key: "any" if key == "any" else f"{names[key]} ({counts.by_prediction.get(key, 0):,})",
        key="says",
        bind="query-params",
    )
    given = label.selectbox(
        "Label",
        ["any", *names, "none"],
        format_func=lambda key: {"any": "any", "none": f"no label ({counts.total - counts.annotated:,})"}.get(
            key, f"{names.get(key)} ({counts.by_label.get(key, 0):,})"
        ),
        key="label",
        bind="query-params",
    )
    sizes = {"any": "any", "differs": f"differs ({counts.differ:,})", "agrees": f"agrees ({counts.agree:,})"}
    agrees = agreement.selectbox(
        "Says and label", list(sizes), format_func=sizes.__getitem__, key="agreement", bind="query-params"
    )
    sort = order.selectbox("Order", list(_SORTS), format_func=_SORTS.__getitem__, key="sort", bind="query-params")
    where = SampleFilter(
        predicted=None if predicted == "any" else predicted,
        annotated=None if given == "any" else given,
        agrees={"any": None, "differs": False, "agrees": True}[agrees],
    )
    return where, sort


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


def _relabel(function_id: str, sample_ids: list[str], label_id: str | None) -> None:
    changed = samples.annotate(workspace().db, sample_ids, label_id)
    st.session_state["chosen"] = []
    if changed:
        annotated(workspace(), function_id)
        st.toast(f"{count(changed, 'label')} changed. A new model follows by itself.")


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
counts = samples.count_by(ws.db, function_id)
st.title("Review", anchor=False)
sentence = st.empty()
if not counts.total:
    sentence.markdown(":gray[Here you will see every image with its label and what the model says of it.]")
    if st.button("Import images", type="primary"):
        go("import_images.py", function_id)
    st.stop()

where, sort = _filters(labels, counts)
matching = samples.count_samples(ws.db, function_id, where)
said_by = ""
if counts.predicted and chosen.function.live_model_id:
    version = models.get_model(ws.db, chosen.function.live_model_id).version
    said_by = f" · predictions are out-of-fold, from model {version}"
    if any(job.kind == "build" for job in jobs.list_jobs(ws.db, function_id)):
        said_by += " · a new model is on its way"
sentence.markdown(f":gray[{matching:,} of {count(counts.total, 'sample')} · {_SORTS[sort]}{escape(said_by)}]")
if not matching:
    st.info("No sample matches these filters. Set one of them back to any.")
    st.stop()

pages = math.ceil(matching / PAGE_SIZE)
action_bar = st.container()
page = 1
if pages > 1:
    # The position belongs to one filter and order; another one starts at its first page.
    page = st.pagination(pages, key="page", bind="query-params")
shown = samples.find_samples(ws.db, function_id, where, sort, PAGE_SIZE, (page - 1) * PAGE_SIZE)
theme = current_theme()
names = {label.id: label.name for label in labels}
inks = label_inks([label.name for label in labels], theme)
st.session_state["chosen"] = gallery(
    [_tile(sample, names, inks, PAPER[theme].neutral) for sample in shown],
    st.session_state.get("chosen", []),
    "review",
)
with action_bar:
    _actions(function_id, labels, st.session_state["chosen"])
