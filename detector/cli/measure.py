"""The command line's part that measures a detector on somebody's own test set; nothing of it is stored."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from detector.cli.output import answer, json_option, progress_bar, say
from detector.errors import InvalidInput
from detector.formatting import decimal, interval_of, percent, share_and_rate
from detector.importing.entries import printable
from detector.storage import functions
from detector.training.metrics import wilson_interval
from detector.training.thresholds import CANT_TELL
from detector.workspace import Workspace


def add_measure_command(commands: Any) -> None:
    """Add ``measure`` to the parser's commands."""
    measure = commands.add_parser(
        "measure",
        help="measure a function on your own labelled images, by source; nothing is stored",
        description="Judge the images below FOLDER/<label>/<source>/ and say, for each source and in all, how often "
        "the function is right, and how often it accuses or clears wrongly at each grade. Nothing is stored.",
    )
    measure.add_argument("function", help="name or id")
    measure.add_argument("folder", type=Path, metavar="FOLDER", help="FOLDER/<label>/<source>/ with images")
    json_option(measure, "print all figures as JSON")
    measure.set_defaults(run=_measure)


def _measure(ws: Workspace, options: argparse.Namespace) -> int:
    from detector.evaluation.measure import measure

    function = functions.find_function(ws.db, options.function)
    if not options.folder.is_dir():
        raise InvalidInput(
            f"{printable(str(options.folder))} is no folder. Give one with a folder for each label in it."
        )
    with progress_bar() as report:
        found = measure(ws, function.id, options.folder, report)
    if options.json:
        answer(found.to_json())
    else:
        for row in (*found.sources, *found.labels):
            where = f"all {row.label}" if row.source is None else f"{row.label}/{row.source}"
            said = [
                f"{verdict}{'' if grade == CANT_TELL else f' ({grade})'} {share_and_rate(n, row.n)}"
                for (verdict, grade), n in sorted(row.verdicts.items(), key=lambda item: -item[1])
            ]
            within = interval_of(wilson_interval(row.right, row.n), row.n, ", 95 % interval ")
            print(f"{printable(where)}: {share_and_rate(row.right, row.n)} right{within}; {', '.join(said)}")
            if row.reason and row.source is not None:
                held = share_and_rate(sum(row.unlike.values()), row.n)
                print(f"    unlike the samples {held}, such as: {printable(row.reason)}")
        for name, area in found.auc.items():
            print(f"ROC AUC of {name}: {decimal(area)}")
        for name, caught in found.caught.items():
            print(f"{name} recognised where 1 % of the other images are called so: {percent(caught)}")
    for name, why in found.not_read:
        say(f"{printable(name)}: {why}")
    return int(bool(found.not_read))
