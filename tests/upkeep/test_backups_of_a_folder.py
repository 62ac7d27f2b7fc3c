"""A folder of backups that several processes use: nobody removes the pieces of a backup that is being written."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from detector.errors import BackupUnusable
from detector.upkeep.archive_folder import FolderReader, FolderWriter, list_backups, prune
from detector.upkeep.backup import back_up
from detector.upkeep.manifest import DATABASE, Manifest
from detector.workspace import Workspace


def _add(folder: Path, created: float, data: bytes) -> None:
    with FolderWriter(folder) as writer:
        writer.add(DATABASE, data)
        writer.finish(Manifest("1.0", 12, created, {}, dict(writer.members), {}))
        writer.keep()


def _pieces(folder: Path) -> int:
    return sum(1 for path in (folder / "pieces").rglob("*") if path.is_file())


def test_what_another_backup_writes_is_not_removed_and_two_are_not_written_at_once(tmp_path: Path) -> None:
    """Pieces of a backup that is not whole are named nowhere: who removes old backups would take them along."""
    for number in range(3):
        _add(tmp_path, 1000.0 + number, b"%d" % number)
    with FolderWriter(tmp_path) as writer:
        writer.add(DATABASE, b"new")
        assert prune(tmp_path, 1) == 0
        with pytest.raises(BackupUnusable, match="Another backup is being written into"):
            FolderWriter(tmp_path).__enter__()
        writer.finish(Manifest("1.0", 12, 2000.0, {}, dict(writer.members), {}))
        writer.keep()
    with FolderReader(tmp_path) as reader:
        reader.verify()
        assert reader.read(DATABASE) == b"new"
    assert prune(tmp_path, 1) == 3
    assert _pieces(tmp_path) == 1


def test_the_time_of_a_backup_may_be_written_as_clocks_show_it(tmp_path: Path) -> None:
    # 1970-01-01, 04:00:00 and 05:30:00 UTC.
    for created in (14_400.0, 19_800.0):
        _add(tmp_path, created, b"%d" % created)
    for at, found in (
        *(("1970-01-01T04:00:00Z", b"14400"), ("1970-01-01 04:59", b"14400"), ("1970-01-01T0529", b"14400")),
        *(("1970-01-01T05:30", b"19800"), ("1970-01-01", b"19800"), ("1971", b"19800")),
    ):
        with FolderReader(tmp_path, at) as reader:
            reader.verify()
            assert reader.read(DATABASE) == found, at
    with pytest.raises(BackupUnusable, match="of 1970-01-01T0359 or before"):
        FolderReader(tmp_path, "1970-01-01 03:59")


def test_a_flipped_byte_of_any_piece_or_manifest_is_found_and_the_next_backup_mends_it(
    ws: Workspace, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    back_up(ws, FolderWriter(folder))
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    for path in files:
        data = path.read_bytes()
        place = len(data) // 2
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        with pytest.raises(BackupUnusable, match="is damaged"), FolderReader(folder) as reader:
            reader.verify()
        if path.parent.name != "backups":
            # It is the same everywhere: the next backup finds that the piece is bad, and writes it anew.
            continue
        path.write_bytes(data)
    back_up(ws, FolderWriter(folder))
    assert len(list_backups(folder)) == 2
    with FolderReader(folder) as reader:
        reader.verify()


def test_what_a_killed_backup_left_in_the_data_folder_goes_after_a_day(ws: Workspace, tmp_path: Path) -> None:
    old, new = ws.spool / "backup-old", ws.spool / "probe-new"
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / DATABASE).write_bytes(b"a copy")
    os.utime(old, (time.time() - 90_000,) * 2)
    back_up(ws, FolderWriter(tmp_path / "backups"))
    assert not old.exists()
    assert new.exists()
