"""The part of the Import page that asks how files get their labels, with what that means shown beside it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import streamlit as st

from detector.formatting import count
from detector.importing.guessing import (
    LevelPreview,
    folder_levels,
    image_paths,
    split_names,
    suggest,
    suggest_mapping,
    with_splits,
)
from detector.importing.label_tables import read_rows
from detector.importing.labelling import LabelPlan, Mode, TableChoice, planned_counts
from detector.importing.opening import open_source
from detector.importing.pending import Pending
from detector.importing.plan_sentences import found_sentence, table_sentences, unread_tables
from detector.importing.table_columns import Matched
from detector.pipeline.speed import expected_time
from detector.storage.label_names import spelling_among
from detector.storage.stored_names import TEST
from pages._label_table import label_table
from pages._state import escape, workspace

#: With more folders than this each keeps its own name; nobody maps hundreds of names by hand.
_MAPPED_NAMES = 12
_LEAVE_OUT = "leave these files out"


@st.cache_data(show_spinner="Reading the table", max_entries=8)
def _read_rows(source: str, choice: str) -> Matched:
    with open_source(workspace(), json.loads(source)) as opened:
        return read_rows(opened.entries(), TableChoice.from_json(json.loads(choice)))


def label_plan(pending: Pending, known_labels: list[str], key: str, backbone_id: str) -> LabelPlan | None:
    """Ask for the plan; None while an answer is missing."""
    guess = suggest(pending.paths, known_labels).plan
    splits_of_folders = _folders_are_splits(pending, guess, key)
    levels = folder_levels(pending.paths, splits_of_folders, guess.mapping)
    plan, said = _labels(pending, known_labels, guess, levels, key)
    if plan is None:
        return None
    plan = replace(plan, splits=splits_of_folders)
    with st.expander("Source, and how many"):
        plan = _source(pending, levels, plan, guess, key)
        limited = st.number_input(
            "At most this many images per label, chosen at random (0: all)", 0, step=100, key=f"{key}-per-label"
        )
    plan = _splits(pending, replace(plan, per_label=int(limited) or None), said, key)
    rows = said.rows if said is not None else pending.rows
    counts = planned_counts(image_paths(pending.paths), plan, rows)
    words = found_sentence(pending, plan, rows)
    # Here, before it starts, a person decides whether to wait for it.
    if takes := expected_time(workspace(), backbone_id, counts.total()):
        words += f" To look at them: {takes}."
    st.caption(escape(words))
    for sentence in (*table_sentences(said), *unread_tables(pending, plan), pending.passed_over):
        if sentence:
            st.caption(escape(sentence))
    return plan


def _labels(
    pending: Pending, known_labels: list[str], guess: LabelPlan, levels: list[LevelPreview], key: str
) -> tuple[LabelPlan | None, Matched | None]:
    """The plan as far as labels go, and what its table says."""
    modes: dict[Mode, str] = {
        "folders": "From folders",
        "table": "From a table",
        "one": "One label for all",
        "none": "No labels",
    }
    if not levels:
        modes.pop("folders")
    start: Mode = guess.mode
    if start == "none" and pending.tables:
        start = "table"
    mode = st.radio(
        "Labels",
        list(modes),
        index=list(modes).index(start) if start in modes else 0,
        format_func=modes.__getitem__,
        horizontal=True,
        key=f"{key}-mode",
    )
    if mode == "one":
        label = st.selectbox(
            "Label", known_labels, accept_new_options=True, key=f"{key}-label", help="Choose one, or type a new one."
        )
        return (LabelPlan("one", label=spelling_among(label, known_labels) or label) if label else None), None
    if mode == "table":
        choice = label_table(pending, f"{key}-table")
        if choice is None:
            return None, None
        said = _read_rows(json.dumps(pending.source), json.dumps(asdict(choice)))
        values = Counter(row.label for row in said.rows.values() if row.label)
        names = sorted(values.items())
        mapping = _asked(names, known_labels, suggest_mapping(values, known_labels), f"{key}-{choice.label}")
        return LabelPlan("table", mapping=mapping, table=choice), said
    if mode == "folders":
        start_level = guess.level if guess.level is not None and guess.level < len(levels) else 0
        level = st.selectbox(
            "Which folder level names the labels?",
            [item.level for item in levels],
            index=start_level,
            format_func=lambda chosen: _preview(levels[chosen]),
            key=f"{key}-level-{len(levels)}",
        )
        names = levels[level].names
        suggested = suggest_mapping((name for name, _ in names), known_labels)
        return LabelPlan("folders", level=level, mapping=_asked(names, known_labels, suggested, f"{key}-{level}")), None
    return LabelPlan("none"), None


def _folders_are_splits(pending: Pending, guess: LabelPlan, key: str) -> Any:
    """Whether folders called train or test divide the set, or are folders like any other: "ignore" or "folders"."""
    names = split_names(pending.paths, guess.mapping)
    if not names:
        return "ignore"
    shown = ", ".join(f"{name} ({n:,})" for name, n in names.items())
    divide = st.checkbox(
        escape(f"These folders divide the set into parts, and are neither labels nor sources: {shown}"),
        value=True,
        key=f"{key}-divide",
    )
    return "ignore" if divide else "folders"


def _splits(pending: Pending, plan: LabelPlan, said: Matched | None, key: str) -> LabelPlan:
    """Offer what is not meant for training as the locked test set, where enough is left to train on."""
    if plan.splits == "folders":
        return plan
    locking = with_splits(plan, image_paths(pending.paths), said.rows if said is not None else pending.rows)
    if locking.splits != "lock":
        return locking
    counts = planned_counts(image_paths(pending.paths), locking, said.rows if said is not None else pending.rows)
    aside = sum(n for (_, split), n in counts.items() if split == TEST)
    put_aside = st.checkbox(
        f"Put the {count(aside, 'image')} of its test part aside as the locked test set",
        value=True,
        key=f"{key}-lock",
        help="They are kept out of all training, and each model is scored on them. Otherwise all are trained on.",
    )
    return locking if put_aside else replace(plan, splits="ignore")


def _preview(level: LevelPreview) -> str:
    shown = ", ".join(f"{name} ({n:,})" for name, n in level.names[:5])
    more = f" and {len(level.names) - 5:,} more" if len(level.names) > 5 else ""
    return f"Level {level.level + 1}: {shown}{more}"


def _asked(
    names: list[tuple[str, int]], known_labels: list[str], suggested: Mapping[str, str | None], key: str
) -> dict[str, str | None]:
    """The label of each name, as a person confirms or changes it."""
    if len(names) > _MAPPED_NAMES:
        st.caption(f"{len(names):,} names, each its own label.")
        return dict(suggested)
    mapping: dict[str, str | None] = {}
    for name, n in names:
        # A name that is one of the labels in another spelling is no new label.
        options = list(dict.fromkeys([*known_labels, spelling_among(name, known_labels) or name, _LEAVE_OUT]))
        left, right = st.columns([3, 4], vertical_alignment="center")
        left.markdown(f"**{escape(name)}**  :gray[{count(n, 'file')}]")
        first = suggested.get(name, name) or _LEAVE_OUT
        chosen = right.selectbox(
            f"Label for {name}",
            options,
            index=options.index(first) if first in options else 0,
            label_visibility="collapsed",
            key=f"{key}-{name}",
        )
        mapping[name] = None if chosen == _LEAVE_OUT else chosen
    return mapping


def _source(pending: Pending, levels: list[LevelPreview], plan: LabelPlan, guess: LabelPlan, key: str) -> LabelPlan:
    if plan.table is not None and plan.table.source is not None:
        st.caption(escape(f"Sources come from the table's column {plan.table.source}."))
        return plan
    if any(row.source for row in pending.rows.values()):
        st.caption("Sources come from the file's own column.")
        return plan
    others = [item.level for item in levels if item.level != plan.level]
    options = ["none", "text", *others]
    start = options.index(guess.source_level) if guess.source_level in others else 0

    def named(choice: str | int) -> str:
        if isinstance(choice, int):
            return f"from folders, {_preview(levels[choice])}"
        return {"none": "none", "text": "one name for all"}[choice]

    choice = st.selectbox(
        "Source: which generator or collection they come from",
        options,
        index=start,
        format_func=named,
        key=f"{key}-source-{plan.level}-{len(levels)}",
    )
    if choice == "text":
        return replace(
            plan, source=st.text_input("Source name", max_chars=120, key=f"{key}-source-name").strip() or None
        )
    if not isinstance(choice, int):
        return plan
    confirmed = st.checkbox(
        "These names are generators or collections",
        key=f"{key}-confirmed-{choice}",
        help="Without this the sources count as guessed from folders, until you confirm them on the Metrics page.",
    )
    return replace(plan, source_level=choice, source_guessed=not confirmed)
