"""From the first model to the one that learned from degraded copies: jobs, embeddings, training, thresholds, audit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from detector.backbones import OFFLINE
from detector.errors import JobCancelled
from detector.evaluation.audit import audit
from detector.evaluation.audit_data import load_audit_data
from detector.evaluation.summary import hardening_sentences
from detector.jobs import BUILD, COPIES, EVALUATE, request_build
from detector.operations.hardening import change_copies
from detector.pipeline.build import build
from detector.pipeline.copies import embed_copies, lacks_copies, missing_copies
from detector.pipeline.embedding import function_backbone
from detector.serving.invoke import Verdict, invoke
from detector.serving.stored_copies import MOST_IN_ALL, copies_key, read_copies, wanted_copies
from detector.serving.stored_models import stored_out_of_fold
from detector.storage import annotating, embeddings, functions, jobs, models, samples
from detector.storage.functions import Function
from detector.storage.models import ModelRow
from detector.training.copies import Hardening
from detector.training.hardening import MOST_WORSE
from detector.worker.running import BACKGROUND_LANES, run_job
from detector.workspace import Workspace
from tests.factories import add_images, images, label_ids, labelled_function, make_image, workspace

pytestmark = pytest.mark.slow

EACH = 12


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    ws = workspace(tmp_path / "data", copies=2, backbone=OFFLINE)
    yield ws
    ws.close()


@pytest.fixture
def function(ws: Workspace) -> Function:
    function = labelled_function(ws, EACH)
    request_build(ws, function.id)
    return function


def run_next(ws: Workspace) -> str:
    """Run the next job of any lane as the worker does; returns its kind."""
    for lane in BACKGROUND_LANES:
        job = jobs.claim(ws.db, lane, ignore_delay=True)
        if job is not None:
            run_job(ws, job)
            return job.kind
    return ""


def live(ws: Workspace, function: Function) -> ModelRow:
    return models.get_model(ws.db, functions.get_function(ws.db, function.id).live_model_id or "")


def hardening(row: ModelRow) -> Hardening:
    assert row.hardening is not None
    return Hardening.from_json(row.hardening)


@pytest.mark.long
def test_the_first_model_is_live_before_any_copy_and_the_next_one_learned_from_them(
    ws: Workspace, function: Function
) -> None:
    assert run_next(ws) == BUILD
    first = live(ws, function)
    assert first.hardening is None
    assert len(missing_copies(ws, function.id, first.backbone_key)) == 2 * 2 * EACH
    assert run_next(ws) == COPIES
    assert missing_copies(ws, function.id, first.backbone_key) == []
    assert run_next(ws) == BUILD
    second = live(ws, function)
    assert second.version == 2
    found = hardening(second)
    assert found.copies == 2
    if found.after.clean_loss <= (1 + MOST_WORSE) * found.before.clean_loss:
        assert found.taken == (found.after.degraded_loss < found.before.degraded_loss)
    assert second.hyperparameters.get("copies", 0) == (2 if found.taken else 0)
    assert all("degraded" in sentence for sentence in hardening_sentences(found))
    # Only the second is audited, and nothing is left to do.
    assert run_next(ws) == EVALUATE
    assert run_next(ws) == ""
    assert not lacks_copies(ws, function.id, second)


def test_a_killed_run_goes_on_where_it_was(ws: Workspace, function: Function) -> None:
    run_next(ws)
    backbone = function_backbone(ws, functions.get_function(ws.db, function.id))
    wanted = missing_copies(ws, function.id, backbone.key)

    def stop(_phase: str, done: int, total: int, _message: str, _rate: float | None) -> None:
        if done:
            raise JobCancelled("stopped in the middle")

    with pytest.raises(JobCancelled):
        embed_copies(ws, function.id, backbone, stop)
    left = missing_copies(ws, function.id, backbone.key)
    assert 0 < len(left) < len(wanted) or len(left) == 0
    assert embed_copies(ws, function.id, backbone) == len(left)
    assert embed_copies(ws, function.id, backbone) == 0


def test_copies_lie_under_keys_of_their_own_and_change_nothing_of_the_samples(
    ws: Workspace, function: Function
) -> None:
    run_next(ws)
    backbone = function_backbone(ws, functions.get_function(ws.db, function.id))
    hashes = sorted(row.image_hash for row in samples.training_rows(ws.db, function.id))
    before = embeddings.read_embeddings(ws.db, backbone.key, hashes)
    embed_copies(ws, function.id, backbone)
    after = embeddings.read_embeddings(ws.db, backbone.key, hashes)
    assert np.array_equal(before["whole"], after["whole"])
    copies = read_copies(ws, functions.get_function(ws.db, function.id), backbone.key, hashes, after)
    assert copies is not None
    assert len(copies) == 2 * len(hashes)
    assert not np.allclose(copies.views["whole"][: len(hashes)], after["whole"])
    assert not copies_key(backbone.key, 0).startswith(backbone.key)


def test_unlabelled_and_locked_samples_have_no_copies(ws: Workspace, function: Function) -> None:
    add_images(ws, function, [("new.png", make_image(501), None)])
    run_next(ws)
    key = live(ws, function).backbone_key
    labelled = {row.image_hash for row in samples.training_rows(ws.db, function.id) if row.label_id is not None}
    assert {image for image, _ in missing_copies(ws, function.id, key)} == labelled


@pytest.mark.long
def test_a_changed_label_trains_both_in_one_job_and_adds_one_version(ws: Workspace, function: Function) -> None:
    while run_next(ws):
        pass
    before = live(ws, function)
    ids = label_ids(ws, function)
    first = samples.training_rows(ws.db, function.id)[0]
    other = next(label for label in ids.values() if label != first.label_id)
    annotating.annotate(ws.db, [first.sample_id], other)
    result = build(ws, function.id)
    assert result.trained
    assert result.model is not None
    assert result.model.version == before.version + 1
    assert hardening(result.model).copies == 2
    assert not build(ws, function.id).trained


@pytest.mark.long
def test_a_few_new_images_do_not_bring_a_version_for_their_copies_alone(ws: Workspace, function: Function) -> None:
    while run_next(ws):
        pass
    add_images(ws, function, [("one.png", make_image(777), "real")])
    request_build(ws, function.id)
    ran = []
    while kind := run_next(ws):
        ran.append(kind)
    assert ran == [BUILD, COPIES, EVALUATE]
    assert missing_copies(ws, function.id, live(ws, function).backbone_key) == []


@pytest.mark.long
def test_copies_are_switched_off_and_on_again_without_being_made_anew(ws: Workspace, function: Function) -> None:
    while run_next(ws):
        pass
    with_copies = live(ws, function)
    change_copies(ws, function.id, 0)
    while run_next(ws):
        pass
    without = live(ws, function)
    assert (without.version, without.hardening) == (with_copies.version + 1, None)
    change_copies(ws, function.id, 2)
    ran = []
    while kind := run_next(ws):
        ran.append(kind)
    assert COPIES not in ran
    assert live(ws, function).hardening == with_copies.hardening


@pytest.mark.long
def test_an_image_whose_file_is_lost_keeps_nobody_waiting(ws: Workspace, function: Function, tmp_path: Path) -> None:
    run_next(ws)
    lost = samples.training_rows(ws.db, function.id)[3].image_hash
    for path in (tmp_path / "data" / "blobs").rglob(f"*{lost[-20:]}*"):
        path.unlink()
    ran = []
    while kind := run_next(ws):
        ran.append(kind)
    assert ran[:2] == [COPIES, BUILD]
    assert ran.count(BUILD) == 1
    assert {image for image, _ in missing_copies(ws, function.id, live(ws, function).backbone_key)} == {lost}


@pytest.mark.long
def test_the_audit_and_an_invoke_work_with_a_model_that_learned_from_copies(ws: Workspace, function: Function) -> None:
    while run_next(ws):
        pass
    row = live(ws, function)
    data = load_audit_data(ws, function.id)
    assert (data.copies is not None) == ("copies" in row.hyperparameters)
    assert all(found is not None for found in audit(ws, function.id).stress)
    known = stored_out_of_fold(ws, row)
    assert known is not None
    assert (known.copies is not None) == ("copies" in row.hyperparameters)
    assert type(known).from_bytes(known.to_bytes()).labels.tolist() == known.labels.tolist()
    [verdict] = invoke(ws, function.id, [("a.png", make_image(640, "synthetic"))])
    assert isinstance(verdict, Verdict)


def test_there_are_fewer_copies_of_many_images(ws: Workspace, function: Function) -> None:
    change_copies(ws, function.id, 4)
    function = functions.get_function(ws.db, function.id)
    assert [wanted_copies(ws, function, n) for n in (10, 5000, 5001, 10_000, 20_000, 20_001)] == [4, 4, 3, 2, 1, 0]
    assert all(n * wanted_copies(ws, function, n) <= MOST_IN_ALL for n in range(5000, 40_000, 77))


def test_a_function_of_three_labels_learns_from_copies(ws: Workspace) -> None:
    names = ("photo", "drawing", "render")
    function = labelled_function(ws, 10, "Three", names)
    assert len(images(1, names)) == 3
    build(ws, function.id)
    embed_copies(ws, function.id, function_backbone(ws, functions.get_function(ws.db, function.id)))
    result = build(ws, function.id)
    assert result.model is not None
    assert hardening(result.model).copies == 2
