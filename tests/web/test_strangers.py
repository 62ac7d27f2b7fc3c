"""What the dashboard takes from somebody who has not signed in, and from all others, asked of the real server."""

from __future__ import annotations

import gc
import http.client
import json
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value
from websockets.exceptions import ConnectionClosed

from detector.web.password import PasswordHash
from detector.web.signing import upload_token
from detector.web.strangers import MOST_STRANGERS, SignedIn
from tests.app_server import AppServer, end, start_app, wait_until_it_answers
from tests.ports import free_port
from tests.visitor import Visitor, upload_path, xsrf

pytestmark = pytest.mark.slow

PASSWORD = "correct horse battery"
SETTINGS = {
    "DETECTOR_PASSWORD_HASH": str(PasswordHash.make(PASSWORD)),
    "DETECTOR_DROPPED_FILES_MB": "20",
    "DETECTOR_REQUEST_SECONDS": "3",
}
MB = 1_000_000
#: Less than one of the files that are sent, and less than the limit on what the server holds for those who may.
LITTLE = 100 * MB

#: Of somebody who would like to choose the name of the connection.
HANDSHAKE = (
    b"GET /_stcore/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\nX-Detector-Connection: mine\r\n\r\n"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    running = AppServer(tmp_path_factory.mktemp("server"), SETTINGS)
    yield running
    running.stop()
    assert "Traceback" not in running.log, running.log


@pytest.fixture
def stranger(server: AppServer) -> Iterator[Visitor]:
    found = Visitor(server.address)
    yield found
    found.close()


@pytest.fixture
def member(server: AppServer) -> Iterator[Visitor]:
    found = Visitor(server.address)
    found.give(PASSWORD)
    yield found
    found.close()


def memory(server: AppServer) -> int:
    return int(psutil.Process(server.pid).memory_info().rss)


def line(server: AppServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(server.address.rpartition(":")[2])), timeout=120)


def answer(server: AppServer, head: str, *pieces: bytes, wait: bool = False) -> str:
    """The first answer to a request that is sent whole, however early the answer comes; with ``wait``, the other way
    round, as with ``Expect: 100-continue``."""
    with line(server) as connection:
        connection.sendall(f"{head}\r\nHost: localhost\r\n\r\n".encode())
        if not wait:
            for piece in pieces:
                connection.sendall(piece)
        got = b""
        while b"\r\n\r\n" not in got:
            more = connection.recv(65536)
            if not more:
                break
            got += more
        with suppress(OSError):
            connection.settimeout(0.3)
            got += connection.recv(65536)
        return got.decode()


def flood(server: AppServer, *pieces: bytes) -> None:
    """Send for as long as the server takes it."""
    with line(server) as connection, suppress(OSError):
        for piece in pieces:
            connection.sendall(piece)
        connection.recv(65536)


def put(path: str, server: AppServer, *headers: str, method: str = "PUT") -> str:
    given = [f"{name}: {value}" for name, value in xsrf(server.address).items()]
    kind = "Content-Type: multipart/form-data; boundary=b"
    return "\r\n".join([f"{method} {path} HTTP/1.1", kind, *given, *headers])


def part(size: int) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    return head + b"\0" * size + b"\r\n--b--\r\n"


def test_ten_large_files_of_a_stranger_are_each_refused_and_leave_nothing(server: AppServer, stranger: Visitor) -> None:
    """Kind: what a stranger sends is not kept. Eight files of 150 MB took 1.1 GB without any sign-in."""
    before, piece = memory(server), b"\0" * MB
    own, chunk = upload_path(stranger.session_id), b"%x\r\n%b\r\n" % (MB, b"\0" * MB)
    length, chunked = "Content-Length: 150000000", "Transfer-Encoding: chunked"
    asked = [
        *[(put(own, server, length), [piece] * 150, False)] * 5,
        *[(put(own, server, chunked), [chunk] * 150 + [b"0\r\n\r\n"], False)] * 2,
        (put(own, server, length, "Expect: 100-continue"), [], True),
        (put(upload_path("no-such-session"), server, length), [piece] * 150, False),
        (put(own, server, length, method="DELETE"), [piece] * 150, False),
    ]
    with ThreadPoolExecutor(len(asked)) as threads:
        said = list(threads.map(lambda each: answer(server, each[0], *each[1], wait=each[2]), asked))
    assert memory(server) - before < LITTLE
    for each in said:
        assert each.startswith("HTTP/1.1 403"), each
        assert "sign in" in each


