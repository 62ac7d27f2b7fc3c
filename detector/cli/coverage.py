"""``coverage``: which pictures compare with a function's samples, and the switch for those that do not."""

from __future__ import annotations

import argparse
from typing import Any

from detector.cli.output import answer, json_option, say
from detector.operations.unlike_pictures import set_judge_unlike
from detector.storage import functions
from detector.training.coverage import describe_range
from detector.workspace import Workspace


def add_coverage_command(commands: Any) -> None:
    """Add ``coverage`` to the parser's commands."""
    coverage = commands.add_parser(
        "coverage", help="which pictures compare with a function's samples; judge others all the same, or not"
    )
    coverage.add_argument("function", help="name or id")
    coverage.add_argument(
        "--judge-unlike",
        choices=("on", "off"),
        help="on: pictures whose files do not compare are judged all the same, moderately at most; off: can't tell",
    )
    json_option(coverage)
    coverage.set_defaults(run=_coverage)


def _coverage(ws: Workspace, options: argparse.Namespace) -> int:
    from detector.serving.model import load_serving_model

    function = functions.find_function(ws.db, options.function)
    if options.judge_unlike is not None:
        set_judge_unlike(ws, function.id, options.judge_unlike == "on")
    serving = load_serving_model(ws, function.id)
    names = {label.id: label.name for label in serving.labels}
    known = serving.coverage.of_labels(list(names)) if serving.coverage is not None else None
    add = known.what_to_add(names) if known is not None else []
    if options.json:
        decides = known is not None and known.decides
        answer(
            {
                "function": function.id,
                "model": serving.row.version,
                "judgeUnlike": serving.judge_unlike,
                "decides": decides,
                "labels": {names[item]: found for item, found in known.to_json()["labels"].items()} if known else {},
                "covered": {fact: known.covered(fact) for fact in known.facts} if known and decides else {},
                "add": add,
            }
        )
        return 0
    if known is None or not known.decides:
        print("Too few samples to say which pictures compare with them, so none is held back.")
    else:
        for label_id, files in known.labels.items():
            ranges = [
                f"{'shorter side ' if fact == 'size' else ''}{describe_range(fact, ends)}"
                for fact in known.facts
                if (ends := files.range_of(fact)) is not None
            ]
            print(f"{names[label_id]}: {', '.join(ranges)}")
        for sentence in add:
            print(sentence)
    other = "judged all the same, moderately at most" if serving.judge_unlike else "answered with can't tell"
    say(f"Pictures whose files do not compare with these are {other}.")
    return 0
