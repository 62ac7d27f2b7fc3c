"""The clock is set while a real server runs: forward an hour and back, and nothing waits for it or is refused."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
import requests

from detector.gallery.selection import Gallery
from detector.jobs import BUILD
from detector.storage import jobs, models, samples
from detector.web.signing import upload_token
from tests.api.server import SETTINGS, Server
from tests.factories import images

pytestmark = [pytest.mark.slow, pytest.mark.long]

HOUR = 3600


def _library() -> Path:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")) if shutil.which("faketime") else []
    if not found:
        pytest.skip("faketime is not installed")
    return found[0]


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """What the server's clock reads, as libfaketime takes it: "+0", "+3600"."""
    path = tmp_path / "clock"
    path.write_text(f"+{HOUR}\n", encoding="ascii")
    return path


def test_the_clock_goes_back_an_hour_under_a_server(tmp_path: Path, clock: Path) -> None:
    """Kind: after the clock went back a build waited for 3,580 s, tokens were refused, and every label was "newer"."""
    faked = {
        "LD_PRELOAD": str(_library()),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        # Only what the clock on the wall says: waiting goes by another one.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    server = Server(tmp_path, {**SETTINGS, **faked, "DETECTOR_RETRAIN_DELAY": "8"})
    try:
        caller = server.caller()
        path = caller.create_function()
        for name, data, label in images(4):
            assert caller.post_image(path, data, label, externalId=name).status_code == 200
        ws = server.workspace
        function_id = path.rpartition("/")[2].removeprefix("function_")
        waiting = [job for job in jobs.list_jobs(ws.db) if job.kind == BUILD]
        assert max(job.run_after for job in waiting) > time.time() + HOUR

        clock.write_text("+0\n", encoding="ascii")
        # The server reads its clock anew each second.
        time.sleep(2)
        # The token from an hour ahead is good still.
        assert caller.get(f"{path}/samples").status_code == 200
        upload = f"{server.address}/uploads/{upload_token(ws.db)}"
        assert requests.put(upload, data=b"PK", timeout=120).status_code == 200
        metrics = caller.wait_until_trained(path, 100)
        assert metrics["sampleCount"] == 8
        model = models.list_models(ws.db, function_id)[0]
        assert Gallery(ws, function_id).changed_since == 0, "labels of before the change of the clock count as newer"

        # And what is changed now is newer than the model, though the clock says otherwise.
        ids = [sample.id for sample in samples.find_samples(ws.db, function_id, sort=samples.Sort.OLDEST)]
        wanted = f"{path}/samples/{ids[0]}/annotation"
        now_real = samples.get_samples(ws.db, ids[:1])[0].label_id
        label = next(item for item in caller.get(f"{path}/labels").json() if not item["id"].endswith(str(now_real)))
        assert caller.put(wanted, json={"labelName": label["name"]}).status_code == 200
        assert models.list_models(ws.db, function_id)[0].id == model.id
        assert Gallery(ws, function_id).changed_since == 1
    finally:
        server.stop()
