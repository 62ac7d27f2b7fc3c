"""``inner-blocks``: whether a function also uses what the inner blocks of its backbone show."""

from __future__ import annotations

import argparse
from typing import Any

from detector.backbones.inner import why_no_inner_blocks
from detector.backbones.registry import get_spec
from detector.cli.output import answer, json_option, say
from detector.operations.inner_blocks import use_inner_blocks
from detector.storage import functions
from detector.workspace import Workspace


def add_inner_blocks_command(commands: Any) -> None:
    """Add ``inner-blocks`` to the parser's commands."""
    parser = commands.add_parser(
        "inner-blocks",
        help="use inner blocks of the backbone as features too, or no longer",
        description="Expert setting: what four inner blocks of a transformer backbone show becomes features of its "
        "own, and the sweep takes what is best on images it had not seen. All images are looked at again.",
    )
    parser.add_argument("function", help="name or id")
    parser.add_argument("state", nargs="?", choices=("on", "off"), help="left out: say which it is")
    json_option(parser)
    parser.set_defaults(run=_inner_blocks)


def _inner_blocks(ws: Workspace, options: argparse.Namespace) -> int:
    function = functions.find_function(ws.db, options.function)
    if options.state is not None:
        use_inner_blocks(ws, function.id, options.state == "on")
        function = functions.get_function(ws.db, function.id)
    why_not = why_no_inner_blocks(get_spec(function.backbone_id))
    used = function.inner_features and why_not is None
    if options.json:
        answer({"function": function.id, "inner_blocks": used, "why_not": why_not})
        return 0
    if options.state is None:
        print(f"Inner blocks are {'used' if used else 'not used'}.{f' {why_not}' if why_not is not None else ''}")
    else:
        print(f"Inner blocks are {'used' if used else 'not used'} from the next model on.")
        say("A new model follows when a server runs on this data folder, or with the next training.")
    return 0
