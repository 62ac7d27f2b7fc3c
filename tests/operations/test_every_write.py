"""What follows from every operation: which job is queued, with what payload and when it is due, or that none is.

The table names every public function of `detector.operations`. One that is not in it fails the first test, so that
nobody adds a write and forgets the model that must follow.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from detector import operations
from detector.backbones import OFFLINE
from detector.errors import InvalidInput, NotFound, TooFewPictures
from detector.evidence.explain import explain
from detector.imaging.groups import sample_groups
from detector.importing.batch import sample_payload
from detector.importing.labelling import LabelPlan
from detector.importing.pending import pending_zip
from detector.jobs import BUILD, EVALUATE, IMPORT, INVOKE
from detector.operations import (
    capture,
    deletion,
    false_accusations,
    functions,
    hardening,
    holdout,
    inner_blocks,
    labels,
    normalisation,
    recentring,
    records,
    runs,
    sample_function,
    samples,
    sources,
    store_copy,
    unlike_pictures,
)
from detector.pipeline.build import build
from detector.storage import annotating, evaluations, imports, invoke_runs, jobs, models, trash
from detector.storage import functions as stored
from detector.storage import samples as stored_samples
from detector.storage.database import now
from detector.storage.folder_blobs import FolderBlobs
from detector.storage.functions import Function, Label
from detector.storage.jobs import Job
from detector.storage.models import ModelRow
from detector.storage.records import PAGE, list_records
from detector.storage.stored_names import TEST
from detector.workspace import Workspace
from tests.databases import copy_data
from tests.factories import LABELS, labelled_function, make_image, workspace, write_zip

#: Not the pause that the settings have by themselves, nor any other delay of the code.
PAUSE = 77.0

A_BUILD = (BUILD, {}, 0.0)
A_BUILD_AFTER_THE_PAUSE = (BUILD, {}, PAUSE)


@dataclass
class Scene:
    """A trained function with five samples of each label, one of them in the bin, and no job."""

    ws: Workspace
    function: Function
    model: ModelRow
    ids: list[str]
    binned: str
    labels: list[Label]
    #: Jobs that only the call itself can name, filled in by it.
    expected: list[tuple[str, dict[str, Any], float]] = field(default_factory=list)

    @property
    def id(self) -> str:
        """Of the function."""
        return self.function.id

    def of(self, label: int) -> list[str]:
        """The samples outside the bin with that label."""
        found = stored_samples.get_samples(self.ws.db, self.ids)
        return [sample.id for sample in found if sample.label_id == self.labels[label].id]

    def audit(self) -> tuple[str, dict[str, Any], float]:
        """The job that examines the live model."""
        return (EVALUATE, {"model": self.model.id}, 0.0)


@dataclass(frozen=True)
class Case:
    """One call of an operation, the jobs that follow from it, and what is done first, from which none may follow."""

    call: Callable[[Scene], object]
    follows: Callable[[Scene], list[tuple[str, dict[str, Any], float]]]
    first: Callable[[Scene], object] = lambda scene: None


def nothing(_scene: Scene) -> list[tuple[str, dict[str, Any], float]]:
    """No job."""
    return []


def a_build(_scene: Scene) -> list[tuple[str, dict[str, Any], float]]:
    """A build that is due now."""
    return [A_BUILD]


def a_build_after_the_pause(_scene: Scene) -> list[tuple[str, dict[str, Any], float]]:
    """A build that is due when nothing has changed for as long as the settings say."""
    return [A_BUILD_AFTER_THE_PAUSE]


def as_for_a_post(_scene: Scene) -> list[tuple[str, dict[str, Any], float]]:
    """An embedding that is due soon, and a build when no more samples have come for a while."""
    return [(BUILD, {"only": "embed"}, 2.0), A_BUILD_AFTER_THE_PAUSE]


def an_audit(scene: Scene) -> list[tuple[str, dict[str, Any], float]]:
    """An audit of the live model that is due now."""
    return [scene.audit()]


def as_the_call_says(scene: Scene) -> list[tuple[str, dict[str, Any], float]]:
    """The jobs of a function that the call made."""
    return scene.expected


def verdict() -> Any:
    """What a function said of a picture."""
    from detector.serving.invoke import Score, Verdict
    from detector.training.thresholds import STRONG

    return Verdict("new.png", (Score("real", "1", 0.9),), "model", 1, 0.1, STRONG)


def import_sample(scene: Scene) -> None:
    made = sample_function.import_sample(scene.ws, OFFLINE)
    [batch] = imports.list_batches(scene.ws.db, made.id)
    scene.expected.append((IMPORT, {**sample_payload(), "batch": batch.id}, 0.0))


def begin_run(scene: Scene) -> None:
    path = write_zip(scene.ws.spool / "abc.zip", {"new.png": make_image(900)})
    run_id = runs.start_run(scene.ws, scene.id, pending_zip(scene.ws, path, "new.zip"))
    scene.expected.append((INVOKE, {"run": run_id}, 0.0))


def with_run(call: Callable[[Scene, str], object]) -> Callable[[Scene], None]:
    """A call on the latest run of the function."""
    return lambda scene: call(scene, invoke_runs.list_runs(scene.ws.db, scene.id)[0].id) and None


def a_judged_run(scene: Scene) -> None:
    invoke_runs.create_run(scene.ws.db, scene.id, "new.zip", scene.model.id)


def add_from_run(scene: Scene, run_id: str) -> None:
    runs.add_run_to_samples(scene.ws, run_id, [3, 1])
    [batch] = imports.list_batches(scene.ws.db, scene.id, limit=1)
    plan = LabelPlan("none").to_json()
    title = "From Invoke: new.zip"
    payload = {"from": "run", "run": run_id, "positions": [1, 3], "title": title, "plan": plan, "batch": batch.id}
    scene.expected.append((IMPORT, payload, 0.0))


def begun_and(call: Callable[[Scene, str], object]) -> Callable[[Scene], None]:
    """A call on a run that has just been asked for."""

    def run(scene: Scene) -> None:
        begin_run(scene)
        scene.expected.clear()
        with_run(call)(scene)

    return run


def refused(error: type[Exception], call: Callable[[Scene], object]) -> Callable[[Scene], None]:
    """A call that must raise."""

    def run(scene: Scene) -> None:
        with pytest.raises(error):
            call(scene)

    return run


def partly_merged(scene: Scene) -> None:
    """The first label goes, the second cannot: it is the one that is kept."""
    kept = scene.labels[1]
    labels.merge_labels(scene.ws, [scene.labels[0], kept], kept)


def score(scene: Scene) -> None:
    rows = stored_samples.training_rows(scene.ws.db, scene.id)
    assert holdout.score_holdout(scene.ws, scene.model, rows, sample_groups(rows), set()) is not None


def lock(scene: Scene) -> None:
    stored_samples.set_split(scene.ws.db, scene.id, scene.ids[:2], TEST)


def tag(scene: Scene) -> None:
    stored_samples.set_source(scene.ws.db, scene.id, scene.ids[:2], "camera")


def pictures(each: int = 10) -> dict[str, list[recentring.Picture]]:
    """Pictures of another place, of each label."""
    return {label: [(f"{label}-{n}.png", partial(make_image, 500 + n, label)) for n in range(each)] for label in LABELS}


def keep(scene: Scene, seed: int = 900) -> str:
    """A record of a picture that was made with that seed."""
    evidence = explain(scene.ws, scene.id, "seen.png", make_image(seed))
    return records.keep_record(scene.ws, scene.id, evidence, None, PAGE).id


def dispute(scene: Scene, label: int, seed: int = 900) -> None:
    [record], _ = list_records(scene.ws.db, scene.id)
    records.dispute_record(
        scene.ws, scene.id, record.id, scene.labels[label].id, make_image(seed, LABELS[0]), "seen.png"
    )


def leave_something(scene: Scene) -> None:
    """As after a kill behind the commit of a deletion."""
    other = stored.create_function(scene.ws.db, "Other", backbone_id=OFFLINE)
    stored.delete_function(scene.ws.db, other.id)


EVERY: dict[str, list[Case]] = {
    # --- labels
    "labels.give_label": [
        Case(lambda s: labels.give_label(s.ws, s.id, s.of(0)[:2], s.labels[1]), a_build_after_the_pause),
        Case(lambda s: labels.give_label(s.ws, s.id, s.of(0)[:1], None, by="api"), a_build_after_the_pause),
        Case(lambda s: labels.give_label(s.ws, s.id, s.of(0), s.labels[0]), nothing),
    ],
    "labels.undo_labels": [
        Case(
            lambda s: labels.undo_labels(s.ws, s.id),
            a_build_after_the_pause,
            lambda s: annotating.annotate(s.ws.db, s.of(0)[:2], s.labels[1].id),
        ),
        Case(lambda s: labels.undo_labels(s.ws, s.id), nothing),
    ],
    "labels.create_label": [Case(lambda s: labels.create_label(s.ws, s.id, "drawing"), nothing)],
    "labels.rename_label": [Case(lambda s: labels.rename_label(s.ws, s.labels[0].id, "photo"), nothing)],
    "labels.merge_labels": [
        Case(lambda s: labels.merge_labels(s.ws, [s.labels[0]], s.labels[1]), a_build_after_the_pause),
        Case(refused(InvalidInput, partly_merged), a_build_after_the_pause),
        Case(refused(InvalidInput, lambda s: labels.merge_labels(s.ws, [s.labels[0]], s.labels[0])), nothing),
    ],
    "labels.delete_label": [
        Case(lambda s: labels.delete_label(s.ws, s.labels[0]), a_build_after_the_pause),
        Case(
            refused(NotFound, lambda s: labels.delete_label(s.ws, s.labels[0])),
            nothing,
            lambda s: stored.delete_label(s.ws.db, s.labels[0].id),
        ),
    ],
    # --- samples
    "samples.delete_samples": [
        Case(lambda s: samples.delete_samples(s.ws, s.id, s.ids[:1]), a_build_after_the_pause),
        Case(lambda s: samples.delete_samples(s.ws, s.id, [s.binned]), nothing),
    ],
    "samples.restore_samples": [
        Case(lambda s: samples.restore_samples(s.ws, s.id, [s.binned]), a_build_after_the_pause),
        Case(lambda s: samples.restore_samples(s.ws, s.id, s.ids), nothing),
    ],
    # --- captured pictures come as those that are posted do: one that is kept is embedded, then a model follows
    "capture.change_capture": [
        Case(lambda s: capture.change_capture(s.ws, s.id, capture.CaptureSettings(low_grade=True)), nothing),
        Case(
            refused(NotFound, lambda s: capture.change_capture(s.ws, "0" * 16, capture.CaptureSettings())),
            nothing,
        ),
    ],
    "capture.capture_reason": [
        Case(lambda s: capture.capture_reason(capture.CaptureSettings(), verdict(), "0" * 64), nothing)
    ],
    "capture.maybe_capture": [
        Case(
            lambda s: capture.maybe_capture(s.ws, s.id, "new.png", make_image(900), verdict()),
            as_for_a_post,
            lambda s: capture.change_capture(s.ws, s.id, capture.CaptureSettings(random_share=1.0)),
        ),
        Case(lambda s: capture.maybe_capture(s.ws, s.id, "new.png", make_image(900), verdict()), nothing),
    ],
    "capture.capture_now": [
        Case(lambda s: capture.capture_now(s.ws, s.id, "new.png", make_image(900)), as_for_a_post),
        Case(lambda s: capture.capture_now(s.ws, s.id, "known.png", make_image(1)), nothing),
    ],
    # --- functions
    "functions.create_function": [
        Case(lambda s: functions.create_function(s.ws, "New", ("a", "b"), OFFLINE), nothing),
        Case(refused(InvalidInput, lambda s: functions.create_function(s.ws, "New", (), "magic")), nothing),
    ],
    "functions.function_for_import": [
        Case(lambda s: functions.function_for_import(s.ws, "New", ("a", "b"), OFFLINE), nothing),
        Case(
            lambda s: functions.function_for_import(s.ws, s.id, (), OFFLINE),
            nothing,
            lambda s: stored.set_backbone(s.ws.db, s.id, "other", ""),
        ),
    ],
    "functions.rename_function": [Case(lambda s: functions.rename_function(s.ws, s.id, "Renamed"), nothing)],
    "functions.change_backbone": [
        Case(lambda s: functions.change_backbone(s.ws, s.id, OFFLINE), a_build),
        Case(refused(InvalidInput, lambda s: functions.change_backbone(s.ws, s.id, "magic")), nothing),
    ],
    "functions.change_sweep_settings": [
        Case(lambda s: functions.change_sweep_settings(s.ws, s.id, {"views": ["whole"]}), a_build)
    ],
    "functions.retrain": [Case(lambda s: functions.retrain(s.ws, s.id), a_build)],
    "functions.examine_model": [Case(lambda s: functions.examine_model(s.ws, s.id, s.model.id), an_audit)],
    "sample_function.create_sample_function": [
        Case(lambda s: sample_function.create_sample_function(s.ws, OFFLINE), nothing)
    ],
    "sample_function.import_sample": [Case(import_sample, as_the_call_says)],
    "sample_function.find_sample_function": [Case(lambda s: sample_function.find_sample_function(s.ws), nothing)],
    "sample_function.sample_limit_note": [Case(lambda s: sample_function.sample_limit_note(), nothing)],
    # --- deletion
    "deletion.delete_function": [Case(lambda s: deletion.delete_function(s.ws, s.id), nothing)],
    # What lies in the bin is in no training any more.
    "deletion.empty_bin": [Case(lambda s: deletion.empty_bin(s.ws, s.id), nothing)],
    "deletion.sweep_leavings": [Case(lambda s: deletion.sweep_leavings(s.ws), nothing, leave_something)],
    "deletion.sweep_in_background": [
        Case(lambda s: deletion.sweep_in_background(s.ws).join(), nothing, leave_something)
    ],
    # --- the same files in another place
    "store_copy.copy_to_store": [
        Case(
            lambda s: store_copy.copy_to_store(
                s.ws.settings.data_dir / "blobs", FolderBlobs(s.ws.settings.data_dir / "copy")
            ),
            nothing,
        ),
    ],
    # --- records: kept beside the samples; a dispute makes one of them
    "records.keep_record": [Case(keep, nothing), Case(keep, nothing, keep)],
    "records.dispute_record": [
        Case(lambda s: dispute(s, 1), a_build_after_the_pause, keep),
        # What comes out of the bin is learned from again; a sample that has the label is not; another label is.
        Case(lambda s: dispute(s, 0, 0), a_build_after_the_pause, lambda s: keep(s, 0)),
        Case(lambda s: dispute(s, 0, 1), nothing, lambda s: keep(s, 1)),
        Case(lambda s: dispute(s, 1, 1), a_build_after_the_pause, lambda s: keep(s, 1)),
        Case(refused(InvalidInput, lambda s: dispute(s, 1, 901)), nothing, keep),
    ],
    "records.delete_records": [Case(lambda s: records.delete_records(s.ws, s.id, None), nothing, keep)],
    "records.delete_records_older": [Case(lambda s: records.delete_records_older(s.ws, s.id, 0), nothing, keep)],
    "records.older_words": [Case(lambda s: records.older_words(s.ws, s.id, 0), nothing, keep)],
    "records.sweep_records": [Case(lambda s: records.sweep_records(s.ws), nothing, keep)],
    "records.set_keeping": [Case(lambda s: records.set_keeping(s.ws, s.id, True, 30), nothing)],
    # --- false accusations: a limit chooses thresholds, no model
    "unlike_pictures.set_judge_unlike": [
        Case(lambda s: unlike_pictures.set_judge_unlike(s.ws, s.id, True), nothing),
    ],
    "false_accusations.set_false_accusation_limit": [
        Case(lambda s: false_accusations.set_false_accusation_limit(s.ws, s.id, 0.1), nothing)
    ],
    # --- adapting moves a border, nothing is trained
    "recentring.try_on": [
        Case(lambda s: recentring.try_on(s.ws, s.id, pictures()), nothing),
        Case(refused(TooFewPictures, lambda s: recentring.try_on(s.ws, s.id, pictures(3))), nothing),
    ],
    "recentring.adapt": [Case(lambda s: recentring.adapt(s.ws, recentring.try_on(s.ws, s.id, pictures())), nothing)],
    "recentring.undo": [
        Case(
            lambda s: recentring.undo(s.ws, s.id),
            nothing,
            lambda s: recentring.adapt(s.ws, recentring.try_on(s.ws, s.id, pictures())),
        ),
        Case(lambda s: recentring.undo(s.ws, s.id), nothing),
    ],
    # --- runs of invokes: nothing is trained, until some of their pictures are samples
    "runs.start_run": [Case(begin_run, as_the_call_says)],
    "runs.stop_run": [Case(begun_and(lambda s, run_id: runs.stop_run(s.ws, run_id)), nothing)],
    "runs.delete_run": [
        Case(begun_and(lambda s, run_id: runs.delete_run(s.ws, run_id)), nothing),
        Case(with_run(lambda s, run_id: runs.delete_run(s.ws, run_id)), nothing, a_judged_run),
    ],
    "runs.add_run_to_samples": [Case(with_run(add_from_run), as_the_call_says, a_judged_run)],
    # --- held-out samples
    "holdout.put_aside_share": [
        Case(lambda s: holdout.put_aside_share(s.ws, s.id, 0.3), a_build),
        Case(lambda s: holdout.put_aside_share(s.ws, s.id, 0.01), nothing),
    ],
    "holdout.put_aside_samples": [
        Case(lambda s: holdout.put_aside_samples(s.ws, s.id, s.of(1)[:1]), a_build),
        Case(lambda s: holdout.put_aside_samples(s.ws, s.id, []), nothing),
    ],
    "holdout.put_aside_source": [
        Case(lambda s: holdout.put_aside_source(s.ws, s.id, "camera"), a_build, tag),
        Case(lambda s: holdout.put_aside_source(s.ws, s.id, "unknown"), nothing, tag),
    ],
    "holdout.give_back": [
        Case(lambda s: holdout.give_back(s.ws, s.id), a_build, lock),
        Case(lambda s: holdout.give_back(s.ws, s.id), nothing),
    ],
    "holdout.read_holdout": [Case(lambda s: holdout.read_holdout(s.ws, s.id), nothing, lock)],
    "holdout.score_holdout": [Case(score, nothing, lock)],
    "holdout.accuracy_difference": [Case(lambda s: holdout.accuracy_difference(9, 10, 8, 10), nothing)],
    # --- inner blocks
    "inner_blocks.use_inner_blocks": [
        Case(
            lambda s: inner_blocks.use_inner_blocks(s.ws, s.id, True),
            a_build,
            lambda s: stored.set_backbone(s.ws.db, s.id, "pe-core-l-14-336", ""),
        ),
        Case(lambda s: inner_blocks.use_inner_blocks(s.ws, s.id, False), a_build),
        # The offline backbone is no transformer.
        Case(refused(InvalidInput, lambda s: inner_blocks.use_inner_blocks(s.ws, s.id, True)), nothing),
    ],
    # --- normalisation
    "normalisation.normalise_and_retrain": [
        Case(lambda s: normalisation.normalise_and_retrain(s.ws, s.id), a_build),
        Case(refused(InvalidInput, lambda s: normalisation.normalise_and_retrain(s.ws, s.id, side=5000)), nothing),
    ],
    "normalisation.use_as_imported_and_retrain": [
        Case(lambda s: normalisation.use_as_imported_and_retrain(s.ws, s.id), a_build)
    ],
    "normalisation.file_facts": [
        Case(
            lambda s: normalisation.file_facts(
                s.ws, [row.image_hash for row in stored_samples.training_rows(s.ws.db, s.id)], None
            ),
            nothing,
        )
    ],
    # --- degraded copies
    "hardening.change_copies": [
        Case(lambda s: hardening.change_copies(s.ws, s.id, 2), a_build),
        Case(lambda s: hardening.change_copies(s.ws, s.id, None), a_build),
        Case(refused(InvalidInput, lambda s: hardening.change_copies(s.ws, s.id, 9)), nothing),
        Case(refused(NotFound, lambda s: hardening.change_copies(s.ws, "0" * 16, 2)), nothing),
    ],
    # --- sources: the audit looks at them; the next model only where they say enough, as these do not
    "sources.set_source": [
        Case(lambda s: sources.set_source(s.ws, s.id, s.ids[:2], "camera"), an_audit),
        Case(lambda s: sources.set_source(s.ws, s.id, s.ids[:2], "camera"), nothing, tag),
    ],
    "sources.confirm_sources": [Case(lambda s: sources.confirm_sources(s.ws, s.id), nothing, tag)],
}


def _public() -> dict[str, Callable[..., Any]]:
    """Every function that somebody may call, of every module of the room, by its name in the table."""
    found = {}
    for module in pkgutil.walk_packages(operations.__path__, f"{operations.__name__}."):
        for name, member in inspect.getmembers(importlib.import_module(module.name), inspect.isfunction):
            if member.__module__ == module.name and not name.startswith("_"):
                found[f"{module.name.removeprefix(f'{operations.__name__}.')}.{name}"] = member
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A data folder with a trained function, and its id."""
    folder = tmp_path_factory.mktemp("trained")
    ws = workspace(folder)
    function = labelled_function(ws, 5)
    build(ws, function.id)
    ws.close()
    return folder, function.id


