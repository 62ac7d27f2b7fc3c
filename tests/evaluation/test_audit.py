from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from detector.errors import JobCancelled, NoModel, NotAuditable
from detector.evaluation.audit import audit
from detector.evaluation.parts import PARTS
from detector.evaluation.report import read_audit
from detector.evaluation.results import STRESSES
from detector.jobs import EVALUATE, request_audit, request_build
from detector.pipeline.build import build
from detector.storage import annotating, evaluations, functions, jobs, models, samples
from detector.storage.evaluations import Flip
from detector.storage.functions import Function
from detector.worker import running as background
from detector.worker.runner import JobRunner
from detector.worker.running import run_job, run_pending
from detector.workspace import Workspace
from tests.command_line import run, run_here
from tests.factories import add_images, empty_function, images, labelled_function, make_image, workspace

pytestmark = pytest.mark.slow


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return workspace(tmp_path / "data")


class Killed(BaseException):
    """Nothing may catch it, as nothing catches a kill."""


def built(ws: Workspace, per_label: int = 8) -> Function:
    function = labelled_function(ws, per_label)
    request_build(ws, function.id)
    run_pending(ws, function.id)
    return functions.get_function(ws.db, function.id)


def _flips(ws: Workspace, model_id: str) -> list[Flip]:
    """What changes of the pictures a model's verdicts do not survive."""
    return [
        flip
        for sample in samples.find_samples(ws.db, models.get_model(ws.db, model_id).function_id, limit=None)
        for flip in evaluations.flips_of(ws.db, model_id, sample.id)
    ]


@pytest.mark.long
def test_a_new_model_is_followed_by_its_audit_in_a_lane_of_its_own(ws: Workspace) -> None:
    function = built(ws)
    (job,) = jobs.list_jobs(ws.db, function.id)
    assert (job.kind, job.state, job.payload) == (EVALUATE, "queued", {"model": function.live_model_id})
    assert not functions.list_functions(ws.db)[0].busy
    runner = JobRunner(ws)
    runner.start()
    try:
        _wait_until_idle(ws)
    finally:
        runner.stop()
    assert jobs.get_job(ws.db, job.id).state == "done"
    found = read_audit(ws.db, models.get_model(ws.db, str(function.live_model_id)))
    assert found.complete
    assert [score.name for score in found.stress] == list(STRESSES)
    assert found.shortcut is not None
    # A build that changes nothing asks for no audit.
    request_build(ws, function.id)
    run_pending(ws, function.id)
    assert not jobs.list_jobs(ws.db, function.id)


def _wait_until_idle(ws: Workspace) -> None:
    import time

    deadline = time.monotonic() + 300
    while jobs.list_jobs(ws.db) and time.monotonic() < deadline:
        time.sleep(0.1)


@pytest.mark.long
def test_a_killed_audit_goes_on_behind_its_last_finished_part_and_finds_the_same(ws: Workspace) -> None:
    function = built(ws)
    model = models.get_model(ws.db, str(function.live_model_id))
    (job,) = jobs.list_jobs(ws.db, function.id)

    def kill(_phase: str, _done: int, _total: int, message: str, _rate: float | None) -> None:
        if message == "Testing copies: JPEG 40":
            raise Killed

    claimed = jobs.claim(ws.db, (EVALUATE,))
    assert claimed is not None
    with pytest.raises(Killed):
        run_job(ws, claimed, kill)
    before = evaluations.read_parts(ws.db, model.id)
    assert set(before) == set(itertools.takewhile(lambda name: name != "stress/jpeg-40", PARTS))
    assert jobs.get_job(ws.db, job.id).state == "running"

    jobs.requeue(ws.db, job.id)
    again = jobs.claim(ws.db, (EVALUATE,))
    assert again is not None
    seen: list[str] = []
    run_job(ws, again, lambda _phase, _done, _total, message, _rate: seen.append(message))
    assert "Testing copies: JPEG 95" not in seen
    assert "Leaving out one source at a time" not in seen
    after = evaluations.read_parts(ws.db, model.id)
    assert {part: after[part] for part in before} == before
    assert set(after) == set(PARTS)

    # What an audit without a kill finds is the same, to the last digit.
    with ws.db.write() as connection:
        connection.exec_driver_sql("DELETE FROM evaluations")
    flips = _flips(ws, model.id)
    audit(ws, function.id)
    assert evaluations.read_parts(ws.db, model.id) == after
    assert _flips(ws, model.id) == flips


@pytest.mark.long
def test_an_audit_ends_when_a_newer_model_appears(ws: Workspace) -> None:
    function = built(ws)
    old = function.live_model_id
    claimed = jobs.claim(ws.db, (EVALUATE,))
    assert claimed is not None

    def retrain(_phase: str, _done: int, _total: int, message: str, _rate: float | None) -> None:
        if message == "Testing copies: JPEG 95" and functions.get_function(ws.db, function.id).live_model_id == old:
            add_images(ws, function, [("more.png", make_image(99), "real")])
            build(ws, function.id)

    with pytest.raises(JobCancelled):
        run_job(ws, claimed, retrain)
    job = jobs.get_job(ws.db, claimed.id)
    assert (job.state, job.message) == ("cancelled", "A newer model took its place.")
    assert len(evaluations.read_parts(ws.db, str(old))) < len(PARTS)


