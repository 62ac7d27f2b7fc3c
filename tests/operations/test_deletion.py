"""Deleting for good: what only the deleted function used is gone from disk and database, and nothing else."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from detector.importing.storing import store_image
from detector.operations.deletion import delete_function, empty_bin, sweep_leavings
from detector.pipeline.build import build
from detector.storage import functions, imports, models, samples, trash
from detector.storage.folder_blobs import FolderBlobs
from detector.storage.imports import NewSample
from detector.storage.leavings import remove_unused, unused_images
from detector.workspace import Workspace
from tests.factories import add_images, empty_function, images, labelled_function, make_image, new_sample, workspace
from tests.stored import query, row_counts


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


def files(ws: Workspace, folder: str) -> set[str]:
    return {path.name for path in (ws.settings.data_dir / "blobs" / folder).rglob("*") if path.is_file()}


def hashes(ws: Workspace, function_id: str) -> set[str]:
    return {sample.image_hash for sample in samples.find_samples(ws.db, function_id)}


@pytest.mark.slow
def test_a_deleted_function_takes_its_models_and_its_own_pictures_with_it(ws: Workspace) -> None:
    """The kind: models, indices, pictures, thumbnails and embeddings of deleted functions stayed for ever."""
    gone = labelled_function(ws, 4, "Gone")
    stays = empty_function(ws, "Stays")
    add_images(ws, stays, images(2))
    for function in (gone, stays):
        build(ws, function.id)
    kept = hashes(ws, stays.id)
    delete_function(ws, gone.id)
    assert files(ws, "images") == kept
    assert len(kept) == 4
    [model] = models.list_models(ws.db, stays.id)
    assert {name.split(".")[0] for name in files(ws, "models")} == {model.id}
    assert files(ws, "neighbours") == {f"{stays.id}.safetensors"}
    counts = row_counts(ws.settings.data_dir)
    assert (counts["images"], counts["thumbnails"], counts["samples"], counts["models"]) == (4, 4, 4, 1)
    assert {row[0] for row in query(ws.settings.data_dir, "SELECT image_hash FROM embeddings")} == kept
    assert not query(ws.settings.data_dir, "SELECT 1 FROM meta WHERE key LIKE 'deleted%'")
    assert all(ws.blobs.image(name) for name in kept)
    delete_function(ws, stays.id)
    assert files(ws, "images") == files(ws, "models") == files(ws, "neighbours") == set()


def test_what_a_crash_left_goes_at_the_next_start(ws: Workspace) -> None:
    function = labelled_function(ws, 3)
    build(ws, function.id)
    # The rows are gone, as after a kill right behind their commit.
    functions.delete_function(ws.db, function.id)
    assert len(files(ws, "images")) == 6
    one = next(iter(files(ws, "images")))
    # And one picture's bytes, as after a kill in the middle of the removal.
    ws.blobs.delete_image(one)
    assert sweep_leavings(ws) == 6
    assert files(ws, "images") == files(ws, "models") == files(ws, "neighbours") == set()
    assert row_counts(ws.settings.data_dir)["images"] == 0
    assert not query(ws.settings.data_dir, "SELECT 1 FROM meta WHERE key LIKE 'deleted%'")


def test_what_the_database_does_not_know_is_never_removed(ws: Workspace) -> None:
    """It may be that of a newer copy of the database, or another folder's put beside these files."""
    function = labelled_function(ws, 1)
    ws.blobs.put("models/0123456789abcdef.safetensors", b"a model of another database")
    strange = "ab" * 32
    ws.blobs.put(f"images/ab/ab/{strange}", b"a picture of another database")
    for path in (ws.settings.data_dir / "blobs").rglob("*"):
        os.utime(path, (0, 0))
    assert sweep_leavings(ws) == 0
    delete_function(ws, function.id)
    assert files(ws, "images") == {strange}
    assert files(ws, "models") == {"0123456789abcdef.safetensors"}


