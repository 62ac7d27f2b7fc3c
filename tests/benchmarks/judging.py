"""What a thousand pictures in one go take of the process that judges them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil

from detector.evidence.runs import read_run
from detector.pipeline.build import build
from detector.storage import invoke_runs
from detector.worker.supervisor import Supervisor
from detector.workspace import Workspace
from tests.benchmarks.figure import Figure
from tests.factories import labelled_function, make_image, workspace
from tests.memory_watch import MemoryWatch
from tests.runs import given, photograph

PHOTOGRAPHS = 1000
_SECONDS_BETWEEN_LOOKS = 0.05


def run_growth_mb(folder: Path) -> Figure:
    """An archive of photographs, judged by the background process that a server starts."""
    settings = {"DETECTOR_PRECISION": "float32", "DETECTOR_BACKBONE": "efficientnet-lite0", "DETECTOR_COPIES": "0"}
    os.environ.update(settings | {"DETECTOR_DATA_DIR": str(folder)})
    ws = workspace(folder)
    function = labelled_function(ws, 12)
    build(ws, function.id)
    keeper = Supervisor(ws)
    keeper.start()
    try:
        # The first picture brings the libraries and the network.
        _wait(ws, given(ws, function.id, {"small.png": make_image(1)}))
        [worker] = [child for child in psutil.Process().children() if "worker" in child.cmdline()]
        files = {f"roll {n % 7}/{n:04}.jpg": photograph(1000 + n) for n in range(PHOTOGRAPHS)}
        start = time.monotonic()
        with MemoryWatch(worker.pid, _SECONDS_BETWEEN_LOOKS) as memory:
            run_id = given(ws, function.id, files, "thousand.zip")
            _wait(ws, run_id)
        seconds = time.monotonic() - start
        judged = [picture.file_name for picture in read_run(ws, run_id).pictures if picture.scores]
        assert judged == sorted(files), "a picture is missing"
    finally:
        keeper.stop()
        ws.close()
    return Figure(
        "run_growth_mb",
        "growth of the background process that judges 1,000 photographs of 2 megapixels in one go, offline backbone",
        memory.grown,
        "MB",
        300,
        at_least=False,
        measurements={"before, MB": [memory.before / 1e6], "seconds": [seconds]},
        note="All 1,000 have a verdict.",
    )


def _wait(ws: Workspace, run_id: str) -> None:
    while invoke_runs.get_run(ws.db, run_id).state != "done":
        time.sleep(_SECONDS_BETWEEN_LOOKS)
