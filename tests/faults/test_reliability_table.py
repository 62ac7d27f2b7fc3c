"""The table of ``docs/reliability.md``: 29 lines, and every test that it names is there."""

from __future__ import annotations

import ast
import re
from functools import cache

from tests.app_server import CHECKOUT

PAGE = CHECKOUT / "docs" / "reliability.md"
LINES = 29
_ROW = re.compile(r"^\| (\d+)\. ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]*)\|$", re.MULTILINE)
_NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


@cache
def _tests_of(path: str) -> frozenset[str]:
    tree = ast.parse((CHECKOUT / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def missing(page: str) -> list[str]:
    """What a page names that is not there."""
    gone = []
    for path, name in _NAMED.findall(page):
        there = (CHECKOUT / path).is_file()
        if not there or (name and name not in _tests_of(path)):
            gone.append(f"{path}::{name}")
    return gone


def test_every_line_has_a_promise_and_a_test() -> None:
    rows = _ROW.findall(PAGE.read_text(encoding="utf-8"))
    assert [int(number) for number, *_ in rows] == list(range(1, LINES + 1))
    for number, _, promise, held_by, _ in rows:
        assert promise.strip().endswith("."), number
        assert _NAMED.search(held_by), f"line {number} names no test"


def test_every_test_that_is_named_is_there() -> None:
    assert missing(PAGE.read_text(encoding="utf-8")) == []


def test_a_test_that_is_gone_would_be_found() -> None:
    page = "`tests/test_jobs.py::test_nobody_wrote_this` `tests/no_such_file.py::test_a`"
    assert missing(page) == ["tests/test_jobs.py::test_nobody_wrote_this", "tests/no_such_file.py::test_a"]
