"""The pages: how soon the first one is there, and how long one takes while the same server looks at images."""

from __future__ import annotations

import itertools
import statistics
import time
from pathlib import Path

import psutil

from detector.importing.batch import folder_payload
from detector.importing.labelling import LabelPlan
from detector.jobs import request_build, request_import, run_pending
from detector.storage import jobs
from detector.workspace import Workspace
from tests.benchmarks.figure import Figure
from tests.benchmarks.server import chromium, launch, review_page, server, turn, wait_until_it_answers
from tests.factories import LABELS, empty_function, make_image, workspace
from tests.made_samples import made_function

_STARTS = 5
_TURNS = 40
_SEEN, _UNSEEN = 600, 20_000


def startup_s(folder: Path) -> Figure:
    """From the start of the process to a page with its title, in a browser that is open already."""
    workspace(folder).close()
    took, answered = [], []
    with chromium() as browser:
        for _ in range(_STARTS + 1):
            start = time.perf_counter()
            address, process = launch(folder)
            try:
                # Ten times a second is how often a person's browser is told to try again.
                wait_until_it_answers(address, every=0.05)
                answered.append(time.perf_counter() - start)
                page = browser.new_page()
                page.goto(address, wait_until="commit")
                page.locator("h1").first.wait_for(timeout=60_000)
                took.append(time.perf_counter() - start)
                mapped = {Path(item.path).name for item in psutil.Process(process.pid).memory_maps()}
                assert not any("libtorch" in name for name in mapped), "torch was loaded for the first page"
                page.close()
            finally:
                process.terminate()
                process.wait(20)
    return Figure(
        "startup_s",
        "from the start of the process to the first page drawn in Chromium, files in the disk cache",
        statistics.median(took[1:]),
        "s",
        4,
        at_least=False,
        measurements={"to the title": took[1:], "to the first answer": answered[1:]},
        note="The first start, which fills the disk cache, is not counted. torch was not loaded.",
    )


def page_busy_ms(folder: Path) -> Figure:
    """Next page of Review while the server embeds another function's images all the time."""
    ws = workspace(folder, precision="auto")
    seen = made_function(ws, 20_000, pictures=400, dimension=512)
    busy = empty_function(ws, "Busy")
    _make_images(folder / "images")
    request_import(ws, busy.id, folder_payload(folder / "images", LabelPlan(mode="folders", level=0)), "folder")
    return _busy(ws, folder, seen.id, busy.id)
