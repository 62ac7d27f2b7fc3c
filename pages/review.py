"""Review: the gallery where one finds what the model struggles with, and repairs labels."""

from __future__ import annotations

import math
from dataclasses import replace

import streamlit as st

from detector.formatting import count, listed
from detector.gallery.filters import INBOX, NONE, UNSURE, GalleryFilter, Order
from detector.gallery.selection import Gallery, Page
from detector.jobs import is_training
from detector.operations.labels import give_label, undo_labels
from detector.serving.thresholds import why_never_sure
from detector.storage import gallery_rows, models, samples
from detector.storage.acting import LABEL, may
from detector.storage.annotating import can_undo
from detector.storage.functions import Label
from pages._gallery import Gesture, gallery, taking
from pages._inbox import inbox_line
from pages._label_twins import label_twins
from pages._rerun_guard import end_page
from pages._review_actions import KEY, Everything, actions, everything
from pages._review_address import keep_address, page_number, remember_widgets, take_over
from pages._review_filters import ReviewState, filters, from_address, not_there, reset_widgets, sentence
from pages._review_tiles import TilePresenter
from pages._state import escape, function_labels, go, import_link, require_function, workspace
from pages._style import current_theme

PAGE_SIZE = 48


def _act_on(gestures: list[Gesture], function_id: str, labels: list[Label], whole: Everything) -> None:
    """Do what was asked for in the gallery since the last run."""
    by_id = {label.id: label for label in labels}
    undone = []
    left = False
    # Labels first, and nothing of Streamlit between them: a run that was told to stop ends at the next such call.
    for gesture in gestures:
        if gesture.kind == "label" and (gesture.label is None or gesture.label in by_id):
            # The browser names them: whatever it says, only this function's samples are touched.
            known = [
                item.id for item in samples.get_samples(workspace().db, gesture.ids) if item.function_id == function_id
            ]
            give_label(workspace(), function_id, known, by_id.get(gesture.label or ""))
        elif gesture.kind == "undo":
            undone.append(undo_labels(workspace(), function_id).said)
        elif gesture.kind == "leave-all":
            left = True
            whole.leave()
        elif gesture.kind == "label-all" and (gesture.label is None or gesture.label in by_id):
            whole.ask(gesture.label)
    for said in undone:
        st.toast(escape(said))
    if left:
        st.toast("No longer all that match: only what you select.")
    for gesture in gestures:
        if gesture.kind == "page":
            st.session_state["review-step"] = st.session_state.get("review-step", 0) + gesture.step
        elif gesture.kind == "stack" and gesture.ids:
            group = gallery_rows.group_of(workspace().db, gesture.ids[0])
            if group is not None:
                _go_to(function_id, replace(from_address(), where=replace(from_address().where, group=group)))


def _go_to(function_id: str, view: ReviewState) -> None:
    """Show another view, the widgets too."""
    st.query_params.from_dict({"function": function_id, **view.to_query()})
    reset_widgets()


def _shown(found: Gallery, view: ReviewState, number: int, place: dict[str, str]) -> tuple[Page, bool]:
    """The page, and whether it still shows samples that no longer match.

    Labelling must not pull the tiles away from under one's fingers: the page stays as it was drawn until one leaves it
    or a new model speaks.
    """
    asked = (tuple(place.items()), number, found.verdicts.model_id, found.total)
    now = found.page(view.where, view.order, number, PAGE_SIZE, view.stacked)
    ids = [item.id for item in now.samples]
    kept = st.session_state.get("review-page")
    if kept is None or kept["asked"] != asked:
        st.session_state["review-page"] = {"asked": asked, "ids": ids, "sizes": now.stack_sizes}
        return now, False
    if kept["ids"] == ids:
        return now, False
    there = samples.get_samples(workspace().db, kept["ids"])
    sizes = dict(zip(kept["ids"], kept["sizes"], strict=True))
    return replace(now, samples=tuple(there), stack_sizes=tuple(sizes[item.id] for item in there)), True


