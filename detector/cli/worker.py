"""The command line's part that runs a server's jobs in a process of its own."""

from __future__ import annotations

import argparse
from typing import Any

from detector.cli.output import say
from detector.workspace import Workspace


def add_worker_command(commands: Any) -> None:
    """Add ``worker`` to the parser's commands."""
    worker = commands.add_parser(
        "worker",
        help="run queued jobs until it is stopped; a server starts one by itself",
        description="Run queued imports, trainings and audits until it is stopped. A server starts one by itself.",
    )
    worker.add_argument("--for-server", action="store_true", help=argparse.SUPPRESS)
    worker.set_defaults(run=_worker)


def _worker(ws: Workspace, options: argparse.Namespace) -> int:
    from detector.worker.process import run_worker

    if not options.for_server:
        say("Running the jobs of this data folder. Ctrl-C ends it; what is in hand is resumed at the next start.")
    run_worker(ws, options.for_server)
