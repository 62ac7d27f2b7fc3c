"""What a key may do, how long and how often, through the application that the server serves."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from sqlalchemy import update

from detector.api.app import api_app, stop_api
from detector.api.authentication import issue_token
from detector.api.call_rates import WINDOW_SECONDS, CallRates
from detector.errors import InvalidInput, TooManyCalls
from detector.operations.labels import create_label
from detector.storage import keys, samples
from detector.storage.acting import LABEL, LOOK, MANAGE, Actor, acting
from detector.storage.annotating import history
from detector.storage.database import now
from detector.storage.functions import list_labels
from detector.storage.schema import api_keys
from detector.workspace import Workspace
from tests.factories import labelled_function, make_image, workspace
from tests.made_evidence import evidence_json, kept


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    opened = workspace(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def client(ws: Workspace) -> Iterator[TestClient]:
    app = api_app(ws)
    with TestClient(app) as calling:
        yield calling
    stop_api(app)


def header(ws: Workspace, role: str, **more: Any) -> dict[str, str]:
    """Of a new key of that role."""
    key = keys.create_key(ws.db, f"A key to {role}", role, **more)
    return {"Authorization": f"Bearer {issue_token(ws.db, key.id)}"}


def sample_body(seed: int, **more: str) -> dict[str, str]:
    return {"data": "data:image/png;base64," + base64.b64encode(make_image(seed)).decode(), **more}


def calls_of(ws: Workspace) -> list[tuple[str, str, str, dict[str, Any] | None]]:
    """The least role, method, address and body of every call that writes."""
    function = labelled_function(ws, 1)
    path = f"/v1/functions/{function.id}"
    [sample, *_] = samples.find_samples(ws.db, function.id, limit=9)
    label = list_labels(ws.db, function.id)[0]
    record = kept(ws, function.id)
    return [
        (LABEL, "POST", f"{path}/labels", {"name": "drawing"}),
        (LABEL, "POST", f"{path}/samples", sample_body(900)),
        (LABEL, "PUT", f"{path}/samples/{sample.id}/annotation", {"labelName": label.name}),
        (LABEL, "DELETE", f"{path}/samples/{sample.id}/annotation", None),
        (MANAGE, "PUT", f"{path}/labels/{label.id}", {"name": "photo"}),
        (MANAGE, "DELETE", f"{path}/samples/{sample.id}", None),
        (MANAGE, "DELETE", f"{path}/labels/{label.id}", None),
        (MANAGE, "DELETE", f"{path}/records/{record.id}", None),
        (MANAGE, "POST", "/v1/functions", {"name": "New", "input": "Image", "output": "Classification"}),
        (MANAGE, "PUT", path, {"name": "Renamed"}),
        (MANAGE, "DELETE", path, None),
    ]


@pytest.mark.slow
def test_each_call_takes_its_role_and_no_lower_one(ws: Workspace, client: TestClient) -> None:
    """From the lowest role upwards: what a lower one is refused must still be there for the next."""
    tokens = {role: header(ws, role) for role in (LOOK, LABEL, MANAGE)}
    calls = calls_of(ws)
    order = [LOOK, LABEL, MANAGE]
    for role in order:
        for needed, method, path, body in calls:
            if order.index(role) < order.index(needed):
                answer = client.request(method, path, json=body, headers=tokens[role])
                # A record that somebody else has kept is not even there for them.
                hidden = "/records/" in path
                assert answer.status_code == (404 if hidden else 403), (role, method, path, answer.text)
                if not hidden:
                    assert f"A key to {role} (key) has the role {role!r}" in answer.json()["message"]
    for needed, method, path, body in calls:
        answer = client.request(method, path, json=body, headers=tokens[needed])
        assert answer.status_code == 200, (needed, method, path, answer.text)


def test_every_role_reads(ws: Workspace, client: TestClient) -> None:
    function = labelled_function(ws, 1)
    token = header(ws, LOOK)
    for path in ("", f"/{function.id}", f"/{function.id}/labels", f"/{function.id}/samples", f"/{function.id}/records"):
        assert client.get(f"/v1/functions{path}", headers=token).status_code == 200


def test_the_history_of_a_sample_names_the_key(ws: Workspace, client: TestClient) -> None:
    function = labelled_function(ws, 1)
    [sample, *_] = samples.find_samples(ws.db, function.id, limit=9)
    path = f"/v1/functions/{function.id}/samples/{sample.id}/annotation"
    assert client.delete(path, headers=header(ws, LABEL)).status_code == 200
    assert history(ws.db, sample.id)[0].who == "A key to label (key)"


def test_a_key_reads_the_records_that_it_kept_itself(ws: Workspace, client: TestClient) -> None:
    function = labelled_function(ws, 1)
    key = keys.create_key(ws.db, "Mine", LABEL)
    with acting(Actor("Mine", LABEL, "api", f"key:{key.id}")):
        mine = kept(ws, function.id)
    other = kept(ws, function.id, evidence_json(file="other.jpg"))
    path = f"/v1/functions/{function.id}/records"
    own = {"Authorization": f"Bearer {issue_token(ws.db, key.id)}"}
    assert [row["id"] for row in client.get(path, headers=own).json()] == [f"record_{mine.id}"]
    assert client.get(f"{path}/{other.id}", headers=own).status_code == 404
    assert client.get(f"{path}/{other.id}/report", headers=own).status_code == 404
    assert len(client.get(path, headers=header(ws, MANAGE)).json()) == 2
    assert client.get(path, headers=header(ws, LABEL)).json() == []


def test_an_expired_key_is_refused_with_a_sentence_that_says_so(ws: Workspace, client: TestClient) -> None:
    key = keys.create_key(ws.db, "Short", LOOK, 1)
    token = {"Authorization": f"Bearer {issue_token(ws.db, key.id)}"}
    form = {"client_id": key.id, "client_secret": key.secret, "grant_type": "client_credentials"}
    assert client.get("/v1/functions", headers=token).status_code == 200
    with ws.db.write() as connection:
        connection.execute(update(api_keys).values(expires_at=now() - 1))
    for answer in (client.get("/v1/functions", headers=token), client.post("/connect/token", data=form)):
        assert answer.status_code == 401
        assert "has expired" in answer.json()["message"]
    # Whoever has not the secret learns nothing.
    wrong = client.post("/connect/token", data=form | {"client_secret": "wrong"})
    assert "expired" not in wrong.json()["message"]


def test_old_keys_manage_and_never_expire(ws: Workspace) -> None:
    """Rows of before have neither: the table's own defaults count."""
    with ws.db.write() as connection:
        connection.execute(api_keys.insert().values(id="old", name="Old", secret_hash="0" * 64, created_at=now()))
    found = keys.find_active(ws.db, "old")
    assert found is not None
    assert (found.role, found.expires_at, found.calls_per_minute) == (MANAGE, None, None)


