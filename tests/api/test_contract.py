"""Every rule of the contract, over real HTTP against the real server."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
import socket
import subprocess
import sys
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urljoin, urlsplit

import numpy as np
import pytest
import requests
from PIL import Image
from sqlalchemy import text

from detector.api.examples import Examples
from detector.pipeline.build import build
from detector.storage import calls, keys
from tests.api.server import CUT_OFF, Caller, Server
from tests.app_server import CHECKOUT
from tests.factories import LABELS, labelled_function, make_image, png

pytestmark = pytest.mark.slow

ABSENT = (None, {}, "")


def data_uri(data: bytes, media_type: str = "image/jpg") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def assert_error(answer: requests.Response, status: int) -> str:
    """An error as the contract wants it; returns its sentence."""
    assert answer.status_code == status, answer.text
    message = answer.json()["message"]
    assert message
    assert "Traceback" not in answer.text
    assert str(CHECKOUT) not in answer.text
    assert "/tmp" not in answer.text
    return str(message)


def assert_nothing_absent(node: Any) -> None:
    """No null, {} or "" anywhere; empty lists are lists without members."""
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        assert value not in ABSENT
        assert_nothing_absent(value)


# --- authentication -------------------------------------------------------------------------------------------------


def test_a_key_is_exchanged_for_a_token(server: Server) -> None:
    form = {"client_id": server.key.id, "client_secret": server.key.secret, "grant_type": "client_credentials"}
    answer = requests.post(f"{server.address}/connect/token", data=form, timeout=120)
    assert answer.status_code == 200
    token = answer.json()
    assert (token["token_type"], token["expires_in"]) == ("Bearer", 86400)
    assert token["access_token"]


def test_a_wrong_pair_and_an_unknown_one_get_the_same_words(server: Server) -> None:
    def ask(client_id: str, secret: str) -> requests.Response:
        form = {"client_id": client_id, "client_secret": secret, "grant_type": "client_credentials"}
        return requests.post(f"{server.address}/connect/token", data=form, timeout=120)

    wrong, unknown = ask(server.key.id, "wrong"), ask("nobody", "wrong")
    assert assert_error(wrong, 401) == assert_error(unknown, 401)
    form = {"client_id": server.key.id, "client_secret": server.key.secret, "grant_type": "password"}
    assert_error(requests.post(f"{server.address}/connect/token", data=form, timeout=120), 400)
    assert_error(requests.post(f"{server.address}/connect/token", data={}, timeout=120), 400)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/functions"),
        ("POST", "/v1/functions"),
        ("GET", "/v1/functions/function_ab12"),
        ("POST", "/v1/functions/ab12/samples"),
        ("POST", "/v1/functions/ab12/invoke"),
        ("GET", "/v0.9/functions/ab12/metrics"),
        ("GET", "/v0.9/projects"),
        ("PATCH", "/v1/functions"),
        ("GET", "/v1/nothing"),
        ("OPTIONS", "/v1/functions"),
    ],
)
def test_nothing_answers_without_a_token(server: Server, method: str, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic YTpi"}, {"Cookie": "token=x"}):
        assert_error(requests.request(method, server.address + path, headers=headers, timeout=120), 401)


def test_the_documentation_answers_without_a_token_and_without_another_machine(server: Server) -> None:
    page = requests.get(f"{server.address}/v1/docs", timeout=120)
    assert page.status_code == 200
    for address in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert not re.match("/|[a-z]+:", address), "not relative: wrong below a path"
        assert requests.get(urljoin(page.url, address), timeout=120).status_code == 200
    schema = requests.get(f"{server.address}/v1/openapi.json", timeout=120).json()
    responses = [
        status
        for operations in schema["paths"].values()
        for operation in operations.values()
        for status in operation["responses"]
    ]
    assert "422" not in responses
    assert not {"201", "204"} & set(responses)


def test_a_large_upload_without_a_token_is_refused_with_an_answer(server: Server) -> None:
    url = f"{server.address}/v1/functions/ab12/samples"
    assert_error(requests.post(url, files={"data": b"x" * 5_000_000}, timeout=60), 401)


def test_a_revoked_keys_token_is_refused_at_once(server: Server) -> None:
    # Made beside the running server, as the command line does it.
    key = keys.create_key(server.workspace.db, "Soon gone")
    form = {"client_id": key.id, "client_secret": key.secret, "grant_type": "client_credentials"}
    token = requests.post(f"{server.address}/connect/token", data=form, timeout=120).json()["access_token"]
    session = Caller(server.address, token)
    assert session.get("/v1/functions").status_code == 200
    keys.revoke_key(server.workspace.db, key.id)
    assert_error(session.get("/v1/functions"), 401)


# --- rules that hold everywhere -------------------------------------------------------------------------------------


def test_every_success_is_200_and_says_nothing_absent(caller: Caller) -> None:
    path = caller.create_function("Life", ())
    label = caller.post(f"{path}/labels", json={"name": "real", "description": None, "metadata": None})
    label_path = f"{path}/labels/{label.json()['id']}"
    sample = caller.post(
        f"{path}/samples",
        json={"data": data_uri(make_image(1)), "externalId": None, "annotation": None, "sampleSets": []},
    )
    sample_path = f"{path}/samples/{sample.json()['id']}"
    answers = [
        label,
        sample,
        caller.get("/v1/functions"),
        caller.get(path),
        caller.put(path, json={"name": "Another life"}),
        caller.get(path.replace("v1", "v0.9")),
        caller.get(path.replace("v1", "v0.9") + "/metrics"),
        caller.get("/v0.9/projects"),
        caller.post("/v0.9/projects", json={"name": "mine"}),
        caller.get(f"{path}/labels"),
        caller.get(label_path),
        caller.put(label_path, json={"name": "photo", "description": "", "metadata": {}}),
        caller.get(f"{path}/samples"),
        caller.get(sample_path),
        caller.put(f"{sample_path}/annotation", json={"labelName": "photo"}),
        caller.delete(f"{sample_path}/annotation"),
        caller.delete(f"{sample_path}/annotation"),
        caller.delete(sample_path),
        caller.delete(label_path),
        caller.delete(path),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert_nothing_absent(answer.json())


def test_identifiers_carry_a_prefix_and_are_taken_without_it(caller: Caller) -> None:
    path = caller.create_function()
    function_id = path.rsplit("/", 1)[1]
    label_id = caller.get(f"{path}/labels").json()[0]["id"]
    sample_id = caller.post_image(path, make_image(1)).json()["id"]
    for noun, given in (("function", function_id), ("label", label_id), ("sample", sample_id)):
        assert re.fullmatch(noun + "_[a-z0-9]+", given)
    short = f"/v1/functions/{function_id.removeprefix('function_')}"
    assert caller.get(short).json()["id"] == function_id
    assert caller.get(f"{short}/labels/{label_id.removeprefix('label_')}").json()["id"] == label_id
    assert caller.get(f"{short}/samples/{sample_id.removeprefix('sample_')}").json()["id"] == sample_id


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/functions", {}),
        ("POST", "/v1/functions", {"name": 5, "input": "Image", "output": "Classification"}),
        ("POST", "/v1/functions", {"name": "  ", "input": "Image", "output": "Classification"}),
        ("POST", "/v1/functions", {"name": "x" * 500, "input": "Image", "output": "Classification"}),
        ("POST", "/v1/functions", {"name": "\ud800", "input": "Image", "output": "Classification"}),
        ("PUT", "{}", {}),
        ("POST", "{}/labels", {"name": ""}),
        ("POST", "{}/labels", {"name": "a", "metadata": {"x": float("nan")}}),
        ("POST", "{}/labels", {"name": "a", "metadata": {"x": "\udfff"}}),
        ("POST", "{}/labels", {"name": "a", "metadata": {"x": "y" * 20_000}}),
        ("POST", "{}/labels", {"name": "a", "metadata": ["x"]}),
        ("POST", "{}/samples", {}),
        ("POST", "{}/samples", {"data": "https://example.org/image.jpg"}),
        ("POST", "{}/samples", {"data": "data:image/png;base64,%%%"}),
        ("GET", "{}/samples?batchSize=0", None),
        ("GET", "{}/samples?batchSize=1001", None),
        ("GET", "{}/samples?batchSize=x", None),
        ("GET", "{}/samples?sortBy=name", None),
        ("GET", "{}/samples?after=x", None),
        ("GET", "{}/samples?after=nan_3", None),
    ],
)
def test_invalid_input_is_a_400_with_a_message(caller: Caller, method: str, path: str, body: Any) -> None:
    function = caller.create_function("Strict", ())
    # Not json=: it refuses to send NaN.
    sent = None if body is None else json.dumps(body)
    headers = {"Content-Type": "application/json"}
    assert_error(caller.request(method, path.format(function), data=sent, headers=headers), 400)


@pytest.mark.parametrize("bad", ["\0", "a\0b", "\ud800", "a\udfff"])
def test_text_that_not_every_database_holds_is_a_400_everywhere(caller: Caller, server: Server, bad: str) -> None:
    """The kind: NUL characters and halves of surrogate pairs, in every text that a caller sends.

    SQLite took NUL in an ``externalId``; PostgreSQL cannot store it and answered 500.
    """
    path = caller.create_function("Strict", ("real",))
    label = f"{path}/labels/{caller.get(f'{path}/labels').json()[0]['id']}"
    sample = f"{path}/samples/{caller.post_image(path, make_image(1), externalId='fine').json()['id']}"
    picture = data_uri(make_image(2))
    for method, target, body in (
        ("POST", "/v1/functions", {"name": bad, "input": "Image", "output": "Classification"}),
        ("PUT", path, {"name": bad}),
        ("POST", f"{path}/labels", {"name": bad}),
        ("POST", f"{path}/labels", {"name": "new", "description": bad}),
        ("POST", f"{path}/labels", {"name": "new", "metadata": {bad: 1}}),
        ("PUT", label, {"metadata": {"a": [{"b": bad}]}}),
        ("PUT", f"{sample}/annotation", {"labelName": bad}),
        ("POST", f"{path}/samples", {"data": picture, "externalId": bad}),
        ("POST", f"{path}/samples", {"data": picture, "annotation": {"labelName": bad}}),
        ("POST", f"{path}/samples", {"data": picture, "sampleSets": [{"sampleSetId": bad}]}),
        ("POST", f"{path}/samples", {"data": bad}),
        ("POST", f"{path}/invoke", {"data": f"data:image/png;base64,{bad}"}),
        ("POST", "/v0.9/projects", {"name": bad}),
    ):
        sent = json.dumps(body)
        answer = caller.request(method, target, data=sent, headers={"Content-Type": "application/json"})
        assert assert_error(answer, 400)
    # A charset of its own can write both into a form.
    escaped = bad.encode("unicode_escape").decode()
    for field in ("externalId", "labelName"):
        form = (
            (
                f'--x\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{escaped}\r\n'
                f'--x\r\nContent-Disposition: form-data; name="data"; filename="a.png"\r\n\r\n'
            ).encode()
            + make_image(2)
            + b"\r\n--x--\r\n"
        )
        kind = {"Content-Type": "multipart/form-data; boundary=x; charset=unicode_escape"}
        assert_error(caller.post(f"{path}/samples", data=form, headers=kind), 400)
    if "\0" in bad:
        asked = quote(bad)
        for query in (f"externalId={asked}", f"source={asked}"):
            assert_error(caller.get(f"{path}/samples?{query}"), 400)
        for query in (f"externalId={asked}&capture=true", f"modelId={asked}"):
            assert_error(caller.post(f"{path}/invoke?{query}", files={"data": make_image(2)}), 400)
        for client_id, secret in ((bad, "x"), (server.key.id, bad)):
            form_of_key = {"client_id": client_id, "client_secret": secret, "grant_type": "client_credentials"}
            assert_error(requests.post(f"{server.address}/connect/token", data=form_of_key, timeout=120), 400)
        for target in (f"/v1/functions/{asked}", f"{path}/labels/{asked}", f"{path}/samples/{asked}"):
            # Streamlit's own answer, in its own words.
            assert caller.get(target).status_code == 400
    assert [item["name"] for item in caller.get(f"{path}/labels").json()] == ["real"]
    assert [item["externalId"] for item in caller.get(f"{path}/samples").json()] == ["fine"]
    assert caller.get(label).json().get("metadata") is None
    assert caller.get(path).json()["name"] == "Strict"


@pytest.mark.parametrize("number", [2**31, 2**63 - 1, 2**63, 10**18, 10**40, -1, "1e5", "1.5", "\u0661"])
def test_a_page_begins_at_no_number_that_a_database_cannot_compare(caller: Caller, number: Any) -> None:
    """The kind: positions beyond what the narrowest column holds, signs, fractions, digits of other scripts."""
    path = caller.create_function("Strict", ())
    for cursor in (f"{number}", f"-_{number}", f"0.5_{number}"):
        assert_error(caller.get(f"{path}/samples?after={quote(cursor)}"), 400)
    for value in ("1e999", "-1e999", "nan", "1" * 33):
        assert_error(caller.get(f"{path}/samples?sortBy=confidence&after={value}_1"), 400)
    for size in (number, 10**400):
        assert_error(caller.get(f"{path}/samples?batchSize={quote(str(size))}"), 400)
    assert caller.get(f"{path}/samples?after={2**31 - 1}").status_code == 200


def test_a_broken_body_is_a_400(caller: Caller) -> None:
    path = caller.create_function("Strict", ())
    json_headers = {"Content-Type": "application/json"}
    for target in ("/v1/functions", f"{path}/labels", f"{path}/samples", f"{path}/invoke"):
        for body in (b"{", b"[]", b"null", b"\xff", b"[" * 100_000):
            assert_error(caller.post(target, data=body, headers=json_headers), 400)
    broken = {"Content-Type": "multipart/form-data; boundary=x"}
    for target in (f"{path}/samples", f"{path}/invoke", f"{path}/invoke/batch"):
        assert_error(caller.post(target, data=b"no boundary here", headers=broken), 400)
        assert_error(caller.post(target, data=b"x", headers={"Content-Type": "multipart/form-data"}), 400)


def test_what_is_not_there_is_a_404(caller: Caller) -> None:
    path, other = caller.create_function(), caller.create_function()
    sample = caller.post_image(other, make_image(1)).json()["id"]
    label = caller.get(f"{other}/labels").json()[0]["id"]
    for missing in (
        "/v1/functions/function_0000",
        "/v1/functions/%F0%9F%90%88",
        f"{path}/samples/{sample}",
        f"{path}/labels/{label}",
        "/v1/nothing",
    ):
        assert_error(caller.get(missing), 404)
    assert_error(caller.post("/v1/functions/function_0000/samples", files={"data": make_image(1)}), 404)
    assert_error(caller.delete(f"{path}/samples/{sample}"), 404)
    wrong_method = caller.patch(path)
    assert_error(wrong_method, 405)
    assert wrong_method.headers["Allow"] == "GET, PUT, DELETE"


def test_empty_query_values_count_as_absent(caller: Caller, trained: str) -> None:
    listed = caller.get(f"{trained}/samples?annotated=&batchSize=&sortBy=&annotationLabelId=&externalId=")
    assert len(listed.json()) == 8
    answer = caller.post(f"{trained}/invoke?modelId=&labelCount=&capture=", files={"data": make_image(20)})
    assert answer.status_code == 200


# --- functions ------------------------------------------------------------------------------------------------------


def test_a_function_is_an_image_classification_and_nothing_else(caller: Caller) -> None:
    body = {"name": "Cats", "input": "Image", "output": "Classification"}
    made = caller.post("/v1/functions", json=body).json()
    assert {name: made[name] for name in body} == body
    assert caller.get(f"/v1/functions/{made['id']}").json() == made
    assert made in caller.get("/v1/functions").json()
    for wrong in ({"input": "Text"}, {"output": "Tags"}):
        message = assert_error(caller.post("/v1/functions", json=body | wrong), 400)
        assert "Image" in message
        assert "Classification" in message


def test_a_deleted_function_is_gone_with_its_jobs(caller: Caller, server: Server) -> None:
    path = caller.create_function()
    for seed in range(2):
        for label in LABELS:
            caller.post_image(path, make_image(seed, label), label)
    assert caller.delete(path).status_code == 200
    assert_error(caller.get(path), 404)
    assert_error(caller.delete(path), 404)
    assert_error(caller.get(f"{path}/samples"), 404)


def test_state_and_metrics_follow_the_training(caller: Caller) -> None:
    path = caller.create_function("Growing", ("real", "synthetic", "unused"))
    assert caller.state(path) == "NeedsData"
    assert caller.metrics(path) == {
        "sampleCount": 0,
        "predictionCount": 0,
        "annotatedLabelCounts": {"real": 0, "synthetic": 0, "unused": 0},
        "isTraining": False,
    }
    # Two labels with two samples each are enough, even though no figures can be measured with so few.
    for seed in range(2):
        for label in LABELS:
            assert caller.post_image(path, make_image(seed, label), label).status_code == 200
            assert caller.metrics(path)["isTraining"]
    assert caller.post_image(path, make_image(9)).status_code == 200
    metrics = caller.wait_until_trained(path)
    assert metrics == {
        "sampleCount": 5,
        "predictionCount": 5,
        "annotatedLabelCounts": {"real": 2, "synthetic": 2, "unused": 0},
        "isTraining": False,
    }
    sample = caller.get(f"{path}/samples?annotated=false").json()[0]
    caller.put(f"{path}/samples/{sample['id']}/annotation", json={"labelName": "real"})
    assert caller.metrics(path)["isTraining"]
    assert caller.state(path) == "Tuning"
    caller.wait_until_trained(path)


# --- labels ---------------------------------------------------------------------------------------------------------


def test_labels_keep_what_they_were_given(caller: Caller) -> None:
    path = caller.create_function("Labels", ())
    metadata = {"colour": "red", "rank": 3}
    made = caller.post(f"{path}/labels", json={"name": " a  b ", "description": "Both", "metadata": metadata}).json()
    assert made == {"id": made["id"], "name": "a  b", "description": "Both", "metadata": metadata}
    plain = caller.post(f"{path}/labels", json={"name": "A C"}).json()
    assert set(plain) == {"id", "name"}
    assert caller.get(f"{path}/labels").json() == [made, plain]
    again = caller.post(f"{path}/labels", json={"name": "a  b"})
    assert_error(again, 409)
    assert again.json()["id"] == made["id"]
    renamed = caller.put(f"{path}/labels/{made['id']}", json={"name": "c", "description": None}).json()
    assert renamed == {"id": made["id"], "name": "c", "description": "Both", "metadata": metadata}
    taken = caller.put(f"{path}/labels/{made['id']}", json={"name": "A C"})
    assert_error(taken, 409)
    assert taken.json()["id"] == plain["id"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("k\u00fcnstlich", "ku\u0308nstlich"),
        ("ku\u0308nstlich", "K\u00dcNSTLICH"),
        ("Real", "rEAL"),
        ("Stra\u00dfe", "STRASSE"),
        ("\u03b5\u03b9\u03ba\u03cc\u03bd\u03b1\u03c2", "\u0395\u0399\u039a\u038c\u039d\u0391\u03a3"),
    ],
)
def test_one_name_in_two_spellings_is_one_label(caller: Caller, first: str, second: str) -> None:
    """The kind: the same name in another case or Unicode form made a second label, or was unknown to a post."""
    path = caller.create_function("Spellings", ())
    made = caller.post(f"{path}/labels", json={"name": first}).json()
    assert made["name"] == unicodedata.normalize("NFC", first)
    other = caller.post(f"{path}/labels", json={"name": "other"}).json()
    again = caller.post(f"{path}/labels", json={"name": f" {second}"})
    assert_error(again, 409)
    taken = caller.put(f"{path}/labels/{other['id']}", json={"name": second})
    assert_error(taken, 409)
    assert again.json()["id"] == taken.json()["id"] == made["id"]
    # A sample that names the label in the other spelling is this label's.
    multipart = caller.post_image(path, make_image(1), second).json()
    in_json = caller.post(
        f"{path}/samples", json={"data": data_uri(make_image(2)), "annotation": {"labelName": second}}
    ).json()
    later = caller.post_image(path, make_image(3)).json()
    annotated = caller.put(f"{path}/samples/{later['id']}/annotation", json={"labelName": second}).json()
    ids = [multipart["annotation"]["labelId"], in_json["annotation"]["labelId"], annotated["labelId"]]
    assert ids == [made["id"]] * 3
    # Its own name in another spelling is no conflict.
    renamed = caller.put(f"{path}/labels/{made['id']}", json={"name": second})
    assert renamed.status_code == 200, renamed.text
    assert renamed.json()["name"] == unicodedata.normalize("NFC", second)
    assert [item["id"] for item in caller.get(f"{path}/labels").json()] == [made["id"], other["id"]]
    assert caller.metrics(path)["annotatedLabelCounts"][renamed.json()["name"]] == 3


def test_a_full_width_or_dotless_letter_makes_another_label(caller: Caller) -> None:
    """What only looks alike (NFKC) is not one name: whoever writes so may mean two things."""
    path = caller.create_function("Letters", ("real", "isi"))
    for name in ("\uff52\uff45\uff41\uff4c", "\u0131s\u0131"):
        assert caller.post(f"{path}/labels", json={"name": name}).status_code == 200
    assert_error(caller.post_image(path, make_image(1), "\uff49si"), 400)


def test_of_simultaneous_labels_of_one_name_one_is_made(server: Server, caller: Caller) -> None:
    path = caller.create_function("Race", ())
    spellings = ("k\u00fcnstlich", "ku\u0308nstlich", "K\u00dcNSTLICH", "KU\u0308NSTLICH") * 2
    callers = [server.caller() for _ in spellings]
    with ThreadPoolExecutor(len(spellings)) as threads:
        answers = list(
            threads.map(lambda one, name: one.post(f"{path}/labels", json={"name": name}), callers, spellings)
        )
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(caller.get(f"{path}/labels").json()) == 1


def test_stored_twins_can_each_be_named_and_changed(server: Server, caller: Caller) -> None:
    """Two spellings that were stored as two labels before stay two until a person merges them."""
    path = caller.create_function("Twins", ("k\u00fcnstlich", "placeholder"))
    first, second = caller.get(f"{path}/labels").json()
    with server.workspace.db.write() as connection:
        connection.execute(
            text("UPDATE labels SET name = :name WHERE id = :id"),
            {"name": "ku\u0308nstlich", "id": second["id"].removeprefix("label_")},
        )
    names = {item["id"]: item["name"] for item in caller.get(f"{path}/labels").json()}
    for seed, (label_id, name) in enumerate(names.items()):
        assert caller.post_image(path, make_image(seed), name).json()["annotation"]["labelId"] == label_id
        described = caller.put(f"{path}/labels/{label_id}", json={"name": name, "description": "d"})
        assert described.json() == {"id": label_id, "name": name, "description": "d"}
    # Any other spelling means the older one.
    assert caller.post_image(path, make_image(9), "K\u00dcNSTLICH").json()["annotation"]["labelId"] == first["id"]


def test_a_deleted_label_takes_annotations_predictions_and_answers_along(caller: Caller) -> None:
    path = caller.create_function("Three", (*LABELS, "drawing"))
    for seed in range(3):
        for label in (*LABELS, "drawing"):
            caller.post_image(path, make_image(seed, label), label)
    caller.wait_until_trained(path)
    label_id = next(item["id"] for item in caller.get(f"{path}/labels").json() if item["name"] == "drawing")
    assert caller.delete(f"{path}/labels/{label_id}").status_code == 200
    samples = caller.get(f"{path}/samples").json()
    assert sum("annotation" not in sample for sample in samples) == 3
    assert all(sample.get("prediction", {}).get("labelId") != label_id for sample in samples)
    answer = caller.post(f"{path}/invoke?labelCount=9", files={"data": make_image(0, "drawing")}).json()
    assert {item["labelName"] for item in answer["labelConfidences"]} == set(LABELS)
    assert sum(item["confidence"] for item in answer["labelConfidences"]) == pytest.approx(1)
    caller.wait_until_trained(path)


# --- samples --------------------------------------------------------------------------------------------------------


def test_a_sample_comes_back_as_it_was_posted(caller: Caller) -> None:
    path = caller.create_function()
    label_id = caller.get(f"{path}/labels").json()[0]["id"]
    body = {
        "data": data_uri(make_image(1), "text/plain"),
        "externalId": "mine",
        "annotation": {"labelName": " real "},
        "sampleSets": [{"sampleSetId": "set_1"}],
    }
    made = caller.post(f"{path}/samples", json=body)
    assert made.status_code == 200
    sample = made.json()
    assert sample["externalId"] == "mine"
    assert sample["annotation"] == {"labelId": label_id}
    assert sample["sampleSets"] == [{"sampleSetId": "set_1"}]
    read = caller.get(f"{path}/samples/{sample['id']}").json()
    assert {name: read[name] for name in ("id", "externalId", "annotation", "sampleSets")} == {
        name: sample[name] for name in ("id", "externalId", "annotation", "sampleSets")
    }
    form = caller.post_image(path, make_image(2), "synthetic", externalId="other").json()
    assert form["externalId"] == "other"
    assert form["annotation"] != sample["annotation"]


def test_the_image_address_needs_no_token_and_gives_the_posted_bytes(caller: Caller) -> None:
    path = caller.create_function()
    data = make_image(3)
    address = caller.post_image(path, data).json()["data"]
    assert address.startswith(caller.address + "/")
    answer = requests.get(address, timeout=120)
    assert answer.content == data
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    expires = int(parse_qs(urlsplit(address).query)["expires"][0])
    assert expires - time.time() >= 3600
    assert requests.get(address.replace("signature=", "signature=0"), timeout=120).status_code == 403
    assert requests.get(address.replace(f"expires={expires}", "expires=1000000000"), timeout=120).status_code == 403
    by_number = requests.get(
        caller.address.replace("localhost", "127.0.0.1") + f"{path}/samples", headers=dict(caller.headers), timeout=120
    )
    assert by_number.json()[0]["data"].startswith("http://127.0.0.1:")


def test_the_same_bytes_again_are_a_409_and_change_nothing(caller: Caller) -> None:
    path = caller.create_function()
    first = caller.post_image(path, make_image(1), "real").json()
    again = caller.post_image(path, make_image(1), "synthetic")
    assert_error(again, 409)
    assert again.json()["existingSampleId"] == first["id"]
    assert caller.get(f"{path}/samples/{first['id']}").json()["annotation"] == first["annotation"]
    unlabelled = caller.post_image(path, make_image(2)).json()
    assert_error(caller.post_image(path, make_image(2), "real"), 409)
    assert "annotation" not in caller.get(f"{path}/samples/{unlabelled['id']}").json()
    # The same picture in other bytes is another sample, and another function knows nothing of this one.
    file = io.BytesIO()
    Image.open(io.BytesIO(make_image(1))).save(file, "BMP")
    assert caller.post_image(path, file.getvalue()).status_code == 200
    assert caller.post_image(caller.create_function(), make_image(1)).status_code == 200


def test_of_simultaneous_equal_posts_one_wins(server: Server, caller: Caller) -> None:
    path = caller.create_function()
    callers = [server.caller() for _ in range(8)]
    for data in (make_image(seed) for seed in range(5)):
        with ThreadPoolExecutor(8) as pool:
            work = [pool.submit(one.post_image, path, data) for one in callers]
            answers = [item.result() for item in work]
        [winner] = [answer for answer in answers if answer.status_code == 200]
        losers = [answer for answer in answers if answer.status_code == 409]
        assert len(losers) == 7
        assert {answer.json()["existingSampleId"] for answer in losers} == {winner.json()["id"]}


def test_a_deleted_sample_can_be_posted_anew(caller: Caller) -> None:
    path = caller.create_function()
    first = caller.post_image(path, make_image(1), "real").json()["id"]
    caller.post_image(path, make_image(2))
    assert caller.delete(f"{path}/samples/{first}").status_code == 200
    assert_error(caller.get(f"{path}/samples/{first}"), 404)
    again = caller.post_image(path, make_image(1))
    assert again.status_code == 200
    assert "annotation" not in again.json()
    assert caller.get(f"{path}/samples").json()[0]["id"] == again.json()["id"]


def test_what_is_no_usable_sample_is_a_400_with_the_reason(caller: Caller) -> None:
    path = caller.create_function()
    assert "nobody" in assert_error(caller.post_image(path, make_image(1), "nobody"), 400)
    assert "not an image" in assert_error(caller.post_image(path, b"hello"), 400)
    assert "empty" in assert_error(caller.post(f"{path}/samples", json={"data": "data:image/png;base64,"}), 400)
    assert "cut off" in assert_error(caller.post_image(path, make_image(1)[:-400]), 400)
    assert "multipart" in assert_error(
        caller.post(f"{path}/samples", data=make_image(1), headers={"Content-Type": "image/png"}), 400
    )
    assert_error(caller.post(f"{path}/samples", data={"data": "x"}, files={"other": b"y"}), 400)
    too_many_pixels = io.BytesIO()
    Image.new("1", (12_000, 10_000)).save(too_many_pixels, "PNG")
    assert "megapixels" in assert_error(caller.post_image(path, too_many_pixels.getvalue()), 400)
    assert "MB" in assert_error(caller.post_image(path, b"\x89PNG\r\n\x1a\n" + b"x" * 65_000_000), 400)
    assert "MB" in assert_error(caller.post_image(path, b"\x89PNG\r\n\x1a\n" + b"x" * 100_000_000), 400)
    assert caller.get(f"{path}/samples").json() == []


def _pages(caller: Caller, address: str) -> list[list[dict[str, Any]]]:
    pages = []
    while True:
        answer = caller.get(address)
        assert answer.status_code == 200, answer.text
        pages.append(answer.json())
        if "next" not in answer.links:
            return pages
        address = answer.links["next"]["url"]
        assert address.startswith("/v1/")
        assert re.fullmatch(r"[!-~]+", address)


def test_samples_are_listed_in_pages_in_every_order(caller: Caller, trained: str) -> None:
    everything = caller.get(f"{trained}/samples?batchSize=1000").json()
    assert len(everything) == 8
    for sort_by in ("creation", "annotation", "confidence"):
        for order in ("ascending", "descending"):
            query = f"{trained}/samples?batchSize=3&sortBy={sort_by}&sortOrder={order}&source=&annotated=true"
            pages = _pages(caller, query)
            assert [len(page) for page in pages] == [3, 3, 2]
            ids = [sample["id"] for page in pages for sample in page]
            assert len(set(ids)) == 8
            if sort_by == "creation":
                newest_first = [sample["id"] for sample in everything]
                assert ids == (newest_first if order == "descending" else newest_first[::-1])
            if sort_by == "confidence":
                confidences = [sample["prediction"]["confidence"] for page in pages for sample in page]
                assert confidences == sorted(confidences, reverse=order == "descending")


def test_samples_without_the_sorted_value_come_last_page_by_page(caller: Caller) -> None:
    path = caller.create_function()
    posted = [caller.post_image(path, make_image(seed), "real" if seed % 2 else None).json()["id"] for seed in range(7)]
    pages = _pages(caller, f"{path}/samples?batchSize=2&sortBy=annotation&sortOrder=descending")
    ids = [sample["id"] for page in pages for sample in page]
    assert ids == [posted[5], posted[3], posted[1], posted[6], posted[4], posted[2], posted[0]]


def test_samples_are_filtered(caller: Caller, trained: str) -> None:
    path = caller.create_function()
    real, synthetic = (item["id"] for item in caller.get(f"{path}/labels").json())
    for seed, label in enumerate(("real", "real", "synthetic", None)):
        caller.post_image(path, make_image(seed), label, externalId=f"n & {seed}")

    def count(query: str, target: str = path) -> int:
        answer = caller.get(f"{target}/samples?{query}")
        assert answer.status_code == 200, answer.text
        return len(answer.json())

    assert (count("annotated=true"), count("annotated=false")) == (3, 1)
    assert count(f"annotationLabelId={real}") == 2
    assert count(f"annotationLabelId={synthetic.removeprefix('label_')}") == 1
    assert count(f"annotated=false&annotationLabelId={real}") == 0
    assert count("externalId=n%20%26%202") == 1
    assert count("predicted=true") == 0
    assert count("source=nowhere") == 0
    assert count("annotationLabelId=%C3%A9") == 0
    assert (count("predicted=true", trained), count("predicted=false", trained)) == (8, 0)
    agreeing = count("predictionAndAnnotationAgree=true", trained)
    assert agreeing + count("predictionAndAnnotationAgree=false", trained) == 8
    labels = [item["id"] for item in caller.get(f"{trained}/labels").json()]
    assert sum(count(f"predictionLabelId={label}", trained) for label in labels) == 8
    assert [len(page) for page in _pages(caller, f"{path}/samples?batchSize=1&annotated=true")] == [1, 1, 1]


# --- invoke ---------------------------------------------------------------------------------------------------------


def test_an_image_is_taken_in_every_form_and_gets_one_verdict(caller: Caller, trained: str) -> None:
    data = make_image(30, "synthetic")
    answers = [
        caller.post(f"{trained}/invoke", files={"data": data}),
        caller.post(f"{trained}/invoke", files={"image": ("a.png", data, "image/png")}),
        caller.post(f"{trained}/invoke", json={"data": data_uri(data)}),
        caller.post(f"{trained}/invoke", data=data, headers={"Content-Type": "application/x-www-form-urlencoded"}),
        caller.post(f"{trained}/invoke", data=data, headers={"Content-Type": "image/png"}),
        caller.post(f"{trained}/invoke", data=data),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert answer.json() == answers[0].json()
    verdict = answers[0].json()
    assert set(verdict) == {
        "labelName",
        "labelId",
        "confidence",
        "modelId",
        "verdict",
        "verdictReason",
        "grade",
        "reason",
    }
    assert verdict["grade"] == "can't tell"
    assert verdict["reason"] == verdict["verdictReason"]
    assert verdict["verdict"] == "can't tell"
    # Kind: can't tell for lack of images, without how many there are and how many it takes.
    assert "149 different images of each label (you have 4 of each;" in verdict["verdictReason"]
    assert re.fullmatch("model_[a-z0-9]+", verdict["modelId"])


def test_base64_is_taken_as_programs_write_it(caller: Caller, trained: str) -> None:
    """The kind: base64 that every decoder accepts; with line breaks it was called damaged."""
    data = make_image(33, "synthetic")
    wanted = caller.post(f"{trained}/invoke", files={"data": data}).json()
    path = caller.create_function()
    lines = base64.encodebytes(data).decode()
    for encoded in (lines, lines.replace("\n", "\r\n"), f"{data_uri(data).partition(',')[2]}\n"):
        uri = f"data:image/png;base64,{encoded}"
        answer = caller.post(f"{trained}/invoke", json={"data": uri})
        assert answer.status_code == 200, answer.text
        assert answer.json() == wanted
        posted = caller.post(f"{path}/samples", json={"data": uri})
        assert posted.status_code in (200, 409), posted.text
    [sample] = caller.get(f"{path}/samples").json()
    assert requests.get(sample["data"], timeout=120).content == data


def test_an_invoke_says_as_much_as_it_is_asked_for(caller: Caller, trained: str) -> None:
    files = {"data": make_image(31)}
    both = caller.post(f"{trained}/invoke?labelCount=5", files=files).json()
    assert len(both["labelConfidences"]) == 2
    assert both["labelConfidences"][0]["confidence"] == both["confidence"]
    assert len(caller.post(f"{trained}/invoke?labelCount=1", files=files).json()["labelConfidences"]) == 1
    # Only the contract's names count, and what cannot be read is said in one sentence.
    assert "labelConfidences" not in caller.post(f"{trained}/invoke?label_count=5", files=files).json()
    for query, name in (
        ("labelCount=many", "labelCount"),
        ("capture=maybe", "capture"),
        ("labelCount=-1", "labelCount"),
    ):
        refused = caller.post(f"{trained}/invoke?{query}", files=files)
        assert refused.status_code == 400
        assert refused.json()["message"].startswith(f"{name}: ")
    for model_id in (both["modelId"], both["modelId"].removeprefix("model_")):
        assert caller.post(f"{trained}/invoke?modelId={model_id}", files=files).status_code == 200
    assert_error(caller.post(f"{trained}/invoke?modelId=model_0000", files=files), 404)
    other = caller.create_function()
    assert_error(caller.post(f"{other}/invoke?modelId={both['modelId']}", files=files), 404)


def test_label_metadata_comes_when_asked_for(caller: Caller, trained: str) -> None:
    files = {"data": make_image(32)}
    label_id = caller.post(f"{trained}/invoke", files=files).json()["labelId"]
    assert "labelMetadata" not in caller.post(f"{trained}/invoke?includeMetadata=true", files=files).json()
    caller.put(f"{trained}/labels/{label_id}", json={"metadata": {"shown": "yes"}})
    answer = caller.post(f"{trained}/invoke?includeMetadata=true", files=files).json()
    assert answer["labelMetadata"] == {"shown": "yes"}
    assert "labelMetadata" not in caller.post(f"{trained}/invoke", files=files).json()


def test_without_a_model_an_invoke_says_what_is_missing(caller: Caller) -> None:
    path = caller.create_function()
    message = assert_error(caller.post(f"{path}/invoke", files={"data": make_image(1)}), 409)
    assert "two labels" in message


def test_a_bad_image_is_a_400(caller: Caller, trained: str) -> None:
    assert "bad.png" in assert_error(caller.post(f"{trained}/invoke", files={"data": ("bad.png", b"no")}), 400)
    assert_error(caller.post(f"{trained}/invoke", data=b""), 400)
    assert_error(caller.post(f"{trained}/invoke", files={"other": b"no"}), 400)


def test_an_invoked_image_is_kept_only_when_asked(caller: Caller) -> None:
    path = caller.create_function()
    for seed in range(2):
        for label in LABELS:
            caller.post_image(path, make_image(seed, label), label)
    caller.wait_until_trained(path)
    data = make_image(40)
    caller.post(f"{path}/invoke?externalId=ext", files={"data": data})
    assert caller.metrics(path)["sampleCount"] == 4
    for _ in range(2):
        assert caller.post(f"{path}/invoke?capture=true&externalId=ext", files={"data": data}).status_code == 200
    [kept] = caller.get(f"{path}/samples?annotated=false").json()
    assert kept["externalId"] == "ext"
    assert requests.get(kept["data"], timeout=120).content == data
    caller.wait_until_trained(path)


def test_a_batch_answers_in_order_with_errors_in_their_place(caller: Caller, trained: str) -> None:
    images = [make_image(seed, label) for seed in range(50, 60) for label in LABELS]
    parts = [("data", (f"{n}.png", data)) for n, data in enumerate(images)]
    parts.insert(3, ("data", ("bad.png", b"no")))
    entries = caller.post(f"{trained}/invoke/batch", files=parts).json()
    assert len(entries) == 21
    assert set(entries[3]) == {"message"}
    assert "bad.png" in entries[3]["message"]
    singly = [caller.post(f"{trained}/invoke", files={"data": data}).json() for data in images[:4]]
    assert [*entries[:3], entries[4]] == singly
    too_many = [("data", (f"{n}.png", b"x")) for n in range(101)]
    assert_error(caller.post(f"{trained}/invoke/batch", files=too_many), 400)
    assert_error(caller.post(f"{trained}/invoke/batch", data={"data": "x"}), 400)


def test_ten_parallel_invokes_are_all_answered_and_share_passes(server: Server, caller: Caller, trained: str) -> None:
    images = [make_image(seed, label) for seed in range(60, 80) for label in LABELS]
    token = caller.token

    def ask(data: bytes) -> requests.Response:
        return Caller(server.address, token).post(f"{trained}/invoke", files={"data": data})

    ask(images[0])
    start = time.perf_counter()
    one_by_one = [ask(data) for data in images]
    alone = time.perf_counter() - start
    start = time.perf_counter()
    with ThreadPoolExecutor(10) as pool:
        together = list(pool.map(ask, images))
    shared = time.perf_counter() - start
    assert [answer.status_code for answer in together] == [200] * 40
    assert [answer.json() for answer in together] == [answer.json() for answer in one_by_one]
    assert shared < 0.8 * alone


def test_calls_are_recorded(server: Server, caller: Caller, trained: str) -> None:
    caller.post(f"{trained}/invoke", files={"data": make_image(33)})
    caller.post(f"{trained}/invoke", files={"data": b"no"})
    function_id = trained.rsplit("_", 1)[1]
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        found = calls.recent_calls(server.workspace.db, function_id, limit=2)
        if [call.status for call in found] == [400, 200]:
            break
        time.sleep(0.1)
    assert [(call.status, call.verdict in {*LABELS, "can't tell"}) for call in found] == [(400, False), (200, True)]
    assert found[0].key_name == "Tests"


def test_the_example_of_the_story_prints_a_verdict(
    server: Server, caller: Caller, trained: str, tmp_path: Path
) -> None:
    (tmp_path / "image.jpg").write_bytes(make_image(34))
    examples = Examples(server.address, trained.rsplit("_", 1)[1], caller.token)
    program = subprocess.run(
        [sys.executable, "-c", examples.python], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert '"verdict":' in program.stdout
    assert any(f'"labelName":"{label}"' in program.stdout for label in LABELS)


# --- bounds, durability ---------------------------------------------------------------------------------------------


def test_a_body_without_an_image_is_small(caller: Caller) -> None:
    assert_error(caller.post("/v1/functions", json={"name": "x" * 300_000}), 413)
    chunked = (b"x" * 50_000 for _ in range(10))
    assert_error(caller.post("/v1/functions", data=chunked, headers={"Content-Type": "application/json"}), 413)


@pytest.mark.long
def test_a_body_that_never_arrives_is_given_up(tmp_path: Path) -> None:
    """The kind: senders that stop: of little, and of much, whose share of the memory goes to the next one."""
    settings = {
        "DETECTOR_BACKBONE": "efficientnet-lite0",
        "DETECTOR_REQUEST_SECONDS": "3",
        "DETECTOR_BODIES_MB": "1",
    }
    server = Server(tmp_path, settings)
    try:
        caller = server.caller()
        path = caller.create_function("Slow", ())
        for size in (100, 50_000_000):
            head = (
                f"POST {path}/samples HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {caller.token}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n{{"
            )
            with socket.create_connection(("127.0.0.1", int(server.address.rsplit(":", 1)[1])), 60) as connection:
                connection.sendall(head.encode())
                answer = connection.recv(4000)
                assert b" 408 " in answer.splitlines()[0]
                # Larger than all that is set aside, and taken: nothing is held by the one that is still there.
                picture = png(np.random.default_rng(size).integers(0, 256, (700, 700, 3)))
                assert len(picture) > 1_000_000
                assert caller.post_image(path, picture).status_code == 200
        assert caller.get(path).status_code == 200
    finally:
        server.stop()


@pytest.mark.long
def test_beyond_the_queue_invokes_are_told_to_wait(tmp_path: Path) -> None:
    settings = {
        "DETECTOR_BACKBONE": "efficientnet-lite0",
        "DETECTOR_PRECISION": "float32",
        "DETECTOR_RETRAIN_DELAY": "0.2",
        "DETECTOR_INVOKE_PLACES": "2",
    }
    server = Server(tmp_path, settings)
    try:
        caller = server.caller()
        function = labelled_function(server.workspace, 2)
        assert build(server.workspace, function.id).trained
        path = f"/v1/functions/{function.id}"
        large = png(np.random.default_rng(0).integers(0, 256, (900, 900, 3)))
        with ThreadPoolExecutor(12) as pool:
            answers = list(
                pool.map(
                    lambda _: Caller(server.address, caller.token).post(f"{path}/invoke", files={"data": large}),
                    range(12),
                )
            )
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert {answer.status_code for answer in answers} == {200, 429}
        for answer in refused:
            assert_error(answer, 429)
            assert int(answer.headers["Retry-After"]) > 0
    finally:
        server.stop()


@pytest.mark.long
def test_what_was_accepted_survives_a_killed_server(tmp_path: Path) -> None:
    server = Server(tmp_path)
    caller = server.caller()
    path = caller.create_function()
    accepted: dict[str, bytes] = {}

    def post(seed: int) -> None:
        data = make_image(seed, size=40)
        with contextlib.suppress(*CUT_OFF):
            answer = Caller(server.address, caller.token).post_image(path, data, LABELS[seed % 2])
            accepted[answer.json()["id"]] = data

    with ThreadPoolExecutor(10) as pool:
        work = [pool.submit(post, seed) for seed in range(60)]
        while len(accepted) < 20 and not all(item.done() for item in work):
            time.sleep(0.01)
        server.kill()
        for item in work:
            item.result()
    server.start()
    try:
        listed = {sample["id"]: sample["data"] for sample in caller.get(f"{path}/samples?batchSize=1000").json()}
        assert set(accepted) <= set(listed)
        for sample_id, data in accepted.items():
            assert requests.get(listed[sample_id], timeout=120).content == data
        # The training that was waiting goes on by itself.
        caller.wait_until_trained(path)
    finally:
        server.stop()
