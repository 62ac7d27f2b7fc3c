"""The app as a person meets it: the real server process on an empty data folder, looked at with a real Chromium."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from detector.settings import load_settings
from detector.workspace import Workspace
from tests.ports import free_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.browser.dashboard import Dashboard

CHECKOUT = Path(__file__).resolve().parents[2]
START_SECONDS = 90
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-sync"]


class Server:
    """One ``streamlit run`` with a data folder of its own; ``workspace`` opens the same folder beside it."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.data = folder / "data"
        self._log = folder / "server.log"
        port = free_port()
        self.address = f"http://localhost:{port}"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DETECTOR_")} | {
            "DETECTOR_DATA_DIR": str(self.data),
            # A hub that refuses at once, and an empty cache: `auto` must settle on the offline backbone everywhere.
            "HF_ENDPOINT": "http://127.0.0.1:9",
            "HF_HOME": str(folder / "hub"),
            **(settings or {}),
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "streamlit",
                    "run",
                    "streamlit_app.py",
                    "--server.headless",
                    "true",
                    "--server.port",
                    str(port),
                ],
                cwd=CHECKOUT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait_until_healthy()
        self.workspace = Workspace.open(load_settings({"DETECTOR_DATA_DIR": str(self.data)}))

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        self.workspace.close()
        self._end()

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.address}/_stcore/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.2)
        self._end()
        pytest.fail(f"The server did not answer within {START_SECONDS} s:\n{self.log}")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The browser; tests that need it skip where it cannot be had, and fail under CI, where it must be there."""
    path = shutil.which("chromium")
    if path is None:
        _missing("no Chromium is installed")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright of requirements-dev.txt is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_FLAGS)
        yield browser
        browser.close()


def _missing(what: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"Browser tests must run in CI, but {what}.")
    pytest.skip(f"browser tests: {what}")


@pytest.fixture
def server(chromium: Browser, tmp_path: Path) -> Iterator[Server]:
    """A server on an empty data folder; asked for after the browser, so that none starts where there is no browser."""
    running = Server(tmp_path)
    yield running
    running.stop()
    for trouble in ("Uncaught app execution", "job failed"):
        assert trouble not in running.log, running.log


@pytest.fixture
def dashboard(chromium: Browser, server: Server) -> Iterator[Dashboard]:
    """A new user's window on that server. Nothing may leave the machine, and the console stays without errors."""
    from tests.browser.dashboard import Dashboard

    context = chromium.new_context(viewport={"width": 1400, "height": 900})
    window = Dashboard(context.new_page(), server.address)
    yield window
    context.close()
    assert not window.foreign_requests
    assert not window.complaints
