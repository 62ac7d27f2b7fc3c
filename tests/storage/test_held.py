"""A worker that was thought dead writes nothing: every transaction of a job's thread asks for the lease."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, select

from detector.errors import DetectorError, JobCancelled, JobTakenOver
from detector.importing.batch import sample_payload
from detector.jobs import request_import
from detector.storage import embeddings, evaluations, functions, imports, jobs, models
from detector.storage.functions import Function
from detector.storage.held import held_job, holding
from detector.storage.jobs import Job
from detector.storage.schema import metadata
from detector.worker.running import run_job
from detector.workspace import Workspace
from tests.factories import empty_function, labelled_function, make_image, new_sample, workspace

BUILD = ("build",)


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


@pytest.fixture
def function(ws: Workspace) -> Function:
    return labelled_function(ws, 2)


def _claimed(ws: Workspace, function: Function) -> Job:
    jobs.enqueue(ws.db, function.id, "build")
    job = jobs.claim(ws.db, BUILD)
    assert job is not None
    return job


def _taken_over(ws: Workspace, job: Job) -> Job:
    """The job as another worker has it, to whom it was given."""
    jobs.requeue(ws.db, job.id)
    other = jobs.claim(ws.db, BUILD)
    assert other is not None
    assert other.lease != job.lease
    return other


def _rows(ws: Workspace) -> dict[str, int]:
    with ws.db.read() as connection:
        return {
            name: connection.scalar(select(func.count()).select_from(table)) or 0
            for name, table in metadata.tables.items()
        }


def _a_model(ws: Workspace, function: Function) -> None:
    facts = {
        **{"backbone_id": "b", "backbone_key": "k", "precision": "float32", "label_ids": [], "label_names": []},
        **{"sample_count": 0, "training_fingerprint": "f", "hyperparameters": {}, "sweep": [], "note": ""},
        **{"seconds": 0.0, "labels_read_at": 0.0},
    }
    models.add_model(ws.db, ws.blobs, function.id, b"model", None, **facts)


def _a_sample(ws: Workspace, function: Function) -> None:
    imports.add_samples(ws.db, function.id, None, [new_sample(ws, make_image(99))])


def _a_figure(ws: Workspace, function: Function) -> None:
    evaluations.write_part(ws.db, "model", "part", {}, 0.0)


def _a_note(ws: Workspace, function: Function) -> None:
    functions.set_training_note(ws.db, function.id, "late")


def _an_embedding(ws: Workspace, function: Function) -> None:
    missing = embeddings.missing_images(ws.db, function.id, "key")
    embeddings.write_embeddings(ws.db, "key", [], [(missing[0], "late")])


@pytest.mark.parametrize("write", [_a_model, _a_sample, _a_figure, _a_note, _an_embedding])
def test_whoever_lost_its_job_commits_nothing_of_it(
    ws: Workspace, function: Function, write: Callable[[Workspace, Function], None]
) -> None:
    job = _claimed(ws, function)
    _taken_over(ws, job)
    before = _rows(ws)
    with holding(ws.db, job.id, job.lease), pytest.raises(JobTakenOver) as caught:
        write(ws, function)
    assert "taken for dead" in str(caught.value)
    assert _rows(ws) == before
    assert functions.get_function(ws.db, function.id).live_model_id is None
    assert functions.get_function(ws.db, function.id).training_note == ""


def test_a_cancelled_job_commits_nothing_either_and_the_error_says_so(ws: Workspace, function: Function) -> None:
    job = _claimed(ws, function)
    jobs.finish(ws.db, job.id, "cancelled")
    with holding(ws.db, job.id, job.lease), pytest.raises(JobCancelled) as caught:
        _a_note(ws, function)
    assert not isinstance(caught.value, JobTakenOver)
    assert functions.get_function(ws.db, function.id).training_note == ""


def test_who_holds_a_job_writes_and_others_are_not_asked(ws: Workspace, function: Function, tmp_path: Path) -> None:
    job = _claimed(ws, function)
    with holding(ws.db, job.id, job.lease):
        assert held_job(ws.db) is not None
        _a_note(ws, function)
        elsewhere = workspace(tmp_path / "other")
        # Another database knows nothing of this job.
        assert held_job(elsewhere.db) is None
        empty_function(elsewhere)
    assert held_job(ws.db) is None
    _taken_over(ws, job)
    functions.set_training_note(ws.db, function.id, "by a person")
    assert functions.get_function(ws.db, function.id).training_note == "by a person"


def test_what_failed_after_another_worker_took_the_job_leaves_no_note(ws: Workspace, function: Function) -> None:
    """Its failure is not the function's: the other worker may well end with a model."""
    job = _claimed(ws, function)
    other: list[Job] = []

    def report(_phase: str, _done: int, _total: int, _message: str, _rate: float | None) -> None:
        # Elsewhere: this thread may not even take another job while it has lost this one.
        with ThreadPoolExecutor(1) as elsewhere:
            other.append(elsewhere.submit(_taken_over, ws, job).result())
        raise DetectorError("something of this worker alone")

    with pytest.raises(JobTakenOver):
        run_job(ws, job, report)
    assert functions.get_function(ws.db, function.id).training_note == ""
    row = jobs.get_job(ws.db, job.id)
    assert (row.state, row.lease) == ("running", other[0].lease)


def test_who_wakes_after_another_worker_has_finished_its_job_changes_nothing_of_that(
    ws: Workspace, function: Function
) -> None:
    batch, job_id = request_import(ws, function.id, sample_payload(), "sample")
    job = jobs.claim(ws.db, ("import",))
    assert job is not None

    def another_finishes_it() -> None:
        jobs.requeue(ws.db, job_id)
        other = jobs.claim(ws.db, ("import",))
        assert other is not None
        imports.finish_batch(ws.db, batch, "done", 1)
        jobs.finish(ws.db, job_id, "done", "one picture", other.lease)

    def report(_phase: str, _done: int, _total: int, _message: str, _rate: float | None) -> None:
        with ThreadPoolExecutor(1) as elsewhere:
            elsewhere.submit(another_finishes_it).result()
        with ws.db.write([]):
            pass

    with pytest.raises(JobTakenOver):
        run_job(ws, job, report)
    row = jobs.get_job(ws.db, job_id)
    assert (row.state, row.message) == ("done", "one picture")
    assert [found.state for found in imports.list_batches(ws.db, function.id) if found.id == batch] == ["done"]
    with pytest.raises(JobTakenOver):
        jobs.finish(ws.db, job_id, "cancelled", "late", job.lease)
    assert jobs.get_job(ws.db, job_id).state == "done"
    # As after a connection that broke when the end was written already.
    jobs.finish(ws.db, job_id, "done", "late", job.lease)
    assert jobs.get_job(ws.db, job_id).message == "one picture"
