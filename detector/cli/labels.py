"""The command line's part for a function's labels: a list, and merging two spellings of one name."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from detector.errors import InvalidInput, NotFound
from detector.formatting import count
from detector.storage import functions, jobs, samples
from detector.storage.functions import Label
from detector.storage.label_names import label_key
from detector.storage.label_twins import spelling_note, twins_among
from detector.workspace import Workspace


def add_label_commands(commands: Any) -> None:
    """Add ``labels`` to the parser's commands."""
    parser = commands.add_parser("labels", help="list a function's labels; merge two spellings of one name")
    parser.add_argument("function", help="name or id")
    parser.add_argument("--merge", metavar="FROM", help="the spelling that goes, or its label's id")
    parser.add_argument("--into", metavar="TO", help="the spelling that stays, or its label's id")
    parser.add_argument("--json", action="store_true", help="print the labels, or what was merged, as JSON")
    parser.set_defaults(run=_labels)


def _labels(ws: Workspace, options: argparse.Namespace) -> int:
    function_id = functions.find_function(ws.db, options.function).id
    if (options.merge is None) != (options.into is None):
        raise InvalidInput("Merging needs two labels: give both --merge FROM and --into TO.")
    if options.merge is not None:
        return _merge(ws, function_id, options)
    return _list(ws, function_id, options)


def _list(ws: Workspace, function_id: str, options: argparse.Namespace) -> int:
    found = functions.list_labels(ws.db, function_id)
    counts = samples.count_by(ws.db, function_id).by_label
    others: dict[str, list[str]] = {
        label.id: [other.id for other in group if other is not label] for group in twins_among(found) for label in group
    }
    rows = [
        {"id": label.id, "name": label.name, "samples": counts.get(label.id, 0), "twins": others.get(label.id, [])}
        for label in found
    ]
    if options.json:
        print(json.dumps(rows, ensure_ascii=False))
        return 0
    if not rows:
        print("The function has no labels yet. An import makes those that its folders name.", file=sys.stderr)
    for label in found:
        twin = f"  one name with {', '.join(others[label.id])}" if label.id in others else ""
        note = f" ({spelling_note(label.name)})" if label.id in others and spelling_note(label.name) else ""
        print(f"{label.id}  {label.name}{note}  {count(counts.get(label.id, 0), 'sample')}{twin}")
    if others:
        print(
            "Spellings of one name are trained as different labels. Merge them with: "
            f"python -m detector labels {function_id} --merge ID --into ID",
            file=sys.stderr,
        )
    return 0


def _merge(ws: Workspace, function_id: str, options: argparse.Namespace) -> int:
    from detector.operations.labels import merge_labels

    found = functions.list_labels(ws.db, function_id)
    gone, kept = _named(found, options.merge), _named(found, options.into)
    if label_key(gone.name) != label_key(kept.name):
        raise InvalidInput(
            f"{gone.name!r} and {kept.name!r} are two names, not two spellings of one, and only those are merged here. "
            "To give images another label, use the Review page."
        )
    # What a killed import left running would stand in the way for ever.
    jobs.requeue_orphans(ws.db)
    moved = merge_labels(ws, [gone], kept).changed
    if options.json:
        now = samples.count_by(ws.db, function_id).by_label.get(kept.id, 0)
        print(
            json.dumps(
                {
                    "from": {"id": gone.id, "name": gone.name},
                    "into": {"id": kept.id, "name": kept.name, "samples": now},
                    "moved": moved,
                },
                ensure_ascii=False,
            )
        )
    else:
        print(
            f"{count(moved, 'sample')} of {gone.name} ({gone.id}) moved to {kept.name} ({kept.id}); {gone.id} is gone"
        )
    print("A new model follows when a server runs on this data folder, or with the next training.", file=sys.stderr)
    return 0


def _named(found: list[Label], given: str) -> Label:
    """The label of that id, else of that very spelling, else the only one of that name."""
    for fits in (
        [label for label in found if label.id == given],
        [label for label in found if label.name == given],
        [label for label in found if label_key(label.name) == label_key(given)],
    ):
        if len(fits) == 1:
            return fits[0]
        if fits:
            names = ", ".join(f"{label.id} ({label.name})" for label in fits)
            raise InvalidInput(f"{given!r} may be any of the labels {names}. Give the id.")
    raise NotFound("label", given)
