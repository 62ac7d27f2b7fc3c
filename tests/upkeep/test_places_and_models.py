"""What a restore asks of the place that it writes to, and what a backup says of models that it cannot take whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from detector.errors import BackupDamaged, BackupUnusable, DataFolderUnusable
from detector.storage import functions, upkeep_runs
from detector.storage.folder import UNFINISHED
from detector.storage.keys import create_key
from detector.upkeep.archive_file import FileReader, FileWriter
from detector.upkeep.archive_folder import FolderReader, FolderWriter, list_backups
from detector.upkeep.backup import back_up
from detector.upkeep.restore import restore
from detector.upkeep.sealed import SEAL_BYTES, seal
from detector.workspace import Workspace
from tests.command_line import run_here
from tests.databases import postgresql_url, sqlite_only
from tests.upkeep.damages import model_file
from tests.upkeep.killed_at import settings

pytestmark = sqlite_only("another database than the one that is backed up is written to")


@pytest.fixture
def backup(ws: Workspace, tmp_path: Path) -> Path:
    back_up(ws, FileWriter(tmp_path / "all.backup"))
    return tmp_path / "all.backup"


@pytest.mark.parametrize("ending", ["-wal", "-journal", "-shm"])
def test_a_log_of_another_database_is_not_played_into_the_restored_one(
    backup: Path, tmp_path: Path, ending: str
) -> None:
    """Whoever moves a database away leaves its log: SQLite would take that for one of the new database."""
    left = tmp_path / "target" / f"detector.sqlite{ending}"
    left.parent.mkdir()
    left.write_bytes(b"of another database")
    with pytest.raises(BackupUnusable, match=f"sqlite{ending} of another one lies"), FileReader(backup) as reader:
        restore(reader, settings(left.parent))
    assert [path.name for path in left.parent.iterdir()] == [left.name]


def test_nobody_opens_a_place_where_a_restore_was_killed_and_the_next_restore_ends_it(
    backup: Path, tmp_path: Path
) -> None:
    """A server that was started there made an empty database, into which nothing could be restored any more."""
    target = tmp_path / "target"
    target.mkdir()
    (target / UNFINISHED).write_text("A restore was not finished here.")
    with pytest.raises(DataFolderUnusable, match="was not finished"):
        Workspace.open(settings(target))
    assert run_here(target, "check", "--quick").code == 2
    assert [path.name for path in target.iterdir()] == [UNFINISHED]
    with FileReader(backup) as reader:
        restore(reader, settings(target))
    assert not (target / UNFINISHED).exists()
    # The database comes last: with it there, a mark that stayed says nothing.
    (target / UNFINISHED).write_text("A restore was not finished here.")
    Workspace.open(settings(target)).close()
    assert not (target / UNFINISHED).exists()


def _gone(path: Path) -> None:
    path.unlink()


def _flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(("damage", "state"), [(_gone, "missing"), (_flipped, "damaged")])
def test_a_model_that_cannot_be_taken_whole_is_named_and_the_backup_is_not_called_good(
    ws: Workspace, tmp_path: Path, damage: Callable[[Path], None], state: str
) -> None:
    damage(model_file(ws))
    done = run_here(ws.settings.data_dir, "backup", tmp_path / "all.backup")
    assert done.code == 1
    assert f"the live one, of the function Press photos is {state}" in done.err
    last = upkeep_runs.last_run(ws.db, "backup")
    assert last is not None
    assert not last.ok
    assert len(last.facts["lost_models"]) == 1


@pytest.mark.slow
def test_what_the_system_refuses_is_no_backup_and_what_comes_after_one_takes_it_not_away(
    ws: Workspace, tmp_path: Path
) -> None:
    refused = run_here(ws.settings.data_dir, "backup", tmp_path / ("x" * 250))
    assert refused.code == 2
    assert "There is no backup." in refused.err
    folder = tmp_path / "all"
    for _ in range(2):
        assert run_here(ws.settings.data_dir, "backup", "--to", folder).code == 0
    newest = list_backups(folder)[-1]
    newest.write_bytes(b"damaged")
    done = run_here(ws.settings.data_dir, "backup", "--to", folder, "--keep", "2")
    assert done.code == 0
    assert "The new backup is there; no older one was removed." in done.err
    assert len(list_backups(folder)) == 3


def test_the_pieces_of_a_folder_are_as_large_as_its_manifest_says(ws: Workspace, tmp_path: Path) -> None:
    """One piece that is named often would fill memory and disk, with a manifest that says five bytes."""
    folder = tmp_path / "all"
    back_up(ws, FolderWriter(folder))
    [path] = list_backups(folder)
    told = json.loads(path.read_bytes()[:-SEAL_BYTES])
    name = next(name for name, member in told["members"].items() if len(member["pieces"]) == 1)
    pieces = folder / "pieces"
    [piece] = told["members"][name]["pieces"]
    data = (pieces / piece[:2] / piece).read_bytes()
    told["members"][name]["pieces"] *= 1000
    told["members"][name]["sha256"] = hashlib.sha256(1000 * data).hexdigest()
    path.write_bytes(seal(json.dumps(told).encode()))
    with pytest.raises(BackupDamaged, match=name.rpartition("/")[2]), FolderReader(folder) as reader:
        reader.verify()


def test_an_upgraded_backup_names_no_copy_that_is_gone_and_no_check_of_another_disk(
    ws: Workspace, tmp_path: Path
) -> None:
    """It was made beside the upgraded database, in a folder that goes when the restore ends."""
    upkeep_runs.note_run(ws.db, "check", True, {})
    back_up(ws, FileWriter(tmp_path / "all.backup"))
    with FileReader(tmp_path / "all.backup") as reader:
        restore(reader, settings(tmp_path / "target"))
    with closing(Workspace.open(settings(tmp_path / "target"))) as there:
        assert upkeep_runs.last_run(there.db, "check") is None
        assert upkeep_runs.last_run(there.db, "restore") is not None


def test_settings_that_are_text_stay_out(backup: Path) -> None:
    with FileReader(backup) as reader:
        said = reader.verify().settings
    assert said
    assert all(isinstance(value, (bool, int, float)) for value in said.values())


@pytest.mark.postgresql
def test_a_server_with_a_key_of_somebody_is_not_empty(backup: Path, tmp_path: Path) -> None:
    """The key of a stranger stood beside the restored data, and let in."""
    url = postgresql_url(tmp_path / "target")
    target = replace(settings(tmp_path / "target"), database_url=url)
    with closing(Workspace.open(target)) as there:
        create_key(there.db, "of somebody")
    with pytest.raises(BackupUnusable, match="not empty"), FileReader(backup) as reader:
        restore(reader, target)
    with closing(Workspace.open(target)) as there:
        assert functions.list_functions(there.db) == []
