"""Runs ``python -m detector`` as a user does: a process of its own, with a data folder of its own and no network."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.databases import database_setting

CHECKOUT = Path(__file__).resolve().parents[1]
OFFLINE = ("--backbone", "efficientnet-lite0")


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.out))

    @property
    def sentence(self) -> str:
        """The last line on stderr; everything before it may be progress."""
        return self.err.replace("\r", "\n").rstrip("\n").split("\n")[-1]


def environment(data_dir: Path, hub: str = "http://127.0.0.1:9", **settings: str) -> dict[str, str]:
    """The environment of a command; the default hub is a port that nothing listens on."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DETECTOR_", "HF_"))}
    proxies = ("http_proxy", "https_proxy", "all_proxy")
    kept = {name: value for name, value in kept.items() if name.lower() not in proxies}
    kept |= {"DETECTOR_DATA_DIR": str(data_dir), **database_setting(data_dir)}
    return {**kept, "HF_ENDPOINT": hub, "HF_HOME": str(data_dir / "hub")} | settings


def start(
    data_dir: Path, *arguments: str | Path, hub: str = "http://127.0.0.1:9", **settings: str
) -> subprocess.Popen[str]:
    """Start a command and leave it running."""
    return subprocess.Popen(
        [sys.executable, "-m", "detector", *map(str, arguments)],
        cwd=CHECKOUT,
        env=environment(data_dir, hub, **settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def run(data_dir: Path, *arguments: str | Path, hub: str = "http://127.0.0.1:9", **settings: str) -> Ran:
    """Run a command to its end."""
    process = start(data_dir, *arguments, hub=hub, **settings)
    out, err = process.communicate(timeout=300)
    return Ran(process.returncode, out, err)


# A process inherits the peak of the one that starts it, here a test run of gigabytes: a small one stands in between.
_IN_BETWEEN = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print("", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, sep="\\n", file=sys.stderr)
sys.exit(code)
"""


def run_measured(data_dir: Path, *arguments: str | Path, **settings: str) -> tuple[Ran, int]:
    """Run a command to its end; the operating system says how many bytes that one process took at its peak."""
    done = subprocess.run(
        [sys.executable, "-c", _IN_BETWEEN, sys.executable, "-m", "detector", *map(str, arguments)],
        cwd=CHECKOUT,
        env=environment(data_dir, **settings),
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    err, _, peak = done.stderr.rstrip("\n").rpartition("\n")
    return Ran(done.returncode, done.stdout, err), int(peak) * (1 if sys.platform == "darwin" else 1024)


def run_here(data_dir: Path, *arguments: str | Path, **settings: str) -> Ran:
    """Run a command in this process, whose backbone is loaded already: for what a command does, not how it starts."""
    from detector.cli.main import main

    before = dict(os.environ)
    out, err = io.StringIO(), io.StringIO()
    try:
        os.environ.clear()
        os.environ.update(environment(data_dir, **{"DETECTOR_PRECISION": "float32", **settings}))
        with redirect_stdout(out), redirect_stderr(err):
            code = main(list(map(str, arguments)))
    finally:
        os.environ.clear()
        os.environ.update(before)
    return Ran(code, out.getvalue(), err.getvalue())


@contextmanager
def silent_hub() -> Iterator[str]:
    """The address of a hub that takes connections and never answers, as behind a filter: the slowest way to fail."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
