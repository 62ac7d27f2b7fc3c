"""From a folder into a bucket of a real object store and back, with what a killed restore has left there."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from detector.errors import BackupUnusable
from detector.settings import Settings
from detector.storage.schema import images
from detector.storage.stores import open_blobs
from detector.upkeep.archive_file import FileReader, FileWriter
from detector.upkeep.backup import back_up
from detector.upkeep.restore import UNFINISHED, restore
from detector.workspace import Workspace
from tests.s3_server import BUCKET, s3_server

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def _settings(folder: Path, store: str = "") -> Settings:
    return Settings(data_dir=folder, precision="float32", copies=0, retrain_delay=0.0, store=store)


def _pictures(ws: Workspace) -> dict[str, bytes]:
    with ws.db.read() as connection:
        return {row[0]: ws.blobs.image(row[0]) for row in connection.execute(select(images.c.hash))}


def test_a_backup_goes_into_a_bucket_and_back_and_takes_nobody_elses_away(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, back = tmp_path / "there.backup", tmp_path / "back.backup"
    back_up(ws, FileWriter(path))
    before = _pictures(ws)
    (tmp_path / "s3").mkdir()
    with s3_server(tmp_path / "s3") as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        there = _settings(tmp_path / "there", f"s3://{BUCKET}/there")
        with FileReader(path) as reader:
            restore(reader, there)
        opened = Workspace.open(there)
        assert _pictures(opened) == before
        back_up(opened, FileWriter(back))
        opened.close()
        # A restore was killed in this folder; meanwhile another bucket is named, with the work of others in it.
        others = f"s3://{BUCKET}/others"
        store = open_blobs(others, tmp_path / "third", 100)
        store.put("models/theirs.safetensors", b"months of work")
        third = _settings(tmp_path / "third", others)
        (tmp_path / "third").mkdir(exist_ok=True)
        (tmp_path / "third" / UNFINISHED).write_text("A restore was not finished here.")
        with pytest.raises(BackupUnusable, match="not empty"), FileReader(path) as reader:
            restore(reader, third)
        assert store.get("models/theirs.safetensors") == b"months of work"
        with FileReader(back) as reader:
            restore(reader, _settings(tmp_path / "home"))
    home = Workspace.open(_settings(tmp_path / "home"))
    assert _pictures(home) == before
    home.close()