@pytest.mark.parametrize("path", ["/_stcore/health", "/exports/x", "/pictures/x", "/functions", "/uploads/x", "/"])
def test_a_body_where_none_is_expected_is_not_kept(server: AppServer, path: str) -> None:
    """Kind: what a stranger sends is not kept, on whatever address."""
    before = memory(server)
    for method in ("GET", "PUT", "OPTIONS"):
        head = put(path, server, "Content-Length: 60000000", method=method)
        assert answer(server, head, *[b"\0" * MB] * 60).startswith("HTTP/1.1 ")
    assert memory(server) - before < LITTLE


def test_long_messages_are_cut_off_before_sign_in_and_taken_after_it(
    server: AppServer, stranger: Visitor, member: Visitor
) -> None:
    """Kind: what a stranger sends is not kept. Messages of a page were held up to 200 MB, for everybody."""
    member.run(some_widget="x" * 2 * MB)
    assert member.titles
    before = memory(server)
    with pytest.raises(ConnectionClosed) as caught:
        stranger.run(some_widget="x" * 2 * MB)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1009

    def send(number: int) -> None:
        with line(server) as connection, suppress(OSError):
            connection.sendall(HANDSHAKE)
            connection.recv(65536)
            # Half of one message, in one frame or in fragments.
            whole = struct.pack("!BBQI", 0x82, 0xFF, 80 * MB, 0)
            first, further = struct.pack("!BBQI", 0x02, 0xFF, MB, 0), struct.pack("!BBQI", 0x00, 0xFF, MB, 0)
            for place in range(40):
                head = (whole if place == 0 else b"") if number % 2 else (first if place == 0 else further)
                connection.sendall(head + b"\0" * MB)
            sizes.append(memory(server))

    sizes: list[int] = []
    with ThreadPoolExecutor(10) as threads:
        list(threads.map(send, range(10)))
    assert max([memory(server), *sizes]) - before < LITTLE


def test_of_too_many_strangers_the_oldest_goes_and_nobody_else(
    server: AppServer, stranger: Visitor, member: Visitor
) -> None:
    """Kind: what a stranger makes the server keep has an end; here sessions. And nobody is kept out by them."""
    before = memory(server)
    with ExitStack() as open_pages:
        for _ in range(MOST_STRANGERS + 50):
            connection = open_pages.enter_context(line(server))
            connection.sendall(HANDSHAKE)
            assert connection.recv(65536).startswith(b"HTTP/1.1 101")
        with pytest.raises(ConnectionClosed) as caught:
            stranger.run()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1013
        member.run()
        assert member.put(b"\0" * 1000).status_code == 204
        owner = Visitor(server.address)
        assert owner.give(PASSWORD) == owner.titles[0]
        owner.close()
    assert memory(server) - before < LITTLE


def test_somebody_who_comes_back_to_their_session_may_send_long_messages(server: AppServer, member: Visitor) -> None:
    again = Visitor(server.address, session_id=member.session_id)
    try:
        assert again.session_id == member.session_id
        assert again.put(b"\0" * 1000).status_code == 204
        again.run(some_widget="x" * 2 * MB)
        assert again.titles
    finally:
        again.close()


def test_a_pass_ends_with_its_session(server: AppServer) -> None:
    known = SignedIn()
    kept = known.let_in("session", "password", None)
    assert "session" in known
    del kept
    gc.collect()
    assert "session" not in known
    member = Visitor(server.address)
    member.give(PASSWORD)
    assert member.put(b"\0" * 1000).status_code == 204
    member.close()
    assert member.put(b"\0" * 1000).status_code in (400, 403)


def test_whoever_came_by_the_login_of_an_organisation_may_send_files_too(tmp_path: Path) -> None:
    secret, port = "x" * 40, free_port()
    address = f"http://localhost:{port}"
    secrets = tmp_path / "secrets.toml"
    secrets.write_text(f'[auth]\nredirect_uri = "{address}/oauth2callback"\ncookie_secret = "{secret}"\n')
    process = start_app(port, {"DETECTOR_DATA_DIR": str(tmp_path / "data")}, "--secrets.files", str(secrets))
    try:
        wait_until_it_answers(address, process)
        given = xsrf(address)
        user = create_signed_value(secret, "_streamlit_user", json.dumps({"origin": address, "is_logged_in": True}))
        cookies = {"Cookie": f"{given['Cookie']}; _streamlit_user={user.decode()}"}
        member = Visitor(address, headers=cookies, origin=address, token=given["X-Xsrftoken"])
        assert member.put(b"\0" * 1000).status_code == 204
        stranger = Visitor(address, headers={"Cookie": given["Cookie"]}, origin=address, token=given["X-Xsrftoken"])
        assert stranger.put(b"\0" * 1000).status_code == 403
        for each in (member, stranger):
            each.close()
    finally:
        end(process)


