"""Who asks: the real server, told lies by whoever connects and the truth by the one proxy that its settings name."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from detector.errors import InvalidInput
from detector.web.bind_guard import LoopbackOnly
from detector.web.password import PasswordHash
from detector.web.proxies import ForwardedFor, TrustedProxies
from detector.web.throttling import FREE_FAILURES
from tests.api.server import SETTINGS, Server
from tests.factories import make_image
from tests.visitor import Visitor

pytestmark = pytest.mark.slow

PASSWORD = "correct horse battery"
#: All of 127.0.0.0/8 is this machine; a connection may come from any of it.
PROXY = "127.0.0.9"
AT_ONCE = 12
#: Of one person at once; a slow machine needs so long for all that a first short wait is over before the last ones. The
#: tests together must stay below the limit over all people.
CHECKED = range(FREE_FAILURES + 1, FREE_FAILURES + 4)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    given = {"DETECTOR_PASSWORD_HASH": str(PasswordHash.make(PASSWORD)), "DETECTOR_TRUSTED_PROXIES": f"{PROXY}, ::1"}
    # uvicorn's own word for it counts no more.
    found = Server(tmp_path_factory.mktemp("server"), SETTINGS | given | {"FORWARDED_ALLOW_IPS": "*"})
    yield found
    found.stop()
    assert "Traceback" not in found.log, found.log


def wrong_ones(server: Server, *headers: dict[str, str], source: str = "127.0.0.1") -> int:
    """Try a wrong password on a page for each, all at once; returns how many were looked at."""
    pages = [Visitor(server.address, headers=each, source=source) for each in headers]
    try:
        with ThreadPoolExecutor(len(pages)) as threads:
            said = list(threads.map(lambda page: page.give("not the password"), pages))
    finally:
        for page in pages:
            page.close()
    looked_at = [each for each in said if each == "That is not the password."]
    assert all(each.startswith("Too many wrong passwords.") for each in said if each not in looked_at), said
    return len(looked_at)


def test_made_up_addresses_make_nobody_another_person(server: Server) -> None:
    """Kind: who asks is the connection. With a made-up X-Forwarded-For each, 12 of 12 guesses at once were tried."""
    made_up = [{"X-Forwarded-For": f"203.0.113.{number}"} for number in range(AT_ONCE)]
    made_up += [{"X-Forwarded-For": f"{PROXY}, 203.0.113.7:{number}"} for number in range(2)]
    made_up += [{name: "for=203.0.113.7"} for name in ("Forwarded", "X-Real-IP", "X-Client-IP")]
    assert wrong_ones(server, *made_up) in CHECKED


def test_the_proxy_that_the_settings_name_says_who_asks(server: Server) -> None:
    different = [{"X-Forwarded-For": f"203.0.113.{number}"} for number in range(6)]
    assert wrong_ones(server, *different, source=PROXY) == 6
    # What stands left of the address that the proxy saw was made up by the one whom it saw.
    lies = [{"X-Forwarded-For": f"198.51.100.{number}, {PROXY}, 192.0.2.1"} for number in range(AT_ONCE)]
    assert wrong_ones(server, *lies, source=PROXY) in CHECKED
    assert wrong_ones(server, {"X-Forwarded-For": "192.0.2.2"}, source=PROXY) == 1
    page = Visitor(server.address, headers={"X-Forwarded-For": "192.0.2.3"}, source=PROXY)
    try:
        assert page.give(PASSWORD) != "That is not the password."
        assert page.put(b"\0" * 1000).status_code == 204
    finally:
        page.close()


def test_garbage_from_the_proxy_counts_as_the_proxy(server: Server) -> None:
    garbage = ["unknown", "_hidden", "203.0.113.7.", "x" * 1000, "", ",", "203.0.113.1, nobody", "[::1", PROXY, "::1"]
    tried = wrong_ones(server, *({"X-Forwarded-For": each} for each in garbage), source=PROXY)
    assert tried <= CHECKED[-1]


def test_a_wrong_pair_is_refused_and_a_right_one_taken_whatever_the_headers_say(server: Server) -> None:
    """The secrets of keys are not slowed: they have 256 random bits. So no header has anything to change there."""
    right = {"client_id": server.key.id, "client_secret": server.key.secret, "grant_type": "client_credentials"}

    def ask(number: int) -> int:
        form = right if number == 0 else right | {"client_secret": f"guess {number}"}
        headers = {"X-Forwarded-For": f"203.0.113.{number}"}
        return requests.post(f"{server.address}/connect/token", form, headers=headers, timeout=60).status_code

    with ThreadPoolExecutor(AT_ONCE) as threads:
        assert list(threads.map(ask, range(AT_ONCE))) == [200] + [401] * (AT_ONCE - 1)


def test_the_scheme_of_addresses_in_answers_is_the_connections_unless_the_proxy_says_otherwise(server: Server) -> None:
    """Kind: what changes an answer is believed from nobody but the proxy. Everybody on the machine could turn it."""
    caller = server.caller()
    path = caller.create_function("Behind a proxy")
    caller.post_image(path, make_image(1))

    def scheme(source: str, said: str) -> str:
        session = requests.Session()
        session.mount("http://", _From(source))
        headers = {"Authorization": f"Bearer {caller.token}", "X-Forwarded-Proto": said, "X-Forwarded-For": "192.0.2.1"}
        address = server.address.replace("localhost", "127.0.0.1")
        [sample] = session.get(f"{address}{path}/samples", headers=headers, timeout=60).json()
        return str(sample["data"]).partition(":")[0]

    assert scheme("127.0.0.1", "https") == "http"
    assert scheme(PROXY, "https") == "https"
    assert scheme(PROXY, "http, https") == "https"
    assert scheme(PROXY, "javascript") == "http"


class _From(HTTPAdapter):
    def __init__(self, source: str) -> None:
        self._source = source
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, source_address=(self._source, 0), **options)


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),
        ("127.0.0.1", "198.51.100.1", "127.0.0.1"),
        ("10.1.2.3", "198.51.100.1", "198.51.100.1"),
        ("10.1.2.3", "1.1.1.1, 198.51.100.1, 10.9.9.9", "198.51.100.1"),
        ("10.1.2.3", "198.51.100.1:5000", "198.51.100.1"),
        ("10.1.2.3", "2001:DB8::0:1", "2001:db8::1"),
        ("10.1.2.3", "[2001:db8::1]:5000", "2001:db8::1"),
        ("10.1.2.3", "fe80::1%any words", "fe80::1"),
        ("10.1.2.3", "::ffff:198.51.100.1", "198.51.100.1"),
        ("::ffff:10.1.2.3", "198.51.100.1", "198.51.100.1"),
        ("fd00::7", "198.51.100.1", "198.51.100.1"),
        ("10.1.2.3", "198.51.100.1, nonsense", "10.1.2.3"),
        ("10.1.2.3", "198.51.100.1,", "10.1.2.3"),
        ("10.1.2.3", "198.051.100.1", "10.1.2.3"),
        ("10.1.2.3", "10.0.0.1, 10.0.0.2", "10.1.2.3"),
        ("10.1.2.3", "", "10.1.2.3"),
        ("::ffff:127.0.0.1", "", "127.0.0.1"),
    ],
)
def test_the_right_most_address_that_is_no_trusted_proxy_counts(peer: str, forwarded: str, expected: str) -> None:
    def who(request: Request) -> Response:
        assert request.client is not None
        return JSONResponse(request.client.host)

    proxies = TrustedProxies.parse(" 10.0.0.0/8 , fd00::/8,, ::ffff:192.168.0.0/112")
    app = Starlette(routes=[Route("/", who)], middleware=[Middleware(ForwardedFor, proxies=proxies)])
    client = TestClient(app, client=(peer, 1234))
    assert client.get("/", headers={"X-Forwarded-For": forwarded}).json() == expected
    # The same in several lines.
    lines = [("X-Forwarded-For", part) for part in forwarded.split(",")]
    assert client.get("/", headers=lines).json() == expected  # type: ignore[arg-type]


def test_what_a_client_claims_makes_no_server_local_or_remote() -> None:
    def here(_request: Request) -> Response:
        return Response("here")

    proxies = TrustedProxies.parse("127.0.0.1")
    middleware = [Middleware(ForwardedFor, proxies=proxies), Middleware(LoopbackOnly)]
    app = Starlette(routes=[Route("/", here)], middleware=middleware)
    for claimed in ("127.0.0.1", "203.0.113.7"):
        headers = {"X-Forwarded-For": claimed, "X-Forwarded-Host": "localhost", "X-Forwarded-Server": "127.0.0.1"}
        for peer in ("127.0.0.1", "203.0.113.7"):
            local = TestClient(app, base_url="http://127.0.0.1:8501", client=(peer, 1))
            assert local.get("/", headers=headers).status_code == 200
            remote = TestClient(app, base_url="http://192.168.1.7:8501", client=(peer, 1))
            assert remote.get("/", headers=headers).status_code == 403


@pytest.mark.parametrize(
    "wrong", ["*", "nginx", "10.0.0.1/8", "10.0.0.256", "127.0.0.1 ::1", "localhost", "10.0.0.0/33"]
)
def test_what_is_no_address_is_refused_with_a_sentence(wrong: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        TrustedProxies.parse(f"127.0.0.1,{wrong}")
    assert "DETECTOR_TRUSTED_PROXIES" in str(caught.value)
    assert repr(wrong) in str(caught.value)
