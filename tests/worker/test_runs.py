"""Many pictures judged by the real background process: killed in the middle, and an archive in one go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from detector.evidence.judge_run import STEP
from detector.evidence.run_report import run_csv, run_html
from detector.evidence.runs import Order, read_run
from detector.jobs import INVOKE
from detector.pipeline.build import build
from detector.storage import functions, invoke_runs, jobs
from detector.worker.supervisor import Supervisor
from detector.workspace import Workspace
from tests.factories import labelled_function, make_image, workspace
from tests.memory_watch import MemoryWatch
from tests.runs import given, photograph

pytestmark = [pytest.mark.slow, pytest.mark.long]

#: Pictures of the archive; decoded they would be 860 MB at once.
PHOTOGRAPHS = 150
#: Further memory that they may take of the process, in megabytes.
MOST_GROWTH = 300


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A data folder which processes that are started here open as well."""
    settings = {"DETECTOR_PRECISION": "float32", "DETECTOR_BACKBONE": "efficientnet-lite0", "DETECTOR_COPIES": "0"}
    for name, value in {**settings, "DETECTOR_DATA_DIR": str(tmp_path / "data")}.items():
        monkeypatch.setenv(name, value)
    opened = workspace(tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture
def function_id(ws: Workspace) -> str:
    function = labelled_function(ws, 12)
    assert build(ws, function.id).trained
    return function.id


@pytest.fixture
def keeper(ws: Workspace, function_id: str) -> Iterator[Supervisor]:
    keeper = Supervisor(ws)
    keeper.start()
    yield keeper
    keeper.stop()


def _until(holds: Callable[[], object], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def _worker() -> psutil.Process:
    children = psutil.Process().children()
    [found] = [one for one in children if one.status() != psutil.STATUS_ZOMBIE and "worker" in one.cmdline()]
    return found


def test_a_killed_worker_goes_on_with_the_pictures_that_are_left(
    ws: Workspace, function_id: str, keeper: Supervisor
) -> None:
    files = {f"{n:03}.png": make_image(3000 + n, size=300) for n in range(4 * STEP)}
    run_id = given(ws, function_id, files)
    _until(lambda: invoke_runs.count_pictures(ws.db, run_id) >= STEP)
    killed = _worker()
    killed.kill()
    before = invoke_runs.stored_pictures(ws.db, run_id)
    assert len(before) < len(files)
    _until(lambda: invoke_runs.get_run(ws.db, run_id).state == "done")
    after = invoke_runs.stored_pictures(ws.db, run_id)
    assert [picture.file_name for picture in after] == sorted(files)
    assert [picture for picture in after if picture.position < len(before)][: len(before)] == before
    [job] = [job for job in jobs.list_jobs(ws.db, function_id, active=False) if job.kind == INVOKE]
    assert job.crashes == 1
    assert _worker().pid != killed.pid


def test_many_photographs_in_one_go_are_complete_and_take_little_memory(
    ws: Workspace, function_id: str, keeper: Supervisor
) -> None:
    # The first picture brings the libraries and the network.
    small = given(ws, function_id, {"small.png": make_image(1)})
    _until(lambda: invoke_runs.get_run(ws.db, small).state == "done")
    worker = _worker()
    start = time.monotonic()
    files = {f"roll {n % 7}/{n:04}.jpg": photograph(1000 + n) for n in range(PHOTOGRAPHS)}
    with MemoryWatch(worker.pid, 0.05) as memory:
        run_id = given(ws, function_id, files, "many.zip")
        _until(lambda: invoke_runs.get_run(ws.db, run_id).state == "done")
    seconds = time.monotonic() - start
    assert _worker().pid == worker.pid
    run = read_run(ws, run_id)
    assert [picture.file_name for picture in run.pictures] == sorted(files)
    assert all(picture.scores and not picture.problem for picture in run.pictures)
    assert len(invoke_runs.thumbnails(ws.db, run_id, range(PHOTOGRAPHS))) == PHOTOGRAPHS
    assert run_csv(ws, run_id).count(b"\r\n") == PHOTOGRAPHS + 1
    assert run_html(ws, run_id).count("<img ") == PHOTOGRAPHS
    assert run.select(Order.SUREST)[0].confidence == max(picture.confidence for picture in run.pictures)
    print(f"{seconds:.0f} s, growth {memory.grown:.0f} MB of {memory.before / 1e6:.0f} MB")
    assert memory.grown < MOST_GROWTH
    assert functions.get_function(ws.db, function_id).live_model_id == run.run.model_id
