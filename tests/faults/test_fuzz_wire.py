"""What comes over the wire to the real server: bodies, addresses and tokens that are nearly, or not at all, of ours."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st
from sqlalchemy import func, select

from detector.storage.database import Database
from detector.storage.schema import images, samples
from detector.web.signing import (
    export_order,
    export_token,
    picture_allowed,
    picture_path,
    upload_name,
    upload_token,
)
from detector.workspace import Workspace
from tests.api.server import SETTINGS, Caller, Server
from tests.factories import make_image, workspace
from tests.faults import fuzzing
from tests.faulty_disk import image_files, left_over

pytestmark = [pytest.mark.faults]

_IMAGE = make_image(1, size=16)
_URI = "data:image/png;base64," + base64.b64encode(_IMAGE).decode()
_ODD = st.sampled_from(["", "\0", "\ud800", "\u202e", "a" * 3000, "../../x", "%00", "<b>", "real", "synthetic", "\r\n"])
_LEAF = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), _ODD, st.text(max_size=20), st.just(_URI), st.just(10**400)
)
_ANYTHING = st.recursive(
    _LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_ODD | st.text(max_size=8), inner, max_size=4)
)
_KEYS = ["data", "annotation", "labelName", "labelId", "externalId", "sampleSets", "name", "description", "metadata"]
_OBJECTS = st.dictionaries(st.sampled_from([*_KEYS, "input", "output", "id"]), _ANYTHING, max_size=6)
#: JSON as a program writes it, and what only looks like it.
_HONEST = st.fixed_dictionaries(
    {"data": st.just(_URI)},
    optional={
        "annotation": st.fixed_dictionaries({"labelName": _ODD | st.text(max_size=9)}) | _ANYTHING,
        "externalId": _ODD | st.text(max_size=300),
        "labelName": st.just("real"),
        "name": _ODD | st.text(max_size=9),
    },
)
_JSON = st.one_of(
    _HONEST.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")),
    _ODD.map(
        lambda name: json.dumps({"name": name, "labelName": name, "input": "Image", "output": "Classification"})
    ).map(lambda text: text.encode("utf-8", "surrogatepass")),
    _OBJECTS.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")),
    _ANYTHING.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")),
    st.binary(max_size=200),
    st.sampled_from([b"[" * 50_000, b'{"data":' * 5_000, b'{"a":1' + b"0" * 50_000 + b"}", b'"\\ud800"']),
)
_PART_HEADS = st.sampled_from(
    [
        b'Content-Disposition: form-data; name="data"; filename="a.png"',
        b'Content-Disposition: form-data; name="labelName"',
        b"Content-Disposition: form-data; name=\"data\"; filename*=UTF-8''..%2F..%2Fx.png",
        b'Content-Disposition: form-data; name="data"; filename="' + b"x" * 5000 + b'"',
        b"Content-Disposition: form-data",
        b"Content-Disposition: attachment; name",
        b'Content-Disposition: form-data; name="\xff\xfe\0"; filename="\r"',
        b"Content-Type: multipart/mixed; boundary=b",
        b"",
        b":",
        b"Content-Transfer-Encoding: base64",
    ]
)
_PARTS = st.tuples(st.lists(_PART_HEADS, max_size=3), st.sampled_from([_IMAGE, b"real", b""]) | st.binary(max_size=80))


_FILES = st.one_of(st.integers(0, 30).map(lambda seed: make_image(seed, size=16)), fuzzing.pngs())


@st.composite
def _multipart(draw: st.DrawFn) -> bytes:
    made = b""
    parts = draw(st.lists(_PARTS, max_size=3))
    if draw(st.booleans()):
        # One that is in order, among others that may not be.
        parts.insert(0, ([b'Content-Disposition: form-data; name="data"; filename="a.png"'], draw(_FILES)))
    for heads, body in parts:
        made += draw(st.sampled_from([b"--b\r\n", b"--b\r\n", b"--b", b"--b\n", b"--B\r\n"]))
        made += b"\r\n".join(heads) + b"\r\n\r\n" + body + b"\r\n"
    return made + draw(st.sampled_from([b"--b--\r\n", b"--b--\r\n", b"", b"--b-", b"--b--" * 3]))


#: A picture that is not there yet with a label that there is not.
_OF_NO_LABEL = (
    b'--b\r\nContent-Disposition: form-data; name="data"; filename="a.png"\r\n\r\n'
    + make_image(31, size=16)
    + b'\r\n--b\r\nContent-Disposition: form-data; name="labelName"\r\n\r\nnobody\r\n--b--\r\n'
)
_TYPES = st.sampled_from(
    [
        "multipart/form-data; boundary=b",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=b; charset=undefined",
        "application/json",
        "application/json; charset=utf-16",
        "text/plain",
        "application/x-www-form-urlencoded",
        "image/png",
        "",
        "a/b; c=\xe9",
    ]
)
_CALLS = ["POST samples", "POST invoke", "POST invokebatch", "PUT annotation", "POST labels", "POST functions"]
_BODIES = st.one_of(_JSON, _multipart(), fuzzing.pngs())
#: Of the type that they are said to be of, or of another.
_SENT = st.one_of(
    st.tuples(st.just("multipart/form-data; boundary=b"), _multipart()),
    st.tuples(st.just("application/json"), _JSON),
    st.tuples(_TYPES, _BODIES),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # Wrong pairs wait for their answers; nothing is to be trained meanwhile.
    running = Server(tmp_path_factory.mktemp("wire"), {**SETTINGS, "DETECTOR_WORKER": "none"})
    yield running
    running.stop()
    # Nothing of all this was an error that nobody had thought of.
    assert "Traceback" not in running.log, running.log[-6000:]


@pytest.fixture(scope="module")
def caller(server: Server) -> Caller:
    return server.caller()


@pytest.fixture(scope="module")
def path(caller: Caller) -> str:
    made = caller.create_function()
    assert caller.post_image(made, _IMAGE, "real").status_code == 200
    return made


class Line:
    """A connection that is opened again where the server closed it."""

    def __init__(self, server: Server) -> None:
        host = urlsplit(server.address)
        self._open = lambda: http.client.HTTPConnection("127.0.0.1", host.port, timeout=30)

    def ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        connection = self._open()
        try:
            connection.request(method, path, body, {"Host": "localhost", **headers})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def assert_an_answer_of_ours(server: Server, status: int, said: bytes) -> None:
    """No error of the server's, and nothing of its inside, whatever was asked."""
    assert status < 500, said
    assert str(server.data).encode() not in said
    for inside in (b"Traceback", b"site-packages", b"sqlalchemy", b"sqlite", server.key.secret.encode()):
        assert inside not in said, said[:2000]
    if status >= 400:
        found = json.loads(said)
        assert isinstance(found["message"], str)
        assert len(found["message"]) < 3000


