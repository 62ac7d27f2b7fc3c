"""Sources and the next model: where they choose among settings, others ask for a new one; else nothing does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from detector.imaging.groups import sample_groups
from detector.jobs import BUILD
from detector.operations.sources import confirm_sources, set_source
from detector.pipeline.build import TRAINING_VERSION, build
from detector.storage import functions, jobs, models, samples
from detector.storage.functions import Function
from detector.storage.models import ModelRow
from detector.workspace import Workspace
from tests.factories import add_images_of_sources, empty_function, labelled_function, workspace

pytestmark = pytest.mark.slow

EACH = 21


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    opened = workspace(tmp_path)
    yield opened
    opened.close()


def of_three_sources(ws: Workspace) -> Function:
    function = empty_function(ws, "Sources")
    add_images_of_sources(ws, function, EACH, [f"{{label}} {number}" for number in range(3)])
    return function


def built(ws: Workspace, function: Function) -> ModelRow:
    model = build(ws, function.id).model
    assert model is not None
    return model


def tried(model: ModelRow) -> int:
    return sum(row["unseen_log_loss"] is not None for row in model.sweep)


def waiting(ws: Workspace, function: Function) -> list[str]:
    return [job.kind for job in jobs.list_jobs(ws.db, function.id) if job.kind == BUILD]


def guess(ws: Workspace, function: Function, n: int) -> None:
    ids = [row.sample_id for row in samples.training_rows(ws.db, function.id)][:n]
    with ws.db.write() as connection:
        marks = ", ".join(f"'{item}'" for item in ids)
        connection.exec_driver_sql(f"UPDATE samples SET source_guessed = true WHERE id IN ({marks})")


def test_confirmed_sources_choose_and_another_source_asks_for_a_new_model(ws: Workspace) -> None:
    function = of_three_sources(ws)
    first = built(ws, function)
    assert tried(first) >= 1
    assert build(ws, function.id).trained is False
    moved = [row.sample_id for row in samples.training_rows(ws.db, function.id) if row.source == "real 0"][:1]
    assert set_source(ws, function.id, moved, "real 1") == 1
    assert waiting(ws, function) == [BUILD]
    # Twenty different images are still left: sources choose as before, but they are others.
    assert build(ws, function.id).trained is True
    # Back again: the same sources as at first give the same choice and figures.
    set_source(ws, function.id, moved, "real 0")
    again = build(ws, function.id)
    assert again.trained
    assert again.model is not None
    assert (again.model.sweep, again.model.training_fingerprint) == (first.sweep, first.training_fingerprint)


@pytest.mark.long
def test_sources_that_are_taken_away_ask_for_a_model_that_folds_alone_chose(ws: Workspace) -> None:
    function = of_three_sources(ws)
    built(ws, function)
    everything = [row.sample_id for row in samples.training_rows(ws.db, function.id)]
    set_source(ws, function.id, everything, None)
    assert waiting(ws, function) == [BUILD]
    assert tried(built(ws, function)) == 0


def test_guessed_sources_choose_nothing_until_they_are_confirmed(ws: Workspace) -> None:
    function = of_three_sources(ws)
    guess(ws, function, 3)
    assert tried(built(ws, function)) == 0
    assert confirm_sources(ws, function.id) == 3
    assert waiting(ws, function) == [BUILD]
    after = build(ws, function.id)
    assert after.trained
    assert after.model is not None
    assert tried(after.model) >= 1


def test_sources_that_say_too_little_leave_the_model_and_its_fingerprint_as_they_were(ws: Workspace) -> None:
    """Data folders of before open without a training: what they were trained on has the name that it had."""
    function = labelled_function(ws, 8)
    model = built(ws, function)
    rows = samples.training_rows(ws.db, function.id)
    labels = [label.id for label in functions.list_labels(ws.db, function.id)]
    groups = sample_groups(rows)
    facts = [
        TRAINING_VERSION,
        model.backbone_key,
        {},
        labels,
        [[row.image_hash, row.label_id, group] for row, group in zip(rows, groups, strict=True)],
    ]
    assert model.training_fingerprint == hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    assert set_source(ws, function.id, [row.sample_id for row in rows], "camera") == 16
    assert waiting(ws, function) == []
    assert build(ws, function.id).trained is False
    assert models.get_model(ws.db, model.id).training_fingerprint == model.training_fingerprint
