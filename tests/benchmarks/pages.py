"""The pages: how soon the first one is there, and how long one takes while the same server looks at images."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import psutil

from detector.jobs import request_build
from detector.pipeline.embedding import function_backbone
from detector.storage import jobs
from detector.workspace import Workspace
from tests.app_server import end, wait_until_it_answers
from tests.benchmarks.figure import Figure
from tests.benchmarks.photographs import photographs
from tests.benchmarks.server import chromium, launch, review_page, server, turn
from tests.factories import LABELS, add_images, empty_function, workspace
from tests.made_samples import made_function

_STARTS = 5
_TURNS, _QUIET_TURNS = 40, 20
_PICTURES = 2500


def startup_s(folder: Path) -> Figure:
    """From the start of the process to a page with its title, in a browser that is open already."""
    workspace(folder).close()
    took, answered = [], []
    with chromium() as browser:
        for _ in range(_STARTS + 1):
            start = time.perf_counter()
            address, process = launch(folder)
            try:
                wait_until_it_answers(address, process, every=0.05)
                answered.append(time.perf_counter() - start)
                page = browser.new_page()
                page.goto(address, wait_until="commit")
                page.locator("h1").first.wait_for(timeout=60_000)
                took.append(time.perf_counter() - start)
                mapped = {Path(item.path).name for item in psutil.Process(process.pid).memory_maps()}
                assert not any("libtorch" in name for name in mapped), "torch was loaded for the first page"
                page.close()
            finally:
                end(process)
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
    seen, busy = made_function(ws, 20_000, pictures=400, dimension=512), empty_function(ws, "Busy")
    # Large enough for views at full size: four times the work of a small one.
    pictures = photographs(_PICTURES, side=400)
    add_images(ws, busy, [(f"{i}.jpg", data, LABELS[i % 2]) for i, data in enumerate(pictures)])
    function_backbone(ws, busy)  # the precision is measured now and not during the embedding
    took: list[float] = []
    with server(folder) as (address, _), review_page(address, seen.id) as page:
        quiet = [1000 * turn(page) for _ in range(_QUIET_TURNS)]
        request_build(ws, busy.id)
        while not _embedding(ws, busy.id):
            time.sleep(0.1)
        while len(took) < _TURNS and _embedding(ws, busy.id):
            took.append(1000 * turn(page))
    ws.close()
    assert len(took) >= _TURNS // 2, f"the embedding was done after {len(took)} pages"
    return Figure(
        "page_busy_ms",
        "next page of Review in Chromium, until all tiles in sight have pictures, while the server embeds, "
        "95th percentile",
        statistics.quantiles(took, n=20)[-1],
        "ms",
        700,
        at_least=False,
        measurements={
            "median, max": [statistics.median(took), max(took)],
            "without embedding, median, max": [statistics.median(quiet), max(quiet)],
        },
        note=f"{len(took)} pages; the browser shares the cores with the server.",
    )


def _embedding(ws: Workspace, function_id: str) -> bool:
    return any(job.phase == "embed" and job.done > 0 for job in jobs.list_jobs(ws.db, function_id))
