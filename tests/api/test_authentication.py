"""Keys, tokens and who is let in, through the application that the server serves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from itsdangerous import URLSafeTimedSerializer

from detector.api import authentication
from detector.api.app import api_app, stop_api
from detector.api.authentication import TOKEN_SECONDS, issue_token, read_token
from detector.storage import keys
from detector.storage.keys import NewKey
from detector.workspace import Workspace
from tests.factories import workspace


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


def ask(client: TestClient, key: NewKey, **changes: str) -> Any:
    form = {"client_id": key.id, "client_secret": key.secret, "grant_type": "client_credentials"} | changes
    return client.post("/connect/token", data=form)


def listing(client: TestClient, authorization: str | None, **more: str) -> int:
    headers = more if authorization is None else {"Authorization": authorization, **more}
    return client.get("/v1/functions", headers=headers).status_code


def test_a_key_gets_a_token_of_a_day_that_lets_it_in(ws: Workspace, client: TestClient) -> None:
    key = keys.create_key(ws.db, "Nightly import")
    answer = ask(client, key)
    assert answer.status_code == 200
    assert {name: answer.json()[name] for name in ("token_type", "expires_in")} == {
        "token_type": "Bearer",
        "expires_in": 86400,
    }
    token = answer.json()["access_token"]
    assert listing(client, f"Bearer {token}") == 200
    assert listing(client, f"bearer {token}") == 200


def test_a_wrong_secret_and_an_unknown_id_get_the_same_words_in_the_same_time(
    ws: Workspace, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "WRONG_PAIR_SECONDS", 0.0)
    key, revoked = keys.create_key(ws.db, "Key"), keys.create_key(ws.db, "Revoked")
    keys.revoke_key(ws.db, revoked.id)
    wrong = {"client_secret": "x" * 43}
    answers = [ask(client, key, **wrong), ask(client, key, client_id="unknown"), ask(client, revoked)]
    assert [answer.status_code for answer in answers] == [401] * 3
    assert len({answer.content for answer in answers}) == 1
    assert set(answers[0].json()) == {"message"}
    times: dict[str, list[float]] = {key.id: [], "unknown": []}
    for _ in range(40):
        for client_id, taken in times.items():
            start = time.perf_counter()
            ask(client, key, client_id=client_id, **wrong)
            taken.append(time.perf_counter() - start)
    # The quickest of each: whatever else runs on the machine only ever adds.
    known, unknown = (min(taken) for taken in times.values())
    assert known / unknown == pytest.approx(1.0, abs=0.5)


@pytest.mark.slow
def test_a_wrong_pair_waits_for_its_answer_and_a_right_one_does_not(ws: Workspace, client: TestClient) -> None:
    key = keys.create_key(ws.db, "Key")
    took: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(3):
        for right, taken in took.items():
            start = time.perf_counter()
            ask(client, key, **({} if right else {"client_secret": "wrong"}))
            taken.append(time.perf_counter() - start)
    assert min(took[False]) >= authentication.WRONG_PAIR_SECONDS
    # Both are looked up the same way, however long that takes here.
    assert min(took[True]) < min(took[False]) - authentication.WRONG_PAIR_SECONDS / 2


@pytest.mark.parametrize("form", [{}, {"grant_type": "password"}, {"client_id": "a"}, {"client_secret": "b"}])
def test_an_incomplete_request_for_a_token_is_400_with_a_message(
    client: TestClient, ws: Workspace, form: dict[str, str]
) -> None:
    complete = {"client_id": "a", "client_secret": "b", "grant_type": "client_credentials"}
    data = complete | form if "grant_type" in form else form
    answer = client.post("/connect/token", data=data)
    assert answer.status_code == 400
    assert set(answer.json()) == {"message"}


def test_a_revoked_keys_token_is_refused_at_once_also_when_another_process_revoked_it(
    ws: Workspace, client: TestClient
) -> None:
    key, other = keys.create_key(ws.db, "Key"), keys.create_key(ws.db, "Other")
    token, kept = issue_token(ws.db, key.id), issue_token(ws.db, other.id)
    assert listing(client, f"Bearer {token}") == 200
    beside = Workspace.open(ws.settings)
    keys.revoke_key(beside.db, key.id)
    beside.close()
    assert listing(client, f"Bearer {token}") == 401
    assert listing(client, f"Bearer {kept}") == 200


def test_a_key_made_by_another_process_works_at_once(ws: Workspace, client: TestClient) -> None:
    beside = Workspace.open(ws.settings)
    key = keys.create_key(beside.db, "Made on the command line")
    beside.close()
    assert ask(client, key).status_code == 200


def test_a_token_expires_after_a_day(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    key = keys.create_key(ws.db, "Key")
    token = issue_token(ws.db, key.id)
    made = time.time()
    monkeypatch.setattr(time, "time", lambda: made + TOKEN_SECONDS - 5)
    assert read_token(ws.db, token) is not None
    monkeypatch.setattr(time, "time", lambda: made + TOKEN_SECONDS + 5)
    assert read_token(ws.db, token) is None


def test_foreign_changed_and_malformed_tokens_are_refused(ws: Workspace, client: TestClient) -> None:
    key = keys.create_key(ws.db, "Key")
    token = issue_token(ws.db, key.id)
    foreign = URLSafeTimedSerializer("another server's key", salt="api-token").dumps(key.id)
    swapped = ("B" if token[0] == "A" else "A") + token[1:]
    for wrong in (foreign, swapped, token[:-1], token + "A", key.secret, key.id, "", "a.b.c", "..", "x" * 5000):
        answer = client.get("/v1/functions", headers={"Authorization": f"Bearer {wrong}"})
        assert answer.status_code == 401, wrong
        assert set(answer.json()) == {"message"}
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_nothing_but_the_authorization_header_authenticates(ws: Workspace, client: TestClient) -> None:
    token = issue_token(ws.db, keys.create_key(ws.db, "Key").id)
    assert listing(client, None) == 401
    assert listing(client, f"Basic {token}") == 401
    assert listing(client, token) == 401
    for cookie in ("token", "access_token", "Authorization", "session"):
        assert listing(client, None, Cookie=f"{cookie}={token}") == 401
    assert client.get(f"/v1/functions?access_token={token}&token={token}").status_code == 401
