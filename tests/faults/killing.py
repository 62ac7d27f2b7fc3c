"""Real commands that are ended by ``kill -9`` at any moment, many a minute.

``python -m tests.faults.killing`` loads the program once and forks a process for each command: what is killed is a real
process with files, connections and threads of its own, without the seconds that loading takes each time.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector.imaging import sha256_hex
from detector.upkeep.findings import JOBS
from tests.app_server import CHECKOUT
from tests.command_line import Ran, environment
from tests.faulty_disk import image_files

#: What a command would load, without which the first forked process would take much longer than the others.
_LOADED = (
    *("detector.cli.main", "detector.worker.running", "detector.worker.runner", "detector.pipeline.build"),
    *("detector.backbones.offline", "detector.training.train", "detector.importing.batch", "torch", "sklearn", "scipy"),
)
_PATIENCE = 120.0


@dataclass(frozen=True)
class Life:
    """How one process ended.

    Attributes
    ----------
    killed : by the kill, and not by itself before it
    code : the exit code
    seconds : from its start to its end
    stages : how long it was seen at each stage of its jobs, in seconds
    out, err : what it said
    """

    killed: bool
    code: int
    seconds: float
    stages: dict[str, float]
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Lives:
    """Runs commands one after the other, each in a process of its own.

    Parameters
    ----------
    folder : Path
        For what they print.
    """

    def __init__(self, folder: Path) -> None:
        self._out, self._err = folder / "out", folder / "err"
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.killing"],
            cwd=CHECKOUT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self,
        data_dir: Path,
        *arguments: str | Path,
        kill_after: float | None = None,
        of_stage: str = "",
        **settings: str,
    ) -> Life:
        """Run ``python -m detector`` with these arguments; killed after so many seconds unless it has ended before.

        With ``of_stage`` the seconds count from the moment in which its jobs are first seen at a stage of that name.
        """
        own = {"DETECTOR_PRECISION": "float32", "DETECTOR_COPIES": "0", "OMP_NUM_THREADS": "1", **settings}
        order = {
            "arguments": [str(item) for item in arguments],
            "environment": environment(data_dir, **own),
            "out": str(self._out),
            "err": str(self._err),
        }
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(json.dumps(order) + "\n")
        self._parent.stdin.flush()
        pid = int(self._parent.stdout.readline())
        start = since = time.monotonic()
        seen: dict[str, list[float]] = {}
        killed, waits = False, of_stage
        while not select.select([self._parent.stdout], [], [], 0.01)[0]:
            now = time.monotonic()
            assert now - start < _PATIENCE
            if waits or kill_after is None:
                at = stage(data_dir)
                seen.setdefault(at, [now, now])[1] = now
                if waits and waits in at:
                    waits, since = "", now
            if kill_after is not None and not waits and not killed and now - since >= kill_after:
                killed = True
                with contextlib.suppress(ProcessLookupError):
                    # With all that it has started.
                    os.killpg(pid, signal.SIGKILL)
        code = int(self._parent.stdout.readline())
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in (self._out, self._err)]
        lengths = {name: last - first for name, (first, last) in seen.items()}
        return Life(code == -signal.SIGKILL, code, time.monotonic() - start, lengths, *texts)

    def close(self) -> None:
        assert self._parent.stdin is not None
        self._parent.stdin.close()
        self._parent.wait(20)


def rows(data_dir: Path, statement: str) -> list[tuple[Any, ...]]:
    """What a query finds in the database of a data folder; nothing where it has no such table yet."""
    path = data_dir / "detector.sqlite"
    if not path.exists():
        return []
    try:
        return _asked(path, "ro", statement)
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return []
        if "readonly" not in str(error):
            raise
    # A journal is left to be rolled back, as whoever opens the database next does.
    return _asked(path, "rw", statement)


def _asked(path: Path, mode: str, statement: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode={mode}", uri=True, timeout=30)) as connection:
        return connection.execute(statement).fetchall()


def stage(data_dir: Path) -> str:
    """What was being done when the process was killed, as the job's row says it."""
    running = rows(data_dir, "SELECT kind, phase FROM jobs WHERE state = 'running'")
    return " ".join(filter(None, running[0])) if running else "between two jobs"


def assert_nothing_half(data_dir: Path) -> None:
    """What must hold at once after a kill, before anything was started again."""
    assert rows(data_dir, "PRAGMA integrity_check") in ([], [("ok",)])
    assert rows(data_dir, "PRAGMA foreign_key_check") == []
    twice = "SELECT function_id, image_hash FROM samples WHERE deleted_at IS NULL GROUP BY 1, 2 HAVING count(*) > 1"
    assert rows(data_dir, twice) == []
    named = {found for (found,) in rows(data_dir, "SELECT hash FROM images")}
    blobs = data_dir / "blobs"
    assert named <= whole_files(blobs), "a row without the bytes that it names"
    stored = {path.name for path in (blobs / "models").glob("*")} if (blobs / "models").is_dir() else set()
    for (model_id,) in rows(data_dir, "SELECT id FROM models"):
        assert any(name.startswith(model_id) for name in stored), "a model without its file"


def assert_nothing_over(data_dir: Path) -> None:
    """What must hold once the work has gone on to its end: every file has its row, and all jobs are done."""
    assert_nothing_half(data_dir)
    named = {found for (found,) in rows(data_dir, "SELECT hash FROM images")}
    finished = {name for name in image_files(data_dir / "blobs") if not name.endswith(".tmp")}
    assert finished == named
    # Copies and the audit wait for a server.
    assert rows(data_dir, "SELECT kind FROM jobs WHERE state != 'done' AND kind IN ('import', 'build')") == []
    assert rows(data_dir, "SELECT state FROM import_batches WHERE state != 'done'") == []


def assert_checked(lives: Lives, data_dir: Path, waits: bool = False) -> None:
    """``python -m detector check`` finds nothing wrong; where work ``waits`` to go on, nothing but that."""
    assert_clean(lives.run(data_dir, "check", "--json"), waits)


def assert_clean(checked: Life | Ran, waits: bool = False) -> None:
    """The same of a check that has run."""
    problems = [problem for problem in checked.json["problems"] if not (waits and problem["kind"] == JOBS)]
    assert not problems, problems
    assert waits or (checked.json["ok"] and checked.code == 0)


def whole_files(blobs: Path) -> set[str]:
    """The hashes of the pictures whose bytes are those that the name promises."""
    folder = blobs / "images"
    return {path.name for path in folder.rglob("*") if path.is_file() and sha256_hex(path.read_bytes()) == path.name}


def _live(order: dict[str, Any]) -> None:
    """The forked process: the command, and nothing after it."""
    for number, name in enumerate(("out", "err"), start=1):
        os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(order["environment"])
    from detector.cli.main import main

    code = 1
    try:
        code = main(order["arguments"])
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    for name in _LOADED:
        importlib.import_module(name)
    # What the forks print goes into files of theirs; this is the line to whoever asks.
    line = os.fdopen(os.dup(1), "w")
    for text in sys.stdin:
        order = json.loads(text)
        pid = os.fork()
        if not pid:
            os.setsid()
            _live(order)
        print(pid, file=line, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), file=line, flush=True)


if __name__ == "__main__":
    main()
