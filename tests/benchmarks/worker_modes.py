"""What a worker of its own process gives and costs: the same work with the jobs there and in threads of the server."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import httpx
import numpy as np
import psutil

from detector.jobs import request_build, request_retraining
from detector.pipeline.build import build
from detector.storage import annotating, functions, jobs, keys, samples
from detector.storage.functions import Function
from detector.workspace import Workspace
from tests.benchmarks.figure import Figure
from tests.benchmarks.photographs import photographs
from tests.benchmarks.server import review_page, server, turn
from tests.factories import LABELS, add_images, empty_function, label_ids, workspace
from tests.made_samples import made_function

PROCESS, INSIDE = "process", "inside"
#: Each mode twice, in turns: what else happens on the machine meets both.
_TURNS = (INSIDE, PROCESS, INSIDE, PROCESS)
_REVIEWED, _LARGE, _SMALL = 20_000, 1500, 300
_PAGES, _QUIET_PAGES = 16, 10
_RETRAININGS, _RELABELLED = 5, 10
_CALLERS, _CALLS_AT_ONCE, _MOST_CALLS = 4, 16, 160
_LONGEST_RETRAINING = 60.0


@dataclass
class _Side:
    """What one mode took, over its turns."""

    page_ms: list[float] = field(default_factory=list)
    quiet_page_ms: list[float] = field(default_factory=list)
    retrain_s: list[float] = field(default_factory=list)
    invokes_a_second: list[float] = field(default_factory=list)
    server_mb: list[float] = field(default_factory=list)
    worker_mb: list[float] = field(default_factory=list)

    def named(self, mode: str) -> dict[str, list[float]]:
        """Its measurements as they stand in the report."""
        return {
            f"{mode}, page, median, p95, ms": [statistics.median(self.page_ms), _p95(self.page_ms)],
            f"{mode}, page without embedding, median, ms": [statistics.median(self.quiet_page_ms)],
            f"{mode}, retraining, median, s": [statistics.median(self.retrain_s)],
            f"{mode}, invokes/s beside embedding": self.invokes_a_second,
            f"{mode}, memory of the server, MB": self.server_mb,
            f"{mode}, memory of the worker, MB": self.worker_mb,
        }


def worker_modes_ratio(folder: Path) -> Figure:
    """Pages, retrainings and invokes while images are embedded, once with each kind of worker, in turns."""
    large, small = photographs(_LARGE, side=400), photographs(_SMALL, seed=3)
    sides = {INSIDE: _Side(), PROCESS: _Side()}
    for place, mode in enumerate(_TURNS):
        _measure(folder / str(place), mode, large, small, sides[mode])
    return Figure(
        "worker_modes_ratio",
        "next page of Review in Chromium while images are embedded, 95th percentile: jobs in a process of their own / "
        "in threads of the server",
        _p95(sides[PROCESS].page_ms) / _p95(sides[INSIDE].page_ms),
        "x",
        1,
        at_least=False,
        measurements=sides[INSIDE].named(INSIDE) | sides[PROCESS].named(PROCESS),
        note=f"{len(sides[PROCESS].page_ms)} pages beside {len(sides[INSIDE].page_ms)}. A retraining begins with "
        f"{_RELABELLED} labels given and ends with a live model, the worker's look into the queue included. Memory is "
        "resident, at the end of a turn. The browser and the callers share the cores with the server.",
    )


def _measure(folder: Path, mode: str, large: Sequence[bytes], small: Sequence[bytes], side: _Side) -> None:
    ws = workspace(folder)
    reviewed = made_function(ws, _REVIEWED, pictures=400, dimension=512)
    trained, busy = _with_images(ws, "Trained", small), _with_images(ws, "Busy", large)
    build(ws, trained.id)
    key = keys.create_key(ws.db, "Benchmark")
    settings = {"DETECTOR_WORKER": mode, "DETECTOR_PRECISION": "float32", "DETECTOR_RETRAIN_DELAY": "0"}
    with server(folder, **settings) as (address, process), httpx.Client(base_url=address, timeout=60) as caller:
        form = {"client_id": key.id, "client_secret": key.secret, "grant_type": "client_credentials"}
        token = caller.post("/connect/token", data=form).json()["access_token"]
        caller.headers["Authorization"] = f"Bearer {token}"
        # The first one loads the backbone.
        _invoke(caller, trained, small[0])
        side.retrain_s += [_retrain(ws, trained, number) for number in range(_RETRAININGS)]
        with review_page(address, reviewed.id) as page:
            side.quiet_page_ms += [1000 * turn(page) for _ in range(_QUIET_PAGES)]
            request_build(ws, busy.id)
            while not _embedding(ws, busy):
                assert jobs.list_jobs(ws.db, busy.id), "the embedding was done before the first page"
                time.sleep(0.1)
            turned = 0
            while turned < _PAGES and _embedding(ws, busy):
                side.page_ms.append(1000 * turn(page))
                turned += 1
        side.invokes_a_second += _invokes_beside_embedding(ws, busy, trained, caller, small)
        side.server_mb.append(_resident_mb(process))
        side.worker_mb += [_resident_mb(child) for child in process.children()]
    ws.close()


def _with_images(ws: Workspace, name: str, pictures: Sequence[bytes]) -> Function:
    function = empty_function(ws, name)
    add_images(ws, function, [(f"{i}.jpg", data, LABELS[i % 2]) for i, data in enumerate(pictures)])
    return function


def _retrain(ws: Workspace, function: Function, number: int) -> float:
    """Seconds from labels given to the model that follows."""
    before = functions.get_function(ws.db, function.id).live_model_id
    rows = [row.sample_id for row in samples.training_rows(ws.db, function.id)]
    label = list(label_ids(ws, function).values())[number % 2]
    start = time.perf_counter()
    annotating.annotate(ws.db, rows[_RELABELLED * number : _RELABELLED * (number + 1)], label)
    request_retraining(ws, function.id)
    while functions.get_function(ws.db, function.id).live_model_id == before:
        assert time.perf_counter() - start < _LONGEST_RETRAINING, "no new model came"
        time.sleep(0.01)
    return time.perf_counter() - start


def _invokes_beside_embedding(
    ws: Workspace, busy: Function, trained: Function, caller: httpx.Client, pictures: Sequence[bytes]
) -> list[float]:
    """Invokes a second for as long as images are embedded; nothing where that is over already."""
    start, done = time.perf_counter(), 0
    numbers = count()
    with ThreadPoolExecutor(_CALLERS) as pool:
        while done < _MOST_CALLS and _embedding(ws, busy):
            asked = [pictures[next(numbers) % len(pictures)] for _ in range(_CALLS_AT_ONCE)]
            list(pool.map(lambda data: _invoke(caller, trained, data), asked))
            done += _CALLS_AT_ONCE
    return [done / (time.perf_counter() - start)] if done else []


def _invoke(caller: httpx.Client, function: Function, data: bytes) -> None:
    answer = caller.post(f"/v1/functions/function_{function.id}/invoke", files={"data": data})
    assert answer.status_code == 200, answer.text


def _embedding(ws: Workspace, function: Function) -> bool:
    return any(job.phase == "embed" and job.done > 0 for job in jobs.list_jobs(ws.db, function.id))


def _resident_mb(process: psutil.Process) -> float:
    return process.memory_info().rss / 1e6


def _p95(values: Sequence[float]) -> float:
    return float(np.percentile(values, 95))
