"""Slowing of guesses, with a clock of the test's own."""

from __future__ import annotations

import pytest

from detector.web.throttling import (
    FORGET_SECONDS,
    FREE_FAILURES,
    GLOBAL_FAILURES,
    GLOBAL_WAIT_SECONDS,
    GLOBAL_WINDOW_SECONDS,
    LONGEST_WAIT_SECONDS,
    REMEMBERED_CLIENTS,
    LoginThrottle,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_each_wrong_attempt_beyond_the_free_ones_doubles_the_wait_up_to_the_longest() -> None:
    clock = Clock()
    attempts = LoginThrottle(clock)
    assert [attempts.begin("a") for _ in range(FREE_FAILURES + 1)] == [0.0] * (FREE_FAILURES + 1)
    waits = []
    for _ in range(12):
        wait = attempts.begin("a")
        waits.append(wait)
        clock.now += wait
        assert attempts.begin("a") == 0.0
    assert waits[:4] == [1.0, 2.0, 4.0, 8.0]
    assert waits[-1] == LONGEST_WAIT_SECONDS


def test_asking_too_early_does_not_lengthen_the_wait() -> None:
    clock = Clock()
    attempts = LoginThrottle(clock)
    for _ in range(FREE_FAILURES + 1):
        attempts.begin("a")
    assert [attempts.begin("a") for _ in range(5)] == [1.0] * 5


def test_a_right_password_or_a_long_rest_clears_the_slate() -> None:
    clock = Clock()
    attempts = LoginThrottle(clock)
    for client in ("a", "b"):
        for _ in range(FREE_FAILURES + 1):
            attempts.begin(client)
    clock.now += 1.0
    assert attempts.begin("a") == 0.0
    attempts.succeeded("a")
    assert [attempts.begin("a") for _ in range(FREE_FAILURES)] == [0.0] * FREE_FAILURES
    clock.now += FORGET_SECONDS + 1
    assert [attempts.begin("b") for _ in range(FREE_FAILURES)] == [0.0] * FREE_FAILURES


def test_guessing_from_many_addresses_is_slowed_for_all_but_those_who_were_right_before() -> None:
    clock = Clock()
    attempts = LoginThrottle(clock)
    assert attempts.begin("owner") == 0.0
    attempts.succeeded("owner")
    let_through = sum(attempts.begin(f"stranger {number}") == 0.0 for number in range(1000))
    assert let_through == GLOBAL_FAILURES + 1
    assert attempts.begin("another") == GLOBAL_WAIT_SECONDS
    assert attempts.begin("owner") == 0.0
    attempts.succeeded("owner")
    clock.now += GLOBAL_WINDOW_SECONDS + 1
    assert attempts.begin("another") == 0.0


@pytest.mark.parametrize(
    ("addresses", "people"),
    [
        ([f"2001:db8:0:1::{number:x}" for number in range(12)], 1),
        ([f"fe80::{number:x}%eth{number}" for number in range(12)], 1),
        ([f"2001:db8:0:{number:x}::1" for number in range(12)], 12),
        ([f"::ffff:192.0.2.{number}" for number in range(12)], 12),
        ([f"192.0.2.{number}" for number in range(12)], 12),
    ],
)
def test_one_network_of_ipv6_is_one_person(addresses: list[str], people: int) -> None:
    """Kind: one person, many addresses. Whoever has one address of IPv6 has 2**64 of them."""
    attempts = LoginThrottle(Clock())
    looked_at = sum(attempts.begin(address) == 0.0 for address in addresses)
    assert looked_at == (12 if people == 12 else FREE_FAILURES + 1)


def test_no_more_clients_are_remembered_than_the_limit() -> None:
    clock = Clock()
    attempts = LoginThrottle(clock)
    for number in range(REMEMBERED_CLIENTS + 100):
        attempts.begin(str(number))
    assert len(attempts._clients) == REMEMBERED_CLIENTS
