"""What is sent at once is bounded in memory, before it is read; whoever is told to wait gets to know it."""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from detector.api.admission import FREE_BYTES, BodyMemory
from detector.errors import BodiesBusy
from tests.api.server import SETTINGS, Caller, Server
from tests.factories import make_image
from tests.memory_watch import MemoryWatch

pytestmark = pytest.mark.slow

BUDGET_MB = 100
#: Long: the machine may be busy. Much less is waited for an answer that does not depend on what is sent.
REQUEST_SECONDS = 120
#: Beside the bodies: answers, what a body passes through, and what the library keeps of freed memory.
CONSTANT_MB = 150


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {
        **SETTINGS,
        "DETECTOR_BODIES_MB": str(BUDGET_MB),
        "DETECTOR_REQUEST_SECONDS": str(REQUEST_SECONDS),
        "DETECTOR_INVOKE_PLACES": "40",
    }
    running = Server(tmp_path_factory.mktemp("server"), settings)
    yield running
    running.stop()
    assert "Traceback" not in running.log, running.log


def _open(server: Server, head: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", int(server.address.rsplit(":", 1)[1])), 60)
    connection.sendall(head.encode())
    return connection


def _head(caller: Caller, method: str, path: str, *headers: str, token: str | None = None) -> str:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token or caller.token}", *headers]
    return "\r\n".join([*lines, "", ""])


def _answer(connection: socket.socket) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and the JSON of an answer."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65_536)
        assert piece, "closed without an answer"
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65_536)
    return int(first.split()[1]), headers, json.loads(body)


def _bodies(size: int) -> dict[str, tuple[str, bytes]]:
    """One image of so many bytes in each of the ways in which it is sent: (content type, body)."""
    image = b"\0" * size
    part = b'--b\r\nContent-Disposition: form-data; name="data"; filename="a.png"\r\n\r\n' + image + b"\r\n--b--\r\n"
    uri = json.dumps({"data": "data:image/png;base64," + base64.b64encode(image).decode()}).encode()
    return {
        "bare": ("application/octet-stream", image),
        "multipart": ("multipart/form-data; boundary=b", part),
        "json": ("application/json", uri),
    }


def _send(server: Server, caller: Caller, path: str, kind: str, body: bytes, chunked: bool) -> tuple[int, Any, Any]:
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    with _open(server, _head(caller, "POST", path, f"Content-Type: {kind}", length)) as connection:
        connection.settimeout(120)
        try:
            if not chunked:
                connection.sendall(body)
            else:
                for start in range(0, len(body), 1 << 20):
                    piece = body[start : start + (1 << 20)]
                    connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                connection.sendall(b"0\r\n\r\n")
        except ConnectionError:
            pass  # the answer is there all the same
        return _answer(connection)


def _require_whole(server: Server, caller: Caller, path: str) -> None:
    """Nothing is held any more: what is larger than the whole budget is taken only then."""
    status, said = _answer_to_the_whole(server, caller, path)
    assert status == 400, said
    assert "not an image" in said["message"]


def _answer_to_the_whole(server: Server, caller: Caller, path: str) -> tuple[int, dict[str, Any]]:
    """What is answered to a body that needs all the memory there is: 400, or 429 as long as some of it is held."""
    kind, body = _bodies(40_000_000)["json"]
    assert len(body) * 3 > BUDGET_MB * 1e6
    status, _, said = _send(server, caller, f"{path}/invoke", kind, body, False)
    return status, said


def _until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.long
def test_thirty_large_invokes_at_once_take_no_more_memory_than_is_set_aside(
    server: Server, caller: Caller, trained: str
) -> None:
    """The kind: bodies of all forms and lengths, known and not, to all routes that take images, at the same time.

    They were read before they got a place: 30 of 60 MB took 2 GB. The rest is told to wait, and each of them hears it
    although it is still sending; afterwards the memory is given back and ordinary invokes are answered.
    """
    picture = make_image(50)
    assert caller.post(f"{trained}/invoke", files={"data": picture}).status_code == 200
    large, small = _bodies(60_000_000), _bodies(20_000_000)
    attacks = [
        (f"{trained}/invoke", *large["bare"], False, 30),
        (f"{trained}/invoke", *small["json"], False, 10),
        (f"{trained}/invoke/batch", *large["multipart"], False, 10),
        (f"{trained}/invoke", *small["multipart"], True, 10),
        (f"{trained}/samples", *small["multipart"], False, 10),
        (f"{trained}/samples", *small["json"], True, 10),
    ]
    for path, kind, body, chunked, callers in attacks:
        with MemoryWatch(server.pid) as watch, ThreadPoolExecutor(callers) as pool:
            answers = list(pool.map(lambda _: _send(server, caller, path, kind, body, chunked), range(callers)))  # noqa: B023
        statuses = {status for status, _, _ in answers}
        assert statuses <= {200, 400, 429}, answers
        assert 429 in statuses, (path, kind)
        assert len({200, 400} & statuses), (path, kind)
        for status, headers, said in answers:
            if status == 429:
                assert int(headers["retry-after"]) > 0
                assert "DETECTOR_BODIES_MB" in said["message"]
        assert watch.grown < BUDGET_MB + CONSTANT_MB, (path, kind)
        # After the last answer, not before it.
        _until(lambda: watch.kept < CONSTANT_MB)
    assert caller.post(f"{trained}/invoke", files={"data": picture}).status_code == 200
    _require_whole(server, caller, trained)


