"""What ``train`` does with a source: the page's plan, changed by the options, and refused where it would be a guess."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from detector.errors import InvalidInput
from detector.importing.entries import shown_path
from detector.importing.guessing import (
    USUAL_LABELS,
    folder_levels,
    image_paths,
    names_sources,
    open_questions,
    suggest,
    suggest_mapping,
    with_splits,
)
from detector.importing.label_tables import TableSays, read_outside, read_rows
from detector.importing.labelling import LabelPlan, Splits, TableChoice, planned_counts
from detector.importing.opening import open_source
from detector.importing.pending import Pending, is_parquet_file
from detector.importing.plan_words import unread_tables
from detector.label_names import label_key
from detector.storage import functions
from detector.words import count
from detector.workspace import Workspace

if TYPE_CHECKING:
    from detector.importing.parquet import ParquetColumns
    from detector.importing.table_columns import Row

_COLUMNS = ("file", "label", "source", "split")


@dataclass(frozen=True)
class Planned:
    """A plan with nothing left to ask, what its table says, and the labels of a function made for it."""

    plan: LabelPlan
    said: TableSays | None
    labels: tuple[str, ...]


def plan_of(ws: Workspace, pending: Pending, known: Sequence[str], options: argparse.Namespace) -> Planned:
    """The page's suggestion, changed by the options. Raises InvalidInput where it would be a guess too far."""
    as_folders: Splits = "folders" if options.splits == "folders" else "ignore"
    suggestion = suggest(pending.paths, known or USUAL_LABELS, as_folders)
    plan, questions = suggestion.plan, list(suggestion.questions)
    rows, said = pending.rows, None
    table = _table(ws, pending, plan, options)
    if table is not None:
        choice, said = table
        rows = said.rows
        names = dict.fromkeys(row.label for row in rows.values() if row.label)
        plan = replace(
            plan, mode="table", level=None, table=choice, mapping=suggest_mapping(names, known or USUAL_LABELS)
        )
        questions = []
    if options.label_level is not None:
        plan, questions = _at_level(pending, plan, options.label_level, known or USUAL_LABELS), []
    if plan.mode == "none":
        raise InvalidInput(_no_labels(pending))
    plan = _with_sources(pending, plan, options.source_level)
    plan = replace(plan, mapping=_mapped(pending, plan, rows, options.map), per_label=options.at_most)
    plan = replace(plan, splits=options.splits or as_folders)
    if options.splits is None:
        plan = with_splits(plan, pending.paths, rows)
    explicit = options.label_level is not None or plan.mode == "table"
    questions += open_questions(pending.paths, plan, known, rows, explicit)
    if questions:
        raise InvalidInput(" ".join(["Nothing was imported, because the labels are not clear.", *questions]))
    labels = sorted({label for label, _ in planned_counts(image_paths(pending.paths), plan, rows) if label is not None})
    if not labels:
        raise InvalidInput(_no_labels(pending))
    if len(labels) > functions.MAX_LABELS:
        raise InvalidInput(
            f"{pending.title} holds {len(labels):,} folders, and each would be a label; at most {functions.MAX_LABELS} "
            "are possible. Give the folder whose subfolders are the labels, or say which level with --label-level."
        )
    usual = set(labels) <= set(USUAL_LABELS)
    return Planned(plan, said, USUAL_LABELS if usual else tuple(labels))


def _no_labels(pending: Pending) -> str:
    unread = [
        f"{sentence} --labels '{table.paths[0]}' reads it."
        for table, sentence in zip(pending.tables, unread_tables(pending, LabelPlan("none")), strict=True)
    ]
    levels = [
        f"level {level.level + 1} has {count(len(level.names), 'folder')} ({level.names[0][0]}, ...)"
        for level in folder_levels(pending.paths, "ignore")
    ]
    how = f" Say which level names the labels with --label-level: {'; '.join(levels)}." if levels else ""
    return " ".join(
        [
            f"The files in {pending.title} lie in no folder that names a label. Put them into one folder for each "
            f"label, for example real and synthetic.{how}",
            *unread,
        ]
    )


def _table(
    ws: Workspace, pending: Pending, plan: LabelPlan, options: argparse.Namespace
) -> tuple[TableChoice, TableSays] | None:
    """The table that gives the labels, and what it says; None where folders do.

    One that lies there by the hub's convention is read where folders say nothing; any other only when it is named.
    """
    if options.labels is None and options.columns is not None and pending.source["from"] != "parquet":
        raise InvalidInput("--columns names columns of a table: say which table with --labels FILE.")
    choice = None
    if options.labels is not None:
        choice = _chosen_table(pending, options.labels, options.columns)
    elif plan.mode == "none" and options.label_level is None:
        conventional = [table for table in pending.tables if table.is_conventional and table.guess.label]
        choice = conventional[0].choice() if conventional else None
    if choice is None:
        return None
    if choice.label is None:
        raise InvalidInput(
            f"Which column of {options.labels or choice.paths[0]} holds the labels is not plain: say it with "
            "--columns label=NAME."
        )
    with open_source(ws, pending.source) as source:
        return choice, read_rows(source.entries(), choice)


