"""Files that stay where they are: read at their place, never another picture's bytes, never removed."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from detector.errors import InvalidInput, PlacedFileMissing, PlacedFileUnusable, StoredFileMissing
from detector.gallery.export import export_zip
from detector.imaging import sha256_hex
from detector.imaging.thumbnail import thumbnail_type
from detector.importing.batch import folder_payload, run_import, zip_payload
from detector.importing.in_place import in_place_payload
from detector.importing.labelling import LabelPlan
from detector.operations.deletion import delete_function, empty_bin
from detector.storage import imports, samples
from detector.storage.folder import missing_pictures
from detector.storage.functions import Function
from detector.storage.imports import ImportCounts
from detector.storage.places import count_places, find_places
from detector.storage.trash import delete_samples
from detector.workspace import Workspace
from tests.factories import empty_function, make_image, workspace, write_zip

FOLDERS = LabelPlan("folders", level=0)


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return workspace(tmp_path / "data")


@pytest.fixture
def function(ws: Workspace) -> Function:
    return empty_function(ws)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three real and three synthetic pictures."""
    for label in ("real", "synthetic"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "set" / label / f"{number}.png").write_bytes(make_image(number, label))
    return tmp_path / "set"


def bring(ws: Workspace, function: Function, folder: Path, in_place: bool = True) -> ImportCounts:
    """Import a folder; what became of its files."""
    payload = folder_payload(folder, FOLDERS, follow_links=True)
    batch = imports.create_batch(ws.db, function.id, "folder", payload["title"])
    looked = run_import(ws, function.id, batch, in_place_payload(payload) if in_place else payload)
    imports.finish_batch(ws.db, batch, "done", looked)
    return imports.batch_counts(ws.db, batch)


def copies(ws: Workspace) -> list[str]:
    """Names of the pictures that lie in the data folder."""
    return sorted(path.name for path in (ws.settings.data_dir / "blobs").rglob("*") if path.is_file())


def test_nothing_is_copied_and_everything_can_be_read(ws: Workspace, function: Function, folder: Path) -> None:
    assert bring(ws, function, folder) == ImportCounts(imported=6)
    assert copies(ws) == []
    assert count_places(ws.db) == 6
    for sample in samples.find_samples(ws.db, function.id):
        data = ws.blobs.image(sample.image_hash)
        assert sha256_hex(data) == sample.image_hash
        assert data == (folder / sample.file_name).read_bytes()
        assert thumbnail_type(samples.thumbnail(ws.db, sample.image_hash)) == "image/jpeg"
    assert [sha256_hex(read()) for _, read in ws.blobs.readers([sample.image_hash])] == [sample.image_hash]
    [place] = find_places(ws.db, [sample.image_hash]).values()
    assert (place.path, place.byte_count) == (str(folder / sample.file_name), len(data))
    assert place.modified == (folder / sample.file_name).stat().st_mtime


def test_the_data_folder_is_not_taken_for_one_that_lost_its_pictures(
    ws: Workspace, function: Function, folder: Path
) -> None:
    bring(ws, function, folder)
    assert missing_pictures(ws.db, ws.blobs) == ""
    ws.close()
    again = Workspace.open(ws.settings)
    assert again.warning == ""
    [sample, *_] = samples.find_samples(again.db, function.id)
    assert again.blobs.image(sample.image_hash)


@pytest.mark.parametrize("same_size", [True, False])
def test_a_file_that_changed_is_never_used_and_named(
    ws: Workspace, function: Function, folder: Path, same_size: bool
) -> None:
    bring(ws, function, folder)
    path = folder / "real" / "1.png"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if same_size else make_image(9))
    with pytest.raises(PlacedFileUnusable) as caught:
        ws.blobs.image(sha256_hex(data))
    assert f"{path} has changed since it was imported" in str(caught.value)
    path.write_bytes(data)
    assert ws.blobs.image(sha256_hex(data)) == data


def test_a_file_that_is_gone_is_named_and_so_is_what_cannot_be_read(
    ws: Workspace, function: Function, folder: Path
) -> None:
    bring(ws, function, folder)
    path = folder / "real" / "1.png"
    image_hash = sha256_hex(path.read_bytes())
    path.unlink()
    with pytest.raises(PlacedFileMissing) as gone:
        ws.blobs.image(image_hash)
    assert f"{path} is not there any more" in str(gone.value)
    path.mkdir()
    with pytest.raises(PlacedFileUnusable) as no_file:
        ws.blobs.image(image_hash)
    assert str(path) in str(no_file.value)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(PlacedFileUnusable) as pipe:
        ws.blobs.image(image_hash)
    assert "is no file any more" in str(pipe.value)
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(PlacedFileUnusable) as circle:
        ws.blobs.image(image_hash)
    assert "cannot be read" in str(circle.value)