@pytest.mark.long
def test_odd_requests_leave_nothing_held(server: Server, caller: Caller, trained: str) -> None:
    """The kind: requests that end otherwise than they should; each must give back what it held."""
    size = 3_000_000
    bodies = _bodies(size)
    invoke, samples = f"{trained}/invoke", f"{trained}/samples"

    def cut_off(path: str, kind: str) -> None:
        with _open(server, _head(caller, "POST", path, f"Content-Type: {kind}", f"Content-Length: {size}")) as going:
            going.sendall(b"x" * 500_000)

    def cut_off_in_chunks(path: str, kind: str) -> None:
        head = _head(caller, "POST", path, f"Content-Type: {kind}", "Transfer-Encoding: chunked")
        with _open(server, head) as going:
            going.sendall(b"100000\r\n" + b"x" * 700_000)

    def gone_before_the_answer() -> None:
        kind, body = bodies["bare"]
        head = _head(caller, "POST", invoke, f"Content-Type: {kind}", f"Content-Length: {len(body)}")
        with _open(server, head) as going:
            going.sendall(body)

    def not_json() -> None:
        _send(server, caller, invoke, "application/json", b"{" * size, False)

    def no_file() -> None:
        _send(server, caller, samples, "multipart/form-data; boundary=x", bodies["multipart"][1], False)

    def no_charset() -> None:
        status, _, said = _send(
            server, caller, samples, "multipart/form-data; boundary=b; charset=undefined", bodies["multipart"][1], False
        )
        assert status in (400, 429), said

    def too_large_for_its_route() -> None:
        _send(server, caller, "/v1/functions", "application/json", b" " * size, False)

    def no_such_function() -> None:
        _send(server, caller, "/v1/functions/nothing/invoke", *bodies["bare"], False)

    odd: list[Callable[[], None]] = [
        *(lambda kind=kind: cut_off(invoke, kind) for kind, _ in bodies.values()),  # type: ignore[misc]
        lambda: cut_off(samples, "application/json"),
        lambda: cut_off_in_chunks(invoke, "application/json"),
        lambda: cut_off_in_chunks(samples, "multipart/form-data; boundary=b"),
        gone_before_the_answer,
        not_json,
        no_file,
        no_charset,
        too_large_for_its_route,
        no_such_function,
    ]
    with ThreadPoolExecutor(10) as pool:
        for done in [pool.submit(odd[number % len(odd)]) for number in range(200)]:
            done.result()
    # Who is gone leaves work that has begun: the first invoke of a server takes seconds. Nothing is held for good.
    _until(lambda: _answer_to_the_whole(server, caller, trained)[0] == 400)
    # A place is free as well: those of the invokes and those of the posts.
    with ThreadPoolExecutor(20) as pool:
        answers = list(
            pool.map(lambda seed: Caller(server.address, caller.token).post_image(trained, make_image(60)), range(20))
        )
    assert {answer.status_code for answer in answers} <= {200, 409}


