"""What adds pictures begins only where the disk has the room that the settings keep free; everything else goes on."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from detector.errors import StorageFull, TooLittleRoom
from detector.importing.batch import zip_payload
from detector.importing.labelling import LabelPlan
from detector.importing.posting import Post, SamplePoster
from detector.jobs import BUILD, COPIES, IMPORT, request_import
from detector.operations.labels import give_label
from detector.operations.sample_function import import_sample
from detector.operations.samples import delete_samples
from detector.storage import functions, jobs, samples
from detector.storage.room import free_bytes, lacking_room, require_room
from detector.web.failures import status_of
from detector.worker.runner import JobRunner
from detector.workspace import Workspace
from tests.factories import empty_function, make_image, workspace, write_zip


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def crowded(ws: Workspace) -> Workspace:
    """The same folder, of which more is to stay free than its disk has."""
    more = shutil.disk_usage(ws.settings.data_dir).total // 1_000_000
    return replace(ws, settings=replace(ws.settings, min_free_mb=more))


def test_room_is_what_the_disk_of_the_nearest_folder_has(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "yet") == pytest.approx(free_bytes(tmp_path), rel=0.1)
    ws = workspace(tmp_path)
    assert lacking_room(replace(ws.settings, min_free_mb=0)) is None
    with pytest.raises(TooLittleRoom) as refused:
        require_room(crowded(ws).settings)
    assert "DETECTOR_MIN_FREE_MB" in str(refused.value)
    assert str(tmp_path) not in str(refused.value)
    assert isinstance(refused.value, StorageFull)
    assert status_of(refused.value) == 507


def test_no_import_or_sample_begins_and_labels_and_deletions_go_on(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = empty_function(ws)
    kept = SamplePoster(ws).post(Post(function.id, make_image(1)))
    other = SamplePoster(ws).post(Post(function.id, make_image(2)))
    full = crowded(ws)
    for act in (
        lambda: request_import(full, function.id, {"title": "x"}, "zip"),
        lambda: SamplePoster(full).post(Post(function.id, make_image(3))),
        lambda: import_sample(full),
    ):
        with pytest.raises(TooLittleRoom):
            act()
    assert [row.function.id for row in functions.list_functions(ws.db)] == [function.id]
    assert not [job for job in jobs.list_jobs(ws.db, function.id) if job.kind == IMPORT]
    [real] = [label for label in functions.list_labels(ws.db, function.id) if label.name == "real"]
    give_label(full, function.id, [kept], real)
    delete_samples(full, function.id, [other])
    assert [(row.id, row.label_id) for row in samples.find_samples(ws.db, function.id)] == [(kept, real.id)]


def test_jobs_that_add_pictures_wait_for_room_and_go_on_when_there_is_some(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = empty_function(ws)
    path = write_zip(ws.spool / "ab12.zip", {"real/1.png": make_image(1), "synthetic/2.png": make_image(2)})
    _, imported = request_import(ws, function.id, zip_payload(path, LabelPlan("folders", level=0), "x.zip"), "zip")
    copied = jobs.enqueue(ws.db, function.id, COPIES, {})
    runner = JobRunner(crowded(ws), kinds=("import", "audit"))
    runner.start()
    try:
        until(lambda: all("MB left" in jobs.get_job(ws.db, job).message for job in (imported, copied)))
        assert {jobs.get_job(ws.db, job).state for job in (imported, copied)} == {"queued"}
        assert samples.count_samples(ws.db, function.id) == 0
    finally:
        runner.stop()
    with ws.db.write() as connection:
        connection.exec_driver_sql("UPDATE jobs SET run_after = 0")
    runner = JobRunner(ws, kinds=("import",))
    runner.start()
    try:
        until(lambda: jobs.get_job(ws.db, imported).state == "done")
    finally:
        runner.stop()
    assert samples.count_samples(ws.db, function.id) == 2
    assert BUILD in {job.kind for job in jobs.list_jobs(ws.db, function.id)}
