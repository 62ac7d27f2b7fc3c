"""The Metrics page of a function whose files give the label away: the warning, its cure, and what is left after it."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from detector.jobs import EVALUATE, request_build
from detector.storage import functions, jobs
from tests.browser.conftest import Server
from tests.factories import add_images, make_image

if TYPE_CHECKING:
    from tests.browser.dashboard import Dashboard

pytestmark = pytest.mark.browser


def jpeg(data: bytes) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(data)).save(file, "JPEG", quality=95)
    return file.getvalue()


@pytest.mark.long
def test_a_shortcut_is_shouted_and_can_be_normalised_away(dashboard: Dashboard, server: Server) -> None:
    ws = server.workspace
    function_id = dashboard.create_function("Leaky")
    function = functions.get_function(ws.db, function_id)
    real = [(f"r{seed}.jpg", jpeg(make_image(seed, "real", 96)), "real") for seed in range(10)]
    made = [(f"s{seed}.png", make_image(seed, "synthetic", 80), "synthetic") for seed in range(10)]
    add_images(ws, function, [*real, *made])
    request_build(ws, function_id)

    dashboard.open("Metrics")
    dashboard.wait_for_model(1)
    dashboard.sees_no_progress()
    dashboard.sees("Be careful: file properties alone reveal the label.", "file format", "10 of 10", "ROC AUC 1.00")
    dashboard.sees(
        "This score cannot be trusted yet", "After re-saving, resizing or messaging", "messenger", "20 images each"
    )
    assert "but the files reveal the label" in dashboard.sidebar.inner_text()
    dashboard.press("Why does this matter?")
    dashboard.page.get_by_text("A model learns whatever tells the labels apart").wait_for()
    dashboard.reload()
    dashboard.press("Normalise and retrain")
    dashboard.wait_for_model(2)
    dashboard.sees_no_progress()
    dashboard.sees("Images are normalised before this model sees them", "Before (model 1)", "After (model 2)")
    dashboard.resize(420, 900)
    dashboard.fits_in(420)
    dashboard.press("Use the images as imported again")
    dashboard.wait_for_model(3)


#: From a click in the sidebar to a page that is drawn to its end, beside what it takes with nothing else to do.
MOST_TIMES_IDLE = 8


@pytest.mark.long
@pytest.mark.slow
def test_pages_stay_usable_while_an_audit_runs(dashboard: Dashboard, server: Server) -> None:
    ws = server.workspace
    function_id = dashboard.create_function("Busy")
    function = functions.get_function(ws.db, function_id)
    add_images(
        ws,
        function,
        [
            (f"{label}{seed}.png", make_image(seed, label, 96), label)
            for seed in range(45)
            for label in ("real", "synthetic")
        ],
    )
    request_build(ws, function_id)
    deadline = time.monotonic() + 300
    while not any(job.kind == EVALUATE and job.state == "running" for job in jobs.list_jobs(ws.db, function_id)):
        assert time.monotonic() < deadline
        time.sleep(0.1)

    def slowest() -> float:
        took = []
        for title in ("Review", "Metrics", "Invoke", "Import", "Review"):
            start = time.monotonic()
            dashboard.open(title)
            took.append(time.monotonic() - start)
        return max(took)

    busy = slowest()
    (job,) = [job for job in jobs.list_jobs(ws.db, function_id) if job.kind == EVALUATE]
    if job.state != "running":
        pytest.skip("this machine was through with the audit before the last page was drawn")
    deadline = time.monotonic() + 600
    while jobs.list_jobs(ws.db, function_id):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    idle = slowest()
    assert busy < MOST_TIMES_IDLE * idle, (busy, idle)
