"""The command line's part that checks all that is stored, and mends what is safe to mend."""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

from detector.cli.output import answer, json_option, progress_bar, say
from detector.errors import DetectorError
from detector.settings import load_settings
from detector.workspace import Workspace

#: Exit codes: a check that could not be made is told from one that found something.
WELL, PROBLEMS_LEFT, COULD_NOT_CHECK = 0, 1, 2


def add_check_command(commands: Any) -> None:
    """Add ``check`` to the parser's commands."""
    check = commands.add_parser(
        "check",
        help="check all that is stored: pictures, database, models, jobs; while a server runs or without one",
        description=(
            "Check all that is stored: pictures against their hashes, thumbnails, embeddings, models, the database, "
            "jobs and files that were left behind. Says since when something is wrong, as far as earlier checks tell. "
            "Exit code 0: everything is well; 1: problems are left; 2: it could not be checked."
        ),
    )
    check.add_argument(
        "--repair",
        action="store_true",
        help="mend what is safe to mend; no sample, label or model is deleted, and what is in the way is moved aside",
    )
    check.add_argument("--quick", action="store_true", help="leave the bytes of pictures and embeddings unread")
    json_option(check)
    check.set_defaults(run=_check, opens_data=False)


def _check(_none: None, options: argparse.Namespace) -> int:
    from detector.upkeep.check import check_all

    try:
        with contextlib.closing(Workspace.open(load_settings())) as ws:
            if ws.warning:
                say(f"{ws.warning} The data folder is {ws.settings.data_dir}.")
            with progress_bar() as report:
                result = check_all(ws, options.repair, options.quick, report)
    except DetectorError as error:
        say(f"It could not be checked. {error}")
        return COULD_NOT_CHECK
    if options.json:
        answer(result.to_json())
    else:
        for problem in result.problems:
            print(f"{'repaired' if problem.repaired else 'PROBLEM '}  {problem.kind}: {problem.what}")
        say(result.sentence())
    return WELL if result.ok else PROBLEMS_LEFT