def test_a_key_that_calls_too_often_is_told_to_wait(ws: Workspace, client: TestClient) -> None:
    slow, other = header(ws, LOOK, per_minute=3), header(ws, LOOK)
    answers = [client.get("/v1/functions", headers=slow) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= WINDOW_SECONDS
    assert "This key may make 3 calls a minute" in answers[-1].json()["message"]
    assert {client.get("/v1/functions", headers=other).status_code for _ in range(5)} == {200}


def test_the_pace_is_that_of_any_minute() -> None:
    moment = 0.0
    rates = CallRates(lambda: moment)
    for _ in range(2):
        rates.count("k", 2)
    with pytest.raises(TooManyCalls) as refused:
        rates.count("k", 2)
    assert refused.value.retry_seconds == WINDOW_SECONDS
    moment = WINDOW_SECONDS - 0.5
    with pytest.raises(TooManyCalls):
        rates.count("k", 2)
    moment = WINDOW_SECONDS
    rates.count("k", 2)


@pytest.mark.parametrize(
    "more",
    [{"role": "root"}, {"days": 0}, {"days": float("nan")}, {"days": 1e9}, {"per_minute": 0}, {"per_minute": 10**9}],
)
def test_a_key_that_cannot_be_is_refused(ws: Workspace, more: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        keys.create_key(ws.db, "K", **more)
    assert keys.list_keys(ws.db) == []


def test_a_route_that_forgets_to_ask_who_calls_writes_nothing(ws: Workspace) -> None:
    """Until somebody has said who calls, it is done in nobody's name, and not in that of the server."""
    function = labelled_function(ws, 1)
    app = api_app(ws)

    def forgetful() -> str:
        return create_label(ws, function.id, "drawing").id

    app.router.routes.insert(0, APIRoute("/v1/forgetful", forgetful))
    with TestClient(app) as calling:
        answer = calling.get("/v1/forgetful")
    stop_api(app)
    assert answer.status_code == 403
    assert [label.name for label in list_labels(ws.db, function.id)] == ["real", "synthetic"]