def _chosen_table(pending: Pending, wanted: str, columns: str | None) -> TableChoice:

    given = _given_columns(columns)
    shown = shown_path(wanted)
    file = Path(wanted)
    inside = [table for table in pending.tables if shown in table.paths]
    if not inside and file.is_file() and pending.path.is_dir() and file.resolve().is_relative_to(pending.path):
        relative = shown_path(str(file.resolve().relative_to(pending.path)))
        inside = [table for table in pending.tables if relative in table.paths]
    if not inside and not file.is_file():
        # The name alone, as of the tables that lie beside the images of each part.
        inside = [table for table in pending.tables if any(path.endswith(f"/{shown}") for path in table.paths)]
    if inside:
        return _with_columns(inside[0].choice(), given)
    if not file.is_file():
        there = ", ".join(path for table in pending.tables for path in table.paths[:2])
        raise InvalidInput(
            f"There is no table {wanted}, neither as a file nor in {pending.title}"
            f"{f', which has {there}' if there else ''}. Check the name."
        )
    table, guess = read_outside(file.resolve(), image_paths(pending.paths))
    if guess is None and given.get("file") is None:
        raise InvalidInput(
            f"No column of {table.name} names the images of {pending.title} (it has {', '.join(table.columns[:12])}). "
            "Say which one does with --columns file=NAME,label=NAME."
        )
    start = TableChoice(file=guess.file if guess else "", outside=str(file.resolve()))
    if guess is not None:
        start = replace(start, label=guess.label, source=guess.source, split=guess.split)
    return _with_columns(start, given)


def _given_columns(text: str | None) -> dict[str, str]:
    given: dict[str, str] = {}
    for part in (text or "").split(",") if text else []:
        name, sign, column = part.partition("=")
        if name.strip() not in _COLUMNS or not sign or not column.strip():
            raise InvalidInput(
                f"--columns holds {part!r}; expected file=NAME, label=NAME, source=NAME or split=NAME, with commas."
            )
        given[name.strip()] = column.strip()
    return given


def parquet_columns(path: Path, options: argparse.Namespace) -> ParquetColumns | None:
    """The columns of parquet files as the options say, on top of what is guessed; None where nothing is said."""
    from detector.importing.parquet import ParquetColumns, guess_parquet_columns

    if options.labels is not None or not options.columns:
        return None
    first = next(iter(sorted(path.rglob("*.parquet"))), None) if path.is_dir() else path
    if first is None or not is_parquet_file(first):
        return None
    given = _given_columns(options.columns)
    guess = guess_parquet_columns(first)
    return ParquetColumns(
        given.get("file", guess.image),
        given.get("label", guess.label),
        given.get("source", guess.source),
        given.get("split", guess.split),
    )


def _with_columns(choice: TableChoice, given: Mapping[str, str]) -> TableChoice:
    # Not ``paths`` and ``outside``: those are no columns.
    return replace(choice, **{name: given[name] for name in _COLUMNS if name in given})  # type: ignore[arg-type]


def _counted(plan: LabelPlan) -> Splits:
    """Which folders count as levels in this plan."""
    return "folders" if plan.splits == "folders" else "ignore"


def _at_level(pending: Pending, plan: LabelPlan, wanted: int, known: Sequence[str]) -> LabelPlan:

    levels = folder_levels(pending.paths, _counted(plan), plan.mapping)
    if not 1 <= wanted <= len(levels):
        raise InvalidInput(
            f"There is no folder level {wanted}: the files in {pending.title} have {count(len(levels), 'level')}, not "
            "counting folders such as train and test."
        )
    level = wanted - 1
    names = [name for name, _ in levels[level].names]
    below = level + 1
    source_level = below if below < len(levels) and names_sources(levels[below], names, known) else None
    return replace(
        plan,
        mode="folders",
        level=level,
        table=None,
        mapping=suggest_mapping(names, known),
        source_level=source_level,
        source_guessed=source_level is not None,
    )


def _with_sources(pending: Pending, plan: LabelPlan, wanted: int | None) -> LabelPlan:

    if wanted is None:
        return plan
    if wanted == 0:
        return replace(plan, source_level=None, source_guessed=False)
    levels = folder_levels(pending.paths, _counted(plan), plan.mapping)
    if not 1 <= wanted <= len(levels):
        raise InvalidInput(f"There is no folder level {wanted} for the sources; there are {len(levels)}.")
    if plan.mode == "folders" and wanted - 1 == plan.level:
        raise InvalidInput(f"Folder level {wanted} names the labels already; sources need another one.")
    # Whoever names the level has said what lies on it.
    return replace(plan, source_level=wanted - 1, source_guessed=False)


def _mapped(pending: Pending, plan: LabelPlan, rows: Mapping[str, Row], wanted: Sequence[str]) -> dict[str, str | None]:

    if plan.mode == "table":
        names = {row.label for row in rows.values() if row.label}
    else:
        names = {name for level in folder_levels(pending.paths, "folders") for name, _ in level.names}
    mapping = dict(plan.mapping)
    for part in wanted:
        name, sign, label = part.partition("=")
        if not sign:
            raise InvalidInput(f"--map holds {part!r}; expected NAME=LABEL, for example FAKE=synthetic.")
        meant = [name] if name in names else [other for other in names if label_key(other) == label_key(name)]
        if not meant:
            raise InvalidInput(
                f"--map names {name!r}, which is no {'value' if plan.mode == 'table' else 'folder'} in {pending.title}."
                f" There are {', '.join(sorted(names)[:12])}."
            )
        mapping.update(dict.fromkeys(meant, label.strip() or None))
    return mapping
