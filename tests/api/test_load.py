"""Hundreds of samples by ten connections: none lost, none twice, one model, and pages all the while."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests

from detector.storage import jobs
from tests.api.server import Caller, Server
from tests.factories import LABELS, make_image

CONNECTIONS = 10
SAMPLES = 400
SIDE = 32
#: From the last sample to the live model it takes about 20 s of two slow cores; by then, something hangs.
HANGS_SECONDS = 200


@pytest.mark.long
@pytest.mark.slow
def test_hundreds_of_samples_by_ten_connections(tmp_path: Path) -> None:
    server = Server(tmp_path, {"DETECTOR_BACKBONE": "efficientnet-lite0"})
    try:
        caller = server.caller()
        path = caller.create_function("Load")
        work = [(make_image(seed, label, SIDE), label) for seed in range(SAMPLES // 2) for label in LABELS]
        local = threading.local()

        def post(item: tuple[bytes, str]) -> requests.Response:
            if not hasattr(local, "caller"):
                local.caller = Caller(server.address, caller.token)
            return local.caller.post_image(path, item[0], item[1])

        waits: list[float] = []
        finished = threading.Event()

        def look_at_the_dashboard() -> None:
            while not finished.wait(0.5):
                start = time.monotonic()
                assert requests.get(f"{server.address}/", timeout=60).status_code == 200
                assert requests.get(f"{server.address}/_stcore/health", timeout=60).text == "ok"
                waits.append(time.monotonic() - start)

        with ThreadPoolExecutor(CONNECTIONS) as pool, ThreadPoolExecutor(1) as other:
            looking = other.submit(look_at_the_dashboard)
            start = time.monotonic()
            answers = list(pool.map(post, work))
            posting = time.monotonic() - start
            finished.set()
            looking.result()

        assert {answer.status_code for answer in answers} == {200}
        ids = {answer.json()["id"] for answer in answers}
        assert len(ids) == SAMPLES
        start, start_cpu = time.monotonic(), server.cpu_seconds
        while caller.state(path) == "NeedsData":
            assert time.monotonic() - start < HANGS_SECONDS, caller.metrics(path)
            time.sleep(0.5)
        live, live_cpu = time.monotonic() - start, server.cpu_seconds - start_cpu
        metrics = caller.wait_until_trained(path)
        assert metrics["sampleCount"] == SAMPLES
        assert metrics["annotatedLabelCounts"] == dict.fromkeys(LABELS, SAMPLES // 2)

        listed, address = [], f"{path}/samples?batchSize=1000"
        while address:
            page = caller.get(address)
            listed += [sample["id"] for sample in page.json()]
            address = page.links.get("next", {}).get("url", "")
        assert len(listed) == SAMPLES
        assert set(listed) == ids

        # Pieces of embedding while they came, and one training.
        ran = jobs.list_jobs(server.workspace.db, active=False, limit=1000)
        trainings = [job for job in ran if job.payload == {}]
        assert len(trainings) == 1
        assert len(ran) - len(trainings) <= 60
        # Pages took their turn: none waited until the samples were through, and most came at once.
        assert len(waits) >= 4
        assert max(waits) < posting / 2
        assert np.median(waits) < posting / 10
        print(
            f"posted in {posting:.1f} s ({SAMPLES / posting:.0f}/s); live {live:.1f} s after the last one "
            f"({live_cpu:.1f} s of processor time); "
            f"{len(ran) - len(trainings)} pieces of embedding; dashboard median {np.median(waits):.2f} s, "
            f"longest {max(waits):.2f} s"
        )
    finally:
        server.stop()
    assert "Traceback" not in server.log, server.log
