"""A Dask scheduler and its workers as processes of this machine, started by Dask's own commands; to be killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.command_line import CHECKOUT
from tests.ports import free_port


class DaskProcesses:
    """One scheduler on a fixed port, and workers of one thread each that have the given environment."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = {**environment, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
        self.port = free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []

    def start_scheduler(self) -> None:
        self.scheduler = self._run("scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard")

    def start_workers(self, number: int, *options: str) -> None:
        for _ in range(number):
            self.workers.append(
                self._run("worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", *options)
            )

    def kill_scheduler(self) -> None:
        """With -9; its workers end by themselves, as nobody gives them work any more."""
        assert self.scheduler is not None
        self.scheduler.kill()
        self.scheduler.wait()
        self.scheduler = None

    def kill_worker(self) -> None:
        worker = self.workers.pop(0)
        worker.kill()
        worker.wait()

    def stop(self) -> None:
        for process in (*self.workers, self.scheduler):
            if process is not None:
                process.kill()
                process.wait()
        self.workers, self.scheduler = [], None

    def log(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in sorted(self._folder.glob("dask-*.log")))

    def _run(self, role: str, *arguments: str) -> subprocess.Popen[bytes]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"dask-{role}-{time.monotonic_ns()}.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{role}", *arguments],
                cwd=self._folder,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