def test_the_head_of_a_request_has_a_largest_size(server: AppServer) -> None:
    """Kind: what a stranger sends is not kept: one header, or what follows a body in pieces, grew without an end."""
    before, piece = memory(server), b"x" * MB
    for begun in (b"GET /_stcore/health HTTP/1.1\r\nX: ", b"GET /"):
        with line(server) as connection:
            connection.sendall(begun + b"x" * 100_000)
            assert connection.recv(65536).startswith(b"HTTP/1.1 431")
    assert answer(server, "GET /_stcore/health HTTP/1.1\r\nX: " + "x" * 60_000).startswith("HTTP/1.1 200")
    in_chunks = b"PUT /_stcore/health HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    flood(server, b"GET /_stcore/health HTTP/1.1\r\nX: ", *[piece] * 150)
    flood(server, b"GET /", *[piece] * 150)
    flood(server, b"GET /_stcore/health HTTP/1.1\r\n", *[b"x: 1\r\n" * 150_000] * 150)
    flood(server, in_chunks + b"0\r\nX: ", *[piece] * 150)
    flood(server, in_chunks + b"1;x=", *[piece] * 150)
    assert memory(server) - before < LITTLE


def test_many_requests_and_long_bodies_on_one_connection_are_no_long_head(server: AppServer) -> None:
    connection = http.client.HTTPConnection(server.address.removeprefix("http://"), timeout=60)
    first = None
    for number in range(10):
        if number % 2:
            body, headers = iter([b"abc"] * 20_000), {"Transfer-Encoding": "chunked"}
            # One that is read: who is refused before that may find their connection closed.
            token = upload_token(server.workspace.db)
            connection.request("PUT", f"/uploads/{token}", body, headers, encode_chunked=True)
        else:
            connection.request("GET", "/_stcore/health", headers={"X": "x" * 50_000})
        answered = connection.getresponse()
        answered.read()
        assert answered.status == 200
        first = first or connection.sock
        assert connection.sock is first
    connection.close()


def test_dropped_files_of_all_people_share_one_room_and_closed_pages_leave_it(
    server: AppServer, member: Visitor
) -> None:
    """Kind: memory has a setting. What people drop lies in the server's memory while their page is open."""
    half = b"\0" * 4_500_000
    other = Visitor(server.address)
    try:
        other.give(PASSWORD)
        assert [member.put(half, f"file-{number}").status_code for number in range(4)] == [204] * 4
        refused = other.put(half)
        assert refused.status_code == 503
        assert "DETECTOR_DROPPED_FILES_MB" in refused.text
        in_chunks = put(upload_path(other.session_id), server, "Transfer-Encoding: chunked")
        assert answer(server, in_chunks, b"%x\r\n%b\r\n0\r\n\r\n" % (len(part(3 * MB)), part(3 * MB))).startswith(
            "HTTP/1.1 503"
        )
        assert member.delete("file-0").status_code == 204
        assert other.put(half).status_code == 204
        member.close()
        assert [other.put(half, f"file-{number}").status_code for number in range(3)] == [204] * 3
    finally:
        other.close()


def test_a_file_of_a_member_is_bounded_in_size_and_time_and_many_at_once_are_taken(
    server: AppServer, member: Visitor
) -> None:
    own = upload_path(member.session_id)
    said = answer(server, put(own, server, "Content-Length: 300000000"), *[b"\0" * MB] * 300)
    assert said.startswith("HTTP/1.1 413")
    assert "at most" in said
    slow = answer(server, put(own, server, "Content-Length: 1000"), b"--b\r\n")
    assert slow.startswith("HTTP/1.1 408")
    assert "slowly" in slow
    with ThreadPoolExecutor(30) as threads:
        taken = list(threads.map(lambda number: member.put(b"\0" * 200_000, f"many-{number}").status_code, range(30)))
    assert taken == [204] * 30
