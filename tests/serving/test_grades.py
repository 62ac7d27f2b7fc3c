"""Grades from images to answers: what a model says strongly, once it was tried on sources it had not seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from detector.evaluation import stress
from detector.evaluation.audit import audit
from detector.operations.false_accusations import set_false_accusation_limit
from detector.operations.labels import delete_label
from detector.operations.sources import confirm_sources, set_source
from detector.pipeline.build import build
from detector.serving.invoke import Verdict, invoke
from detector.storage import evaluations, functions, models, samples
from detector.storage.functions import Function
from detector.storage.revisions import next_revision
from detector.training.thresholds import CANT_TELL, MODERATE, NOT_MEASURED, STRONG, Thresholds
from detector.workspace import Workspace
from tests.command_line import run_here
from tests.factories import LABELS, add_images_of_sources, empty_function, make_image, try_unseen, workspace

pytestmark = pytest.mark.slow

#: Twenty images of another label vouch for a threshold at this share.
LIMIT = 0.2
EACH = 22


@dataclass(frozen=True)
class Made:
    ws: Workspace
    function: Function


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """A trained function with three sources of each label; not to be changed but for what a test puts back."""
    ws = workspace(tmp_path_factory.mktemp("grades"))
    function = empty_function(ws, "Graded")
    add_images_of_sources(ws, function, EACH, [f"{{label}} {number}" for number in range(3)])
    functions.set_false_accusation_limit(ws.db, function.id, LIMIT)
    assert build(ws, function.id).trained
    yield Made(ws, function)
    ws.close()


def answers(made: Made) -> list[Verdict]:
    found = invoke(made.ws, made.function.id, [(f"{n}.png", make_image(900 + n, LABELS[n % 2])) for n in range(12)])
    assert all(isinstance(item, Verdict) for item in found)
    return [item for item in found if isinstance(item, Verdict)]


def live_thresholds(made: Made) -> Thresholds:
    live = functions.get_function(made.ws.db, made.function.id).live_model_id
    assert live is not None
    stored = models.get_model(made.ws.db, live).thresholds
    assert stored is not None
    return Thresholds.from_json(stored)


def test_before_it_was_tried_on_unseen_sources_a_verdict_is_moderate_at_most(made: Made) -> None:
    found = answers(made)
    assert {item.grade for item in found} <= {MODERATE, CANT_TELL}
    sure = [item for item in found if item.sure]
    assert sure
    assert {item.reason for item in sure} == {NOT_MEASURED}


@pytest.fixture
def few_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """An audit that makes copies of a few samples: what becomes of copies has no part in a grade."""
    monkeypatch.setattr(stress, "MOST_SAMPLES", 4)


@pytest.mark.long
def test_after_it_a_verdict_can_be_strong_and_says_in_counts_why(made: Made, few_copies: None) -> None:
    """Through page, API and command line alike: they read these fields."""
    said = audit(made.ws, made.function.id).to_json()["thresholds"]
    # What it prints is what it has found, not what was known when it began.
    assert said is not None
    assert said["unseen"] is not None
    thresholds = live_thresholds(made)
    assert thresholds.unseen is not None
    assert set(thresholds.unseen.above) == set(LABELS)
    for name in LABELS:
        assert thresholds.unseen.above[name] >= thresholds.above[name]
        [counted] = thresholds.unseen.counts[name]
        assert (counted.sources, counted.images) == (3, 3 * EACH)
    assert all(sum(counts.values()) == 3 * EACH for counts in thresholds.grades.values())
    found = answers(made)
    strong = [item for item in found if item.grade == STRONG]
    assert strong
    for item in strong:
        other = next(name for name in LABELS if name != item.label)
        assert item.verdict == item.label
        assert item.reason.startswith(f"3 sources of {other}, each left out in turn: ")
        assert item.confidence > thresholds.unseen.above[item.label]
    for item in found:
        if item.grade == MODERATE:
            assert item.confidence <= thresholds.unseen.above[item.label]
            assert item.reason == "For pictures from elsewhere this score is not high enough."
    ran = run_here(made.ws.settings.data_dir, "audit", "Graded", "--json")
    assert len(ran.json["unseen"]["judged"]) == 6
    assert ran.json["thresholds"]["unseen"]["above"] == thresholds.unseen.above


def test_another_limit_moves_both_thresholds_without_another_training(made: Made) -> None:
    try_unseen(made.ws, made.function)
    before = live_thresholds(made)
    set_false_accusation_limit(made.ws, made.function.id, 0.4)
    try:
        after = live_thresholds(made)
        assert before.unseen is not None
        assert after.unseen is not None
        for name in LABELS:
            assert after.unseen.above[name] <= before.unseen.above[name]
            assert after.unseen.above[name] >= after.above[name]
    finally:
        set_false_accusation_limit(made.ws, made.function.id, LIMIT)
    assert live_thresholds(made) == before


def test_sources_that_are_only_guessed_promise_nothing_until_they_are_confirmed(made: Made) -> None:
    try_unseen(made.ws, made.function)
    before = live_thresholds(made)
    ids = [row.sample_id for row in samples.training_rows(made.ws.db, made.function.id)][:3]
    with made.ws.db.write() as connection:
        marks = ", ".join(f"'{item}'" for item in ids)
        connection.exec_driver_sql(f"UPDATE samples SET source_guessed = true WHERE id IN ({marks})")
        next_revision(connection, made.function.id)
    # The limit is a reason to look at the sources again.
    set_false_accusation_limit(made.ws, made.function.id, 0.21)
    set_false_accusation_limit(made.ws, made.function.id, LIMIT)
    guessed = live_thresholds(made)
    assert guessed.unseen is not None
    assert guessed.unseen.above == {}
    sure = [item for item in answers(made) if item.sure]
    assert {item.grade for item in sure} == {MODERATE}
    assert all("3 images are only guessed from folder names" in item.reason for item in sure)
    assert confirm_sources(made.ws, made.function.id) == 3
    assert live_thresholds(made) == before


@pytest.mark.long
def test_other_sources_forget_what_was_measured_until_it_is_measured_again(made: Made, few_copies: None) -> None:
    audit(made.ws, made.function.id)
    before = live_thresholds(made)
    rows = [row for row in samples.training_rows(made.ws.db, made.function.id) if row.source == "real 0"]
    ids = [row.sample_id for row in rows]
    assert set_source(made.ws, made.function.id, ids, None) == EACH
    assert live_thresholds(made).unseen is None
    live = functions.get_function(made.ws.db, made.function.id).live_model_id
    assert live is not None
    assert evaluations.UNSEEN not in evaluations.read_parts(made.ws.db, live)
    # A third of the real images is without a source now.
    audit(made.ws, made.function.id)
    after = live_thresholds(made)
    assert after.unseen is not None
    assert after.unseen.above == {}
    assert "22 of 66 images labelled real have no source" in after.unseen.why_not["synthetic"]
    set_source(made.ws, made.function.id, ids, "real 0")
    audit(made.ws, made.function.id)
    assert live_thresholds(made) == before


def test_a_damaged_file_of_the_scores_promises_nothing_and_ends_nothing(made: Made) -> None:
    try_unseen(made.ws, made.function)
    live = functions.get_function(made.ws.db, made.function.id).live_model_id
    assert live is not None
    data = models.unseen_file(made.ws.blobs, live)
    assert data is not None
    models.put_unseen_file(made.ws.blobs, live, data[:100])
    set_false_accusation_limit(made.ws, made.function.id, 0.21)
    assert {item.grade for item in answers(made) if item.sure} == {MODERATE}
    models.put_unseen_file(made.ws.blobs, live, data)
    set_false_accusation_limit(made.ws, made.function.id, LIMIT)
    assert STRONG in {item.grade for item in answers(made)}


@pytest.mark.long
def test_a_deleted_label_leaves_moderate_verdicts_only(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    names = (*LABELS, "drawing")
    function = empty_function(ws, "Three", names)
    add_images_of_sources(ws, function, 20, [f"{{label}}{number}" for number in range(3)], names)
    functions.set_false_accusation_limit(ws.db, function.id, 0.3)
    build(ws, function.id)
    try_unseen(ws, function)
    three = Made(ws, function)
    thresholds = live_thresholds(three)
    assert thresholds.unseen is not None
    # Per label, against each of the two others.
    assert all(len(counts) == 2 for counts in thresholds.unseen.counts.values())
    [gone] = [label for label in functions.list_labels(ws.db, function.id) if label.name == "drawing"]
    delete_label(ws, gone)
    sure = [item for item in answers(three) if item.sure]
    assert {item.grade for item in sure} <= {MODERATE}
    assert all("A label was deleted since the training" in item.reason for item in sure)
    ws.close()
