"""The app as a person meets it: the real server process on an empty data folder, looked at with a real Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from tests.app_server import AppServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.browser.dashboard import Dashboard

_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-sync"]


class Server(AppServer):
    """The app without a model hub: `auto` must settle on the offline backbone everywhere.

    The precision is fixed unless a test says otherwise: measuring it takes every server seconds of all cores.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        # One that refuses at once, and an empty cache.
        hub = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(folder / "hub")}
        super().__init__(folder, {"DETECTOR_PRECISION": "float32", **hub, **(settings or {})})


def served(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server for a fixture of any scope; nothing may have gone wrong in it without a word on the page."""
    running = Server(folder, settings)
    yield running
    running.stop()
    for trouble in ("Uncaught app execution", "job failed"):
        assert trouble not in running.log, running.log


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
    yield from served(tmp_path)


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
