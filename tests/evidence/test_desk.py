"""What is found out behind the page: newest first, once, not for those who left, and never in the way of the end."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import weakref
from typing import Any, cast

import pytest

from detector.evidence.desk import Case, Desk, InBackground
from detector.evidence.explain import Seen
from detector.progress import Report

PATIENCE = 240


def case() -> Case:
    """One whose picture nobody asks for."""
    return Case(cast(Seen, None), b"")


def until_done(*found: InBackground[Any]) -> None:
    end = time.monotonic() + PATIENCE
    while any(item.running for item in found):
        assert time.monotonic() < end
        time.sleep(0.005)


class Held:
    """Work that begins and then goes on only when a test lets it."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, report: Report) -> str:
        self.begun.set()
        assert self.go.wait(PATIENCE)
        report("", 1, 1, "on", None)
        return "found"


def test_what_was_asked_for_last_is_found_out_first() -> None:
    desk, held, order = Desk(), Held(), list[int]()
    first = desk.find_out(case(), "x", held)
    assert held.begun.wait(PATIENCE)
    cases = [case() for _ in range(3)]
    works = [lambda _report, number=number: order.append(number) for number in range(3)]
    found = [desk.find_out(of, "x", work) for of, work in zip(cases, works, strict=True)]
    # Somebody went back to the first of those that wait.
    assert desk.find_out(cases[0], "x", works[0]) is found[0]
    held.go.set()
    until_done(first, *found)
    assert first.result == "found"
    assert order == [0, 2, 1]


def test_what_nobody_looks_at_any_more_is_not_found_out() -> None:
    desk, held, begun = Desk(most=2), Held(), list[str]()
    old, second = desk.put(("old",), case()), desk.put(("second",), case())
    running = desk.find_out(old, "x", held)
    assert held.begun.wait(PATIENCE)
    waiting = desk.find_out(second, "x", lambda _report: begun.append("second"))
    desk.put(("third",), case())
    desk.put(("fourth",), case())
    assert waiting.cancelled
    assert not waiting.running
    held.go.set()
    until_done(running)
    assert running.cancelled
    assert running.result is None
    assert running.problem is None
    assert not begun


def test_nothing_that_waits_is_worked_off_when_the_server_ends() -> None:
    script = (
        "import time\n"
        "from detector.evidence.desk import Case, Desk\n"
        "desk = Desk()\n"
        "def work(report):\n"
        "    print('begun', flush=True)\n"
        "    for _ in range(100):\n"
        "        time.sleep(0.05)\n"
        "        report('', 0, 1, '', None)\n"
        "for _ in range(40):\n"
        "    desk.find_out(Case(None, b''), 'x', work)\n"
        "time.sleep(0.3)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.split() == ["begun"]


def test_two_sessions_with_one_picture_share_its_case() -> None:
    desk = Desk()
    mine, yours, later = case(), case(), case()
    assert desk.put(("a",), mine) is mine
    assert desk.put(("a",), yours) is mine
    # The model's labels are others now.
    assert desk.put(("a",), later, instead_of=mine) is later
    assert desk.find(("a",)) is later


def test_what_failed_is_tried_again_only_where_that_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    desk, of, tries = Desk(), case(), list[int]()

    def work(_report: Report) -> str:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("the disk is gone")
        return "found"

    first = desk.find_out(of, "x", work)
    until_done(first)
    assert isinstance(first.problem, OSError)
    assert "the disk is gone" in caplog.text
    assert desk.find_out(of, "x", work) is first
    second = desk.find_out(of, "x", work, again=True)
    until_done(second)
    assert second.result == "found"
    assert desk.find_out(of, "x", work, again=True) is second


def test_neither_what_was_found_nor_a_failure_holds_the_picture_s_file() -> None:
    class File:
        pass

    def given() -> tuple[InBackground[Any], weakref.ref[File]]:
        file = File()
        return desk.find_out(case(), "x", lambda _report: f"found of {type(file)}"), weakref.ref(file)

    def fails(_report: Report) -> None:
        raise OSError("the disk is gone")

    desk = Desk()
    found, file = given()
    until_done(found)
    end = time.monotonic() + PATIENCE
    while file() is not None:
        gc.collect()
        assert time.monotonic() < end
        time.sleep(0.005)
    failed = desk.find_out(case(), "x", fails)
    until_done(failed)
    assert failed.problem is not None
    assert failed.problem.__traceback__ is None
