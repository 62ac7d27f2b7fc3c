"""The spool: what was dropped arrives whole, and what nobody imports does not fill the disk."""

from __future__ import annotations

import os
import time
import zipfile
from pathlib import Path

import pytest

from detector.importing.batch import zip_payload
from detector.importing.labelling import LabelPlan
from detector.importing.spool import SELECTION_ENDING, spool_files, sweep_spool
from detector.jobs import request_import
from detector.storage import samples
from detector.worker.running import run_pending
from detector.workspace import Workspace
from tests.factories import empty_function, make_image, workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return workspace(tmp_path / "data")


def _aged(path: Path, days: float) -> Path:
    moment = time.time() - days * 24 * 3600
    os.utime(path, (moment, moment))
    return path


def test_dropped_files_of_one_name_are_all_spooled(ws: Workspace) -> None:
    path = ws.spool / "dropped.zip"
    spool_files(path, [("a.png", make_image(1)), ("a.png", make_image(2)), ("/b", make_image(3)), ("b", make_image(4))])
    with zipfile.ZipFile(path) as archive:
        read = {name: archive.read(name) for name in archive.namelist()}
    assert read == {
        "a.png": make_image(1),
        "a (2).png": make_image(2),
        "b": make_image(3),
        "b (2)": make_image(4),
    }


def test_halves_and_forgotten_archives_are_swept_and_what_is_wanted_stays(ws: Workspace) -> None:
    half = ws.spool / "half.part"
    half.write_bytes(b"PK")
    forgotten, fresh, queued = ws.spool / "old.zip", ws.spool / "new.zip", ws.spool / "queued.zip"
    for number, path in enumerate((forgotten, fresh, queued)):
        spool_files(path, [("a.png", make_image(number))])
    function = empty_function(ws)
    request_import(ws, function.id, zip_payload(queued, LabelPlan("one", label="real"), "queued"), "zip")
    selection = ws.spool / f"old{SELECTION_ENDING}"
    selection.write_text("a b", encoding="ascii")
    for path in (forgotten, queued, selection, half):
        _aged(path, 3)

    assert sweep_spool(ws) == 3
    assert sorted(path.name for path in ws.spool.iterdir()) == ["new.zip", "queued.zip"]
    # The queued one was not only left lying: it imports.
    run_pending(ws, function.id)
    assert samples.count_by(ws.db, function.id).annotated == 1
