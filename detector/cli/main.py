"""The command line: the same work as the pages, in the foreground, with a progress bar on stderr and JSON on stdout."""

from __future__ import annotations

import argparse
import contextlib
import json
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from detector import __version__
from detector.cli.access import add_access_commands
from detector.cli.adapt import add_adapt_command
from detector.cli.backup import add_backup_commands
from detector.cli.capture import add_capture_command
from detector.cli.check import add_check_command
from detector.cli.coverage import add_coverage_command
from detector.cli.explain import add_explain_commands
from detector.cli.harden import add_harden_command
from detector.cli.inner_blocks import add_inner_blocks_command
from detector.cli.invoke import add_invoke_command
from detector.cli.labels import add_label_commands
from detector.cli.measure import add_measure_command
from detector.cli.output import answer, backbone_option, json_option, progress_bar, say
from detector.cli.score import add_score_command
from detector.cli.sentences import in_sentences, prepare_streams
from detector.cli.serve import add_serve_command
from detector.cli.sources import add_source_commands
from detector.cli.store import add_store_command
from detector.cli.train import add_train_command, function_for, run_import_and_build
from detector.cli.users import add_user_commands
from detector.cli.worker import add_worker_command
from detector.errors import InvalidInput
from detector.formatting import count, rate_of_images
from detector.importing.entries import printable
from detector.jobs import is_training
from detector.settings import load_settings
from detector.storage import functions, jobs
from detector.storage.acting import COMMAND_LINE, MANAGE, Actor, acting
from detector.system.logs import set_up_logs
from detector.workspace import Workspace


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 failed with a sentence on stderr, 2 wrong usage."""
    prepare_streams()

    def run(opened: list[Workspace]) -> int:
        options = build_parser().parse_args(arguments)
        if not options.opens_data:
            return int(options.run(None, options))
        settings = load_settings()
        set_up_logs(settings.log)
        with contextlib.closing(Workspace.open(settings)) as ws:
            opened.append(ws)
            if ws.warning and not getattr(options, "for_server", False):
                say(f"{ws.warning} The data folder is {ws.settings.data_dir}.")
            # A worker does what others have asked for.
            if hasattr(options, "for_server"):
                return int(options.run(ws, options))
            with acting(Actor(None, MANAGE, COMMAND_LINE)):
                return int(options.run(ws, options))

    return in_sentences(run)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each sets ``run``, and ``opens_data`` where it needs no data folder."""
    parser = argparse.ArgumentParser(prog=_called(), description="Build and use detectors of AI images.")
    parser.add_argument("--version", action="version", version=f"ai-image-detector {__version__}")
    parser.set_defaults(opens_data=True)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    add_serve_command(commands)
    add_train_command(commands)
    add_invoke_command(commands)
    add_score_command(commands)
    add_explain_commands(commands)
    add_measure_command(commands)
    add_harden_command(commands)
    add_coverage_command(commands)
    add_adapt_command(commands)
    add_capture_command(commands)

    audit = commands.add_parser("audit", help="examine a function: file shortcuts, unseen sources, stress, data size")
    audit.add_argument("function", help="name or id")
    json_option(audit, "print everything as JSON")
    audit.set_defaults(run=_audit)

    listing = commands.add_parser("functions", help="list the functions")
    json_option(listing)
    listing.set_defaults(run=_functions)

    backbones = commands.add_parser("backbones", help="list the backbones and whether they are available")
    json_option(backbones)
    backbones.set_defaults(run=_backbones)

    bench = commands.add_parser("bench", help="measure how many images per second each backbone processes here")
    json_option(bench)
    bench.set_defaults(run=_bench)

    sample = commands.add_parser("sample", help="make the built-in sample (a simulation) and train on it")
    backbone_option(sample)
    json_option(sample, "print the result as JSON")
    sample.set_defaults(run=_sample)

    cifake = commands.add_parser("cifake", help="fetch CIFAKE images from the Hugging Face hub and train on them")
    cifake.add_argument("--per-label", type=int, default=1000, help="images per label (default: 1000)")
    cifake.add_argument("--seed", type=int, default=0)
    backbone_option(cifake)
    json_option(cifake, "print the result as JSON")
    cifake.set_defaults(run=_cifake)

    export = commands.add_parser("export", help="write samples: a table as CSV, or a ZIP with the images too")
    export.add_argument("function", help="name or id")
    export.add_argument("file", type=Path, metavar="FILE", help="FILE.csv or FILE.zip")
    json_option(export)
    export.set_defaults(run=_export)

    add_worker_command(commands)
    add_store_command(commands)
    add_check_command(commands)
    add_backup_commands(commands)
    add_source_commands(commands)
    add_access_commands(commands)
    add_user_commands(commands)
    add_label_commands(commands)
    add_inner_blocks_command(commands)
    return parser


