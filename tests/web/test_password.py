"""The password's hash and the gate before it."""

from __future__ import annotations

import pytest

from detector.errors import InvalidInput, TooManyAttempts, WrongPassword
from detector.web.password import MAX_LENGTH, PasswordGate, PasswordHash
from detector.web.throttling import FREE_FAILURES

PASSWORD = "correct horse battery"


def test_a_hash_knows_its_password_and_no_other() -> None:
    stored = PasswordHash.parse(str(PasswordHash.make(PASSWORD)))
    assert stored.matches(PASSWORD)
    assert not stored.matches(PASSWORD + " ")
    assert not stored.matches("")
    assert not stored.matches("x" * (MAX_LENGTH + 1))


def test_the_same_password_hashes_differently_each_time_and_needs_no_quotes_in_a_shell() -> None:
    first, second = str(PasswordHash.make(PASSWORD)), str(PasswordHash.make(PASSWORD))
    assert first != second
    assert all(character.isalnum() or character in ":-_" for character in first)


@pytest.mark.parametrize("password", ["", "short", "x" * (MAX_LENGTH + 1)])
def test_a_password_that_is_too_short_or_too_long_is_refused(password: str) -> None:
    with pytest.raises(InvalidInput):
        PasswordHash.make(password)


@pytest.mark.parametrize(
    "text",
    [
        "",
        PASSWORD,
        "scrypt:15:8:1:c2FsdHNhbHQ:",
        "scrypt:40:8:1:c2FsdHNhbHRzYWx0:" + "A" * 43,
        "md5:15:8:1:c2FsdHNhbHRzYWx0:" + "A" * 43,
        "scrypt:x:8:1:c2FsdHNhbHRzYWx0:" + "A" * 43,
    ],
)
def test_what_is_not_a_hash_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        PasswordHash.parse(text)


@pytest.mark.slow
def test_the_gate_opens_to_the_right_password_and_checks_nothing_while_one_has_to_wait() -> None:
    gate = PasswordGate(str(PasswordHash.make(PASSWORD)))
    gate.enter(PASSWORD, "client")
    for _ in range(FREE_FAILURES + 1):
        with pytest.raises(WrongPassword):
            gate.enter("wrong", "client")
    with pytest.raises(TooManyAttempts) as caught:
        gate.enter(PASSWORD, "client")
    assert 0 < caught.value.seconds <= 1
    gate.enter(PASSWORD, "another client")
