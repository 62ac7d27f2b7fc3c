"""``train``: a folder, archive or table of images in, a live model out, by the plan that the Import page would make."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from detector.cli.output import backbone_option, json_option, progress_bar, say
from detector.errors import InvalidInput, NotFound
from detector.formatting import count, interval_of, rate_of_images
from detector.storage import functions, imports, jobs, models, samples
from detector.storage.functions import Function
from detector.workspace import Workspace

_REJECTED_SHOWN = 20


def add_train_command(commands: Any) -> None:
    """Add ``train`` to the parser's commands."""
    train = commands.add_parser(
        "train",
        help="import labelled images and train",
        description="Import labelled images and train. What is guessed is said before the work begins; what is "
        "ambiguous is refused, with the option that decides.",
    )
    train.add_argument(
        "path", type=Path, metavar="PATH", help="a folder, a ZIP archive or a parquet file of labelled images"
    )
    train.add_argument("--function", help="name or id of the function; made when it is new (default: the path's name)")
    train.add_argument(
        "--label-level", type=int, metavar="N", help="which folder level names the labels; 1 is the topmost, "
        "folders named like train or test are not counted"
    )  # fmt: skip
    train.add_argument(
        "--source-level", type=int, metavar="N", help="which folder level names the sources (generators, collections); "
        "0: none"
    )  # fmt: skip
    train.add_argument(
        "--map", action="append", default=[], metavar="NAME=LABEL", help="files in folders (or table rows) called NAME "
        "get LABEL; nothing after the sign leaves them out; may be given several times"
    )  # fmt: skip
    train.add_argument("--at-most", type=int, metavar="N", help="at most N images of each label, chosen at random")
    train.add_argument(
        "--splits", choices=("lock", "ignore", "folders"), help="folders such as train and test: lock those that are "
        "not for training as the locked test set (the default), ignore the difference, or take them for folders like "
        "any other"
    )  # fmt: skip
    train.add_argument(
        "--labels", metavar="FILE", help="a CSV or JSONL file with a row for each image, inside PATH or anywhere"
    )
    train.add_argument(
        "--columns", metavar="file=A,label=B", help="the table's columns, where they are not plain from their names; "
        "also source= and split="
    )  # fmt: skip
    train.add_argument("--names", metavar="ENCODING", help="how file names in a ZIP are written, such as cp932")
    train.add_argument(
        "--relabel", action="store_true", help="images that are there under another label get the new one"
    )
    train.add_argument(
        "--in-place", action="store_true", help="leave the files of a folder where they are, and store only their "
        "places and small copies to look at: for sets too large to copy"
    )  # fmt: skip
    train.add_argument("--strict", action="store_true", help="exit code 1 when any file or folder could not be used")
    backbone_option(train)
    json_option(train, "print the result as JSON")
    train.set_defaults(run=_train)


def _train(ws: Workspace, options: argparse.Namespace) -> int:
    from detector.cli.train_plan import parquet_columns, plan_of
    from detector.importing.archive_names import ENCODINGS
    from detector.importing.in_place import in_place_payload
    from detector.importing.pending import pending_path
    from detector.importing.plan_sentences import plan_sentences

    if options.names is not None and options.names not in ENCODINGS:
        raise InvalidInput(f"There is no encoding {options.names!r} to choose. Choose one of {', '.join(ENCODINGS)}.")
    path = options.path.resolve()
    pending = pending_path(ws, path, options.names, parquet_columns(path, options))
    if options.in_place:
        pending = replace(pending, source=in_place_payload(pending.source))
    name = options.function or (pending.title if path.is_dir() else path.stem.encode("utf-8", "replace").decode())
    try:
        function: Function | None = functions.find_function(ws.db, name)
    except NotFound:
        function = None
    known = [label.name for label in functions.list_labels(ws.db, function.id)] if function is not None else []
    planned = plan_of(ws, pending, known, options)
    for sentence in plan_sentences(pending, planned.plan, planned.said):
        say(sentence)
    if pending.names is not None and pending.names.guessed and options.names is None:
        say(f"File names in the archive are read as {ENCODINGS[pending.names.encoding]}, a guess; --names chooses.")
    function = function_for(ws, name, options.backbone, planned.labels)
    payload = pending.payload(planned.plan, options.relabel)
    return run_import_and_build(
        ws, function, payload, "command line", options.json, options.strict, pending.passed_over
    )


def function_for(ws: Workspace, name: str, backbone: str | None, label_names: Sequence[str]) -> Function:
    """The function of that name or id, made when there is none; it gets the backbone if one is given."""
    from detector.operations.functions import function_for_import

    function, is_new = function_for_import(ws, name, label_names, backbone)
    if is_new:
        say(function.backbone_reason)
    return function


