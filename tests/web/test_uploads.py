"""Uploads to a real server over a real socket: only there can one be cut off."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware

from detector.web.last_word import LastWord
from detector.web.signing import upload_name, upload_token
from detector.web.uploads import LEAST_SPEED, upload_routes
from detector.workspace import Workspace
from tests.factories import workspace

pytestmark = pytest.mark.slow

LIMIT = 20_000_000
#: Long enough for a busy machine to send a few kilobytes.
STALL_SECONDS = 4.0
PLACES = 3


@dataclass(frozen=True)
class Server:
    ws: Workspace
    url: str
    port: int

    def put(self, token: str, content: bytes | Iterator[bytes]) -> httpx.Response:
        return httpx.put(f"{self.url}/uploads/{token}", content=content, timeout=120)

    def spooled(self) -> list[Path]:
        return sorted(self.ws.spool.iterdir())

    def archive(self, token: str) -> Path:
        return self.ws.spool / f"{upload_name(self.ws.db, token)}.zip"


@contextmanager
def _serve(ws: Workspace) -> Iterator[Server]:
    app = Starlette(routes=upload_routes(ws), middleware=[Middleware(LastWord)])
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", 0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    _wait_until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Server(ws, f"http://127.0.0.1:{port}", port)
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    ws = workspace(
        tmp_path_factory.mktemp("uploads"),
        max_zip_gb=LIMIT / 1e9,
        upload_stall_seconds=STALL_SECONDS,
        upload_places=PLACES,
    )
    with _serve(ws) as server:
        yield server


@pytest.fixture
def server(running: Server) -> Server:
    for path in running.spooled():
        path.unlink()
    return running


def _wait_until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def _open_request(server: Server, token: str, headers: str, body: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.sendall(f"PUT /uploads/{token} HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n".encode() + body)
    return connection


def test_an_upload_arrives_whole_under_its_name(server: Server) -> None:
    token, data = upload_token(server.ws.db), bytes(range(256)) * 40_000
    response = server.put(token, data)
    assert response.status_code == 200
    assert response.json() == {"bytes": len(data)}
    assert server.spooled() == [server.archive(token)]
    assert server.archive(token).read_bytes() == data


def test_a_stream_of_unknown_length_reaches_the_disk_while_it_comes(server: Server) -> None:
    """What is received must not gather in memory: it is on the disk before the upload ends."""
    token = upload_token(server.ws.db)
    seen_on_disk = threading.Event()

    def pieces() -> Iterator[bytes]:
        for _ in range(10):
            yield b"x" * 1_000_000
        _wait_until(lambda: any(path.stat().st_size >= 4_000_000 for path in server.spooled()))
        seen_on_disk.set()
        yield b"end"

    assert server.put(token, pieces()).json() == {"bytes": 10_000_003}
    assert seen_on_disk.is_set()
    assert server.archive(token).stat().st_size == 10_000_003


def test_a_token_is_good_for_one_upload(server: Server) -> None:
    token = upload_token(server.ws.db)
    assert server.put(token, b"first").status_code == 200
    second = server.put(token, b"second")
    assert second.status_code == 409
    assert "used already" in second.json()["message"]
    assert server.archive(token).read_bytes() == b"first"
    assert server.spooled() == [server.archive(token)]


def test_a_second_upload_beside_a_running_one_is_refused_and_does_not_harm_it(server: Server) -> None:
    token = upload_token(server.ws.db)
    connection = _open_request(server, token, "Content-Length: 10", b"first")
    _wait_until(lambda: len(server.spooled()) == 1)
    assert server.put(token, b"second").status_code == 409
    connection.sendall(b"-half")
    assert b"200" in connection.recv(1000)
    connection.close()
    assert server.archive(token).read_bytes() == b"first-half"


def test_a_file_announced_too_large_is_refused_before_it_comes(server: Server) -> None:
    connection = _open_request(server, upload_token(server.ws.db), f"Content-Length: {LIMIT + 1}", b"")
    assert b"413" in connection.recv(1000)
    connection.close()
    assert server.spooled() == []


def test_a_stream_that_grows_too_large_is_refused_and_leaves_nothing(server: Server) -> None:
    token = upload_token(server.ws.db)
    piece = b"x" * 1_000_000
    connection = _open_request(server, token, "Transfer-Encoding: chunked", b"")
    connection.settimeout(15)
    answer = b""
    try:
        for _ in range(LIMIT // len(piece) + 1):
            connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        answer = connection.recv(1000)
    except (BrokenPipeError, ConnectionResetError):
        pass
    finally:
        connection.close()
    assert not answer or b"413" in answer
    _wait_until(lambda: server.spooled() == [])


@pytest.mark.parametrize("token", ["nonsense", "a-99999999999-b", "..%2F..%2Fetc"])
def test_a_bad_token_is_refused(server: Server, token: str) -> None:
    assert server.put(token, b"data").status_code in (403, 404)
    assert server.spooled() == []


def test_a_forged_token_is_refused_with_a_sentence(server: Server) -> None:
    token = upload_token(server.ws.db)
    response = server.put(token[:-1] + ("0" if token[-1] != "0" else "1"), b"data")
    assert response.status_code == 403
    assert "Reload the page" in response.json()["message"]
    assert server.spooled() == []


def test_an_upload_that_is_cut_off_leaves_nothing_and_may_be_tried_again(server: Server) -> None:
    token = upload_token(server.ws.db)
    connection = _open_request(server, token, "Content-Length: 9000000", b"x" * 6_000_000)
    _wait_until(lambda: any(path.stat().st_size for path in server.spooled()))
    connection.close()
    _wait_until(lambda: server.spooled() == [])
    assert server.put(token, b"whole").status_code == 200
    assert server.archive(token).read_bytes() == b"whole"


def _status(connection: socket.socket) -> bytes:
    connection.settimeout(60)
    answer = b""
    while not answer.endswith(b"}"):
        piece = connection.recv(2000)
        assert piece, "closed without an answer"
        answer += piece
    return answer


@pytest.mark.long
@pytest.mark.parametrize("headers", ["Content-Length: 9000000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("dribble", [False, True])
def test_an_upload_that_stalls_is_ended_and_leaves_nothing(server: Server, headers: str, dribble: bool) -> None:
    """The kind: senders that stop, and such as send a byte now and then, however much of it they announced."""
    connection = _open_request(server, upload_token(server.ws.db), headers, b"")
    over = threading.Event()

    def drip() -> None:
        while dribble and not over.wait(0.2):
            try:
                connection.sendall(b"1\r\nx\r\n" if "chunked" in headers else b"x")
            except OSError:
                return

    dripping = threading.Thread(target=drip)
    dripping.start()
    answer = _status(connection)
    over.set()
    dripping.join()
    connection.close()
    assert b" 408 " in answer
    assert b"choose the file again" in answer
    _wait_until(lambda: server.spooled() == [])


@pytest.mark.long
def test_a_slow_line_brings_its_upload_to_the_end(server: Server) -> None:
    """Twice the least speed, for longer than the time that is looked at."""
    token, piece = upload_token(server.ws.db), b"x" * (LEAST_SPEED // 2)
    end = time.monotonic() + 1.5 * STALL_SECONDS

    def pieces() -> Iterator[bytes]:
        while time.monotonic() < end:
            yield piece
            time.sleep(0.2)

    assert server.put(token, pieces()).status_code == 200
    assert server.archive(token).stat().st_size % len(piece) == 0


def test_only_so_many_uploads_run_at_once(server: Server) -> None:
    head = "Content-Length: 1000"
    running = [_open_request(server, upload_token(server.ws.db), head, b"x") for _ in range(PLACES)]
    _wait_until(lambda: len(server.spooled()) == PLACES)
    refused = server.put(upload_token(server.ws.db), b"x" * 3_000_000)
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0
    assert "uploads are running already" in refused.json()["message"]
    for connection in running:
        connection.close()
    _wait_until(lambda: server.spooled() == [])
    assert server.put(upload_token(server.ws.db), b"x").status_code == 200


def test_a_refused_upload_hears_why_although_it_is_still_sending(server: Server) -> None:
    """Its token is not good; all of it is sent before the answer is read."""
    connection = _open_request(server, "nonsense", f"Content-Length: {LIMIT}", b"")
    connection.settimeout(60)
    try:
        for _ in range(LIMIT // 1_000_000):
            connection.sendall(b"x" * 1_000_000)
        answer = _status(connection)
    finally:
        connection.close()
    assert b" 403 " in answer
    assert b"Reload the page" in answer
    assert server.spooled() == []


def test_an_upload_finds_room_on_the_disk_or_is_told_so_before_it_is_read(tmp_path: Path) -> None:
    """The kind: announced larger than what is free, alone or beside what others have announced and not yet sent."""
    ws = workspace(tmp_path, max_zip_gb=1e9)
    free = shutil.disk_usage(ws.spool).free
    with _serve(ws) as server:
        for length in (free + 1, 10**15):
            connection = _open_request(server, upload_token(ws.db), f"Content-Length: {length}", b"")
            answer = _status(connection)
            connection.close()
            assert b" 507 " in answer
            assert b"Make room there" in answer
        large = f"Content-Length: {int(free * 0.6)}"
        first = _open_request(server, upload_token(ws.db), large, b"x")
        _wait_until(lambda: len(server.spooled()) == 1)
        second = _open_request(server, upload_token(ws.db), large, b"x")
        assert b" 507 " in _status(second)
        second.close()
        first.close()
        _wait_until(lambda: server.spooled() == [])
        third = _open_request(server, upload_token(ws.db), large, b"x")
        _wait_until(lambda: len(server.spooled()) == 1)
        third.close()
        _wait_until(lambda: server.spooled() == [])
    ws.close()