@pytest.mark.long
def test_an_audit_waits_while_there_is_something_to_build(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_GIVE_WAY_SECONDS", 0.01)
    built(ws)
    other = labelled_function(ws, 3, "Other")
    claimed = jobs.claim(ws.db, (EVALUATE,))
    assert claimed is not None
    request_build(ws, other.id)
    waited: list[str] = []

    def watch(_phase: str, _done: int, _total: int, message: str, _rate: float | None) -> None:
        if "waiting until other work is done" in message:
            waited.append(message)
            if len(waited) == 3:
                run_pending(ws, other.id)

    run_job(ws, claimed, watch)
    assert len(waited) == 3
    assert functions.get_function(ws.db, other.id).live_model_id is not None
    assert jobs.get_job(ws.db, claimed.id).state == "done"


def test_audits_of_older_models_that_still_wait_are_dropped(ws: Workspace) -> None:
    function = labelled_function(ws, 3)
    first = request_audit(ws, function.id, "a")
    second = request_audit(ws, function.id, "b")
    assert request_audit(ws, function.id, "b") == second
    assert [job.id for job in jobs.list_jobs(ws.db, function.id)] == [second]
    assert jobs.get_job(ws.db, first).state == "cancelled"


def test_changed_labels_are_not_mistaken_for_those_of_the_training(ws: Workspace) -> None:
    function = built(ws)
    sample = samples.find_samples(ws.db, function.id)[0]
    other = next(label.id for label in functions.list_labels(ws.db, function.id) if label.id != sample.label_id)
    annotating.annotate(ws.db, [sample.id], other)
    with pytest.raises(NotAuditable):
        audit(ws, function.id)
    with pytest.raises(NoModel):
        audit(ws, empty_function(ws, "Empty").id)


def test_a_model_without_folds_is_audited_without_verdicts(ws: Workspace) -> None:
    function = empty_function(ws)
    first = images(1)
    pictures = [*first, *((f"again-{name}", data + b"\0", label) for name, data, label in first)]
    add_images(ws, function, pictures)
    build(ws, function.id)
    found = audit(ws, function.id)
    assert found.complete
    assert found.model.cross_validation is None
    assert found.stress == ()
    assert found.shortcut is None
    # The list of functions read a warning out of what is None here, and every page with it failed.
    assert not functions.list_functions(ws.db)[0].shortcut
    assert found.learning_curve is not None
    assert "too few" in found.learning_curve.sentence


@pytest.mark.long
def test_the_very_same_image_under_two_labels_is_listed(ws: Workspace) -> None:
    """Only the report of the import knew of it; nobody who looked for contradictions was told."""
    function = built(ws, 4)
    assert audit(ws, function.id).conflicts == ()
    name, data, _ = images(4)[0]
    # Twice: one finding. Nothing new comes in, so there is no new model and no new audit either.
    for _ in range(2):
        add_images(ws, function, [("copy.png", data, "synthetic"), (name, data, "real")])
    found = audit(ws, function.id)
    assert [(row.file, "already labelled real" in row.reason) for row in found.conflicts] == [("copy.png", True)]
    assert [row["file"] for row in found.to_json()["same_image_other_label"]] == ["copy.png"]


@pytest.mark.long
def test_deleting_a_function_deletes_what_its_audits_found(ws: Workspace) -> None:
    function = built(ws, 4)
    audit(ws, function.id)
    functions.delete_function(ws.db, function.id)
    with ws.db.read() as connection:
        for table in ("evaluations", "sample_flips"):
            assert connection.exec_driver_sql(f"SELECT COUNT(*) FROM {table}").scalar() == 0


@pytest.mark.long
@pytest.mark.slow
def test_the_command_examines_and_prints_json(ws: Workspace, tmp_path: Path) -> None:
    function = labelled_function(ws, 6, "Pictures")
    ran = run_here(tmp_path / "data", "audit", "Pictures", "--json")
    assert ran.code == 1
    assert "training" in ran.sentence
    request_build(ws, function.id)
    ran = run(tmp_path / "data", "audit", "Pictures", "--json")
    assert ran.code == 0, ran.err
    assert {"shortcut", "sources", "stress", "learning_curve", "summary", "model"} <= set(ran.json)
    assert set(ran.json["shortcut"]) >= {"roc_auc", "interval", "warning", "facts"}
    assert [set(row) >= {"name", "n", "accuracy", "flipped"} for row in ran.json["stress"]] == [True] * len(STRESSES)
    assert len(ran.json["summary"]) == 3
    assert ran.json["model"]["version"] == 1
    plain = run_here(tmp_path / "data", "audit", "Pictures")
    assert plain.code == 0
    assert plain.out.strip().splitlines() == ran.json["summary"]
    missing = run_here(tmp_path / "data", "audit", "No such function")
    assert missing.code == 1
    assert "There is no function" in missing.sentence
