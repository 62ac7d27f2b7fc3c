"""``streamlit run`` as people start it: a process of its own, with settings that are the test's alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from detector.settings import load_settings
from detector.workspace import Workspace
from tests.databases import database_setting
from tests.ports import free_port

CHECKOUT = Path(__file__).resolve().parents[1]
START_SECONDS = 240


def start_app(
    port: int,
    settings: Mapping[str, str],
    *flags: str,
    program: str = "streamlit_app.py",
    stdout: IO[bytes] | int = subprocess.DEVNULL,
    stderr: IO[bytes] | int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start the app on a port and leave it running. No setting of the machine reaches it.

    Degraded copies are made only where the settings ask for them: they take as long as several further imports.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DETECTOR_")}
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "streamlit", "run", program),
            *("--server.headless", "true", "--server.port", str(port), *flags),
        ],
        cwd=CHECKOUT,
        env=kept | {"DETECTOR_COPIES": "0"} | dict(settings),
        stdout=stdout,
        stderr=stderr,
    )


def wait_until_it_answers(
    address: str, process: subprocess.Popen[bytes], seconds: float = START_SECONDS, every: float = 0.2
) -> None:
    """Return as soon as the server is there. Raises TimeoutError where it does not come, or has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=5).close()
            return
        except OSError:
            time.sleep(every)
    process.kill()
    process.wait()
    raise TimeoutError(f"The server did not answer within {seconds:.0f} s.")


def end(process: subprocess.Popen[bytes]) -> None:
    """End the process as a person would; where that takes too long, as a power cut would."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class AppServer:
    """The app on a data folder of its own, which ``workspace`` opens beside it.

    Parameters
    ----------
    folder : Path
        For the data and the log.
    settings : mapping of str to str
        The environment's, beside the data folder.
    port : int
        0: any free one.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str], port: int = 0) -> None:
        self.data, self._log = folder / "data", folder / "server.log"
        self._settings = {"DETECTOR_DATA_DIR": str(self.data), **database_setting(self.data), **settings}
        self._port = port or free_port()
        self.address = f"http://localhost:{self._port}"
        self.start()
        self.workspace = Workspace.open(load_settings(self._settings))

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> None:
        """Start the process and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = start_app(self._port, self._settings, stdout=log, stderr=subprocess.STDOUT)
        try:
            base = self._settings.get("STREAMLIT_SERVER_BASE_URL_PATH", "").strip("/")
            wait_until_it_answers(f"{self.address}/{base}".rstrip("/"), self._process)
        except TimeoutError as late:
            raise TimeoutError(f"{late}\n{self.log}") from None

    def kill(self) -> None:
        """End the process as a power cut would."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End the process as a person would, and everything with it."""
        self.workspace.close()
        end(self._process)
