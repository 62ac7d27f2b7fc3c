"""Bytes by name: whole or not at all."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from detector.errors import NotFound, StoredFileDamaged
from detector.storage.blobs import Blobs
from detector.storage.folder_blobs import FolderBlobs
from detector.storage.stores import open_blobs

DATA = bytes(range(256)) * 40
HASH = hashlib.sha256(DATA).hexdigest()


def _open(where: str, tmp_path: Path) -> Blobs:
    """Blobs of the folder, or of a file system in memory that no other test uses, without a cache in between."""
    return open_blobs(where.format(tmp_path.name), tmp_path, 0)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_an_image_comes_back_byte_for_byte_and_lies_under_its_hash(tmp_path: Path) -> None:
    blobs = FolderBlobs(str(tmp_path))
    blobs.put_image(HASH, DATA)
    assert blobs.image(HASH) == DATA
    assert _files(tmp_path) == [tmp_path / "images" / HASH[:2] / HASH[2:4] / HASH]


def test_putting_an_image_again_does_not_write_again(tmp_path: Path) -> None:
    blobs = FolderBlobs(str(tmp_path))
    blobs.put_image(HASH, DATA)
    [path] = _files(tmp_path)
    before = path.stat().st_ino
    blobs.put_image(HASH, DATA)
    assert path.stat().st_ino == before


def test_a_file_that_was_cut_off_is_written_whole_again(tmp_path: Path) -> None:
    blobs = FolderBlobs(str(tmp_path))
    blobs.put_image(HASH, DATA)
    _files(tmp_path)[0].write_bytes(DATA[:100])
    blobs.put_image(HASH, DATA)
    assert blobs.image(HASH) == DATA


@pytest.mark.parametrize("where", ["", "memory://detector-damaged-{}"])
@pytest.mark.parametrize("how", ["a flipped bit", "cut off", "another picture", "longer", "empty"])
def test_a_damaged_image_is_not_handed_out_and_mended_by_bringing_it_again(
    where: str, how: str, tmp_path: Path
) -> None:
    """The kind: whatever the size of what lies under a hash, only bytes of that hash count."""
    blobs = _open(where, tmp_path)
    blobs.put_image(HASH, DATA)
    flipped = bytes([DATA[0] ^ 1]) + DATA[1:]
    damaged = {"a flipped bit": flipped, "cut off": DATA[:-1], "another picture": DATA[::-1], "longer": DATA + b"\0"}
    blobs.put(f"images/{HASH[:2]}/{HASH[2:4]}/{HASH}", damaged.get(how, b""))
    with pytest.raises(StoredFileDamaged) as caught:
        blobs.image(HASH)
    assert "Import the same picture again" in str(caught.value)
    blobs.put_image(HASH, DATA)
    assert blobs.image(HASH) == DATA


def test_a_folder_or_a_loop_in_the_place_of_an_image_is_about_that_image_alone(tmp_path: Path) -> None:
    blobs = FolderBlobs(str(tmp_path))
    path = tmp_path / "images" / HASH[:2] / HASH[2:4] / HASH
    path.mkdir(parents=True)
    with pytest.raises(StoredFileDamaged, match="cannot be read"):
        blobs.image(HASH)
    path.rmdir()
    path.symlink_to(path)
    with pytest.raises(StoredFileDamaged, match="cannot be read"):
        blobs.image(HASH)
    blobs.put_image(HASH, DATA)
    assert blobs.image(HASH) == DATA


@pytest.mark.parametrize("where", ["", "memory://detector-has-{}"])
def test_an_image_is_there_only_with_all_of_its_bytes(where: str, tmp_path: Path) -> None:
    blobs = _open(where, tmp_path)
    assert not blobs.has_image(HASH, len(DATA))
    blobs.put_image(HASH, DATA)
    assert blobs.has_image(HASH, len(DATA))
    assert not blobs.has_image(HASH, len(DATA) + 1)


def test_no_temporary_file_is_left_by_many_writers_of_one_name(tmp_path: Path) -> None:
    blobs = FolderBlobs(str(tmp_path))
    threads = [threading.Thread(target=blobs.put, args=("models/one.bin", DATA)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _files(tmp_path) == [tmp_path / "models" / "one.bin"]
    assert blobs.get("models/one.bin") == DATA


def test_a_write_that_fails_leaves_the_old_content_and_no_temporary_file(tmp_path: Path) -> None:
    blobs = FolderBlobs(str(tmp_path))
    blobs.put("models/one.bin", DATA)
    with pytest.raises(TypeError):
        blobs.put("models/one.bin", "not bytes")  # type: ignore[arg-type]
    assert _files(tmp_path) == [tmp_path / "models" / "one.bin"]
    assert blobs.get("models/one.bin") == DATA


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    blobs = FolderBlobs(str(tmp_path))
    with pytest.raises(NotFound):
        blobs.image(HASH)
    with pytest.raises(NotFound):
        blobs.get("models/none.bin")


@pytest.mark.parametrize("name", ["../outside", "models/../../outside", "/etc/passwd"])
def test_names_that_lead_out_of_the_store_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").write_bytes(b"secret")
    blobs = FolderBlobs(str(tmp_path / "blobs"))
    with pytest.raises(NotFound):
        blobs.get(name)
    with pytest.raises(NotFound):
        blobs.put(name, b"x")
    assert (tmp_path / "outside").read_bytes() == b"secret"


@pytest.mark.parametrize("image_hash", ["", "../" * 21 + "a", HASH.upper(), HASH[:-1]])
def test_only_a_sha256_names_an_image(tmp_path: Path, image_hash: str) -> None:
    with pytest.raises(NotFound):
        FolderBlobs(str(tmp_path)).image(image_hash)


def test_deleting_takes_the_file_away_and_may_be_repeated(tmp_path: Path) -> None:
    blobs = FolderBlobs(str(tmp_path))
    blobs.put_image(HASH, DATA)
    blobs.put("models/one.bin", DATA)
    for _ in range(2):
        blobs.delete_image(HASH)
        blobs.delete("models/one.bin")
    assert _files(tmp_path) == []


def test_another_file_system_of_fsspec_serves_as_well(tmp_path: Path) -> None:
    blobs = _open("memory://detector-test", tmp_path)
    blobs.put_image(HASH, DATA)
    assert blobs.image(HASH) == DATA


def test_a_name_has_another_version_after_every_put_of_it(tmp_path: Path) -> None:
    blobs = FolderBlobs(str(tmp_path))
    seen = set()
    for _ in range(3):
        blobs.put("models/one.bin", DATA)
        seen.add(blobs.version("models/one.bin"))
        assert blobs.version("models/one.bin") in seen
    assert len(seen) == 3
    with pytest.raises(NotFound):
        blobs.version("models/two.bin")
