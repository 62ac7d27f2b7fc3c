"""A backup or a restore that is killed at any change of the disk: nothing half is taken for something whole."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import select

from detector.storage.schema import images
from detector.upkeep.archive_file import FileReader
from detector.upkeep.check import check_all
from detector.upkeep.restore import restore
from detector.upkeep.rows import count_rows
from detector.workspace import Workspace
from tests.command_line import CHECKOUT, environment
from tests.databases import sqlite_only
from tests.upkeep.killed_at import settings

pytestmark = [pytest.mark.long, sqlite_only("the process that is killed has a folder with a database of its own")]


def _killed(what: str, first: Path, second: Path, every: int) -> int:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.upkeep.killed_at", what, str(first), str(second), str(every)],
        cwd=CHECKOUT,
        env=environment(first),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    return int(ran.stdout.splitlines()[-1])


def _rows(folder: Path) -> dict[str, int]:
    with closing(Workspace.open(settings(folder))) as ws, ws.db.read() as connection:
        return {table: rows for table, rows in count_rows(connection).items() if table not in ("meta", "upkeep_runs")}


def _files(folder: Path) -> set[str]:
    """Of the store, and whatever a restore left behind."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if name.startswith(("blobs/", "restore", "spool/"))}


def test_a_backup_that_is_killed_leaves_no_file_of_its_name_that_is_not_whole(
    tmp_path: Path, trained_folder: Path
) -> None:
    """And the data stay well, with nothing left in them but what the next backup or the sweeping takes away."""
    data, file = tmp_path / "data", tmp_path / "all.backup"
    shutil.copytree(trained_folder, data)
    before = _rows(data)
    total = _killed("backup", data, file, 3)
    assert total > 20
    whole = [path for path in tmp_path.glob("all.backup.*") if not path.name.endswith(".part")]
    assert whole
    for path in whole:
        with FileReader(path) as reader:
            assert reader.verify().tables["samples"] == before["samples"]
    assert _rows(data) == before
    with closing(Workspace.open(settings(data))) as ws:
        assert check_all(ws).problems == ()


def test_a_restore_that_is_killed_is_whole_or_can_be_done_again(tmp_path: Path, trained_folder: Path) -> None:
    data, file, targets = tmp_path / "data", tmp_path / "all.backup", tmp_path / "targets"
    shutil.copytree(trained_folder, data)
    before = _rows(data)
    targets.mkdir()
    total = _killed("backup", data, file, 10**6)
    [kept] = tmp_path.glob("all.backup.0")
    total = _killed("restore", kept, targets, 3)
    assert total > 20
    clean = _files(targets / "0")
    again = 0
    for number in range(1, total + 1, 3):
        folder = targets / str(number)
        if not (folder / "detector.sqlite").exists():
            again += 1
            with FileReader(kept) as reader:
                restore(reader, settings(folder))
        assert _rows(folder) == before, number
        with closing(Workspace.open(settings(folder))) as ws, ws.db.read() as connection:
            for image_hash in connection.scalars(select(images.c.hash)):
                assert ws.blobs.image(image_hash), number
        assert clean <= _files(folder), number
    assert again > 5