def test_the_place_in_a_sentence_is_printable_and_short(ws: Workspace, function: Function, tmp_path: Path) -> None:
    folder = tmp_path / "real\x1b[2J\nset" / "real"
    folder.mkdir(parents=True)
    (folder / f"{'x' * 200}.png").write_bytes(make_image(0))
    bring(ws, function, folder.parent)
    shutil.rmtree(folder)
    with pytest.raises(PlacedFileMissing) as gone:
        ws.blobs.image(sha256_hex(make_image(0)))
    assert str(gone.value).isprintable()
    assert len(str(gone.value)) < 600


def test_importing_a_folder_that_was_moved_mends_the_places(ws: Workspace, function: Function, folder: Path) -> None:
    bring(ws, function, folder)
    hashes = [sample.image_hash for sample in samples.find_samples(ws.db, function.id)]
    moved = folder.rename(folder.with_name("moved"))
    with pytest.raises(StoredFileMissing):
        ws.blobs.image(hashes[0])
    assert bring(ws, function, moved) == ImportCounts(present=6)
    for image_hash in hashes:
        assert sha256_hex(ws.blobs.image(image_hash)) == image_hash
    assert count_places(ws.db) == 6


@pytest.mark.parametrize("copied_first", [True, False])
def test_the_same_bytes_copied_and_in_place_are_one_picture_that_outlives_its_file(
    ws: Workspace, function: Function, folder: Path, copied_first: bool
) -> None:
    for in_place in (not copied_first, copied_first):
        bring(ws, function, folder, in_place)
    assert samples.count_samples(ws.db, function.id) == 6
    assert len(copies(ws)) == count_places(ws.db) == 6
    shutil.rmtree(folder)
    for sample in samples.find_samples(ws.db, function.id):
        assert sha256_hex(ws.blobs.image(sample.image_hash)) == sample.image_hash


def test_a_link_is_followed_once_to_the_file_itself(ws: Workspace, function: Function, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.png").write_bytes(make_image(0))
    (tmp_path / "set" / "real").mkdir(parents=True)
    link = tmp_path / "set" / "real" / "a.png"
    link.symlink_to(tmp_path / "disk" / "a.png")
    bring(ws, function, tmp_path / "set")
    link.unlink()
    assert ws.blobs.image(sha256_hex(make_image(0))) == make_image(0)


def test_a_file_that_cannot_be_read_or_is_no_picture_is_a_line_of_the_report(
    ws: Workspace, function: Function, folder: Path
) -> None:
    (folder / "real" / "broken.png").symlink_to(folder / "nowhere.png")
    (folder / "real" / "notes.txt").write_text("words")
    undecodable = Path(os.fsdecode(os.fsencode(folder / "real") + b"/\xff.png"))
    undecodable.write_bytes(make_image(7))
    counts = bring(ws, function, folder)
    assert counts == ImportCounts(imported=6, rejected=3)
    [batch] = imports.list_batches(ws.db, function.id)
    reasons = " ".join(row.reason for row in imports.batch_rows(ws.db, batch.id, ["rejected"]))
    assert "its place cannot be stored" in reasons
    assert "not an image" in reasons


def test_deleting_samples_and_functions_leaves_the_files(ws: Workspace, function: Function, folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*.png")}
    bring(ws, function, folder)
    found = [sample.id for sample in samples.find_samples(ws.db, function.id)]
    delete_samples(ws.db, function.id, found[:2])
    assert empty_bin(ws, function.id) == 2
    assert count_places(ws.db) == 4
    delete_function(ws, function.id)
    assert count_places(ws.db) == 0
    assert {path: path.read_bytes() for path in folder.rglob("*.png")} == before


def test_an_export_holds_the_files_and_names_those_that_are_gone(
    ws: Workspace, function: Function, folder: Path
) -> None:
    bring(ws, function, folder)
    (folder / "real" / "1.png").unlink()
    ids = [sample.id for sample in samples.find_samples(ws.db, function.id)]
    with zipfile.ZipFile(io.BytesIO(b"".join(export_zip(ws, function.id, ids)))) as archive:
        pictures = [archive.read(name) for name in archive.namelist() if name.endswith(".png")]
        [table] = [archive.read(name).decode() for name in archive.namelist() if name.endswith(".csv")]
    assert {sha256_hex(data) for data in pictures} == {sha256_hex(path.read_bytes()) for path in folder.rglob("*.png")}
    assert "is not there any more" in table


def test_an_archive_cannot_be_imported_in_place(ws: Workspace) -> None:
    path = write_zip(ws.spool / "test.zip", {"real/a.png": make_image(0)})
    with pytest.raises(InvalidInput) as refused:
        in_place_payload(zip_payload(path, FOLDERS, "test.zip"))
    assert "test.zip cannot be imported in place" in str(refused.value)