@pytest.mark.slow
@fuzzing.fuzz(300)
@given(
    st.sampled_from(_CALLS),
    _SENT,
)
@example("POST samples", ("multipart/form-data; boundary=b", _OF_NO_LABEL))
def test_whatever_body_is_sent_it_is_taken_or_refused_with_a_sentence(
    server: Server, caller: Caller, path: str, call: str, sent: tuple[str, bytes]
) -> None:
    ws, (kind, body) = server.workspace, sent
    sample = caller.get(f"{path}/samples?sortBy=creation").json()[0]["id"] if call == "PUT annotation" else ""
    where = {
        "POST samples": f"{path}/samples",
        "POST invoke": f"{path}/invoke",
        "POST invokebatch": f"{path}/invoke/batch",
        "PUT annotation": f"{path}/samples/{sample}/annotation",
        "POST labels": f"{path}/labels",
        "POST functions": "/v1/functions",
    }[call]
    headers = {"Authorization": f"Bearer {caller.token}", "Content-Type": kind}
    before = _count(server)
    status, said = Line(server).ask(call.partition(" ")[0], where, body, headers)
    event(f"{call}: {status}")
    assert_an_answer_of_ours(server, status, said)
    assert _count(server) - before == (1 if call == "POST samples" and status == 200 else 0)
    with ws.db.read() as connection:
        assert image_files(server.data / "blobs") == set(connection.scalars(select(images.c.hash)))
    assert left_over(server.data / "blobs") == []


