"""Whoever watches over the server learns whether it is well; figures and reasons are for this machine and for keys."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from detector.api.authentication import issue_token, read_token
from detector.storage import keys
from detector.web import probes
from detector.web.addresses import below
from detector.web.bind_guard import KnownHosts
from detector.web.probes import probe_routes
from detector.web.requests_seen import RequestsSeen, route_class
from detector.workspace import Workspace
from tests.factories import workspace

SECRET = "a-secret-of-some-length"
HERE, ELSEWHERE = ("127.0.0.1", 40_000), ("192.0.2.7", 40_000)


class Worker:
    said = ""

    def wrong(self) -> str:
        return self.said


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    made = workspace(tmp_path)
    yield made
    made.close()


@pytest.fixture
def worker() -> Worker:
    return Worker()


_entered = ExitStack()


@pytest.fixture(autouse=True)
def _one_loop_for_each_server() -> Iterator[None]:
    with _entered:
        yield


def client(
    ws: Workspace,
    worker: Worker,
    peer: tuple[str, int] = HERE,
    host: str = "localhost",
    secret: str = "",
    base: str = "",
) -> TestClient:
    ws = replace(ws, settings=replace(ws.settings, metrics_token=secret))
    app = Starlette(
        routes=below(base, probe_routes(ws, worker.wrong, read_token)),
        middleware=[
            Middleware(RequestsSeen),
            Middleware(KnownHosts, allowed_hosts=["localhost", "127.0.0.1", "detector.example.org"], base=""),
        ],
    )
    return _entered.enter_context(TestClient(app, f"http://{host}", client=peer))


def test_somebody_elsewhere_learns_one_word_under_whatever_name(ws: Workspace, worker: Worker) -> None:
    for host in ("10.0.0.5:8501", "detector.example.org"):
        asking = client(ws, worker, ELSEWHERE, host)
        assert (asking.get("/healthz").status_code, asking.get("/healthz").text) == (200, "ok\n")
        assert (asking.get("/readyz").status_code, asking.get("/readyz").text) == (200, "ready\n")
    worker.said = "the background process is starting"
    asking = client(ws, worker, ELSEWHERE, "10.0.0.5")
    assert (asking.get("/readyz").status_code, asking.get("/readyz").text) == (503, "not ready\n")
    assert asking.get("/healthz").status_code == 200


def test_this_machine_learns_which_part_is_not_ready_without_a_path(ws: Workspace, worker: Worker) -> None:
    assert client(ws, worker).get("/readyz").json() == {
        "ready": True,
        "database": "ok",
        "store": "ok",
        "worker": "ok",
    }
    worker.said = "the background process is starting"
    answer = client(ws, worker).get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["worker"] == worker.said


def test_a_database_that_is_gone_makes_it_not_ready_and_it_lives_on(ws: Workspace, worker: Worker) -> None:
    asking = client(ws, worker)
    if ws.settings.database_url:
        pytest.skip("the file of SQLite is taken away")
    ws.settings.data_dir.joinpath("detector.sqlite").rename(ws.settings.data_dir / "away")
    answer = asking.get("/readyz")
    assert (answer.status_code, answer.json()["database"]) == (503, "cannot be read")
    assert str(ws.settings.data_dir) not in answer.text
    assert asking.get("/healthz").status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    ("header", "value"),
    [("X-Forwarded-For", "198.51.100.1"), ("Forwarded", "for=198.51.100.1"), ("X-Real-IP", "x"), ("Via", "1.1 proxy")],
)
def test_what_came_through_a_proxy_is_not_of_this_machine(
    ws: Workspace, worker: Worker, header: str, value: str
) -> None:
    asking = client(ws, worker)
    assert asking.get("/metrics").status_code == 200
    assert asking.get("/metrics", headers={header: value}).status_code == 401
    assert asking.get("/readyz", headers={header: value}).text == "ready\n"


@pytest.mark.slow
def test_metrics_are_refused_elsewhere_and_under_another_name(ws: Workspace, worker: Worker) -> None:
    refused = client(ws, worker, ELSEWHERE, "detector.example.org").get("/metrics")
    assert refused.status_code == 401
    assert "detector_" not in refused.text
    # A page that a browser of this machine shows, with a name of its own for this machine.
    assert client(ws, worker, HERE, "evil.example").get("/metrics").status_code == 400
    assert client(ws, worker, HERE, "detector.example.org").get("/metrics").status_code == 401
    assert client(ws, worker, HERE, "evil.example").get("/readyz").text == "ready\n"


@pytest.mark.slow
def test_the_secret_of_the_settings_opens_them_and_is_then_asked_of_all(ws: Workspace, worker: Worker) -> None:
    for peer, host in ((ELSEWHERE, "detector.example.org"), (HERE, "localhost")):
        asking = client(ws, worker, peer, host, SECRET)
        assert asking.get("/metrics").status_code == 401
        assert asking.get("/metrics", headers={"Authorization": f"Bearer {SECRET}x"}).status_code == 401
        answer = asking.get("/metrics", headers={"Authorization": f"Bearer {SECRET}"})
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    # An empty secret is no secret.
    assert (
        client(ws, worker, ELSEWHERE, "localhost").get("/metrics", headers={"Authorization": "Bearer "}).status_code
        == 401
    )


@pytest.mark.slow
def test_a_key_of_the_api_opens_them_until_it_is_revoked(ws: Workspace, worker: Worker) -> None:
    key = keys.create_key(ws.db, "Prometheus")
    asking = client(ws, worker, ELSEWHERE, "detector.example.org", SECRET)
    token = {"Authorization": f"Bearer {issue_token(ws.db, key.id)}"}
    assert asking.get("/metrics", headers=token).status_code == 200
    assert asking.get("/metrics", auth=(key.id, key.secret)).status_code == 200
    assert asking.get("/readyz", headers=token).json()["ready"] is True
    assert asking.get("/metrics", auth=(key.id, "wrong")).status_code == 401
    keys.revoke_key(ws.db, key.id)
    assert asking.get("/metrics", headers=token).status_code == 401
    assert asking.get("/metrics", auth=(key.id, key.secret)).status_code == 401


def test_every_answer_has_an_id_and_a_callers_own_where_it_is_sane(ws: Workspace, worker: Worker) -> None:
    asking = client(ws, worker)
    made = asking.get("/healthz").headers["x-request-id"]
    assert len(made) == 16
    assert made != asking.get("/healthz").headers["x-request-id"]
    assert asking.get("/healthz", headers={"X-Request-ID": "job-7.2_a"}).headers["x-request-id"] == "job-7.2_a"
    for evil in ("a b", "x" * 65, '"}', "é".encode()):
        answered = asking.get("/healthz", headers={b"X-Request-ID": evil if isinstance(evil, bytes) else evil.encode()})
        assert len(answered.headers["x-request-id"]) == 16


def test_requests_are_counted_by_part_of_the_server_never_by_path() -> None:
    assert {
        route_class(path)
        for path in ("/v1/functions", "/pictures/abc", "/uploads/secret", "/", "/review", "/metrics", "/_stcore/stream")
    } == {"api", "pictures", "uploads", "pages", "probe", "dashboard"}


def test_a_browser_that_asks_for_the_page_of_that_name_gets_no_figures(ws: Workspace, worker: Worker) -> None:
    """The dashboard has a page Metrics, at the address that Prometheus asks by itself."""
    asking = client(ws, worker, HERE, "localhost", base="/app")
    page = asking.get(
        "/app/metrics", headers={"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    )
    assert page.status_code == 404
    for accepted in ("*/*", "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"):
        assert asking.get("/app/metrics", headers={"Accept": accepted}).text.startswith("# HELP")


@pytest.mark.slow
def test_a_key_that_cannot_be_asked_about_in_time_knows_nothing(
    ws: Workspace, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that hangs must not take all threads of the server with it."""
    monkeypatch.setattr(probes, "_SECONDS", 0.2)
    monkeypatch.setattr(probes, "_WRONG_SECONDS", 0.0)
    hangs, asked = threading.Event(), []

    def read_slowly(_db: object, token: str) -> object:
        asked.append(token)
        hangs.wait(30)
        return token

    app = Starlette(routes=list(probe_routes(ws, worker.wrong, read_slowly)))
    with TestClient(app, base_url="http://localhost", client=ELSEWHERE) as asker:
        for n in range(6):
            answer = asker.get("/readyz", headers={"Authorization": f"Bearer {n}"})
            assert answer.text in ("ready\n", "not ready\n")
        assert len(asked) == probes._KEY_THREADS
        hangs.set()


def test_a_wrong_pair_waits_for_its_answer_at_readyz_too(
    ws: Workspace, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        waited.append(seconds)
        await sleep(0)

    monkeypatch.setattr(probes.asyncio, "sleep", noted)
    client(ws, worker).get("/readyz", auth=("nobody", "wrong"))
    assert probes._WRONG_SECONDS in waited
