"""The edge of the command line: whatever ends a command is one sentence on stderr and an exit code, no traceback."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable
from typing import Any

from detector.errors import ClusterUnavailable, DetectorError, StorageDamaged, StorageTrouble, StoreUnavailable
from detector.importing.entries import printable
from detector.storage.trouble import storage_trouble
from detector.workspace import Workspace

FAILED, INTERRUPTED = 1, 130


def prepare_streams() -> None:
    """Make the standard streams safe to use, however the command was started."""
    # A file opened while one of these is closed would take its number, and get what is meant for people.
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            _hold(number)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    # Names come from anywhere, and a terminal that cannot show one must not end the work: hence the errors.
    for name, kind in (("stdout", _Answer), ("stderr", _Talk)):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and not isinstance(getattr(stream.buffer, "raw", None), kind):
            stream.flush()
            wrapped = io.TextIOWrapper(
                io.BufferedWriter(kind(stream.fileno(), "w", closefd=False)),
                encoding=stream.encoding,
                errors="backslashreplace",
                line_buffering=stream.line_buffering,
                write_through=stream.write_through,
            )
            setattr(sys, name, wrapped)


class _AnswerLost(OSError):
    """Standard output takes no more: whoever reads it has gone, or its disk is full."""


class _Answer(io.FileIO):
    """Standard output, whose failures are not to be taken for those of the data folder."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise _AnswerLost(error.errno, error.strerror) from error


class _Talk(io.FileIO):
    """Standard error, which never fails: what is said beside the work must not end it."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def _hold(number: int) -> None:
    """Put the null device under the number of a standard stream that was closed before the start."""
    try:
        os.fstat(number)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != number:
            os.dup2(null, number)
            os.close(null)


def in_sentences(run: Callable[[list[Workspace]], int]) -> int:
    """Run a command; returns the exit code: its own, or 1 with a sentence on stderr, or 130 where it was stopped.

    Parameters
    ----------
    run : callable
        Gets a list, empty; the data folder belongs into it once it is open: then sentences can say which it is.

    Raises
    ------
    SystemExit
        As ``run`` did, for wrong usage and help.
    """
    opened: list[Workspace] = []
    try:
        code = run(opened)
    except SystemExit:
        if (lost := _flush_answer()) is not None:
            raise SystemExit(_say_lost(lost)) from None
        raise
    except KeyboardInterrupt:
        _say("Stopped. Start the same command again to resume.")
        code = INTERRUPTED
    except _AnswerLost as error:
        return _say_lost(error)
    except BaseException as error:
        sentence = _sentence(error, opened[0] if opened else None)
        if sentence is None:
            raise
        _say(sentence)
        code = FAILED
    # Not at Python's own end, where a full disk or a closed pipe is a message about an ignored exception.
    lost = _flush_answer()
    return code if lost is None else _say_lost(lost)


def _sentence(error: BaseException, ws: Workspace | None) -> str | None:
    """What ended a command and what to do about it; None where nobody has thought of it."""
    if isinstance(error, OSError) and _is_of_others(error, ws):
        what = printable(os.fsdecode(error.filename))
        return f"{what} cannot be used ({error.strerror or error}). See that it is there and may be read or written."
    trouble = error if isinstance(error, DetectorError) else storage_trouble(error)
    elsewhere = isinstance(trouble, StoreUnavailable | ClusterUnavailable)
    if isinstance(trouble, StorageTrouble) and not elsewhere and ws is not None:
        return f"{trouble} The data folder is {ws.settings.data_dir}."
    if trouble is not None:
        return str(trouble)
    if isinstance(error, MemoryError):
        return "There is not enough memory for this. End other programs, or take fewer images or a smaller backbone."
    if isinstance(error, EOFError):
        return "The input ended before there was an answer. Give it on the standard input, or in a terminal."
    if isinstance(error, UnicodeError):
        why = getattr(error, "reason", None) or error
        return f"A name or a line of the input is not text that can be used ({why}). Write it in UTF-8."
    if isinstance(error, OSError):
        return f"A file cannot be used ({error.strerror or error}). See that the disk has room and can be written."
    if ws is not None and (damage := _damage(ws)):
        return f"{StorageDamaged(damage)} The data folder is {ws.settings.data_dir}."
    return None


def _is_of_others(error: OSError, ws: Workspace | None) -> bool:
    """Whether an error names a file that does not lie in the data folder."""
    if error.filename is None or isinstance(error.filename, int):
        return False
    if ws is None:
        return True
    folder = str(ws.settings.data_dir)
    # Not absolute where the working directory is gone.
    return not os.path.normpath(os.fsdecode(error.filename)).startswith((folder + os.sep, folder))


def _damage(ws: Workspace) -> str:
    """Something that cannot be may come of a page of the database that was read as another one."""
    with contextlib.suppress(Exception):
        return ws.db.damage()
    return ""


def _say_lost(lost: _AnswerLost) -> int:
    # Else Python complains about it at its end.
    _drop_answer()
    # Whoever closed a pipe has seen enough.
    if lost.errno != errno.EPIPE:
        _say(f"The answer could not be written to the standard output ({lost.strerror}). Send it somewhere else.")
    return FAILED


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def _flush_answer() -> _AnswerLost | None:
    """What keeps the answer from being written; None where it is written."""
    try:
        sys.stdout.flush()
    except _AnswerLost as error:
        return error
    except ValueError:
        # Closed already.
        return None
    return None


def _drop_answer() -> None:
    """Let what is still to be written go nowhere."""
    with contextlib.suppress(OSError, ValueError, io.UnsupportedOperation):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