def _count(server: Server) -> int:
    with server.workspace.db.read() as connection:
        return int(connection.scalar(select(func.count()).select_from(samples)) or 0)


_PIECES = st.one_of(
    st.sampled_from(
        [
            *(
                "v1",
                "v0.9",
                "functions",
                "samples",
                "labels",
                "records",
                "..",
                ".",
                "",
                "%2e%2e",
                "%00",
                "%ff",
                "connect",
            ),
            *("token", "pictures", "exports", "uploads", "_stcore", "upload_file", "media", "static", "docs", "passwd"),
            *(
                "function_0123456789abcdef",
                "9" * 400,
                "a" * 3000,
                "thumbnail",
                "image",
                "0" * 64,
                "openapi.json",
                "etc",
            ),
        ]
    ),
    st.text(max_size=8).map(lambda text: quote(text.encode("utf-8", "surrogatepass"), safe="")),
)
_QUERIES = st.lists(
    st.tuples(
        st.sampled_from(["expires", "signature", "sortBy", "startIndex", "batchSize", "limit", "sample", "id"]),
        st.sampled_from(["", "-1", "9" * 30, "%00", "%ff", "nan", "creation", "1e999", "\u0663"])
        | st.integers().map(str),
    ),
    max_size=4,
).map(lambda pairs: "&".join(f"{name}={quote(value, safe='%')}" for name, value in pairs))


@pytest.mark.slow
@fuzzing.fuzz(300)
@given(
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"]),
    st.lists(_PIECES, max_size=6).map("/".join),
    _QUERIES,
    st.booleans(),
)
@example("GET", "pictures/thumbnail/" + "0" * 64, "expires=" + "9" * 30 + "&signature=x", False)
@example("PUT", "uploads/%ff-%ff-%ff", "", False)
@example("GET", "exports/a.9.%ff", "", True)
def test_whatever_address_is_asked_for_nothing_of_the_inside_comes_back(
    server: Server, caller: Caller, path: str, method: str, where: str, query: str, signed_in: bool
) -> None:
    headers = {"Authorization": f"Bearer {caller.token}"} if signed_in else {}
    before = _count(server)
    status, said = Line(server).ask(method, f"/{where}?{query}", b"", headers)
    assert status < 500, said
    assert str(server.data).encode() not in said
    for inside in (b"Traceback", b"site-packages", b"sqlalchemy", b"root:x:", server.key.secret.encode()):
        assert inside not in said, said[:2000]
    assert _count(server) == before


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    opened = workspace(tmp_path_factory.mktemp("signed"))
    yield opened
    opened.close()


_CHANGES = st.lists(st.tuples(st.integers(0, 400), st.characters()), min_size=1, max_size=4)


def _changed(text: str, changes: list[tuple[int, str]], cut: int) -> str:
    letters = list(text)
    for place, letter in changes:
        letters[place % len(letters)] = letter
    return "".join(letters)[: cut if cut % 3 == 0 else None]


@fuzzing.fuzz(300)
@given(_CHANGES, st.integers(0, 200))
def test_an_address_that_was_changed_anywhere_opens_nothing(
    ws: Workspace, changes: list[tuple[int, str]], cut: int
) -> None:
    """Every character of what we sign, by any other of Unicode: not ours any more, and no error."""
    token = upload_token(ws.db, "0123456789abcdef")
    order = export_token(ws.db, {"function": "x", "kind": "csv"})
    picture = picture_path(ws.db, "thumbnail", "0" * 64)
    for ours, opens in (
        (token, lambda text: upload_name(ws.db, text) is not None),
        (order, lambda text: export_order(ws.db, text) is not None),
        (picture.partition("expires=")[2], lambda text: _picture(ws.db, text)),
    ):
        assert opens(ours)
        forged = _changed(ours, changes, cut)
        assert not opens(forged) or forged == ours


def _picture(db: Database, text: str) -> bool:
    expires, _, signature = text.partition("&signature=")
    return picture_allowed(db, "thumbnail", "0" * 64, expires, signature)
