"""``explain``: one picture and all that stands beside its verdict; ``records``: the verdicts that were kept."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from detector.cli.invoke import named_files
from detector.cli.output import answer, json_option, say
from detector.errors import ImageError, InvalidInput, NotFound
from detector.formatting import DAY, count, moment
from detector.importing.entries import printable
from detector.operations.records import MOST_DAYS, delete_records, keep_record
from detector.storage import functions, records
from detector.storage.database import now
from detector.storage.records import COMMAND_LINE, Record
from detector.training.thresholds import CANT_TELL, MODERATE, STRONG
from detector.workspace import Workspace

#: The exit code where a verdict is below ``--min-grade``.
BELOW = 3
_RANKS = {CANT_TELL: 0, MODERATE: 1, STRONG: 2}
_ALL = "all"


def add_explain_commands(commands: Any) -> None:
    """Add ``explain`` and ``records`` to the parser's commands."""
    explain = commands.add_parser(
        "explain",
        help="classify images with all that there is to say of each verdict",
        description="Say what the function says of each image, how steady that is, what else is known of the picture, "
        "and what its file says. Exit code: 0; 1 where a file failed; with --min-grade, 3 where a verdict is below it.",
    )
    explain.add_argument("function", help="name or id")
    explain.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="image files or folders")
    json_option(explain, "one JSON line per file")
    explain.add_argument(
        "--min-grade", choices=(STRONG, MODERATE), help="exit with 3 where a verdict is not at least that"
    )
    explain.add_argument("--keep", action="store_true", help="keep a record of each verdict")
    explain.set_defaults(run=_explain)

    listing = commands.add_parser("records", help="list, export or delete the verdicts that were kept")
    listing.add_argument("function", help="name or id")
    listing.add_argument("--export", type=Path, metavar="FOLDER", help="write a report and a JSON file of each")
    listing.add_argument("--delete", metavar="ID", help="delete the record of that id for good, or all")
    listing.add_argument(
        "--older-than", type=float, metavar="DAYS", help="only what was kept longer ago: to list, export or delete"
    )
    json_option(listing)
    listing.set_defaults(run=_records)


def _explain(ws: Workspace, options: argparse.Namespace) -> int:
    from detector.evidence.explain import explain
    from detector.evidence.report import plain_text
    from detector.imaging import inspect_image

    function = functions.find_function(ws.db, options.function)
    failed = False
    grades: list[str] = []
    passed_over: list[str] = []
    for shown, read in named_files(options.paths, ws.settings.max_image_bytes, passed_over):
        # What is kept, and sent to others, says what the file is called and not where it lies on this machine.
        name = printable(Path(shown).name)
        try:
            data = read()
            evidence = explain(ws, function.id, name, data)
            found = evidence.to_json()
            if options.keep:
                thumbnail = inspect_image(data, name, ws.limits).thumbnail
                record = keep_record(ws, function.id, evidence, thumbnail, COMMAND_LINE)
                found["record"] = record.id
        except ImageError as error:
            failed = True
            if options.json:
                answer({"file": shown, "error": str(error)})
            else:
                print(f"{shown}: {error}", flush=True)
            continue
        grades.append(evidence.grade)
        if options.json:
            answer({**found, "file": shown})
        else:
            print(("\n" if len(grades) > 1 else "") + plain_text({**found, "file": shown}), flush=True)
    if passed_over:
        say(f"{count(len(passed_over), 'file')} of systems and programs passed over, such as {passed_over[0]}.")
    if not grades and not failed:
        say("There is no image to explain. Give image files, or a folder with some.")
    return exit_code(grades, options.min_grade, failed)


def exit_code(grades: Sequence[str], least: str | None, failed: bool) -> int:
    """0 where all is well, 1 where a file failed or there was none, `BELOW` where a grade is below the least one."""
    # A script that asks for a grade must not take "nothing there" for "all good".
    if failed or not grades:
        return 1
    return BELOW if least is not None and min(_RANKS[grade] for grade in grades) < _RANKS[least] else 0


def _records(ws: Workspace, options: argparse.Namespace) -> int:
    function = functions.find_function(ws.db, options.function)
    if options.older_than is not None and not 0 <= options.older_than <= MOST_DAYS:
        raise InvalidInput(f"--older-than is {options.older_than:g}; expected 0 to {MOST_DAYS:,} days.")
    if options.export is not None:
        _export(ws, function.id, options)
    if options.delete is not None:
        meant = [record.id for record in _meant(ws, function.id, options) if options.delete in (_ALL, record.id)]
        if options.delete != _ALL and not meant:
            raise NotFound("record", options.delete)
        done = delete_records(ws, function.id, meant)
        if options.json:
            answer({"function": function.id, "deleted": done.changed})
        else:
            say(done.said)
        return 0
    if options.json:
        found = [record.to_json() for record in _meant(ws, function.id, options)]
        answer({"function": function.id, "records": found})
        return 0
    shown = 0
    for record in _meant(ws, function.id, options):
        shown += 1
        grade = "" if record.grade == CANT_TELL else f" ({record.grade})"
        disputed = f"  disputed: {record.disputed_label}" if record.disputed_label else ""
        at = moment(datetime.fromtimestamp(record.created_at, UTC))
        print(f"{record.id}  {at}  {record.verdict}{grade}  {record.file_name}{disputed}")
    if not shown:
        say("There are no records. Keep one with: explain FUNCTION IMAGE --keep")
    return 0


def _meant(ws: Workspace, function_id: str, options: argparse.Namespace) -> Iterator[Record]:
    latest = now() - (options.older_than or 0.0) * DAY
    return (record for record in records.all_records(ws.db, function_id) if record.created_at <= latest)


def _export(ws: Workspace, function_id: str, options: argparse.Namespace) -> None:
    from detector.evidence.record_files import record_files

    folder: Path = options.export
    written = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in record_files(_meant(ws, function_id, options)):
            (folder / name).write_bytes(data)
            written += name.endswith(".json")
    except OSError as error:
        raise InvalidInput(
            f"{printable(str(folder))} cannot be written ({error.strerror or error}). Make room or give another folder."
        ) from error
    say(f"{count(written, 'record')} written to {printable(str(folder))}, a report and a JSON file of each.")
