"""Two data folders that the pages open: a new one, and one with a trained and audited function."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from detector.storage import functions
from detector.workspace import Workspace
from tests.page_app import opened_by_pages
from tests.stored_data.folders import FOLDERS, figures, unpack


@dataclass(frozen=True)
class Trained:
    """An opened folder with one function; ``said`` is what is known of it."""

    ws: Workspace
    function_id: str
    said: dict[str, Any]


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    with opened_by_pages(tmp_path / "empty", monkeypatch) as opened:
        yield opened


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trained]:
    """Unpacked, not trained: what costs a second or two once costs nothing here."""
    folder = unpack(FOLDERS[-1], tmp_path)
    said = figures(FOLDERS[-1])
    with opened_by_pages(folder, monkeypatch) as opened:
        yield Trained(opened, functions.find_function(opened.db, said["function"]).id, said)