@pytest.mark.long
def test_who_goes_away_gives_their_share_back_at_once(server: Server, caller: Caller, trained: str) -> None:
    head = _head(caller, "POST", f"{trained}/invoke", "Content-Type: image/png", "Content-Length: 60000000")

    def other() -> int:
        return _send(server, caller, f"{trained}/invoke", "image/png", b"\0" * 50_000_000, False)[0]

    def is_in_the_way() -> bool:
        # Opened anew for each try: on a busy machine its time to arrive may be over before it was asked.
        with _open(server, head + "x"):
            return other() == 429

    _until(is_in_the_way)
    # Long before the time is over in which the body should have come.
    _until(lambda: other() == 400, REQUEST_SECONDS / 2)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/functions"),
        ("PUT", "/v1/functions/{function}"),
        ("POST", "/v1/functions/{function}/labels"),
        ("PUT", "/v1/functions/{function}/labels/ab12"),
        ("PUT", "/v1/functions/{function}/samples/ab12/annotation"),
        ("POST", "/v1/functions/{function}/samples"),
        ("POST", "/v1/functions/{function}/invoke"),
        ("POST", "/v1/functions/{function}/invoke/batch"),
        ("POST", "/v0.9/projects"),
        ("PATCH", "/v1/nothing"),
    ],
)
def test_a_stranger_is_refused_before_their_body_is_read(
    server: Server, caller: Caller, trained: str, method: str, path: str
) -> None:
    """The kind: every route that takes a body. Only the head is sent: whoever reads a body first would wait for it."""
    path = path.format(function=trained.rsplit("/", 1)[1])
    head = _head(caller, method, path, "Content-Type: application/json", "Content-Length: 60000000", token="made-up")
    with _open(server, head) as connection:
        connection.settimeout(REQUEST_SECONDS / 2)
        assert _answer(connection)[0] == 401


@pytest.mark.parametrize(
    ("path", "length"),
    [
        ("/connect/token", 50_000),
        ("/v1/functions", 300_000),
        ("{function}/invoke", 600_000_000),
        ("{function}/invoke", 3_000_000_000),
        ("{function}/invoke", 10**18 - 1),
    ],
)
def test_what_is_announced_too_large_is_refused_before_it_comes(
    server: Server, caller: Caller, trained: str, path: str, length: int
) -> None:
    """Nor is room made for it: a length that lies took so much memory, and one of 18 digits ended in an error 500."""
    head = _head(
        caller, "POST", path.format(function=trained), "Content-Type: application/x-www-form-urlencoded",
        f"Content-Length: {length}",
    )  # fmt: skip
    with MemoryWatch(server.pid) as watch, _open(server, head) as connection:
        connection.settimeout(REQUEST_SECONDS / 2)
        status, headers, said = _answer(connection)
        assert status in (400, 413), said
        assert "too large" in said["message"]
        # Whoever sends on is listened to for a while, and then no more.
        assert headers["connection"] == "close"
    assert watch.grown < CONSTANT_MB


def test_a_refused_small_request_keeps_its_connection(server: Server) -> None:
    """A body that has come whole is no reason to close, read or not."""
    with Caller(server.address, "made-up") as stranger:
        answer = stranger.post("/v1/functions", json={"name": "x"})
    assert answer.status_code == 401
    assert answer.headers.get("Connection") != "close"


def test_a_small_body_that_comes_just_after_its_head_keeps_its_connection(server: Server) -> None:
    """Clients send head and body one after the other, and the refusal is ready before the body is there."""
    body = b'{"name": "x"}'
    head = (
        f"POST /v1/functions HTTP/1.1\r\nHost: {server.address.removeprefix('http://')}\r\n"
        f"Authorization: Bearer made-up\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with _open(server, head) as connection:
        time.sleep(0.1)
        connection.sendall(body)
        status, headers, _ = _answer(connection)
    assert status == 401
    assert headers.get("connection") != "close"


def test_shares_are_counted_and_one_that_is_alone_may_be_larger() -> None:
    memory = BodyMemory(10 * FREE_BYTES)
    first, second = memory.share(), memory.share()
    first.hold(FREE_BYTES)
    assert memory.out == 0
    first.hold(100 * FREE_BYTES)
    with pytest.raises(BodiesBusy):
        second.hold(2 * FREE_BYTES)
    assert memory.out == 100 * FREE_BYTES
    first.hold(8 * FREE_BYTES)
    second.hold(2 * FREE_BYTES)
    with pytest.raises(BodiesBusy):
        second.hold(3 * FREE_BYTES)
    first.release()
    second.release()
    assert memory.out == 0


def test_many_small_shares_at_once_count_as_a_large_one_once_all_are_back() -> None:
    """Kind: memory is given back by what was held together; ten bodies of 20 MB left 230 MB with the server."""
    memory = BodyMemory(10**9)
    shares = [memory.share() for _ in range(10)]
    for share in shares:
        share.hold(20_000_000)
    assert not memory.was_large(30_000_000)
    for share in shares:
        share.release()
    assert not memory.was_large(300_000_000)
    assert memory.was_large(200_000_000)
    assert not memory.was_large(200_000_000)


def test_work_that_nobody_waits_for_keeps_its_share_until_it_ends() -> None:
    from concurrent.futures import Future

    memory, work = BodyMemory(10**9), Future[None]()
    share = memory.share()
    share.hold(10**6)
    share.keep_until(work)
    share.release()
    assert memory.out == 10**6
    work.set_result(None)
    assert memory.out == 0
