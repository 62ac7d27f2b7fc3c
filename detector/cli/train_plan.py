"""What ``train`` does with a source: the page's plan, changed by the options, and refused where it would be a guess."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from detector.errors import InvalidInput
from detector.formatting import count
from detector.importing.entries import shown_path
from detector.importing.guessing import (
    USUAL_LABELS,
    folder_levels,
    image_paths,
    names_mean_labels,
    names_sources,
    open_questions,
    suggest,
    suggest_mapping,
    with_splits,
)
from detector.importing.label_tables import read_outside, read_rows
from detector.importing.labelling import LabelPlan, TableChoice, planned_counts
from detector.importing.opening import open_source
from detector.importing.pending import Pending, is_parquet_file
from detector.importing.plan_sentences import unread_tables
from detector.importing.table_columns import Matched, names_label
from detector.storage import functions
from detector.storage.label_names import label_key, spelling_among
from detector.workspace import Workspace

if TYPE_CHECKING:
    from detector.importing.parquet import ParquetColumns
    from detector.importing.table_columns import Row

_COLUMNS = ("file", "label", "source", "split")


@dataclass(frozen=True)
class Planned:
    """A plan with nothing left to ask, what its table says, and the labels of a function made for it."""

    plan: LabelPlan
    said: Matched | None
    labels: tuple[str, ...]


def plan_of(ws: Workspace, pending: Pending, known: Sequence[str], options: argparse.Namespace) -> Planned:
    """The page's suggestion, changed by the options. Raises InvalidInput where it would be a guess too far."""
    if options.labels is not None and options.label_level is not None:
        raise InvalidInput("--labels takes labels from a table and --label-level from folders. Give one of them.")
    suggestion = suggest(pending.paths, known or USUAL_LABELS, options.splits or "ignore")
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
    elif plan.mode == "folders" and options.label_level is None:
        chosen = folder_levels(pending.paths, plan.splits, plan.mapping)[plan.level or 0]
        if not names_mean_labels((name for name, _ in chosen.names), known or USUAL_LABELS):
            # Folders of scenes or days beside a table that says what is what.
            questions += _tables_or_folders(pending, plan)
    if options.label_level is not None:
        plan, questions = _at_level(pending, plan, options.label_level, known or USUAL_LABELS), []
    if plan.mode == "none":
        raise InvalidInput(_no_labels(pending))
    plan = _with_sources(pending, plan, options.source_level)
    plan = replace(plan, mapping=_mapped(pending, plan, rows, options.map, known), per_label=options.at_most)
    if options.splits:
        plan = replace(plan, splits=options.splits)
    else:
        plan = with_splits(plan, image_paths(pending.paths), rows)
    explicit = options.label_level is not None or plan.mode == "table"
    questions += open_questions(pending.paths, plan, known, rows, explicit)
    if questions:
        raise InvalidInput(" ".join(["Nothing was imported, because the labels are not clear.", *questions]))
    labels = sorted({label for label, _ in planned_counts(image_paths(pending.paths), plan, rows) if label is not None})
    if not labels:
        if options.map and None in plan.mapping.values():
            raise InvalidInput("--map leaves out every file that has a label. Nothing was imported.")
        raise InvalidInput(_no_labels(pending))
    if len(labels) > functions.MAX_LABELS:
        raise InvalidInput(
            f"{pending.title} holds {len(labels):,} folders, and each would be a label; at most {functions.MAX_LABELS} "
            "are possible. Give the folder whose subfolders are the labels, or say which level with --label-level."
        )
    for label in labels:
        functions.clean_label_name(label)
    usual = set(labels) <= set(USUAL_LABELS)
    return Planned(plan, said, USUAL_LABELS if usual else tuple(labels))


def _tables_or_folders(pending: Pending, plan: LabelPlan) -> list[str]:
    """A question where a table names labels and the folders could be anything."""
    telling = [table for table in pending.tables if table.guess.label and names_label(table.guess.label)]
    if not telling:
        return []
    table = telling[0]
    return [
        f"{table.name} has a column {table.guess.label}, and the folders on level {(plan.level or 0) + 1} have names "
        f"that mean neither real nor synthetic. For the table: --labels '{table.paths[0].rpartition('/')[2]}'; for "
        f"the folders: --label-level {(plan.level or 0) + 1}."
    ]


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
) -> tuple[TableChoice, Matched] | None:
    """The table that gives the labels, and what it says; None where folders do.

    One that lies there by the hub's convention is read where folders say nothing; any other only when it is named.
    """
    if options.labels is None and options.columns is not None and pending.source["from"] != "parquet":
        raise InvalidInput("--columns names columns of a table: say which table with --labels FILE.")
    choice = None
    if options.labels is not None:
        choice = _chosen_table(pending, options.labels, options.columns)
    elif plan.mode == "none" and options.label_level is None:
        # Not a column of licences or captions, the only one beside the file's name.
        conventional = [
            table
            for table in pending.tables
            if table.is_conventional and table.guess.label and names_label(table.guess.label)
        ]
        choice = conventional[0].choice() if conventional else None
    if choice is None:
        return None
    if choice.label is None:
        raise InvalidInput(
            f"Which column of {options.labels or choice.paths[0]} holds the labels is not plain: say it with "
            "--columns label=NAME."
        )
    if choice.label == choice.file:
        raise InvalidInput(f"The column {choice.file!r} names the files and cannot be their label too.")
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
        return _with_columns(inside[0].choice(), given, inside[0].columns)
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
    return _with_columns(start, given, table.columns)


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