@pytest.fixture
def scene(tmp_path: Path, trained: tuple[Path, str]) -> Iterator[Scene]:
    folder, function_id = trained
    copy_data(folder, tmp_path / "data")
    ws = workspace(tmp_path / "data", retrain_delay=PAUSE)
    function = stored.get_function(ws.db, function_id)
    assert function.live_model_id is not None
    ids = [sample.id for sample in stored_samples.find_samples(ws.db, function_id, limit=100)]
    assert trash.delete_samples(ws.db, function_id, ids[-1:]) == 1
    model = models.get_model(ws.db, function.live_model_id)
    yield Scene(ws, function, model, ids[:-1], ids[-1], stored.list_labels(ws.db, function_id))
    ws.close()


def _queued(ws: Workspace) -> list[Job]:
    return jobs.list_jobs(ws.db, limit=100)


def test_every_public_function_of_operations_says_what_follows_from_it() -> None:
    """A new write without an entry in the table fails here, and so does an entry for one that is gone."""
    assert set(_public()) == EVERY.keys()
    assert all(EVERY.values())


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=f"{name}-{n}") for name, cases in EVERY.items() for n, case in enumerate(cases)],
)
def test_an_operation_queues_the_job_that_follows_and_no_other(scene: Scene, case: Case) -> None:
    case.first(scene)
    assert _queued(scene.ws) == []
    before = now()
    case.call(scene)
    after = now()
    found = sorted(_queued(scene.ws), key=lambda job: job.created_at)
    wanted = case.follows(scene)
    assert [(job.kind, job.payload, job.state) for job in found] == [(kind, what, "queued") for kind, what, _ in wanted]
    for job, (_, _, delay) in zip(found, wanted, strict=True):
        assert before <= job.run_after - delay <= after


