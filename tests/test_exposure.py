"""Which addresses are open to others, and what must then stand in the way."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from detector.errors import InvalidInput, Unprotected
from detector.exposure import LoopbackOnly, allowed_hosts, is_loopback, require_protection
from detector.password import PasswordHash
from detector.settings import Settings, load_settings

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


def answer(_request: Any) -> PlainTextResponse:
    return PlainTextResponse("here")


def test_a_server_started_in_another_way_answers_only_what_came_in_by_the_loopback() -> None:
    app = Starlette(routes=[Route("/", answer)], middleware=[Middleware(LoopbackOnly)])
    assert TestClient(app, base_url="http://127.0.0.1:8501").get("/").text == "here"
    refused = TestClient(app, base_url="http://192.168.1.7:8501").get("/")
    assert refused.status_code == 403
    assert "DETECTOR_PASSWORD_HASH" in refused.text
