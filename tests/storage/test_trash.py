"""The bin: what is deleted is gone from sight, comes back whole, and goes for good only when it is emptied."""

from __future__ import annotations

from pathlib import Path

from detector.gallery.filters import GalleryFilter
from detector.gallery.selection import matching_ids
from detector.storage import samples
from detector.storage.functions import Function
from detector.storage.trash import delete_samples, empty_bin, restore_samples
from detector.workspace import Workspace
from tests.factories import labelled_function, workspace


def in_bin(ws: Workspace, function: Function) -> list[str]:
    return matching_ids(ws, function.id, GalleryFilter(bin=True))


def test_deleted_samples_come_back_as_they_were_until_the_bin_is_emptied(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function, other = labelled_function(ws, 3), labelled_function(ws, 1, name="Other")
    before = samples.find_samples(ws.db, function.id)
    gone = sorted([before[0].id, before[2].id])
    theirs = samples.find_samples(ws.db, other.id)[0].id
    assert delete_samples(ws.db, function.id, [*gone, theirs]) == 2
    assert delete_samples(ws.db, function.id, gone) == 0
    assert sorted(in_bin(ws, function)) == gone
    assert samples.count_by(ws.db, function.id).total == 4
    assert restore_samples(ws.db, function.id, gone[:1]) == 1
    assert restore_samples(ws.db, function.id, gone[:1]) == 0
    assert empty_bin(ws.db, function.id) == 1
    assert in_bin(ws, function) == []
    assert restore_samples(ws.db, function.id, gone) == 0
    assert samples.find_samples(ws.db, function.id) == [row for row in before if row.id != gone[1]]
    assert samples.count_by(ws.db, other.id).total == 2
