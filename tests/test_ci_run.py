"""Lines of ``.ci/run`` that name a mark and folders: no test with that mark lies anywhere else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.command_line import CHECKOUT

_LINE = re.compile(r"^tests python -m pytest -m (\w+) (tests/.+)$", re.MULTILINE)


def _named(mark: str) -> list[str]:
    lines = _text(CHECKOUT / ".ci" / "run").replace("\\\n", " ")
    return str(dict(_LINE.findall(lines))[mark]).split()


@pytest.mark.parametrize("mark", ["faults", "cluster", "postgresql"])
def test_every_test_with_a_mark_is_run_by_its_line(mark: str) -> None:
    places = [CHECKOUT / name for name in _named(mark)]
    assert all(place.exists() for place in places)
    marked = [path for path in (CHECKOUT / "tests").rglob("test_*.py") if f"mark.{mark}" in _text(path)]
    assert marked
    outside = [path for path in marked if not any(path.is_relative_to(place) for place in places)]
    assert outside == [], f".ci/run does not run them: {outside}"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
