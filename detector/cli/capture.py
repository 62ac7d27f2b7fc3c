"""``capture``: which invoked pictures a function puts among its samples by itself."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from detector.cli.output import answer, json_option
from detector.formatting import count, limit
from detector.operations.capture import A_MONTH, CaptureSettings, change_capture
from detector.storage import functions
from detector.storage.captured import captured_this_month
from detector.storage.database import now
from detector.workspace import Workspace


def add_capture_command(commands: Any) -> None:
    """Add ``capture`` to the parser's commands."""
    capture = commands.add_parser(
        "capture",
        help="which invoked pictures are kept as samples without a label",
        description="Show or set which pictures that are invoked on the page or through the API are put among the "
        "samples, without a label, to be labelled in Review.",
    )
    capture.add_argument("function", help="name or id")
    capture.add_argument("--low-grade", choices=("on", "off"), help="pictures that got can't tell")
    capture.add_argument("--unlike", choices=("on", "off"), help="pictures unlike the samples")
    capture.add_argument(
        "--random", type=float, metavar="PERCENT", help="this share of all others, the same picture always or never"
    )
    capture.add_argument(
        "--a-month", type=int, metavar="N", help=f"no more than this in a calendar month, UTC (at first: {A_MONTH})"
    )
    json_option(capture)
    capture.set_defaults(run=_capture)


def _capture(ws: Workspace, options: argparse.Namespace) -> int:
    function = functions.find_function(ws.db, options.function)
    known = CaptureSettings.of(function)
    wanted = replace(
        known,
        low_grade=known.low_grade if options.low_grade is None else options.low_grade == "on",
        unlike=known.unlike if options.unlike is None else options.unlike == "on",
        random_share=known.random_share if options.random is None else options.random / 100,
        a_month=known.a_month if options.a_month is None else options.a_month,
    )
    if wanted != known:
        change_capture(ws, function.id, wanted)
    so_far = captured_this_month(ws.db, function.id, now())
    if options.json:
        answer(
            {
                "function": function.id,
                "lowGrade": wanted.low_grade,
                "unlike": wanted.unlike,
                "randomPercent": round(100 * wanted.random_share, 6),
                "aMonth": wanted.a_month,
                "thisMonth": so_far,
            }
        )
        return 0
    parts = ["those that got can't tell"] if wanted.low_grade else []
    parts += ["those unlike the samples"] if wanted.unlike else []
    parts += [f"{limit(wanted.random_share)} of all others at random"] if wanted.random_share else []
    if not wanted.on:
        print("No invoked picture is kept by itself.")
    else:
        print(f"Invoked pictures are kept, at most {wanted.a_month:,} a month: {', '.join(parts)}.")
        print(f"{count(so_far, 'picture')} captured this month.")
    return 0