def _said_by(found: Gallery) -> str:
    if found.verdicts.version is None:
        return ""
    words = f" · predictions are out-of-fold, from model {found.verdicts.version}"
    changed = found.changed_since
    if changed:
        words += f" · {count(changed, 'label')} changed since"
    if is_training(workspace(), function_id):
        words += " · a new model is on its way"
    return words


def _never_sure(found: Gallery) -> str:
    """Why every verdict is can't tell, where that is so for lack of images."""
    if found.verdicts.model_id is None or found.verdicts.limits:
        return ""
    return why_never_sure(ws, models.get_model(ws.db, found.verdicts.model_id))


chosen = require_function()
function_id = chosen.function.id
ws = workspace()
labels = function_labels(function_id)
take_over()
whole = everything()
with taking(KEY) as done:
    _act_on(done.gestures, function_id, labels, whole)
found = Gallery(ws, function_id)
st.title("Review", anchor=False)
line = st.empty()
label_twins(function_id, labels)
if not len(found.columns):
    line.markdown(":gray[Here you will see every image with its label and what the model says about it.]")
    if st.button("Import images", type="primary"):
        go("import_images.py", function_id)
    end_page()

if said := st.session_state.pop("review-said", None):
    st.toast(escape(said))
if gone := not_there(found, function_id, from_address().where, labels):
    # What is left of the filters would be shown as if it were what was asked for.
    words = listed(dict.fromkeys(f"the {word}" for word in gone.values()))
    line.warning(
        f"{words[0].upper()}{words[1:]} in this address {'does' if len(set(gone.values())) == 1 else 'do'} not exist: "
        "deleted since, or the address is incomplete."
    )
    left = replace(from_address(), where=from_address().where.without(*gone))
    st.button("Show without it", type="primary", on_click=_go_to, args=(function_id, left))
    end_page()
inbox = st.container()
view = filters(found, from_address(), labels, function_id)
with inbox:
    inbox_line(found, view.where, lambda: _go_to(function_id, ReviewState(INBOX, Order.NEWEST)))
place = {"function": function_id, **view.to_query()}
page_of = found.page(view.where, view.order, 1, 1, view.stacked)
unlabelled = found.count(replace(view.where, label=NONE)) if view.where.label in (None, NONE) else 0
line.markdown(f":gray[{escape(sentence(page_of.matching, found.total, view, _said_by(found), unlabelled))}]")
if view.where.group is not None:
    st.button("Close the stack", on_click=_go_to, args=(function_id, replace(view, where=view.where.without("group"))))
if page_of.matching and (view.where.verdict == UNSURE) and (reason := _never_sure(found)):
    st.caption(escape(reason))
    import_link(function_id)
bar = st.container()
number = page_number(max(1, math.ceil(page_of.tiles / PAGE_SIZE)), place)
keep_address(place, number)
page, stale = _shown(found, view, number, place)
if not page.samples:
    st.info("No sample matches these filters.")
    st.button("Show all", on_click=_go_to, args=(function_id, replace(view, where=GalleryFilter())))
presenter = TilePresenter(function_id, labels, current_theme())
state = gallery(
    [presenter.tile(item, size) for item, size in zip(page.samples, page.stack_sizes, strict=True)],
    done.selected,
    presenter.keys if may(LABEL) else [],
    KEY,
    size=view.size,
    large=presenter.large(done.opened) if done.opened else None,
    undoable=int(may(LABEL) and can_undo(ws.db, function_id)),
    everything=page.matching if whole.on and not done.selected else 0,
)
with bar:
    stacks = sum(
        size > 1 for item, size in zip(page.samples, page.stack_sizes, strict=True) if item.id in state.selected
    )
    actions(found, function_id, view, labels, state.selected, stacks)
    if stale:
        st.button(
            "Some no longer belong here: refresh",
            type="tertiary",
            on_click=lambda: st.session_state.pop("review-page", None),
        )
remember_widgets()
