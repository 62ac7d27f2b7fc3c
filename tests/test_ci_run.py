"""``.ci/run``: no test with a mark lies outside the folders of that mark's line, and what fails is run once more."""

from __future__ import annotations

import os
import re
import subprocess
import sys
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


_FAILS = """
def test_that_fails_once():
    import pathlib
    mark = pathlib.Path("was-here")
    was_here, _ = mark.exists(), mark.touch()
    assert was_here

def test_that_passes():
    assert True
"""
_FAILS_AGAIN = "def test_that_fails():\n    assert False\n"
_MANY = "import pytest\n@pytest.mark.parametrize('n', range(6))\n" + _FAILS.lstrip().replace("once()", "once(n)")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tests", "code", "said", "runs"),
    [
        ("def test_that_passes():\n    assert True\n", 0, "1 passed", 1),
        (_FAILS, 0, "Passed the second time only:\ntest_it.py::test_that_fails_once\n", 2),
        (_FAILS + _FAILS_AGAIN, 1, "1 failed, 1 passed", 2),
        # A machine is not that slow: something is wrong.
        (_MANY.replace('"was-here"', 'f"was-here-{n}"'), 1, "6 failed, 1 passed", 1),
        ("", 5, "no tests ran", 1),
        ("import no_such_module\n", 2, "1 error", 1),
    ],
    ids=["passes", "fails once", "fails again", "many fail", "none", "cannot be read"],
)
def test_what_fails_is_run_once_more_by_itself(tests: str, code: int, said: str, runs: int, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(tests, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    # What the run of this test says to pytest is not meant for that one.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    ran = subprocess.run(
        [CHECKOUT / ".ci" / "twice", "python", "-m", "pytest", "test_it.py"],
        cwd=tmp_path,
        env=kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == code, ran.stdout
    assert said in ran.stdout
    assert ran.stdout.count("test session starts") == runs


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
