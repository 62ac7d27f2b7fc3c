"""Which addresses are open to others, and what must then stand in the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from detector.errors import InvalidInput, Unprotected
from detector.settings import Settings, load_settings
from detector.web.bind_guard import KnownHosts, LoopbackOnly, allowed_hosts, is_loopback, require_protection
from detector.web.password import PasswordHash

HASH = str(PasswordHash.make("correct horse battery"))


@pytest.mark.parametrize(
    "address", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.8.8", "::1", "[::1]", "::ffff:127.0.0.1"]
)
def test_loopback_addresses_need_nothing(address: str) -> None:
    assert is_loopback(address)
    require_protection(address, Settings(), has_login=False)


@pytest.mark.parametrize("address", ["", "0.0.0.0", "::", "192.168.1.7", "fe80::1%eth0", "localhost.example.org", "8"])
def test_any_other_address_is_refused_without_protection_and_taken_with_it(address: str) -> None:
    assert not is_loopback(address)
    with pytest.raises(Unprotected):
        require_protection(address, Settings(), has_login=False)
    require_protection(address, Settings(), has_login=True)
    require_protection(address, Settings(open=True), has_login=False)
    require_protection(address, Settings(password_hash=HASH), has_login=False)


def test_a_password_hash_that_nobody_could_match_is_refused_before_the_start() -> None:
    with pytest.raises(InvalidInput):
        require_protection("localhost", Settings(password_hash="secret"), has_login=False)


@pytest.mark.parametrize(("raw", "expected"), [("true", True), ("True", True), ("false", False), ("", False)])
def test_open_must_be_said_in_so_many_words(raw: str, expected: bool) -> None:
    assert load_settings({"DETECTOR_OPEN": raw}).open is expected


def test_open_said_in_other_words_is_refused() -> None:
    with pytest.raises(InvalidInput) as caught:
        load_settings({"DETECTOR_OPEN": "no"})
    assert "true or false" in str(caught.value)


def test_the_allowed_hosts_are_loopback_the_address_and_those_named() -> None:
    local = ["localhost", "127.0.0.1", "[::1]"]
    assert allowed_hosts("", Settings()) == local
    assert allowed_hosts("0.0.0.0", Settings()) == local
    assert allowed_hosts("192.168.1.7", Settings(allowed_hosts="a.example, ,b.example")) == [
        *local,
        "192.168.1.7",
        "a.example",
        "b.example",
    ]
    assert allowed_hosts("2001:db8::1", Settings())[-1] == "[2001:db8::1]"
    assert allowed_hosts("", Settings(allowed_hosts="*.example.org,*"))[-2:] == ["*.example.org", "*"]


@pytest.mark.parametrize("name", ["*example.org", "a.*.example.org", "detector.*", "**", "*.*"])
def test_a_star_elsewhere_than_before_the_first_dot_is_a_sentence(name: str) -> None:
    """Kind: a wrong setting that ended the start with the assertion of a library."""
    with pytest.raises(InvalidInput) as caught:
        allowed_hosts("", Settings(allowed_hosts=f"a.example,{name}"))
    assert "DETECTOR_ALLOWED_HOSTS" in str(caught.value)
    assert repr(name) in str(caught.value)


def test_a_name_may_be_given_with_its_port_and_an_ipv6_address_without_brackets() -> None:
    """Kind: names that were accepted and then matched no request."""
    given = Settings(allowed_hosts="a.example:8443, 2001:db8::1, [2001:db8::2]:80, *.example.org")
    assert allowed_hosts("", given)[3:] == ["a.example", "[2001:db8::1]", "[2001:db8::2]", "*.example.org"]


@pytest.mark.parametrize("base", ["", "/a/b"])
@pytest.mark.parametrize("host", ["10.0.3.7:8501", "[fd00::7]", "[fd00::7]:80", "ATTACKER.example", "", "a b"])
def test_only_the_health_address_answers_under_names_that_are_not_ours(host: str, base: str) -> None:
    """Kind: a probe that asks by an address which nobody could know before, refused with 400."""
    routes = [Route(path, answer) for path in (f"{base}/_stcore/health", f"{base}/", f"{base}/_stcore/healthy")]
    app = Starlette(
        routes=routes, middleware=[Middleware(KnownHosts, allowed_hosts=allowed_hosts("", Settings()), base=base)]
    )
    client = TestClient(app, base_url="http://LOCALHOST:8501")
    assert client.get(f"{base}/").text == "here"
    strange = {"Host": host}
    assert client.get(f"{base}/_stcore/health", headers=strange).text == "here"
    assert client.head(f"{base}/_stcore/health", headers=strange).status_code == 200
    for path in ("/", "/_stcore/healthy", "/x/_stcore/health"):
        assert client.get(f"{base}{path}", headers=strange).status_code == 400


def answer(_request: Any) -> PlainTextResponse:
    return PlainTextResponse("here")


def test_a_server_started_in_another_way_answers_only_what_came_in_by_the_loopback() -> None:
    app = Starlette(routes=[Route("/", answer)], middleware=[Middleware(LoopbackOnly)])
    assert TestClient(app, base_url="http://127.0.0.1:8501").get("/").text == "here"
    refused = TestClient(app, base_url="http://192.168.1.7:8501").get("/")
    assert refused.status_code == 403
    assert "DETECTOR_PASSWORD_HASH" in refused.text


def test_named_users_protect_a_server_and_are_asked_for_only_where_nothing_else_does() -> None:
    asked: list[bool] = []

    def there(answer: bool) -> Callable[[], bool]:
        def ask() -> bool:
            asked.append(answer)
            return answer

        return ask

    settings = Settings()
    assert require_protection("0.0.0.0", settings, False, there(True))
    with pytest.raises(Unprotected):
        require_protection("0.0.0.0", settings, False, there(False))
    assert not require_protection("localhost", settings, False, there(True))
    assert require_protection("0.0.0.0", settings, True, there(True))
    assert asked == [True, False]
