"""The command line's part that adapts a detector to the pictures of the place where it is used, and undoes that."""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from typing import Any

from detector.cli.output import answer, json_option, progress_bar, say
from detector.errors import InvalidInput, TooFewPictures
from detector.formatting import count
from detector.importing.entries import FolderSource, printable
from detector.storage import functions
from detector.workspace import Workspace


def add_adapt_command(commands: Any) -> None:
    """Add ``adapt`` to the parser's commands."""
    adapt = commands.add_parser(
        "adapt",
        help="adapt a function of two labels to your own pictures; nothing is trained, --undo takes it back",
        description="Move the border between the two labels of a function so that it fits the labelled pictures below "
        "FOLDER/<label>/, at least 10 of each label from the place where the detector is used. Only their counts, a "
        "checksum and a score of each are kept. Verdicts are moderate at most until --undo, or until the next model.",
    )
    adapt.add_argument("function", help="name or id")
    adapt.add_argument("folder", type=Path, nargs="?", metavar="FOLDER", help="FOLDER/<label>/ with pictures")
    adapt.add_argument("--undo", action="store_true", help="let it answer as it was trained")
    json_option(adapt, "print before and after as JSON")
    adapt.set_defaults(run=_adapt)


def _adapt(ws: Workspace, options: argparse.Namespace) -> int:
    function = functions.find_function(ws.db, options.function)
    if options.undo:
        if options.folder is not None:
            raise InvalidInput("--undo takes back what was adapted before. Give a folder or --undo.")
        return _undo(ws, function.id, options.json)
    if options.folder is None or not options.folder.is_dir():
        what = "No folder was given" if options.folder is None else f"{printable(str(options.folder))} is no folder"
        raise InvalidInput(f"{what}. Give one with a folder of pictures for each label in it, or --undo.")
    from detector.operations.recentring import adapt, try_on

    with FolderSource(options.folder, ws.limits.max_bytes, follow_links=True) as source, progress_bar() as report:
        pictures = defaultdict(list)
        for entry in source.entries():
            label, inside, _ = entry.path.partition("/")
            if not inside:
                raise InvalidInput(f"{entry.path} lies in no label's folder. Give FOLDER/<label>/ with pictures.")
            pictures[label].append((entry.path, entry.read))
        try:
            trial = try_on(ws, function.id, pictures, report)
        except TooFewPictures as error:
            for refused in error.refused:
                say(printable(str(refused)))
            raise
    adapt(ws, trial)
    for refused in trial.refused:
        say(printable(str(refused)))
    if options.json:
        answer(trial.to_json())
        return 0
    for item in trial.checked:
        print(f"{item.sentence} {item.support}")
    print(
        f"Model {trial.version} is adapted to {count(trial.recentring.n, 'picture')} of yours. Its verdicts are "
        "moderate at most; --undo takes it back."
    )
    return 0


def _undo(ws: Workspace, function_id: str, as_json: bool) -> int:
    from detector.operations.recentring import undo

    undone = undo(ws, function_id)
    if as_json:
        answer({"function": function_id, "undone": undone})
    else:
        say("It answers as it was trained again." if undone else "There is nothing to undo: it was not adapted.")
    return 0
