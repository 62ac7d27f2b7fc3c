"""The part of the Import page that asks how files get their labels, with what that means shown beside it."""

from __future__ import annotations

from collections import Counter

import streamlit as st

from detector.bench import in_words
from detector.importing.labelling import LabelPlan, LevelPreview, Mode, assign, folder_levels, suggest_plan
from detector.importing.pending import Pending
from detector.label_names import label_key, spelling_among
from detector.words import count
from pages._state import escape, workspace

#: With more folders than this each keeps its own name; nobody maps hundreds of names by hand.
_MAPPED_NAMES = 12
_LEAVE_OUT = "leave these files out"


def label_plan(pending: Pending, known_labels: list[str], key: str, backbone_id: str) -> LabelPlan | None:
    """Ask for the plan; None while an answer is missing."""
    levels = folder_levels(pending.paths)
    guess = suggest_plan(pending.paths, known_labels)
    modes: dict[Mode, str] = {"folders": "From folders", "one": "One label for all", "none": "No labels"}
    if not levels:
        modes.pop("folders")
    start = list(modes).index(guess.mode) if guess.mode in modes else 0
    mode = st.radio(
        "Labels", list(modes), index=start, format_func=modes.__getitem__, horizontal=True, key=f"{key}-mode"
    )
    level, label, mapping = None, None, {}
    if mode == "one":
        label = st.selectbox(
            "Label", known_labels, accept_new_options=True, key=f"{key}-label", help="Choose one, or type a new one."
        )
        if not label:
            return None
        label = spelling_among(label, known_labels) or label
    elif mode == "folders":
        level = st.selectbox(
            "Which folder level names the labels?",
            [item.level for item in levels],
            index=guess.level or 0,
            format_func=lambda chosen: _preview(levels[chosen]),
            key=f"{key}-level",
        )
        names = levels[level].names
        if len(names) <= _MAPPED_NAMES:
            mapping = _mapping(names, known_labels, guess if guess.level == level else None, f"{key}-{level}")
        else:
            st.caption(f"{len(names):,} folders, each its own label.")
    with st.expander("Source, and how many"):
        source, source_level = _source(levels, level, guess, key)
        limited = st.number_input(
            "At most this many images a label, chosen at random (0: all)", 0, step=100, key=f"{key}-per-label"
        )
    plan = LabelPlan(
        mode,
        label=label,
        level=level,
        mapping=mapping,
        source=source,
        source_level=source_level,
        per_label=int(limited) or None,
    )
    counts = _counts(pending, plan, known_labels)
    words = _outcome(counts)
    # Here, before it starts, a person decides whether to wait for it.
    if takes := in_words(workspace(), backbone_id, counts.total()):
        words += f" To look at them: {takes}."
    st.caption(escape(words))
    return plan


def _preview(level: LevelPreview) -> str:
    shown = ", ".join(f"{name} ({n:,})" for name, n in level.names[:5])
    more = f" and {len(level.names) - 5:,} more" if len(level.names) > 5 else ""
    return f"Level {level.level + 1}: {shown}{more}"


def _mapping(
    names: list[tuple[str, int]], known_labels: list[str], guess: LabelPlan | None, key: str
) -> dict[str, str | None]:
    mapping: dict[str, str | None] = {}
    for name, n in names:
        # A folder called like a label, in whatever spelling, is no new label.
        known = spelling_among(name, known_labels)
        options = list(dict.fromkeys([*known_labels, known or name, _LEAVE_OUT]))
        guessed = guess.mapping.get(name, name) if guess else name
        suggested = spelling_among(guessed, options) or known or name if guessed else _LEAVE_OUT
        left, right = st.columns([3, 4], vertical_alignment="center")
        left.markdown(f"**{escape(name)}**  :gray[{count(n, 'file')}]")
        chosen = right.selectbox(
            f"Label for {name}",
            options,
            index=options.index(suggested),
            label_visibility="collapsed",
            key=f"{key}-{name}",
        )
        mapping[name] = None if chosen == _LEAVE_OUT else chosen
    return mapping


def _source(
    levels: list[LevelPreview], label_level: int | None, guess: LabelPlan, key: str
) -> tuple[str | None, int | None]:
    others = [item.level for item in levels if item.level != label_level]
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
        key=f"{key}-source-{label_level}",
    )
    if choice == "text":
        return (st.text_input("Source name", max_chars=120, key=f"{key}-source-name").strip() or None), None
    return None, choice if isinstance(choice, int) else None


def _counts(pending: Pending, plan: LabelPlan, known_labels: list[str]) -> Counter[str | None]:
    counts: Counter[str | None] = Counter()
    spellings = {label_key(name): name for name in reversed(known_labels)}
    for label, n in Counter(given.label for path in pending.paths if (given := assign(path, plan)).included).items():
        # Folders of one name in two spellings are one label, and the function's own where it has it.
        if label is not None and label not in known_labels:
            label = spellings.setdefault(label_key(label), label)
        counts[label] += n
    if plan.per_label is not None:
        counts = Counter({label: min(n, plan.per_label) for label, n in counts.items()})
    return counts


def _outcome(counts: Counter[str | None]) -> str:
    parts = [
        f"{n:,} as {label}" if label is not None else f"{n:,} without a label" for label, n in counts.most_common(6)
    ]
    left_out = f" and {len(counts) - 6:,} more labels" if len(counts) > 6 else ""
    return (
        f"{count(counts.total(), 'file')} will be imported: {', '.join(parts)}{left_out}."
        if counts
        else ("Nothing would be imported this way. Choose another level or label.")
    )
