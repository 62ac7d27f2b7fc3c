"""Requests that no client of ours sends, to a real server: what they are told, what stays, what memory they take."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import requests
from sqlalchemy import func, select
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from detector.storage.schema import annotation_history, images, samples
from detector.web.password import PasswordHash
from detector.web.signing import upload_token
from tests.api.server import SETTINGS, Caller, Server
from tests.app_server import CHECKOUT
from tests.factories import make_image
from tests.faulty_disk import image_files, left_over

pytestmark = [pytest.mark.faults, pytest.mark.slow]

MB = 1_000_000
PASSWORD = "correct horse battery"
HASH = str(PasswordHash.make(PASSWORD))
#: Ten clients send this much at once; the memory that it takes is bounded by a part of it.
UPLOAD, LITTLE = 60 * MB, 200 * MB
PARTS = 10_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {**SETTINGS, "DETECTOR_PASSWORD_HASH": HASH, "DETECTOR_UPLOAD_PLACES": "10", "DETECTOR_COPIES": "0"}
    running = Server(tmp_path_factory.mktemp("server"), settings)
    yield running
    running.stop()
    assert "Traceback" not in running.log, running.log


@pytest.fixture(scope="module")
def caller(server: Server) -> Caller:
    return server.caller()


@pytest.fixture(scope="module")
def path(caller: Caller) -> str:
    made = caller.create_function()
    assert caller.post_image(made, make_image(1), "real").status_code == 200
    return made


def _memory(server: Server) -> int:
    return int(psutil.Process(server.pid).memory_info().rss)


def _stored(server: Server) -> tuple[int, int, int]:
    """How many samples, images and changes there are; every image with its file, and no file without."""
    tables = (samples, images, annotation_history)
    with server.workspace.db.read() as connection:
        counts = tuple(int(connection.scalar(select(func.count()).select_from(table)) or 0) for table in tables)
        hashes = set(connection.scalars(select(images.c.hash)))
    assert image_files(server.data / "blobs") == hashes
    assert left_over(server.data / "blobs") == []
    return counts  # type: ignore[return-value]


def _parts(files: bool) -> bytes:
    name = b'; filename="a.png"' if files else b""
    one = b'--b\r\nContent-Disposition: form-data; name="data"' + name + b"\r\n\r\nx\r\n"
    return one * PARTS + b"--b--\r\n"


@pytest.mark.parametrize("files", [True, False], ids=["files", "fields"])
@pytest.mark.parametrize("where", ["samples", "invoke", "invoke?explain=true", "/connect/token"])
def test_ten_thousand_parts_are_refused_with_a_sentence(
    server: Server, caller: Caller, path: str, where: str, files: bool
) -> None:
    before, held = _stored(server), _memory(server)
    target = where if where.startswith("/") else f"{path}/{where}"
    answer = caller.post(target, data=_parts(files), headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert answer.status_code in (400, 401, 413)
    assert answer.json()["message"]
    assert _stored(server) == before
    assert _memory(server) - held < LITTLE


def test_ten_uploads_at_once_lie_on_the_disk_and_not_in_memory(server: Server) -> None:
    before = _memory(server)
    addresses = [f"{server.address}/uploads/{upload_token(server.workspace.db)}" for _ in range(10)]
    most = 0

    def send(address: str) -> int:
        return requests.put(address, data=itertools.repeat(bytes(MB), UPLOAD // MB), timeout=120).status_code

    with ThreadPoolExecutor(10) as pool:
        sent = [pool.submit(send, address) for address in addresses]
        while not all(one.done() for one in sent):
            most = max(most, _memory(server))
    assert [one.result() for one in sent] == [200] * 10
    files = list(server.workspace.spool.iterdir())
    assert [path.stat().st_size for path in files] == [UPLOAD] * 10
    for file in files:
        file.unlink()
    assert most - before < LITTLE


#: Paths that lead to something of ours, to nothing, and out of the data folder.
PATHS = (
    "/v1/functions",
    "/v1/functions/function_nosuch",
    "/v1/functions/%00",
    "/v1/functions/..%2f..%2fetc%2fpasswd",
    "/v0.9/functions/x/metrics",
    "/connect/token",
    "/pictures/thumbnail/" + "a" * 64,
    "/pictures/../../etc/passwd",
    "/exports/x.y.z",
    "/uploads/x",
    "/uploads/%2e%2e%2f%2e%2e%2fdetector.sqlite",
    "/detector.sqlite",
    "/app/static/..%2f..%2fdetector.sqlite",
    "/component/../detector/settings.py",
    "/media/../../etc/passwd",
    "/_stcore/upload_file/x/y",
    "/_stcore/host-config",
    "/" + "a" * 5000,
    "/%ff%fe",
)
BODIES: tuple[tuple[str, bytes], ...] = (
    ("application/json", b'{"data": '),
    ("application/json", b"[" * 50_000),
    ("application/json", b'{"name": "\\ud800"}'),
    ("application/json", b'{"data": "data:image/png;base64,' + base64.b64encode(b"no picture") + b'"}'),
    ("multipart/form-data", b"--x\r\n"),
    ("multipart/form-data; boundary=" + "b" * 3000, b"--b\r\n\r\n"),
    ("image/png", b"\x89PNG\r\n\x1a\nno picture"),
    ("application/x-www-form-urlencoded", b"client_id=x&client_secret=y&grant_type=client_credentials"),
    ("text/plain; charset=no-such", b"\xff\xfe"),
)


def test_no_answer_to_a_bad_request_tells_of_the_insides(server: Server, caller: Caller, path: str) -> None:
    """No traceback, no path of the server, no secret, and no answer of 500, whoever asks in whichever way."""
    before = _stored(server)
    inside = (
        "Traceback",
        'File "',
        str(server.data),
        str(CHECKOUT),
        server.key.secret,
        HASH,
        "site-packages",
        "sqlalche",
    )
    asked = 0
    with requests.Session() as stranger:
        for who, target in itertools.product((caller, stranger), (*PATHS, f"{path}/samples", f"{path}/invoke")):
            address = target if isinstance(who, Caller) else server.address + target
            for method, (kind, body) in [("GET", ("text/plain", b"")), *itertools.product(("POST", "PUT"), BODIES)]:
                if target == "/connect/token" and method == "POST" and kind.startswith("application/x-www"):
                    # Wrong pairs are answered slowly on purpose.
                    continue
                answer = who.request(method, address, data=body, headers={"Content-Type": kind}, timeout=60)
                said = answer.text + str(answer.headers)
                assert answer.status_code < 500, (method, target, kind, said)
                for word in inside:
                    assert word not in said, (word, method, target, kind)
                asked += 1
    assert asked > 700
    assert _stored(server) == before


@pytest.mark.parametrize("origin", ["null", "http://evil.example", "http://localhost.evil.example"])
def test_a_page_of_another_site_changes_nothing(server: Server, path: str, origin: str) -> None:
    """Without a token of its own it gets nowhere, and the dashboard's connection is not opened for it."""
    before = _stored(server)
    headers = {"Origin": origin, "Content-Type": "text/plain"}
    answer = requests.post(f"{server.address}{path}/samples", data=make_image(5), headers=headers, timeout=120)
    assert answer.status_code == 401
    assert answer.headers.get("Access-Control-Allow-Origin") not in ("*", origin)
    answer = requests.put(
        f"{server.address}/_stcore/upload_file/x/y", files={"f": b"x"}, headers={"Origin": origin}, timeout=120
    )
    assert answer.status_code in (400, 403)
    with pytest.raises(InvalidStatus) as refused:
        connect(
            server.address.replace("http", "ws", 1) + "/_stcore/stream",
            origin=origin,  # type: ignore[arg-type]
            subprotocols=["streamlit"],  # type: ignore[list-item]
        )
    assert refused.value.response.status_code == 403
    assert _stored(server) == before


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "localhost@evil.example", "[::1].evil", ""])
def test_a_forged_host_reaches_nothing(server: Server, caller: Caller, path: str, host: str) -> None:
    before = _stored(server)
    for target in ("/", "/v1/functions", f"{path}/samples"):
        answer = caller.get(target, headers={"Host": host})
        assert answer.status_code in (400, 403, 421), (host, target)
        assert "samples" not in answer.text
    answer = caller.post(f"{path}/samples", data=make_image(6), headers={"Host": host, "Content-Type": "image/png"})
    assert answer.status_code in (400, 403, 421)
    assert _stored(server) == before
