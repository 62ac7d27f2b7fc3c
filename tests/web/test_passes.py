"""Whose files and long messages the dashboard takes: of those whom what they showed lets in at this moment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from detector.storage import users
from detector.storage.acting import LOOK, MANAGE
from detector.web.password import PasswordHash
from detector.web.people import still_in, ticket
from detector.web.strangers import Pass, SignedIn, Strangers
from detector.workspace import Workspace
from tests.factories import workspace

UPLOAD = "/_stcore/upload_file/{session}/file"


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    opened = workspace(tmp_path)
    yield opened
    opened.close()


async def taken(_request: Request) -> Response:
    return PlainTextResponse("taken")


async def talk(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("here")
    await socket.close()


def dashboard(ws: Workspace, known: SignedIn) -> TestClient:
    door = Middleware(
        Strangers,
        known=known,
        guarded=lambda: users.any_users(ws.db),
        still_good=lambda given_for: still_in(ws.db, given_for),
    )
    routes = [Route(UPLOAD, taken, methods=["PUT"]), WebSocketRoute("/_stcore/stream", talk)]
    return TestClient(Starlette(routes=routes, middleware=[door]))


def upload(asker: TestClient, session: str) -> int:
    return asker.put(UPLOAD.format(session=session), content=b"x").status_code


def test_who_was_shut_out_sends_no_more_files_though_their_page_has_not_run_again(ws: Workspace) -> None:
    stored = str(PasswordHash.make("correct horse battery"))
    known, kept = SignedIn(), list[Pass]()
    asker = dashboard(ws, known)
    assert upload(asker, "anybody") == 200
    users.add_user(ws.db, "Eva", MANAGE, stored)
    anna = users.add_user(ws.db, "Anna", LOOK, stored)
    kept += [known.let_in("annas", ticket(anna), None), known.let_in("shared", stored, None)]
    assert upload(asker, "annas") == 200
    # The shared password lets nobody in any more, nor does no sign-in at all.
    assert [upload(asker, session) for session in ("shared", "anybody")] == [403, 403]
    users.set_disabled(ws.db, anna.id, True)
    assert upload(asker, "annas") == 403


def test_where_the_database_cannot_be_read_a_page_is_still_drawn_and_no_file_is_taken(ws: Workspace) -> None:
    asker = dashboard(ws, SignedIn())
    file = ws.db.engine.url.database
    if ws.db.engine.dialect.name != "sqlite" or file is None:
        pytest.skip("a file is moved away here")
    Path(file).rename(f"{file}.away")
    assert upload(asker, "anybody") == 403
    with asker.websocket_connect("/_stcore/stream") as socket:
        assert socket.receive_text() == "here"
