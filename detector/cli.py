"""The command line: the same work as the pages, in the foreground, with a progress bar on stderr and JSON on stdout."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from detector.access_commands import add_access_commands
from detector.errors import DetectorError, ImageError, InvalidInput, NotFound
from detector.label_commands import add_label_commands
from detector.progress import Report
from detector.settings import load_settings
from detector.storage import functions, imports, jobs, models, samples
from detector.storage.functions import Function
from detector.words import interval, percent
from detector.workspace import Workspace

_INVOKE_BATCH = 32


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 failed with a sentence on stderr, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        if not options.opens_data:
            return int(options.run(None, options))
        ws = Workspace.open(load_settings())
        try:
            return int(options.run(ws, options))
        finally:
            ws.close()
    except DetectorError as error:
        print(str(error), file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        print("Stopped. Start the same command again to go on where it was.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m detector", description="Build and use detectors of AI images.")
    parser.set_defaults(opens_data=True)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="import a folder of labelled images and train")
    train.add_argument("folder", type=Path, help="FOLDER/<label>/[<source>/...]/files")
    train.add_argument(
        "--function", help="name or id of the function; made when it is new (default: the folder's name)"
    )
    _backbone_and_json(train)
    train.set_defaults(run=_train)

    invoke = commands.add_parser("invoke", help="classify images, one JSON line a file")
    invoke.add_argument("function", help="name or id")
    invoke.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="image files or folders")
    invoke.set_defaults(run=_invoke)

    audit = commands.add_parser("audit", help="examine a function: file shortcuts, unseen sources, stress, data size")
    audit.add_argument("function", help="name or id")
    audit.add_argument("--json", action="store_true", help="print everything as JSON")
    audit.set_defaults(run=_audit)

    listing = commands.add_parser("functions", help="list the functions")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=_functions)

    backbones = commands.add_parser("backbones", help="list the backbones and whether they are at hand")
    backbones.add_argument("--json", action="store_true")
    backbones.set_defaults(run=_backbones)

    bench = commands.add_parser("bench", help="measure how many images a second each backbone looks at here")
    bench.add_argument("--json", action="store_true")
    bench.set_defaults(run=_bench)

    sample = commands.add_parser("sample", help="make the built-in sample (a simulation) and train on it")
    _backbone_and_json(sample)
    sample.set_defaults(run=_sample)

    cifake = commands.add_parser("cifake", help="fetch CIFAKE images from the Hugging Face hub and train on them")
    cifake.add_argument("--per-label", type=int, default=1000, help="images a label (default: 1000)")
    cifake.add_argument("--seed", type=int, default=0)
    _backbone_and_json(cifake)
    cifake.set_defaults(run=_cifake)

    export = commands.add_parser("export", help="write samples: a table as CSV, or a ZIP with the images too")
    export.add_argument("function", help="name or id")
    export.add_argument("file", type=Path, metavar="FILE", help="FILE.csv or FILE.zip")
    export.set_defaults(run=_export)

    add_access_commands(commands)
    add_label_commands(commands)
    return parser


def _backbone_and_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backbone", help="auto or a backbone id (see: backbones)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _train(ws: Workspace, options: argparse.Namespace) -> int:
    from detector.importing.batch import folder_payload
    from detector.importing.entries import FolderSource
    from detector.importing.labelling import NO_LABEL, LabelPlan

    folder = options.folder.resolve()
    if not folder.is_dir():
        raise InvalidInput(f"There is no folder {options.folder}. Give one that holds a folder for each label.")
    with FolderSource(folder) as source:
        entries = source.entries()
    if not entries:
        raise InvalidInput(f"The folder {options.folder} holds no files. Put images into a folder for each label.")
    names = sorted({entry.path.split("/")[0] for entry in entries if "/" in entry.path} - {NO_LABEL})
    if not names:
        raise InvalidInput(
            f"The files in {options.folder} lie in no folder that names a label. Put them into one folder for each "
            "label, for example real and synthetic."
        )
    if len(names) > functions.MAX_LABELS:
        raise InvalidInput(
            f"{options.folder} holds {len(names):,} folders, and each would be a label; at most "
            f"{functions.MAX_LABELS} are possible. Give the folder whose subfolders are the labels."
        )
    function = _function_for(ws, options.function or folder.name, options.backbone, names)
    plan = LabelPlan(mode="folders", level=0, source_level=1)
    return _run(ws, function, folder_payload(folder, plan), "command line", options.json)


def _sample(ws: Workspace, options: argparse.Namespace) -> int:
    from detector.importing.batch import sample_payload

    function = _function_for(ws, "Built-in sample", options.backbone, ("real", "synthetic"), is_simulation=True)
    return _run(ws, function, sample_payload(), "sample", options.json)


def _cifake(ws: Workspace, options: argparse.Namespace) -> int:
    from detector.importing.batch import cifake_payload
    from detector.samplesets.cifake import require_cifake

    if options.per_label < 2:
        raise InvalidInput("Training needs at least 2 images a label. Give a larger --per-label.")
    require_cifake(ws.settings.data_dir / "cifake")
    function = _function_for(ws, "CIFAKE", options.backbone, ("real", "synthetic"))
    return _run(ws, function, cifake_payload(options.per_label, options.seed), "cifake", options.json)


def _function_for(
    ws: Workspace, name: str, backbone: str | None, label_names: Sequence[str], is_simulation: bool = False
) -> Function:
    from detector.backbones import resolve

    try:
        function = functions.find_function(ws.db, name)
    except NotFound:
        chosen = resolve(backbone or ws.settings.backbone, ws.settings)
        print(chosen.sentence, file=sys.stderr)
        return functions.create_function(
            ws.db,
            name,
            backbone_id=chosen.spec.id,
            backbone_reason=chosen.sentence,
            label_names=label_names,
            is_simulation=is_simulation,
        )
    if backbone is not None:
        chosen = resolve(backbone, ws.settings)
        if chosen.spec.id != function.backbone_id:
            functions.set_backbone(ws.db, function.id, chosen.spec.id, chosen.sentence)
    return functions.get_function(ws.db, function.id)


def _run(ws: Workspace, function: Function, payload: dict[str, Any], origin: str, as_json: bool) -> int:
    from detector.jobs import IMPORT, request_build, request_import, run_pending

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
    with _progress_bar() as report:
        result = run_pending(ws, function.id, report)
        while _waiting_for_a_model(ws, function.id):
            # A running server shares this data folder and took a job: wait for it, then look again.
            time.sleep(0.5)
            result = run_pending(ws, function.id, report) or result
        if result is None:
            request_build(ws, function.id)
            result = run_pending(ws, function.id, report)
    importing = jobs.get_job(ws.db, job_id)
    seconds = {
        "import": (importing.finished_at or 0) - (importing.started_at or 0),
        "embed": result.embed_seconds if result else 0.0,
        "train": result.train_seconds if result else 0.0,
        "total": time.monotonic() - start,
    }
    function = functions.get_function(ws.db, function.id)
    summary = train_summary(ws, function, batch_id, seconds)
    if as_json:
        print(json.dumps(summary, ensure_ascii=False))
    else:
        _print_summary(summary)
    if summary["model"] is None:
        print(summary["note"], file=sys.stderr)
        return 1
    return 0


def _waiting_for_a_model(ws: Workspace, function_id: str) -> bool:
    from detector.jobs import EVALUATE

    return any(job.kind != EVALUATE for job in jobs.list_jobs(ws.db, function_id))


def train_summary(ws: Workspace, function: Function, batch_id: str, seconds: dict[str, float]) -> dict[str, Any]:
    """What ``train --json`` prints."""
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
        "imported": batch.imported,
        "already_there": batch.present + batch.conflict,
        "rejected": [
            {"file": row.file, "reason": row.reason} for row in imports.batch_rows(ws.db, batch_id, ["rejected"])
        ],
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "model": {"id": model.id, "version": model.version, "hyperparameters": model.hyperparameters}
        if model
        else None,
        "note": function.training_note or (model.note if model else ""),
        "cross_validation": {
            name: validation[name]
            for name in ("folds", "accuracy", "balanced_accuracy", "log_loss", "roc_auc", "ece", "labels")
        }
        if validation
        else None,
    }


def _print_summary(summary: dict[str, Any]) -> None:
    print(f"{summary['name']}: {summary['samples']:,} samples, {summary['annotated']:,} annotated")
    print(
        f"imported {summary['imported']:,}, already there {summary['already_there']:,}, "
        f"rejected {len(summary['rejected']):,}"
    )
    for row in summary["rejected"][:20]:
        print(f"  {row['reason']}")
    if summary["model"] is None:
        return
    print(f"model {summary['model']['version']} is live, trained on {summary['backbone']} embeddings")
    validation = summary["cross_validation"]
    if validation:
        print(f"cross-validated in {validation['folds']} folds:")
        for name, label in validation["labels"].items():
            right = f"{percent(label['accuracy'])} of {label['n']:,} right"
            print(f"  {name}: {right} (95 % interval {interval(label['interval'])})")
    if summary["note"]:
        print(summary["note"])


def _invoke(ws: Workspace, options: argparse.Namespace) -> int:
    from detector.invoke import invoke

    function = functions.find_function(ws.db, options.function)
    failed = False
    pending: list[tuple[str, bytes]] = []

    def answer() -> None:
        nonlocal failed
        for (name, _), verdict in zip(pending, invoke(ws, function.id, pending), strict=True):
            if isinstance(verdict, ImageError):
                failed = True
                print(json.dumps({"file": name, "error": str(verdict)}, ensure_ascii=False))
                continue
            scores = [{"labelName": score.label, "confidence": score.confidence} for score in verdict.scores]
            line = {
                "file": name,
                "labelName": verdict.label,
                "confidence": verdict.confidence,
                "verdict": verdict.verdict,
                "labelConfidences": scores,
            }
            print(json.dumps(line, ensure_ascii=False))
        sys.stdout.flush()
        pending.clear()

    for path in _files(options.paths):
        try:
            pending.append((str(path), path.read_bytes()))
        except OSError as error:
            failed = True
            reason = f"{path} cannot be read ({error.strerror}). Check the name and the rights."
            print(json.dumps({"file": str(path), "error": reason}, ensure_ascii=False))
        if len(pending) == _INVOKE_BATCH:
            answer()
    if pending:
        answer()
    return int(failed)


def _audit(ws: Workspace, options: argparse.Namespace) -> int:
    from detector.evaluation.audit import audit
    from detector.evaluation.summary import summarise
    from detector.jobs import run_pending

    function = functions.find_function(ws.db, options.function)
    jobs.requeue_orphans(ws.db)
    with _progress_bar() as report:
        run_pending(ws, function.id, report)
        while _waiting_for_a_model(ws, function.id):
            # A running server took a job: its model is the one to examine.
            time.sleep(0.5)
            run_pending(ws, function.id, report)
        found = audit(ws, function.id, report)
    summary = summarise(found)
    if options.json:
        model = {"id": found.model.id, "version": found.model.version}
        answer = {"function": function.id, "model": model, "summary": summary, **found.to_json()}
        print(json.dumps(answer, ensure_ascii=False))
    else:
        print("\n".join(summary))
    return 0


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(item for item in path.rglob("*") if item.is_file())
        else:
            yield path


def _functions(ws: Workspace, options: argparse.Namespace) -> int:
    found = functions.list_functions(ws.db)
    if options.json:
        print(
            json.dumps(
                [
                    {
                        "id": item.function.id,
                        "name": item.function.name,
                        "backbone": item.function.backbone_id,
                        "samples": item.sample_count,
                        "annotated": item.annotated_count,
                        "model_version": item.model_version,
                        "accuracy": item.accuracy,
                        "busy": item.busy,
                    }
                    for item in found
                ],
                ensure_ascii=False,
            )
        )
        return 0
    if not found:
        print("There are no functions yet. Make one with: python -m detector train FOLDER", file=sys.stderr)
    for item in found:
        accuracy = (
            f"{percent(item.accuracy)} of {item.accuracy_n:,} right" if item.accuracy is not None else "not validated"
        )
        version = f"model {item.model_version}, {accuracy}" if item.model_version else "no model yet"
        print(f"{item.function.id}  {item.function.name}  {item.sample_count:,} samples  {version}")
    return 0


def _backbones(ws: Workspace, options: argparse.Namespace) -> int:
    from detector.backbones import SPECS, availability
    from detector.words import file_size

    rows = []
    for spec in SPECS.values():
        state = availability(spec, ws.settings)
        rows.append(
            {
                "id": spec.id,
                "title": spec.title,
                "licence": spec.licence,
                "download_bytes": spec.download_bytes,
                "image_size": spec.image_size,
                "available": state.available,
                "how": state.how,
                "sentence": state.sentence,
            }
        )
    if options.json:
        print(json.dumps(rows, ensure_ascii=False))
        return 0
    for spec, row in zip(SPECS.values(), rows, strict=True):
        print(f"{spec.id}  {spec.title}  {spec.licence}  {file_size(spec.download_bytes)}\n    {row['sentence']}")
    return 0


def _bench(ws: Workspace, options: argparse.Namespace) -> int:
    from detector.backbones import SPECS, availability
    from detector.bench import in_words, measure
    from detector.words import rate

    rows: list[dict[str, Any]] = []
    for spec in SPECS.values():
        state = availability(spec, ws.settings)
        # What would have to be downloaded first is not on this machine yet.
        here = state.available and state.how != "hub"
        speed = measure(ws, spec.id) if here else None
        rows.append({"id": spec.id, "images_per_second": speed, "sentence": state.sentence})
        if not options.json:
            words = f"{rate(speed)}, {in_words(ws, spec.id, 2000)}" if speed else f"not measured. {state.sentence}"
            print(f"{spec.id}  {words}", flush=True)
    if options.json:
        print(json.dumps(rows, ensure_ascii=False))
    return 0


def _export(ws: Workspace, options: argparse.Namespace) -> int:
    from detector.gallery.export import export_csv, export_zip
    from detector.gallery.filters import GalleryFilter, Order
    from detector.gallery.selection import matching_ids

    function = functions.find_function(ws.db, options.function)
    sample_ids = matching_ids(ws, function.id, GalleryFilter(), Order.OLDEST)
    export = export_zip if options.file.suffix.lower() == ".zip" else export_csv
    try:
        with options.file.open("wb") as file:
            for piece in export(ws, function.id, sample_ids):
                file.write(piece)
    except OSError as error:
        raise InvalidInput(f"{options.file} cannot be written ({error.strerror}). Give another name.") from error
    print(f"{len(sample_ids):,} samples written to {options.file}", file=sys.stderr)
    return 0


@contextmanager
def _progress_bar() -> Iterator[Report]:
    bar: tqdm[Any] | None = None
    phase = ""

    def report(name: str, done: int, total: int, message: str, _rate: float | None) -> None:
        nonlocal bar, phase
        if name != phase or bar is None or (total and bar.total != total):
            if bar is not None:
                bar.close()
            bar = tqdm(total=total or None, desc=message, file=sys.stderr, unit="", dynamic_ncols=True)
            phase = name
        # Not set_description: it adds a colon of its own.
        bar.set_description_str(message, refresh=False)
        bar.update(done - bar.n)

    try:
        yield report
    finally:
        if bar is not None:
            bar.close()
