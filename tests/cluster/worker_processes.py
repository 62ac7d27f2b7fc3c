"""``python -m detector worker`` processes over one database, to be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.command_line import CHECKOUT


class WorkerProcesses:
    """Workers that have one environment."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder, self._environment = folder, {**environment, "DETECTOR_THREADS": "1"}
        self.running: list[subprocess.Popen[bytes]] = []
        self._number = 0

    def start(self, number: int = 1, *options: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for _ in range(number):
            self._number += 1
            with (self._folder / f"worker-{self._number}.log").open("wb") as log:
                self.running.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "detector", "worker", *options],
                        cwd=CHECKOUT,
                        env=self._environment,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                )

    def end(self, place: int, how: int = signal.SIGKILL) -> int:
        """End one; returns its exit code."""
        process = self.running.pop(place)
        os.kill(process.pid, how)
        return process.wait(90)

    def stop(self) -> None:
        while self.running:
            self.end(0)

    def log(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in sorted(self._folder.glob("*.log")))
