"""The server with little room on its disk and with its log as JSON: what pages, callers and readers of the log see."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from starlette.testclient import TestClient

from detector.api.app import api_app, stop_api
from detector.api.authentication import issue_token
from detector.jobs import IMPORT
from detector.storage import jobs, keys, samples
from detector.system.counters import counted
from detector.web.requests_seen import RequestsSeen
from detector.workspace import Workspace
from tests.api.server import SETTINGS, Server
from tests.factories import empty_function, make_image, workspace
from tests.page_app import opened_by_pages, page, words

pytestmark = pytest.mark.slow


def more_than_there_is(folder: Path) -> int:
    return shutil.disk_usage(folder).total // 1_000_000


@contextmanager
def calling(ws: Workspace) -> Iterator[TestClient]:
    app = api_app(ws)
    key = keys.create_key(ws.db, "Tests")
    headers = {"Authorization": f"Bearer {issue_token(ws.db, key.id)}"}
    with TestClient(RequestsSeen(app), headers=headers) as client:
        yield client
    stop_api(app)


def post(client: TestClient, function_id: str, seed: int, request_id: str = "r-1") -> tuple[int, dict[str, str]]:
    answer = client.post(
        f"/v1/functions/{function_id}/samples",
        files={"data": ("x.png", make_image(seed))},
        headers={"X-Request-ID": request_id},
    )
    assert answer.headers["x-request-id"] == request_id
    return answer.status_code, answer.json()


def test_the_api_says_507_where_little_room_is_left_and_goes_on_deleting(tmp_path: Path) -> None:
    with_room = workspace(tmp_path)
    function = empty_function(with_room)
    with calling(with_room) as client:
        status, sample = post(client, function.id, 1)
        assert status == 200
    ws = workspace(tmp_path, min_free_mb=more_than_there_is(tmp_path))
    before = {labels["kind"]: number for labels, number in counted("errors")}
    with calling(ws) as client:
        status, refused = post(client, function.id, 2)
        assert status == 507
        # As before the setting: a message and nothing else.
        assert list(refused) == ["message"]
        assert "DETECTOR_MIN_FREE_MB" in refused["message"]
        assert str(tmp_path) not in refused["message"]
        assert client.delete(f"/v1/functions/{function.id}/samples/{sample['id']}").status_code == 200
    assert samples.count_samples(ws.db, function.id) == 0
    after = {labels["kind"]: number for labels, number in counted("errors")}
    assert after["TooLittleRoom"] == before.get("TooLittleRoom", 0) + 1


def test_with_the_log_as_json_an_error_of_the_api_names_its_request(tmp_path: Path) -> None:
    ws = workspace(tmp_path, log="json")
    with calling(ws) as client:
        status, refused = post(client, "0123456789abcdef", 1, "mine-7")
    assert status == 404
    assert refused["request_id"] == "mine-7"


def test_the_import_page_says_that_little_room_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTOR_MIN_FREE_MB", str(more_than_there_is(tmp_path)))
    with opened_by_pages(tmp_path / "data", monkeypatch) as ws:
        function = empty_function(ws)
        assert "are kept free for labels" in words(page("import_images.py", function.id))
        monkeypatch.setenv("DETECTOR_MIN_FREE_MB", "1")
    with opened_by_pages(tmp_path / "data", monkeypatch):
        assert "are kept free for labels" not in words(page("import_images.py", function.id))


@pytest.mark.long
def test_server_and_worker_write_json_alone_and_their_lines_name_request_and_job(tmp_path: Path) -> None:
    room = {"DETECTOR_LOG": "json", "DETECTOR_MIN_FREE_MB": str(more_than_there_is(tmp_path))}
    server = Server(tmp_path, {**SETTINGS, **room})
    try:
        ws = server.workspace
        function = empty_function(ws)
        job = jobs.enqueue(ws.db, function.id, IMPORT, {"batch": "x"})
        deadline = time.monotonic() + 300
        while "MB left" not in jobs.get_job(ws.db, job).message:
            assert time.monotonic() < deadline, server.log
            time.sleep(0.1)
        assert jobs.get_job(ws.db, job).state == "queued"
        caller = server.caller()
        refused = caller.post_image(f"/v1/functions/{function.id}", make_image(1))
        assert refused.status_code == 507
        assert refused.json()["request_id"] == refused.headers["x-request-id"]
        assert requests.put(f"{server.address}/uploads/none", data=b"x", timeout=120).status_code == 403
        assert requests.get(f"{server.address}/readyz", timeout=120).json()["ready"]
    finally:
        server.stop()
    # Streamlit's greeting comes before.
    lines = [json.loads(line) for line in server.log.splitlines() if line.strip() and not line.startswith("  ")]
    assert [line for line in lines if line.get("job_id") == job and "waits" in line["message"]]
    mine = [line for line in lines if line.get("request_id") == refused.json()["request_id"]]
    assert [(line["route"], line["status"]) for line in mine if "route" in line] == [("api", 507)]
    # What was refused is said with its request, too.
    assert [line for line in mine if "MB left" in line["message"]]
    assert "/uploads/none" not in server.log
