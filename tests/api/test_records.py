"""``explain=true`` and ``keep=true`` of an invoke, and the records that follow from them, over the API."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import text

from detector.pipeline.build import build
from tests.api.server import SETTINGS, Caller, Server
from tests.factories import labelled_function, make_image
from tests.made_evidence import HOSTILE

pytestmark = pytest.mark.slow

PICTURE = make_image(900)


def invoke(caller: Caller, path: str, query: str = "", name: str = "seen.png", data: bytes = PICTURE) -> Any:
    answer = caller.post(f"{path}/invoke{query}", files={"data": (name, data)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def keep(caller: Caller, path: str, data: bytes = PICTURE, name: str = "seen.png") -> str:
    return str(invoke(caller, path, "?explain=true&keep=true", name, data)["recordId"])


@pytest.fixture
def none_kept(server: Server, trained: str) -> str:
    function_id = trained.rsplit("_", 1)[1]
    with server.workspace.db.write() as connection:
        connection.execute(text("DELETE FROM records WHERE function_id = :id"), {"id": function_id})
    return trained


def test_explain_adds_evidence_and_leaves_the_contracts_fields_as_they_are(caller: Caller, none_kept: str) -> None:
    alone = invoke(caller, none_kept, "?labelCount=2&includeMetadata=true")
    explained = invoke(caller, none_kept, "?labelCount=2&includeMetadata=true&explain=true")
    evidence = explained.pop("evidence")
    assert explained == alone
    assert evidence["file"] == "seen.png"
    assert evidence["model"]["version"] == 1
    assert [item["labelName"] for item in evidence["labelConfidences"]] == [
        item["labelName"] for item in alone["labelConfidences"]
    ]
    assert evidence["blindSpots"]
    text = json.dumps(evidence)
    assert not [empty for empty in ("null", '""', "{}", "[]") if empty in text]
    assert "evidence" not in alone
    assert caller.get(f"{none_kept}/records").json() == []


def test_keep_keeps_a_record_once_with_one_id(caller: Caller, none_kept: str) -> None:
    answer = invoke(caller, none_kept, "?explain=true&keep=true")
    record_id = answer["recordId"]
    assert record_id.startswith("record_")
    assert keep(caller, none_kept) == record_id
    found = caller.get(f"{none_kept}/records/{record_id}").json()
    assert found["id"] == record_id
    assert found["door"] == "api"
    kept = {name: value for name, value in found["evidence"].items() if name != "known"}
    assert kept == {name: value for name, value in answer["evidence"].items() if name != "known"}
    assert caller.get(f"{none_kept}/records/{record_id.removeprefix('record_')}").json() == found


def test_keep_without_explain_is_a_400_that_says_so(caller: Caller, none_kept: str) -> None:
    answer = caller.post(f"{none_kept}/invoke?keep=true", files={"data": PICTURE})
    assert answer.status_code == 400
    assert "explain=true" in answer.json()["message"]


def test_a_bad_image_and_no_model_are_answered_as_without_explain(caller: Caller, none_kept: str) -> None:
    assert caller.post(f"{none_kept}/invoke?explain=true&keep=true", files={"data": b"no"}).status_code == 400
    empty = caller.create_function("Empty")
    assert caller.post(f"{empty}/invoke?explain=true", files={"data": PICTURE}).status_code == 409
    assert caller.post(f"{none_kept}/invoke?explain=true&modelId=ab", files={"data": PICTURE}).status_code == 404
    assert caller.get(f"{none_kept}/records").json() == []


def test_records_come_in_pages_from_the_newest_on(caller: Caller, none_kept: str) -> None:
    ids = [keep(caller, none_kept, make_image(seed), f"file {seed}.png") for seed in (901, 902, 903, 904, 905)]
    path, found = f"{none_kept}/records?batchSize=2", []
    while path:
        answer = caller.get(path)
        found += [record["id"] for record in answer.json()]
        path = answer.links["next"]["url"] if "next" in answer.links else ""
        assert path.startswith("/v1/") or not path
    assert found == ids[::-1]
    assert [item["id"] for item in caller.get(f"{none_kept}/records?search=file+903").json()] == [ids[2]]


@pytest.mark.parametrize("after", ["x", "1e999_ab", "_", "1_", "1_..", "-1_ab", "nan_ab"])
def test_a_page_that_begins_nowhere_is_a_400(caller: Caller, none_kept: str, after: str) -> None:
    assert caller.get(f"{none_kept}/records", params={"after": after}).status_code == 400


def test_a_record_is_deleted_and_is_no_other_functions(caller: Caller, none_kept: str) -> None:
    record_id = keep(caller, none_kept)
    other = caller.create_function("Other")
    for method, path in (("GET", ""), ("GET", "/report"), ("DELETE", "")):
        answer = caller.request(method, f"{other}/records/{record_id}{path}")
        assert answer.status_code == 404
        assert "record" in answer.json()["message"]
    assert caller.delete(f"{none_kept}/records/{record_id}").json() == {"id": record_id}
    assert caller.delete(f"{none_kept}/records/{record_id}").status_code == 404
    assert caller.get(f"{none_kept}/records/{record_id}/report").status_code == 404


def test_the_report_is_a_file_that_no_browser_runs_anything_of(caller: Caller, none_kept: str) -> None:
    record_id = keep(caller, none_kept, name=HOSTILE.replace("\n", "").replace("\x00", ""))
    answer = caller.get(f"{none_kept}/records/{record_id}/report")
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.headers["Content-Disposition"].startswith("attachment; filename=")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "<script" not in answer.text
    assert "data:image/jpeg;base64," in answer.text


@pytest.mark.parametrize("path", ["", "/record_ab", "/record_ab/report"])
def test_records_need_a_token(server: Server, none_kept: str, path: str) -> None:
    assert requests.get(f"{server.address}{none_kept}/records{path}", timeout=120).status_code == 401


def test_the_document_describes_evidence_and_records(caller: Caller) -> None:
    document = caller.get("/v1/openapi.json").json()
    invoked = document["paths"]["/v1/functions/{functionId}/invoke"]["post"]
    assert {"explain", "keep"} <= {parameter["name"] for parameter in invoked["parameters"]}
    schemas = document["components"]["schemas"]
    assert {"stability", "nearest", "provenance", "blindSpots"} <= schemas["EvidenceResponse"]["properties"].keys()
    batch = document["paths"]["/v1/functions/{functionId}/invoke/batch"]["post"]
    assert "explain" not in {parameter["name"] for parameter in batch["parameters"]}
    assert "/v1/functions/{functionId}/records/{recordId}/report" in document["paths"]


@pytest.mark.long
@pytest.mark.slow
def test_those_who_ask_for_explanations_leave_places_for_the_others(tmp_path: Path) -> None:
    """Of four places one may explain: each explanation asks the network several times."""
    server = Server(tmp_path, {**SETTINGS, "DETECTOR_INVOKE_PLACES": "4"})
    try:
        caller = server.caller()
        function = labelled_function(server.workspace, 2)
        assert build(server.workspace, function.id).trained
        path = f"/v1/functions/{function.id}"
        large = make_image(7, size=1500)

        def explain(_: int) -> requests.Response:
            another = Caller(server.address, caller.token)
            return another.post(f"{path}/invoke?explain=true", files={"data": large})

        with ThreadPoolExecutor(8) as pool:
            explained = [pool.submit(explain, number) for number in range(8)]
            plain = [caller.post(f"{path}/invoke", files={"data": PICTURE}).status_code for _ in range(10)]
            answers = [future.result() for future in explained]
        assert set(plain) == {200}
        assert {answer.status_code for answer in answers} == {200, 429}
        busy = [answer for answer in answers if answer.status_code == 429]
        assert all("explain=true" in answer.json()["message"] for answer in busy)
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in busy)
    finally:
        server.stop()