def run_import_and_build(
    ws: Workspace,
    function: Function,
    payload: dict[str, Any],
    origin: str,
    as_json: bool,
    strict: bool = False,
    passed_over: str = "",
) -> int:
    """Import by a payload, build, and print what became of it; returns the exit code."""
    from detector.jobs import IMPORT, is_training, request_import
    from detector.operations.functions import retrain
    from detector.worker.running import run_pending

    start = time.monotonic()
    jobs.requeue_orphans(ws.db)
    left = [
        job
        for job in jobs.list_jobs(ws.db, function.id)
        if job.kind == IMPORT and {key: job.payload.get(key) for key in payload} == payload
    ]
    if left:
        # The same command was killed before: its import goes on, in its own report.
        batch_id, job_id = left[0].payload["batch"], left[0].id
    else:
        batch_id, job_id = request_import(ws, function.id, payload, origin)
    with progress_bar() as report:
        result = run_pending(ws, function.id, report)
        while is_training(ws, function.id):
            # A running server shares this data folder and took a job: wait for it, then look again.
            time.sleep(0.5)
            result = run_pending(ws, function.id, report) or result
        if result is None:
            retrain(ws, function.id)
            result = run_pending(ws, function.id, report)
    importing = jobs.get_job(ws.db, job_id)
    seconds = {
        "import": (importing.finished_at or 0) - (importing.started_at or 0),
        "embed": result.embed_seconds if result else 0.0,
        "train": result.train_seconds if result else 0.0,
        "total": time.monotonic() - start,
    }
    function = functions.get_function(ws.db, function.id)
    summary = {**train_summary(ws, function, batch_id, seconds), "passed_over": passed_over}
    if "plan" in payload:
        summary["plan"] = payload["plan"]
    if as_json:
        print(json.dumps(summary, ensure_ascii=False))
    else:
        _print_summary(summary)
    if summary["model"] is None:
        say(summary["note"])
        return 1
    return int(strict and bool(summary["rejected"]))


def train_summary(ws: Workspace, function: Function, batch_id: str, seconds: dict[str, float]) -> dict[str, Any]:
    """What ``train --json`` prints."""
    from detector.operations.holdout import read_holdout
    from detector.serving.thresholds import why_never_sure

    counts = samples.count_by(ws.db, function.id)
    batch = imports.batch_counts(ws.db, batch_id)
    model = models.get_model(ws.db, function.live_model_id) if function.live_model_id else None
    validation = model.cross_validation if model else None
    return {
        "function": function.id,
        "name": function.name,
        "backbone": function.backbone_id,
        "samples": counts.total,
        "annotated": counts.annotated,
        "locked_test": read_holdout(ws, function.id).n,
        "found": batch.found,
        "imported": batch.imported,
        "already_there": batch.present + batch.conflict + batch.relabelled,
        "contradicting": batch.conflict,
        "relabelled": batch.relabelled,
        "rejected": [
            {"file": row.file, "reason": row.reason} for row in imports.batch_rows(ws.db, batch_id, ["rejected"], None)
        ],
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "model": {"id": model.id, "version": model.version, "hyperparameters": model.hyperparameters}
        if model
        else None,
        "verdicts_note": why_never_sure(ws, model) if model else "",
        "note": function.training_note or (model.note if model else ""),
        "cross_validation": {
            name: validation[name]
            for name in ("folds", "accuracy", "balanced_accuracy", "log_loss", "roc_auc", "ece", "labels")
        }
        if validation
        else None,
        "locked_test_score": model.holdout_score if model else None,
    }


def _print_summary(summary: dict[str, Any]) -> None:
    print(f"{summary['name']}: {count(summary['samples'], 'sample')}, {summary['annotated']:,} annotated")
    rejected = summary["rejected"]
    print(
        f"{count(summary['found'], 'file')} found: imported {summary['imported']:,}, already there "
        f"{summary['already_there']:,}, rejected {len(rejected):,}"
    )
    if summary["relabelled"]:
        print(f"{count(summary['relabelled'], 'image')} got the label of the folder they lie in now")
    if summary["contradicting"]:
        print(
            f"{count(summary['contradicting'], 'image lies', 'images lie')} under another label than the stored one, "
            "which was kept; --relabel takes the new one"
        )
    for row in rejected[:_REJECTED_SHOWN]:
        print(f"  {row['reason']}")
    if len(rejected) > _REJECTED_SHOWN:
        print(f"  and {len(rejected) - _REJECTED_SHOWN:,} more; --json lists all, and so does the Import page")
    if summary["model"] is None:
        return
    print(f"model {summary['model']['version']} is live, trained on {summary['backbone']} embeddings")
    validation = summary["cross_validation"]
    if validation:
        print(f"cross-validated in {validation['folds']} folds:")
        for name, label in validation["labels"].items():
            right = f"{rate_of_images(label['accuracy'], label['n'])} right"
            print(f"  {name}: {right}{interval_of(label['interval'], label['n'], ' (95 % interval ', ')')}")
    locked = summary["locked_test_score"]
    if locked:
        bounds = interval_of(locked["interval"], locked["n"], " (", ")")
        print(f"locked test set: {rate_of_images(locked['accuracy'], locked['n'])} right{bounds}")
        for name, label in locked["labels"].items():
            if label["n"]:
                print(f"  {name}: {rate_of_images(label['accuracy'], label['n'])} right")
    if summary["verdicts_note"]:
        print(summary["verdicts_note"])
    if summary["note"]:
        print(summary["note"])
