"""The command line's part that trains a function on degraded copies of its images, here and now."""

from __future__ import annotations

import argparse
import time
from typing import Any

from detector.cli.output import answer, json_option, progress_bar, say
from detector.jobs import is_training
from detector.storage import functions, jobs
from detector.training.copies import Hardening
from detector.workspace import Workspace


def add_harden_command(commands: Any) -> None:
    """Add ``harden`` to the parser's commands."""
    harden = commands.add_parser(
        "harden",
        help="train a function on degraded copies of its images too",
        description="Make degraded copies of the labelled images (recompressed, shrunk, blurred, cropped), and train "
        "on them too. The new model is taken where it is better on degraded pictures and hardly worse on clean ones. A "
        "server does this by itself.",
    )
    harden.add_argument("function", help="name or id")
    harden.add_argument("--copies", type=int, metavar="N", help="copies of each image from now on; 0: none")
    json_option(harden)
    harden.set_defaults(run=_harden)


def _harden(ws: Workspace, options: argparse.Namespace) -> int:
    from detector.evaluation.summary import hardening_sentences
    from detector.operations.functions import retrain
    from detector.operations.hardening import change_copies
    from detector.pipeline.copies import embed_copies
    from detector.pipeline.embedding import function_backbone
    from detector.serving.model import load_serving_model
    from detector.worker.running import run_pending

    function = functions.find_function(ws.db, options.function)
    # Without a model there is nothing to compare with; the sentence says what is missing.
    load_serving_model(ws, function.id)
    if options.copies is not None:
        change_copies(ws, function.id, options.copies)
        function = functions.get_function(ws.db, function.id)
    jobs.requeue_orphans(ws.db)
    with progress_bar() as report:
        made = embed_copies(ws, function.id, function_backbone(ws, function, report), report)
        retrain(ws, function.id)
        run_pending(ws, function.id, report)
        while is_training(ws, function.id):
            # A running server took the build.
            time.sleep(0.5)
            run_pending(ws, function.id, report)
    model = load_serving_model(ws, function.id).row
    if options.json:
        answer({"function": function.id, "version": model.version, "made": made, "hardening": model.hardening})
        return 0
    if model.hardening is None:
        say(f"Model {model.version} was trained without degraded copies.")
    else:
        print(" ".join(hardening_sentences(Hardening.from_json(model.hardening))))
    return 0
