"""``invoke``: images and folders of this machine -> one JSON line per file."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from detector.cli.output import answer, json_option, say
from detector.errors import ImageError
from detector.formatting import count
from detector.storage import functions
from detector.workspace import Workspace

_BATCH = 32
# Enough of a file's beginning to tell an image from what a system left behind.
_BEGINNING = 64


def add_invoke_command(commands: Any) -> None:
    """Add ``invoke`` to the parser's commands."""
    invoke = commands.add_parser("invoke", help="classify images, one JSON line per file")
    invoke.add_argument("function", help="name or id")
    invoke.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="image files or folders")
    json_option(invoke, "one JSON line per file, which is what is printed anyway")
    invoke.set_defaults(run=_invoke)


def _invoke(ws: Workspace, options: argparse.Namespace) -> int:
    from detector.serving.invoke import invoke

    function = functions.find_function(ws.db, options.function)
    failed = False
    reason, unlike = "", 0
    pending: list[tuple[str, bytes]] = []

    def say_verdicts() -> None:
        nonlocal failed, reason, unlike
        for (name, _), verdict in zip(pending, invoke(ws, function.id, pending), strict=True):
            if isinstance(verdict, ImageError):
                failed = True
                answer({"file": name, "error": str(verdict)})
                continue
            unlike += bool(verdict.unlike)
            reason = reason or ("" if verdict.sure or verdict.unlike else verdict.reason)
            scores = [{"labelName": score.label, "confidence": score.confidence} for score in verdict.scores]
            answer(
                {
                    "file": name,
                    "labelName": verdict.label,
                    "confidence": verdict.confidence,
                    "verdict": verdict.verdict,
                    "grade": verdict.grade,
                    "reason": verdict.reason,
                    "labelConfidences": scores,
                }
            )
        sys.stdout.flush()
        pending.clear()

    passed_over: list[str] = []
    for name, read in named_files(options.paths, ws.settings.max_image_bytes, passed_over):
        try:
            pending.append((name, read()))
        except ImageError as error:
            failed = True
            answer({"file": name, "error": str(error)})
        if len(pending) == _BATCH:
            say_verdicts()
    if pending:
        say_verdicts()
    if reason:
        # Once, not in every line: it is the model's reason and not the file's.
        say(reason)
    if unlike:
        say(f"{count(unlike, 'file')} unlike the samples; the reason of each says in what.")
    if passed_over:
        say(f"{count(len(passed_over), 'file')} of systems and programs passed over, such as {passed_over[0]}.")
    return int(failed)


def named_files(
    paths: Sequence[Path], max_bytes: int, passed_over: list[str]
) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """(name to show, how to read it) of every file that is named or lies in a folder that is."""
    from detector.importing.clutter import is_clutter
    from detector.importing.entries import FolderSource, printable, read_file

    for path in paths:
        shown = printable(str(path))
        if path.is_dir():
            with FolderSource(path, max_bytes, follow_links=True) as folder:
                for entry in folder.entries():
                    yield os.path.join(shown, entry.path), entry.read  # noqa: PTH118 - text to show, not a path
                passed_over += folder.passed_over
        elif is_clutter(printable(path.name)) and not _begins_like_an_image(path):
            passed_over.append(printable(path.name))
        else:
            yield shown, partial(read_file, path, shown, max_bytes)


def _begins_like_an_image(path: Path) -> bool:
    """Whether a file called like clutter was meant all the same: a shell names whatever lies in a folder."""
    from detector.imaging.formats import sniff_format

    try:
        # A pipe would be waited for; whoever reads the file says that it is one.
        if not path.is_file():
            return True
        with path.open("rb") as file:
            return sniff_format(file.read(_BEGINNING)) is not None
    except OSError:
        return False
