"""Run as a process: a backup or a restore, once to its end and then killed at one change of the disk after the other.

Usage: python -m tests.upkeep.killed_at backup DATA FILE EVERY, or restore FILE FOLDER EVERY. Prints how many changes
there are. Of a backup, FILE.1, FILE.4 and so on are what may be there; of a restore, FOLDER/1, FOLDER/4 and so on.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from detector.settings import Settings
from detector.upkeep.archive_file import FileReader, FileWriter
from detector.upkeep.backup import back_up
from detector.upkeep.restore import restore
from detector.workspace import Workspace

_CHANGES = ("os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")


def settings(folder: Path) -> Settings:
    """Of a folder with its own SQLite database, as quick as it goes."""
    return Settings(data_dir=folder, precision="float32", copies=0, retrain_delay=0.0)


def changes_until(work: Callable[[], object], kill_at: int) -> int:
    """How many changes of the disk a piece of work makes, in a process of its own that is killed at one of them."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        seen = 0

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            flags = arguments[2] if event == "open" and len(arguments) > 2 else 0
            changing = event in _CHANGES or (isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR))
            if changing or event == "sqlite3.connect":
                seen += 1
                if seen == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        code = 1
        try:
            work()
            code = 0
        finally:
            os.write(writes, str(seen).encode())
            os._exit(code)
    os.close(writes)
    with os.fdopen(reads, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return 0
    if os.waitstatus_to_exitcode(status):
        raise SystemExit("it failed without being killed")
    return int(said)


def _back_up(data: Path, file: Path) -> None:
    with closing(Workspace.open(settings(data))) as ws:
        back_up(ws, FileWriter(file))


def _restore(file: Path, folder: Path) -> None:
    with FileReader(file) as reader:
        restore(reader, settings(folder))


def main() -> None:
    """Count first, then be killed at every so many changes."""
    what, first, second, every = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])

    def work(number: int) -> None:
        if what == "backup":
            _back_up(first, second.with_name(f"{second.name}.{number}"))
        else:
            _restore(first, second / str(number))

    total = changes_until(lambda: work(0), -1)
    for number in range(1, total + 1, every):
        changes_until(lambda number=number: work(number), number)  # type: ignore[misc]
    print(total)


if __name__ == "__main__":
    main()
