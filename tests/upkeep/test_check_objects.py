"""The check of an object store, here of one in memory: the same problems, and a cache that still has the good bytes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from detector.storage.blobs import SET_ASIDE, image_name
from detector.storage.object_blobs import ObjectBlobs
from detector.storage.objects import FsspecObjects
from detector.storage.schema import samples
from detector.upkeep import check_pictures, check_work, findings
from detector.upkeep.check import check_all
from detector.workspace import Workspace
from tests.factories import labelled_function, workspace


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setattr(check_work, "_PATIENCE", 0.01)
    monkeypatch.setattr(check_pictures, "_MOMENT", 0.01)
    opened = workspace(tmp_path / "data", store=f"memory://{tmp_path.name}", store_cache_mb=50)
    labelled_function(opened, 3)
    yield opened
    opened.close()


def _objects(ws: Workspace) -> FsspecObjects:
    assert isinstance(ws.blobs.stored, ObjectBlobs)
    return FsspecObjects(ws.settings.store)


def _hashes(ws: Workspace) -> list[str]:
    with ws.db.read() as connection:
        return list(connection.scalars(select(samples.c.image_hash).order_by(samples.c.image_hash)))


def test_a_store_that_is_well_has_no_problem(ws: Workspace) -> None:
    assert check_all(ws).problems == ()
    assert check_all(ws, quick=True).problems == ()


def test_damage_in_the_store_is_found_past_the_cache_and_mended_from_it(ws: Workspace) -> None:
    objects, (damaged, lost, *_) = _objects(ws), _hashes(ws)
    good = ws.blobs.image(damaged)
    objects.write(image_name(damaged), good[:-1] + b"?")
    objects.delete(image_name(lost))
    found = check_all(ws)
    assert sorted(problem.kind for problem in found.problems) == [findings.PICTURES, findings.LOST]
    assert [problem.kind for problem in check_all(ws, quick=True).problems] == [findings.LOST]
    assert check_all(ws, repair=True).ok
    assert check_all(ws).problems == ()
    assert ws.blobs.stored.stored_image(damaged) == good


def test_what_no_cache_has_is_lost_and_its_damaged_bytes_are_kept(ws: Workspace) -> None:
    objects, (damaged, *_) = _objects(ws), _hashes(ws)
    good = ws.blobs.image(damaged)
    objects.write(image_name(damaged), b"other bytes")
    ws.blobs.stored._cache.forget(damaged)  # type: ignore[attr-defined]
    [problem] = check_all(ws, repair=True).problems
    assert (problem.kind, problem.repaired) == (findings.LOST, False)
    kept = objects.read(f"{SET_ASIDE}/{damaged}")
    assert kept is not None
    assert kept[0] == b"other bytes"
    ws.blobs.put_image(damaged, good)
    assert check_all(ws).problems == ()


def test_orphans_of_a_store_are_kept_aside(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    objects, orphan = _objects(ws), "ab" * 32
    objects.write(image_name(orphan), b"nobody's")
    assert check_all(ws).problems == ()
    time.sleep(0.2)
    # Its time is the store's own: nobody can set it back.
    monkeypatch.setattr(check_pictures, "WANTED_SECONDS", 0.1)
    assert [problem.kind for problem in check_all(ws).problems] == [findings.ORPHANS]
    assert check_all(ws, repair=True).ok
    assert check_all(ws).problems == ()
    assert objects.head(f"{SET_ASIDE}/{orphan}") is not None
    assert objects.head(image_name(orphan)) is None
