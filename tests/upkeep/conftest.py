"""A trained data folder, made once and copied for each test that spoils it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from detector.pipeline.build import build
from detector.storage.jobs import list_jobs
from detector.upkeep import check_pictures, check_work
from detector.workspace import Workspace
from tests.databases import copy_data
from tests.factories import labelled_function, workspace


@pytest.fixture(scope="module")
def trained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With one function of ten samples and its model; nobody has it open."""
    folder = tmp_path_factory.mktemp("check") / "data"
    ws = workspace(folder)
    build(ws, labelled_function(ws, 5, "Press photos").id)
    assert not list_jobs(ws.db)
    ws.close()
    return folder


@pytest.fixture
def ws(tmp_path: Path, trained_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    # Nobody else is at work in these folders, so nobody is waited for.
    monkeypatch.setattr(check_work, "_PATIENCE", 0.01)
    monkeypatch.setattr(check_pictures, "_MOMENT", 0.01)
    monkeypatch.setattr(check_pictures, "_AT_WORK", 0.01)
    copy_data(trained_folder, tmp_path / "data")
    opened = workspace(tmp_path / "data")
    yield opened
    opened.close()
