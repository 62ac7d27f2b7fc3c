"""``requirements.txt`` alone is enough to read every test: what needs more says so, and is skipped."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.command_line import CHECKOUT


@cache
def _listed() -> set[str]:
    """The distributions of ``requirements.txt``, and all that they need here."""
    lines = (CHECKOUT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    waiting = [Requirement(line) for line in lines if line and not line.startswith("#")]
    found: set[str] = set()
    while waiting:
        wanted = waiting.pop()
        name = _plain(wanted.name)
        if name in found:
            continue
        found.add(name)
        needs = (Requirement(text) for text in metadata.requires(wanted.name) or [])
        extras = wanted.extras or {""}
        waiting += [
            need for need in needs if not need.marker or any(need.marker.evaluate({"extra": extra}) for extra in extras)
        ]
    return found


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _at_once(source: str) -> Iterator[str]:
    """The modules that are imported where a module is, not in a function of it, up to where it may be skipped."""
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            yield statement.module
            yield from (f"{statement.module}.{alias.name}" for alias in statement.names)
        elif "importorskip(" in ast.unparse(statement) and isinstance(statement, ast.Expr | ast.Assign):
            return


@cache
def _imported(path: Path) -> list[tuple[str, list[Path]]]:
    """What a file imports at once, each as its package and, of the tests' own modules, the files that may be meant."""
    found = []
    for name in _at_once(path.read_text(encoding="utf-8")):
        place = CHECKOUT.joinpath(*name.split("."))
        mine = [place.with_suffix(".py"), place / "__init__.py"] if name.startswith("tests.") else []
        found.append((name.split(".")[0], [file for file in mine if file.is_file()]))
    return found


def _needed(path: Path) -> dict[str, str]:
    """What a test file and the modules of the tests that it imports need at once: the package, and who imports it."""
    waiting, seen, found = [path], set(), {}
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        for package, files in _imported(one):
            waiting += files
            found[package] = one.relative_to(CHECKOUT).as_posix()
    return found


def _unlisted(packages: Iterable[str]) -> list[str]:
    """Those that neither Python, nor this project, nor a distribution of ``requirements.txt`` brings."""
    ours = sys.stdlib_module_names | {"detector", "pages", "streamlit_app", "tests"}
    return [
        package
        for package in packages
        if package not in ours and not {_plain(home) for home in _homes().get(package, [])} & _listed()
    ]


@cache
def _homes() -> dict[str, list[str]]:
    return dict(metadata.packages_distributions())


def test_no_test_needs_more_than_requirements_txt_to_be_read() -> None:
    """Else the README's second command ends in an error: pytest counts what it cannot read as one."""
    files = [*(CHECKOUT / "tests").rglob("test_*.py"), *(CHECKOUT / "tests").rglob("conftest.py")]
    assert len(files) > 250
    missing = []
    for path in files:
        needed = _needed(path)
        missing += [f"{path.name}: {package}, imported by {needed[package]}" for package in _unlisted(needed)]
    assert missing == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import distributed", ["distributed"]),
        ("from distributed.client import Client", ["distributed"]),
        ("import pytest\npytest.importorskip('distributed')\nimport distributed", []),
        ("import pytest\nclient = pytest.importorskip('distributed')\nimport distributed", []),
        ("def test_it():\n    import distributed", []),
        ("import pytest, numpy, sqlalchemy.orm", []),
    ],
)
def test_what_is_imported_too_early_would_be_found(source: str, found: list[str]) -> None:
    assert _unlisted({name.split(".")[0] for name in _at_once(source)}) == found
