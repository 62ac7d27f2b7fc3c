"""Backed up here and restored there: another path, another kind of database, a bucket; the same rows and answers."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from detector.errors import BackupLocked, BackupUnusable
from detector.operations.deletion import empty_bin
from detector.operations.labels import give_label
from detector.operations.samples import delete_samples
from detector.serving.invoke import Verdict, invoke
from detector.settings import Settings
from detector.storage import functions, keys
from detector.storage.schema import api_keys, images, meta, samples
from detector.storage.upkeep_runs import last_run
from detector.upkeep.archive_file import FileReader, FileWriter
from detector.upkeep.archive_folder import FolderReader, FolderWriter
from detector.upkeep.backup import Reader, back_up
from detector.upkeep.manifest import BLOBS, DATABASE, Manifest
from detector.upkeep.restore import Restored, restore
from detector.upkeep.rows import count_rows
from detector.workspace import Workspace
from tests.command_line import run_here
from tests.databases import database_url, postgresql_url, sqlite_only
from tests.factories import add_images, empty_function, make_image
from tests.stored_data.folders import unpack
from tests.upkeep.damages import image_file, some_hash

#: Written by a backup, a restore and an upgrade themselves, or of this server alone.
_OWN = {"upkeep_runs", "meta", "workers", "tasks"}


def _settings(folder: Path, **other: Any) -> Settings:
    usual: dict[str, Any] = {"precision": "float32", "copies": 0, "retrain_delay": 0.0}
    usual["database_url"] = database_url(folder) if "database_url" not in other else ""
    return Settings(data_dir=folder, **usual | other)


def _rows(ws: Workspace) -> dict[str, int]:
    with ws.db.read() as connection:
        return {table: rows for table, rows in count_rows(connection).items() if table not in _OWN}


def _facts(ws: Workspace) -> list[tuple[Any, ...]]:
    """Every sample with its label and prediction."""
    columns = [column for column in samples.columns if column.name not in ("revision",)]
    with ws.db.read() as connection:
        return [tuple(map(_equal, row)) for row in connection.execute(select(*columns).order_by(samples.c.id))]


def _equal(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value


def _says(ws: Workspace) -> list[Any]:
    found = [summary.function for summary in functions.list_functions(ws.db)]
    [function] = [function for function in found if function.live_model_id]
    verdicts = invoke(ws, function.id, [(f"{seed}.png", make_image(seed)) for seed in range(500, 503)])
    assert all(isinstance(verdict, Verdict) for verdict in verdicts)
    return [
        [(score.label, round(score.confidence, 5)) for score in verdict.scores]
        for verdict in verdicts
        if isinstance(verdict, Verdict)
    ]


def _restore(reader: Reader, settings: Settings) -> Restored:
    with reader:
        return restore(reader, settings)


def _assert_same(ws: Workspace, settings: Settings) -> None:
    with closing(Workspace.open(settings)) as other:
        assert _rows(other) == _rows(ws)
        assert _facts(other) == _facts(ws)
        assert _says(other) == _says(ws)
        with other.db.read() as connection:
            for image_hash in connection.scalars(select(images.c.hash)):
                assert hashlib.sha256(other.blobs.image(image_hash)).hexdigest() == image_hash
        assert last_run(other.db, "restore") is not None


@pytest.mark.slow
@pytest.mark.parametrize("folder_of_backups", [False, True], ids=["file", "folder"])
def test_another_path_has_the_same_rows_pictures_and_predictions(
    ws: Workspace, tmp_path: Path, folder_of_backups: bool
) -> None:
    key = keys.create_key(ws.db, "A caller")
    place = tmp_path / "backup"
    done = back_up(ws, FolderWriter(place) if folder_of_backups else FileWriter(place))
    assert done.manifest.probes
    assert last_run(ws.db, "backup") is not None
    target = _settings(tmp_path / "another" / "path")
    restored = _restore(FolderReader(place) if folder_of_backups else FileReader(place), target)
    assert restored.tables["samples"] == 10
    _assert_same(ws, target)
    # Keys go on, and what signs addresses does not come along.
    with closing(Workspace.open(target)) as other, other.db.read() as connection, ws.db.read() as here:
        assert list(connection.scalars(select(api_keys.c.id))) == [key.id]
        secrets = set(here.scalars(select(meta.c.value).where(meta.c.key.not_in(("schema_version",)))))
        assert not secrets & set(connection.scalars(select(meta.c.value)))
    with pytest.raises(BackupUnusable, match="not empty"):
        _restore(FolderReader(place) if folder_of_backups else FileReader(place), target)
    _assert_same(ws, target)


@pytest.mark.slow
def test_an_encrypted_backup_opens_with_its_passphrase_only(ws: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "a.backup"
    back_up(ws, FileWriter(path, "a long sentence"))
    data = path.read_bytes()
    assert b"samples" not in data
    assert b"blobs/" not in data
    for given in (None, "another sentence"):
        with pytest.raises(BackupLocked):
            _restore(FileReader(path, given), _settings(tmp_path / "locked"))
    assert not (tmp_path / "locked").exists()
    rng = np.random.default_rng(0)
    for place in [3, 8, 20, 40, 41, *rng.integers(60, len(data), 4), len(data) - 1]:
        path.write_bytes(data[:place] + bytes([data[place] ^ 8]) + data[place + 1 :])
        with pytest.raises(BackupUnusable):
            _restore(FileReader(path, "a long sentence"), _settings(tmp_path / "flipped"))
    # Pieces of a megabyte in another order, or without the last.
    piece = (1 << 20) + 16
    if len(data) > 41 + piece:
        path.write_bytes(data[: 41 + piece])
        with pytest.raises(BackupUnusable):
            _restore(FileReader(path, "a long sentence"), _settings(tmp_path / "flipped"))
    assert not (tmp_path / "flipped").exists()
    path.write_bytes(data)
    target = _settings(tmp_path / "opened")
    _restore(FileReader(path, "a long sentence"), target)
    _assert_same(ws, target)


@pytest.mark.slow
def test_a_picture_that_cannot_be_read_is_named_and_all_else_comes_back(ws: Workspace, tmp_path: Path) -> None:
    lost = some_hash(ws, np.random.default_rng(1))
    image_file(ws, lost).unlink()
    folder = ws.settings.data_dir
    ran = run_here(folder, "backup", tmp_path / "a.backup")
    assert ran.code == 1
    assert lost[:16] in ran.err
    done = _restore(FileReader(tmp_path / "a.backup"), _settings(tmp_path / "target"))
    assert set(done.manifest.lost) == {lost}
    assert done.tables["samples"] == 10


def test_what_is_there_already_is_never_written_over(ws: Workspace, tmp_path: Path) -> None:
    folder = ws.settings.data_dir
    path = tmp_path / "a.backup"
    path.write_bytes(b"something else")
    ran = run_here(folder, "backup", path)
    assert ran.code == 2
    assert "there already" in ran.err
    assert path.read_bytes() == b"something else"
    assert run_here(folder, "restore", path).code == 2
    assert run_here(folder, "restore", tmp_path / "nothing").code == 2
    assert sorted(found.name for found in tmp_path.iterdir()) == ["a.backup", "data"]


def _write(ws: Workspace, stop: threading.Event, number: int, waits: list[float], done: list[str]) -> None:
    function = empty_function(ws, f"Written {number}")
    step = 0
    while not stop.is_set():
        step += 1
        start = time.monotonic()
        add_images(ws, function, [(f"{step}.png", make_image(1000 * (number + 1) + step, "real", 32), "real")])
        with ws.db.read() as connection:
            ids = list(connection.scalars(select(samples.c.id).where(samples.c.function_id == function.id)))
        label_ids = functions.list_labels(ws.db, function.id)
        give_label(ws, function.id, ids[-1:], label_ids[step % 2])
        if step % 4 == 0:
            delete_samples(ws, function.id, ids[:1])
            empty_bin(ws, function.id)
        waits.append(time.monotonic() - start)
        done.extend(ids[-1:])


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.3, pytest.param(8.0, marks=pytest.mark.long)])
def test_a_backup_while_others_write_and_delete_is_of_one_moment(ws: Workspace, tmp_path: Path, seconds: float) -> None:
    """Each picture of the restored database is there, though some were deleted for good while it was made."""
    stop, waits = threading.Event(), list[float]()
    done: list[list[str]] = [[] for _ in range(3)]
    threads = [
        threading.Thread(target=_write, args=(ws, stop, number, waits, done[number])) for number in range(len(done))
    ]
    for thread in threads:
        thread.start()
    try:
        end = time.monotonic() + seconds
        made = 0
        while time.monotonic() < end or not made:
            made += 1
            manifest = back_up(ws, FileWriter(tmp_path / f"{made}.backup")).manifest
            assert not manifest.lost
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    for number in {1, made}:
        target = _settings(tmp_path / f"target-{number}")
        _restore(FileReader(tmp_path / f"{number}.backup"), target)
        with closing(Workspace.open(target)) as other, other.db.read() as connection:
            for image_hash in connection.scalars(select(images.c.hash)):
                other.blobs.image(image_hash)


@sqlite_only("it was written by an earlier version")
def test_a_backup_of_an_older_version_is_brought_up_to_date(tmp_path: Path) -> None:
    old = unpack("folder_6", tmp_path / "old")
    with closing(sqlite3.connect(old / "detector.sqlite")) as database:
        names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        tables = {name: database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names}
        tables = {name: rows for name, rows in tables.items() if not name.startswith("sqlite_")}
        database.execute("PRAGMA journal_mode=DELETE")
    path = tmp_path / "six.backup"
    with FileWriter(path) as writer:
        for file in sorted((old / "blobs").rglob("*")):
            if file.is_file():
                writer.add(BLOBS + file.relative_to(old / "blobs").as_posix(), file.read_bytes())
        writer.add_file(DATABASE, old / "detector.sqlite")
        writer.finish(Manifest("0.6", 6, 1000.0, tables, dict(writer.members), {}))
        writer.keep()
    target = _settings(tmp_path / "new")
    done = _restore(FileReader(path), target)
    assert done.tables["samples"] == tables["samples"] > 0
    with closing(Workspace.open(target)) as ws:
        assert len(_says(ws)) == 3


@pytest.fixture
def other_database(tmp_path: Path) -> str:
    return postgresql_url(tmp_path / "on the server")


@pytest.mark.postgresql
def test_to_postgresql_and_back_nothing_changes(ws: Workspace, tmp_path: Path, other_database: str) -> None:
    back_up(ws, FileWriter(tmp_path / "there.backup"))
    server = _settings(tmp_path / "server", database_url=other_database)
    _restore(FileReader(tmp_path / "there.backup"), server)
    _assert_same(ws, server)
    with closing(Workspace.open(server)) as there:
        # Numbers go on behind those that were copied.
        add_images(there, empty_function(there, "Later"), [("new.png", make_image(4000), "real")])
        back_up(there, FileWriter(tmp_path / "back.backup"))
        home = _settings(tmp_path / "home", database_url="")
        _restore(FileReader(tmp_path / "back.backup"), home)
        with closing(Workspace.open(home)) as again:
            assert _rows(again) == _rows(there)
            assert _facts(again) == _facts(there)
            assert _says(again) == _says(there)
