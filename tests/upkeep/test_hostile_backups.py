"""Backups from a stranger: sealed as they should be, and made to write elsewhere, to fill the disk, or to run."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from detector.errors import BackupDamaged, BackupUnusable
from detector.upkeep.archive_file import FileReader, FileWriter
from detector.upkeep.manifest import DATABASE, MANIFEST, Manifest, Member
from detector.upkeep.restore import UNFINISHED, restore
from detector.upkeep.sealed import Sealing
from tests.upkeep.killed_at import settings

_FILES = {DATABASE: b"no database at all", "blobs/models/abc.safetensors": b"a model"}


def _members(files: Mapping[str, bytes]) -> dict[str, Member]:
    return {name: Member(len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()}


def _manifest(files: Mapping[str, bytes] = _FILES, **other: Any) -> dict[str, Any]:
    manifest = Manifest("1.0", 12, 1000.0, {"samples": 0}, _members(files), {})
    return json.loads(manifest.to_bytes()) | other


def _sealed(path: Path, fill: Callable[[zipfile.ZipFile], object]) -> Path:
    file = io.BytesIO()
    sealing = Sealing(file)
    with zipfile.ZipFile(sealing, "w") as archive:  # type: ignore[call-overload]
        fill(archive)
        archive.comment = Sealing.placeholder
    sealing.finish()
    path.write_bytes(file.getvalue())
    return path


def _archive(
    path: Path, files: Mapping[str, bytes], manifest: Mapping[str, Any], compression: int = zipfile.ZIP_STORED
) -> Path:
    def fill(archive: zipfile.ZipFile) -> None:
        for name, data in {**files, MANIFEST: json.dumps(manifest).encode()}.items():
            archive.writestr(zipfile.ZipInfo(name), data, compression)

    return _sealed(path, fill)


def _refused(path: Path, target: Path) -> str:
    with pytest.raises(BackupUnusable) as refused, FileReader(path) as reader:
        restore(reader, settings(target))
    assert not target.exists() or not list(target.rglob("*")), list(target.rglob("*"))
    return str(refused.value)


def test_a_name_that_leads_elsewhere_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    for number, name in enumerate(
        (
            *("../../escaped", "blobs/../../escaped", "blobs/models/../../../escaped", "/escaped", "blobs//escaped"),
            *("blobs/models/..", "blobs/models/.hidden", "C:\\escaped", "blobs\\models\\x", "blobs/models/a\0b"),
            *("spool/x", "detector.sqlite", "blobs/MODELS/x", "blobs/models/\u202egnp.exe", "blobs/models/x/y"),
        )
    ):
        files = {**_FILES, name: b"escaped"}
        path = _archive(tmp_path / f"{number}.backup", files, _manifest(files))
        said = _refused(path, tmp_path / "target")
        assert f"{number}.backup is damaged" in said, name
        assert "\0" not in said
    assert not list(tmp_path.rglob("*escaped*"))


def test_a_file_that_unpacks_to_more_than_is_there_is_refused(tmp_path: Path) -> None:
    """Ours are stored as they are: what is packed is not ours."""
    files = {**_FILES, "blobs/models/bomb.safetensors": bytes(50_000_000)}
    path = _archive(tmp_path / "bomb.backup", files, _manifest(files), zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 200_000
    assert "bomb.backup is damaged" in _refused(path, tmp_path / "target")


def test_a_file_that_the_manifest_does_not_name_or_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    odd = _archive(tmp_path / "odd.backup", {**_FILES, "evil\x1b[2J.sh": b"x"}, _manifest())
    said = _refused(odd, tmp_path / "target")
    assert "does not name" in said
    assert "\x1b" not in said

    def twice(archive: zipfile.ZipFile) -> None:
        for name, data in (*_FILES.items(), *_FILES.items(), (MANIFEST, json.dumps(_manifest()).encode())):
            archive.writestr(zipfile.ZipInfo(name), data)

    with pytest.warns(UserWarning, match="Duplicate name"):
        path = _sealed(tmp_path / "twice.backup", twice)
    assert "twice.backup is damaged" in _refused(path, tmp_path / "target")


def test_a_wrong_checksum_is_found_before_anything_is_written(tmp_path: Path) -> None:
    """The seal is right: whoever made the archive made it wrong."""
    files = {**_FILES, "blobs/models/abc.safetensors": b"another"}
    path = _archive(tmp_path / "wrong.backup", files, _manifest())
    assert "blobs/models/abc.safetensors in it is not what was written" in _refused(path, tmp_path / "target")


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "x"},
        {"schema": -1},
        {"schema": None},
        {"tables": []},
        {"tables": {"samples": "many"}},
        {"members": {}},
        {"members": {DATABASE: {"byte_count": -1, "sha256": "0" * 64, "pieces": []}}},
        {"members": {DATABASE: {"byte_count": 1, "sha256": "../x", "pieces": []}}},
        {"lost": {"<script>": "x"}},
        {"probes": [1]},
        {"probes": [{"function_id": "x", "model_id": "y", "images": ["z"], "probabilities": [["NaN"]]}]},
        {"created": "yesterday"},
        {"created": float("inf")},
        {"in_place": float("inf")},
        {"created": -1e300},
        {"settings": [[]]},
        {"format": "x"},
    ],
    ids=repr,
)
def test_what_a_manifest_may_not_say_is_refused_in_a_sentence(tmp_path: Path, change: dict[str, Any]) -> None:
    path = _archive(tmp_path / "m.backup", _FILES, _manifest(**change))
    assert "m.backup is damaged" in _refused(path, tmp_path / "target")


def test_a_backup_of_a_newer_version_is_refused_with_its_number(tmp_path: Path) -> None:
    changes: tuple[dict[str, Any], ...] = ({"schema": 999}, {"format": 2})
    for change in changes:
        path = _archive(tmp_path / "new.backup", _FILES, _manifest(**change, version="9.1"))
        said = _refused(path, tmp_path / "target")
        assert "newer version of this program (9.1)" in said


@pytest.mark.slow
def test_no_byte_of_an_archive_can_be_changed_and_none_cut_off(tmp_path: Path) -> None:
    """Every byte of a small one, one bit of each flipped: headers, names, contents, the list at the end, the seal."""
    path = tmp_path / "small.backup"
    with FileWriter(path) as writer:
        for name, data in _FILES.items():
            writer.add(name, data)
        writer.finish(Manifest("1.0", 12, 1000.0, {"samples": 0}, dict(writer.members), {}))
        writer.keep()
    whole = path.read_bytes()
    with FileReader(path) as reader:
        assert set(reader.verify().members) == set(_FILES)
    inside = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        with pytest.raises(BackupDamaged) as refused, FileReader(path) as reader:
            reader.verify()
        assert "small.backup is damaged" in str(refused.value)
        inside += "models/abc" in str(refused.value)
    # Wherever the bytes of a file are changed it is named.
    assert inside >= len(_FILES["blobs/models/abc.safetensors"])
    for length in {*range(0, len(whole), 10), len(whole) - 1}:
        path.write_bytes(whole[:length])
        with pytest.raises(BackupDamaged), FileReader(path) as reader:
            reader.verify()
    path.write_bytes(whole + b"\0")
    with pytest.raises(BackupDamaged), FileReader(path) as reader:
        reader.verify()


def test_pictures_that_came_after_an_unfinished_restore_are_never_taken_away(tmp_path: Path) -> None:
    """Killed, given up, used for months with the mark still there, and then restored onto an empty database."""
    target = tmp_path / "target"
    mine = target / "blobs" / "models" / "mine.safetensors"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"months of work")
    (target / UNFINISHED).write_text("A restore was not finished here.")
    path = _archive(tmp_path / "a.backup", _FILES, _manifest())
    with pytest.raises(BackupUnusable, match="not empty"), FileReader(path) as reader:
        restore(reader, settings(target))
    assert mine.read_bytes() == b"months of work"


def test_a_restore_that_fails_on_the_way_takes_back_what_it_has_written(tmp_path: Path) -> None:
    path = _archive(tmp_path / "a.backup", _FILES, _manifest())
    assert "database.sqlite in it is not what was written" in _refused(path, tmp_path / "target")
