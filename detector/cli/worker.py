"""The command line's part that runs a server's jobs in a process of its own."""

from __future__ import annotations

import argparse
from typing import Any

from detector.cli.output import say
from detector.errors import InvalidInput
from detector.workspace import Workspace


def add_worker_command(commands: Any) -> None:
    """Add ``worker`` to the parser's commands."""
    worker = commands.add_parser(
        "worker",
        help="run queued jobs until it is stopped; a server starts one by itself",
        description="Run queued imports, trainings and audits until it is stopped, and help other workers with theirs. "
        "A server starts one by itself; further ones may run on any machine that reaches the same database and files.",
    )
    worker.add_argument(
        "--kinds",
        metavar="KIND,KIND",
        help="only these: import, build, audit (with degraded copies), invoke (many pictures at once), tasks (pieces "
        "of other workers' jobs); all, if not given",
    )
    worker.add_argument("--once", action="store_true", help="end when nothing is left to do")
    worker.add_argument("--for-server", action="store_true", help=argparse.SUPPRESS)
    worker.set_defaults(run=_worker)


def _worker(ws: Workspace, options: argparse.Namespace) -> int:
    from detector.worker.process import run_worker
    from detector.worker.running import KINDS

    kinds = [kind.strip() for kind in options.kinds.split(",")] if options.kinds is not None else list(KINDS)
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise InvalidInput(
            f"--kinds names {unknown[0]!r}; expected some of {', '.join(KINDS)}, with commas between them."
        )

    if not options.for_server:
        say("Running the jobs of this data folder. Ctrl-C ends it; what is in hand is resumed at the next start.")
    run_worker(ws, options.for_server, kinds, options.once)