def _called() -> str:
    """The command as it was called, for its own help: installed it has a name."""
    name = Path(sys.argv[0]).stem
    return name if name == "ai-image-detector" else "python -m detector"


def _sample(ws: Workspace, options: argparse.Namespace) -> int:
    from detector.importing.batch import sample_payload
    from detector.operations.sample_function import create_sample_function, find_sample_function, sample_limit_note

    known = find_sample_function(ws)
    if known is not None:
        function = function_for(ws, known.id, options.backbone, ())
    else:
        function = create_sample_function(ws, options.backbone)
        say(function.backbone_reason)
        say(sample_limit_note())
    return run_import_and_build(ws, function, sample_payload(), "sample", options.json)


def _cifake(ws: Workspace, options: argparse.Namespace) -> int:
    from detector.datasets.cifake import require_cifake
    from detector.importing.batch import cifake_payload

    if options.per_label < 2:
        raise InvalidInput("Training needs at least 2 images per label. Give a larger --per-label.")
    require_cifake(ws.settings.data_dir / "cifake")
    function = function_for(ws, "CIFAKE", options.backbone, ("real", "synthetic"))
    return run_import_and_build(ws, function, cifake_payload(options.per_label, options.seed), "cifake", options.json)


def _audit(ws: Workspace, options: argparse.Namespace) -> int:
    from detector.evaluation.audit import audit
    from detector.evaluation.summary import summarise
    from detector.worker.running import run_pending

    function = functions.find_function(ws.db, options.function)
    jobs.requeue_orphans(ws.db)
    with progress_bar() as report:
        run_pending(ws, function.id, report)
        while is_training(ws, function.id):
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
            f"{rate_of_images(item.accuracy, item.accuracy_n)} right" if item.accuracy is not None else "not validated"
        )
        version = f"model {item.model_version}, {accuracy}" if item.model_version else "no model yet"
        print(f"{item.function.id}  {item.function.name}  {count(item.sample_count, 'sample')}  {version}")
    return 0


def _backbones(ws: Workspace, options: argparse.Namespace) -> int:
    from detector.backbones import SPECS, availability
    from detector.formatting import file_size

    rows = []
    for spec in SPECS.values():
        state = availability(spec, ws.settings)
        rows.append(
            {
                "id": spec.id,
                "title": spec.title,
                "licence": spec.licence,
                "only_for": spec.only_for,
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
        only = f" ({spec.only_for} only)" if spec.only_for else ""
        print(f"{spec.id}  {spec.title}  {spec.licence}{only}  {file_size(spec.download_bytes)}\n    {row['sentence']}")
    return 0


def _bench(ws: Workspace, options: argparse.Namespace) -> int:
    from detector.backbones import SPECS, availability
    from detector.formatting import rate
    from detector.pipeline.speed import expected_time, measure

    rows: list[dict[str, Any]] = []
    for spec in SPECS.values():
        state = availability(spec, ws.settings)
        # What would have to be downloaded first is not on this machine yet.
        here = state.available and state.how != "hub"
        speed = measure(ws, spec.id) if here else None
        rows.append({"id": spec.id, "images_per_second": speed, "sentence": state.sentence})
        if not options.json:
            words = f"{rate(speed)}, {expected_time(ws, spec.id, 2000)}" if speed else f"not measured. {state.sentence}"
            print(f"{spec.id}  {words}", flush=True)
    if options.json:
        print(json.dumps(rows, ensure_ascii=False))
    return 0


@contextlib.contextmanager
def _whole_or_not_at_all(path: Path) -> Iterator[IO[bytes]]:
    """A file to write; what was there before stays until all is written. Pipes and devices are written as they are."""
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    # Where a link leads to, not in its place.
    path = path.resolve()
    partial = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with partial.open("xb") as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _export(ws: Workspace, options: argparse.Namespace) -> int:
    from detector.gallery.export import export_csv, export_zip
    from detector.gallery.filters import GalleryFilter, Order
    from detector.gallery.selection import matching_ids

    function = functions.find_function(ws.db, options.function)
    sample_ids = matching_ids(ws, function.id, GalleryFilter(), Order.OLDEST)
    export = export_zip if options.file.suffix.lower() == ".zip" else export_csv
    try:
        with _whole_or_not_at_all(options.file) as file:
            for piece in export(ws, function.id, sample_ids):
                file.write(piece)
    except OSError as error:
        name = printable(str(options.file))
        raise InvalidInput(
            f"{name} cannot be written ({error.strerror or error}). Make room or give another name."
        ) from error
    if options.json:
        answer({"function": function.id, "file": printable(str(options.file)), "samples": len(sample_ids)})
    else:
        say(f"{count(len(sample_ids), 'sample')} written to {printable(str(options.file))}")
    return 0