def test_twenty_labels_in_a_row_are_one_retraining(scene: Scene) -> None:
    due = []
    for turn in range(20):
        labels.give_label(scene.ws, scene.id, scene.ids[:1], scene.labels[turn % 2])
        due += [job.run_after for job in _queued(scene.ws)]
    assert len(due) >= 20
    # Each puts it off.
    assert due == sorted(due)
    assert len(_queued(scene.ws)) == 1


def test_set_source_forgets_what_the_audit_said_of_the_old_ones(scene: Scene) -> None:
    evaluations.write_part(scene.ws.db, scene.model.id, evaluations.SOURCES, {"sources": []}, 1.0)
    sources.set_source(scene.ws, scene.id, scene.ids[:1], "camera")
    assert evaluations.SOURCES not in evaluations.read_parts(scene.ws.db, scene.model.id)


def test_a_write_says_how_many_it_changed_and_what_follows(scene: Scene) -> None:
    ws, function_id = scene.ws, scene.id
    real, synthetic = scene.labels
    mine = scene.of(0)[:2]
    assert labels.give_label(ws, function_id, mine, synthetic).said == (
        "2 samples labelled synthetic. A new model follows by itself."
    )
    assert labels.give_label(ws, function_id, mine, synthetic).said == "Nothing to change."
    assert labels.give_label(ws, function_id, mine[:1], None).said == (
        "Label removed from 1 sample. A new model follows by itself."
    )
    assert labels.undo_labels(ws, function_id).said == "The last change was undone: 1 sample as before."
    assert labels.undo_labels(ws, function_id).said == "The last change was undone: 2 samples as before."
    assert labels.undo_labels(ws, function_id).said == "There is nothing to undo."
    assert samples.delete_samples(ws, function_id, mine).said == "2 samples moved to the bin."
    assert samples.restore_samples(ws, function_id, mine).said == "2 samples restored."
    assert labels.merge_labels(ws, [real], synthetic).changed == 5


def test_only_what_a_person_gave_is_undone(scene: Scene) -> None:
    labels.give_label(scene.ws, scene.id, scene.of(0)[:1], scene.labels[1], by="api")
    assert labels.undo_labels(scene.ws, scene.id).changed == 0


def test_another_backbone_for_an_import_is_kept_without_a_build_of_the_old_images(scene: Scene) -> None:
    stored.set_backbone(scene.ws.db, scene.id, "other", "")
    function, is_new = functions.function_for_import(scene.ws, scene.id, ("ignored",), OFFLINE)
    assert (function.id, function.backbone_id, is_new) == (scene.id, OFFLINE, False)
    made, is_new = functions.function_for_import(scene.ws, "New", ("a", "b"), OFFLINE)
    assert (made.name, made.backbone_id, is_new) == ("New", OFFLINE, True)
    assert made.backbone_reason
    assert [label.name for label in stored.list_labels(scene.ws.db, made.id)] == ["a", "b"]
