"""The server as people start it, in a process of its own, and a page of it in Chromium."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tests.app_server import end, start_app, wait_until_it_answers
from tests.databases import database_setting
from tests.ports import free_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

#: Every tile of the page, in sight or not, names another sample than before and has its picture.
_ALL_SHOWN = """
(before) => {
  const tiles = [...document.querySelector('[data-testid="stMain"]').querySelectorAll('*')]
    .map(node => node.shadowRoot).filter(Boolean).flatMap(root => [...root.querySelectorAll('.gallery .tile')]);
  if (!tiles.length || tiles[0].dataset.id === before) return false;
  return tiles.filter(tile => tile.getBoundingClientRect().top < innerHeight)
    .every(tile => { const image = tile.querySelector('img'); return image.complete && image.naturalWidth > 0; });
}
"""


def launch(folder: Path, **settings: str) -> tuple[str, subprocess.Popen[bytes]]:
    """Start the app on a data folder; returns its address at once, and the process."""
    port = free_port()
    settings = {"DETECTOR_DATA_DIR": str(folder), **database_setting(folder), **settings}
    return f"http://localhost:{port}", start_app(port, settings)


@contextmanager
def server(folder: Path, **settings: str) -> Iterator[tuple[str, psutil.Process]]:
    """A server that answers: its address and its process."""
    address, process = launch(folder, **settings)
    try:
        wait_until_it_answers(address, process)
        yield address, psutil.Process(process.pid)
    finally:
        end(process)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@contextmanager
def review_page(address: str, function_id: str) -> Iterator[Page]:
    """Review of a function in a browser, its first page drawn and the keyboard in the gallery."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(f"{address}/review?function={function_id}")
        page.locator(".gallery .tile").first.focus(timeout=60_000)
        page.wait_for_timeout(2000)
        yield page


def turn(page: Page) -> float:
    """Seconds of one page change by the keyboard, until all tiles in sight have their pictures."""
    first = page.locator(".gallery .tile").first
    before = first.get_attribute("data-id")
    start = time.perf_counter()
    page.keyboard.press("n")
    page.wait_for_function(_ALL_SHOWN, arg=before, polling=20, timeout=30_000)
    return time.perf_counter() - start
