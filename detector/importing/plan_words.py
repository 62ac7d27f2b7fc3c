"""A plan in sentences, the same on the page and before ``train`` begins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from detector.importing.guessing import folder_levels, image_paths, split_names
from detector.importing.labelling import LabelPlan, assign, counted_folders, planned_counts
from detector.importing.splits import pure_split
from detector.words import count

if TYPE_CHECKING:
    from detector.importing.pending import Pending
    from detector.importing.table_columns import Matched, Row

_SHOWN = 6
_LONGEST = 80
_NO_LABEL = "without a label"


def plan_words(pending: Pending, plan: LabelPlan, said: Matched | None = None) -> list[str]:
    """What a plan does, one sentence a line: labels, what is put aside, sources, what is passed over."""
    rows = said.rows if said is not None else pending.rows
    sentences = [labels_sentence(pending, plan, rows), splits_sentence(pending, plan, rows), _sources(pending, plan)]
    sentences += table_sentences(said)
    return [sentence for sentence in (*sentences, *unread_tables(pending, plan), pending.passed_over) if sentence]


def labels_sentence(pending: Pending, plan: LabelPlan, rows: Mapping[str, Row] | None = None) -> str:
    """Where the labels come from, each with its files."""
    if plan.mode == "one":
        return f"All {count(len(pending.paths), 'file')} get the label {plan.label}."
    if plan.mode == "none":
        return "No file gets a label."
    counts: Counter[str] = Counter()
    means: dict[str, str | None] = {}
    without = 0
    for path in image_paths(pending.paths):
        row = rows.get(path) if rows else None
        given = assign(path, plan, row)
        name = (row.label if row else None) if plan.mode == "table" else _folder(path, plan)
        if name:
            counts[name] += 1
            means[name] = (given.label or _NO_LABEL) if given.included else None
        else:
            without += 1
    parts = []
    for name, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN]:
        label = means[name]
        meaning = "left out" if label is None else _short(label)
        parts.append(f"{_short(name)} ({n:,})" if label == name else f"{_short(name)} -> {meaning} ({n:,})")
    if len(counts) > _SHOWN:
        parts.append(f"{len(counts) - _SHOWN:,} more")
    if plan.mode == "table":
        assert plan.table is not None
        sentence = f"Labels from the column {plan.table.label} of {plan.table.name}: {', '.join(parts)}."
        why = "the table gives them none"
    else:
        sentence = f"Labels from folder level {(plan.level or 0) + 1}: {', '.join(parts)}."
        why = "they lie in no folder of that level"
    if without:
        sentence += f" {count(without, 'more file comes', 'more files come')} in without a label: {why}."
    return sentence


def splits_sentence(pending: Pending, plan: LabelPlan, rows: Mapping[str, Row] | None = None) -> str:
    """What becomes of folders such as train and test; empty where there are none."""
    names = split_names(pending.paths, plan.mapping)
    if plan.splits == "lock":
        counts = planned_counts(image_paths(pending.paths), plan, rows)
        aside = sum(n for (_, split), n in counts.items() if split == "test")
        if aside:
            held_out = [name for name in names if pure_split(name) == "test"]
            where = f" ({', '.join(held_out)})" if held_out else ""
            return f"{count(aside, 'file')} put aside as the locked test set, as the set itself divides them{where}."
    if plan.splits == "ignore" and names:
        return f"Folders that divide the set ({', '.join(names)}) are taken alike, all for training."
    return ""


def table_sentences(said: Matched | None) -> list[str]:
    """What is wrong with a table."""
    if said is None:
        return []
    sentences = []
    if said.unmatched_rows:
        sentences.append(f"{count(said.unmatched_rows, 'row of it names', 'rows of it name')} no file of this import.")
    if said.contradictions:
        named = ", ".join(said.contradictions[:3])
        sentences.append(
            f"{count(len(said.contradictions), 'file has', 'files have')} several labels in it and get none: {named}."
        )
    return sentences


def _sources(pending: Pending, plan: LabelPlan) -> str:
    if plan.source:
        return f"Source of all: {plan.source}."
    if plan.source_level is None:
        return ""
    levels = folder_levels(pending.paths, plan.splits, plan.mapping)
    names = levels[plan.source_level].names if plan.source_level < len(levels) else []
    guessed = (
        ", guessed until somebody confirms that these are collections or generators" if plan.source_guessed else ""
    )
    return f"Sources from folder level {plan.source_level + 1}: {_named(names)}{guessed}."


def unread_tables(pending: Pending, plan: LabelPlan) -> list[str]:
    """A sentence for each table that lies there and is not read."""
    read = set(plan.table.paths) if plan.table is not None else set()
    return [
        f"{table.name} lists {count(table.listed, 'of these files', 'of these files')} "
        f"(columns {', '.join(table.columns[:8])}); it was seen and not read."
        for table in pending.tables
        if not read & set(table.paths)
    ]


def _named(names: Iterable[tuple[str, int]]) -> str:
    every = sorted(names, key=lambda item: (-item[1], item[0]))
    parts = [f"{_short(name)} ({n:,})" for name, n in every[:_SHOWN]]
    if len(every) > _SHOWN:
        parts.append(f"{len(every) - _SHOWN:,} more")
    return ", ".join(parts)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."


def _folder(path: str, plan: LabelPlan) -> str | None:
    folders = counted_folders(path, plan.splits, plan.mapping)
    return folders[plan.level] if plan.level is not None and plan.level < len(folders) else None