def test_an_emptied_bin_takes_its_pictures_but_not_those_of_other_functions(ws: Workspace) -> None:
    function, other = labelled_function(ws, 2), empty_function(ws, "Other")
    add_images(ws, other, images(1))
    asked = samples.find_samples(ws.db, function.id)
    trash.delete_samples(ws.db, function.id, [sample.id for sample in asked])
    assert sweep_leavings(ws) == 0
    assert empty_bin(ws, function.id) == 4
    assert files(ws, "images") == hashes(ws, other.id)
    assert row_counts(ws.settings.data_dir)["images"] == 2


def test_a_picture_whose_import_is_in_the_middle_keeps_its_bytes(ws: Workspace) -> None:
    """Its bytes were found done, its row is about to come: the removal must not get in between."""
    gone, coming = labelled_function(ws, 1), empty_function(ws, "Coming")
    image = store_image(ws, make_image(0), "real-0.png")
    delete_function(ws, gone.id)
    imports.add_samples(ws.db, coming.id, None, [NewSample("real-0.png", image)])
    assert hashes(ws, coming.id) == files(ws, "images") == {image.image_hash}
    assert ws.blobs.image(image.image_hash) == make_image(0)


def test_bytes_that_were_brought_long_ago_without_a_row_go_with_the_next_sweep(ws: Workspace) -> None:
    function = labelled_function(ws, 1)
    image = store_image(ws, make_image(0), "real-0.png")
    delete_function(ws, function.id)
    [path] = (ws.settings.data_dir / "blobs" / "images").rglob(image.image_hash)
    assert sweep_leavings(ws) == 0
    long_ago = time.time() - 7200
    os.utime(path, (long_ago, long_ago))
    assert sweep_leavings(ws) == 1
    assert not path.exists()


class _Watched(FolderBlobs):
    """The folder itself, with something that happens while pictures are removed from it."""

    def __init__(self, ws: Workspace, meanwhile: Callable[[], None]) -> None:
        super().__init__(ws.settings.data_dir / "blobs")
        self._meanwhile = meanwhile

    def discard_images(self, used_until: Mapping[str, float]) -> set[str]:
        gone = super().discard_images(used_until)
        self._meanwhile()
        return gone


def test_others_write_while_a_store_takes_its_time_to_delete(ws: Workspace) -> None:
    """The kind: everybody waited for a store that removes some hundred pictures, or does not answer."""
    gone, stays = labelled_function(ws, 2, "Gone"), empty_function(ws, "Stays")
    functions.delete_function(ws.db, gone.id)
    wrote: list[bool] = []

    def meanwhile() -> None:
        writer = threading.Thread(
            target=lambda: functions.set_training_note(ws.db, stays.id, "written meanwhile"), daemon=True
        )
        writer.start()
        writer.join(5)
        wrote.append(not writer.is_alive())

    assert remove_unused(ws.db, _Watched(ws, meanwhile), unused_images(ws.db), {}) == 4
    assert wrote == [True]


def test_a_picture_that_comes_anew_while_it_is_removed_stays(ws: Workspace) -> None:
    gone, stays = empty_function(ws, "Gone"), empty_function(ws, "Stays")
    picture = make_image(7)
    imports.add_samples(ws.db, gone.id, None, [new_sample(ws, make_image(8)), new_sample(ws, picture)])
    functions.delete_function(ws.db, gone.id)

    def meanwhile() -> None:
        imports.add_samples(ws.db, stays.id, None, [new_sample(ws, picture)])

    assert remove_unused(ws.db, _Watched(ws, meanwhile), unused_images(ws.db), {}) == 1
    [kept] = hashes(ws, stays.id)
    assert files(ws, "images") == {kept}
    assert ws.blobs.image(kept) == picture
    assert samples.thumbnail(ws.db, kept)


def test_a_kill_between_bytes_and_rows_leaves_nothing_wrong(ws: Workspace) -> None:
    gone = labelled_function(ws, 2, "Gone")
    functions.delete_function(ws.db, gone.id)

    def killed() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        remove_unused(ws.db, _Watched(ws, killed), unused_images(ws.db), {})
    assert files(ws, "images") == set()
    again = empty_function(ws, "Again")
    imports.add_samples(ws.db, again.id, None, [new_sample(ws, make_image(0))])
    sweep_leavings(ws)
    assert files(ws, "images") == hashes(ws, again.id)
    assert unused_images(ws.db) == []
