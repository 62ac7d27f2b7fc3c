"""A plan in sentences, the same on the page and before ``train`` begins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from detector.formatting import count
from detector.imaging.formats import IMAGE_ENDINGS
from detector.importing.guessing import folder_levels, image_paths, split_names
from detector.importing.labelling import LabelPlan, assign, counted_folders, planned_counts
from detector.importing.splits import pure_split
from detector.storage.stored_names import TEST

if TYPE_CHECKING:
    from detector.importing.pending import Pending
    from detector.importing.table_columns import Matched, Row

_SHOWN = 6
_LONGEST = 80
_NO_LABEL = "without a label"


def plan_sentences(pending: Pending, plan: LabelPlan, said: Matched | None = None) -> list[str]:
    """What a plan does, one sentence a line: labels, what is put aside, sources, what is passed over."""
    rows = said.rows if said is not None else pending.rows
    sentences = [
        labels_sentence(pending, plan, rows),
        splits_sentence(pending, plan, rows),
        _sources(pending, plan),
        found_sentence(pending, plan, rows),
    ]
    sentences += table_sentences(said)
    return [sentence for sentence in (*sentences, *unread_tables(pending, plan), pending.passed_over) if sentence]


def labels_sentence(pending: Pending, plan: LabelPlan, rows: Mapping[str, Row] | None = None) -> str:
    """Where the labels come from, each with its files."""
    if plan.mode == "one":
        return f"Label of all: {plan.label}."
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


def found_sentence(pending: Pending, plan: LabelPlan, rows: Mapping[str, Row] | None = None) -> str:
    """What the import will look at, by label: nobody knows how many of it can be read before it was.

    Afterwards what was imported and what was refused make up the files that are named here, unless at most so many of
    each label are wanted: then the next file takes the place of one that cannot be read.
    """
    counts = planned_counts(image_paths(pending.paths), plan, rows)
    if not counts:
        return "Nothing would be imported this way. Choose another level or label."
    labels: Counter[str | None] = Counter()
    for (label, _), n in counts.items():
        labels[label] += n
    parts = [
        f"{n:,} as {_short(label)}" if label is not None else f"{n:,} without a label"
        for label, n in labels.most_common(_SHOWN)
    ]
    if len(labels) > _SHOWN:
        parts.append(f"{count(len(labels) - _SHOWN, 'more label')}")
    which = f"{', '.join(parts)}. What cannot be read is reported after the import"
    # Without a name that ends like an image's all of them may be images, or none.
    named = pending.source.get("from") == "parquet" or any(
        path.lower().endswith(IMAGE_ENDINGS) for path in pending.paths
    )
    images = count(labels.total(), "image" if named else "file")
    if not named:
        which = f"{'not' if labels.total() == 1 else 'none'} named like an image: {which}"
        if plan.per_label is None:
            return f"{images} found, {which}."
    if plan.per_label is not None:
        return f"{images} chosen of {found_images(pending, plan, rows):,} found: {which}, and another takes its place."
    others = _other_files(pending, plan, rows)
    beside = f" and {count(others, 'other file')}" if others else ""
    return f"{images}{beside} found: {which}."


def found_images(pending: Pending, plan: LabelPlan, rows: Mapping[str, Row] | None = None) -> int:
    """Images that a plan includes, before any choice among them."""
    return planned_counts(image_paths(pending.paths), replace(plan, per_label=None), rows).total()


def _other_files(pending: Pending, plan: LabelPlan, rows: Mapping[str, Row] | None) -> int:
    """Files that do not end like images and are looked at all the same, tables that are not read among them."""
    read = set(plan.table.paths) if plan.table is not None else set()
    unread = [path for table in pending.tables for path in table.paths if path not in read]
    images = set(image_paths(pending.paths))
    others = [path for path in dict.fromkeys([*pending.paths, *unread]) if path not in images]
    return planned_counts(others, replace(plan, per_label=None), rows).total()


def splits_sentence(pending: Pending, plan: LabelPlan, rows: Mapping[str, Row] | None = None) -> str:
    """What becomes of folders such as train and test; empty where there are none."""
    names = split_names(pending.paths, plan.mapping)
    if plan.splits == "lock":
        counts = planned_counts(image_paths(pending.paths), plan, rows)
        aside = sum(n for (_, split), n in counts.items() if split == TEST)
        if aside:
            held_out = [name for name in names if pure_split(name) == TEST]
            where = f" ({', '.join(held_out)})" if held_out else ""
            return f"{count(aside, 'image')} put aside as the locked test set, as the set itself divides them{where}."
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
        f"{table.name} lists {table.listed:,} of these files "
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