def _with_columns(choice: TableChoice, given: Mapping[str, str], columns: Sequence[str]) -> TableChoice:
    # Not ``paths`` and ``outside``: those are no columns.
    named = {name: spelling_among(given[name], columns) or given[name] for name in _COLUMNS if name in given}
    return replace(choice, **named)  # type: ignore[arg-type]


def _at_level(pending: Pending, plan: LabelPlan, wanted: int, known: Sequence[str]) -> LabelPlan:
    levels = folder_levels(pending.paths, plan.splits, plan.mapping)
    if not 1 <= wanted <= len(levels):
        how = "" if plan.splits == "folders" else ", not counting folders such as train and test"
        raise InvalidInput(
            f"There is no folder level {wanted}: the files in {pending.title} have {count(len(levels), 'level')}{how}."
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
    levels = folder_levels(pending.paths, plan.splits, plan.mapping)
    if not 1 <= wanted <= len(levels):
        raise InvalidInput(f"There is no folder level {wanted} for the sources; there are {len(levels)}.")
    if plan.mode == "folders" and wanted - 1 == plan.level:
        raise InvalidInput(f"Folder level {wanted} names the labels already; sources need another one.")
    # Whoever names the level has said what lies on it.
    return replace(plan, source_level=wanted - 1, source_guessed=False)


def _mapped(
    pending: Pending, plan: LabelPlan, rows: Mapping[str, Row], wanted: Sequence[str], known: Sequence[str]
) -> dict[str, str | None]:
    """The plan's mapping with what ``--map`` says on top."""
    by_table = plan.mode == "table"
    if by_table:
        names = {row.label for row in rows.values() if row.label}
    else:
        names = {name for level in folder_levels(pending.paths, "folders") for name, _ in level.names}
    by_key: dict[str, set[str]] = {}
    for name in names:
        by_key.setdefault(label_key(name), set()).add(name)
    said: dict[str, str | None] = {}
    for part in wanted:
        # A name may hold the sign itself.
        signs = [at for at, letter in enumerate(part) if letter == "="]
        if not signs:
            raise InvalidInput(f"--map holds {part!r}; expected NAME=LABEL, for example FAKE=synthetic.")
        at = next((at for at in reversed(signs) if label_key(part[:at]) in by_key), signs[0])
        name, label = part[:at], part[at + 1 :].strip()
        meant = {name} if name in names else by_key.get(label_key(name), set())
        if not meant:
            raise InvalidInput(
                f"--map names {name!r}, which is no {'value' if by_table else 'folder'} in {pending.title}."
                f" There are {', '.join(sorted(names)[:12])}."
            )
        labels = known or USUAL_LABELS
        chosen = spelling_among(label, labels) or label
        if label_key(label) != label_key(name) and (near := _misspelled(label, labels)):
            raise InvalidInput(f"--map gives {name!r} the label {label!r}. Did you mean {near}?")
        for one in sorted(meant):
            if said.setdefault(one, chosen or None) != (chosen or None):
                raise InvalidInput(f"--map gives {one!r} two labels, {said[one]} and {chosen}. Give it one.")
    mapping = {**plan.mapping, **said}
    if plan.mode == "folders" and said:
        levels = folder_levels(pending.paths, plan.splits, mapping)
        level = plan.level or 0
        there = {name for name, _ in levels[level].names} if level < len(levels) else set()
        if unused := sorted(set(said) - there):
            raise InvalidInput(
                f"--map names {unused[0]!r}, but labels come from folder level {level + 1}, where no folder is called "
                f"so: {', '.join(sorted(there)[:6])}. Say which level names the labels with --label-level."
            )
    return mapping


def _misspelled(label: str, labels: Sequence[str]) -> str | None:
    """The label that a name nearly is, as synthetic for syntetic."""
    by_key = {label_key(name): name for name in labels}
    key = label_key(label)
    near = get_close_matches(key, by_key, 1, 0.8) if key and key not in by_key else []
    return by_key[near[0]] if near else None
