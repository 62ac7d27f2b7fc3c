"""Labels and samples change while a model is trained: the model is of what was there when it began, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import func, select

from detector.jobs import BUILD
from detector.operations.labels import give_label
from detector.operations.samples import delete_samples
from detector.pipeline.build import build
from detector.serving.model import load_serving_model
from detector.storage import functions, jobs, models
from detector.storage.schema import images as images_table
from detector.storage.schema import samples
from tests.factories import add_images, labelled_function, make_image, workspace
from tests.faulty_disk import image_files, left_over

pytestmark = pytest.mark.faults


def test_each_model_names_its_own_data_and_another_one_follows_the_change(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = labelled_function(ws, 6)
    with ws.db.read() as connection:
        rows = connection.execute(select(samples.c.id, samples.c.label_id).order_by(samples.c.sequence)).all()
    given = {label.id: label for label in functions.list_labels(ws.db, function.id)}
    changed: list[str] = []

    def others_work(phase: str, done: int, _total: int, _message: str, _rate: float | None) -> None:
        # Before its first steps the labels are read.
        if phase != "train" or not done or changed:
            return
        changed.append(rows[0].id)
        other = next(label for label_id, label in given.items() if label_id != rows[0].label_id)
        give_label(ws, function.id, changed, other)
        delete_samples(ws, function.id, [rows[1].id, rows[2].id])
        add_images(ws, function, [("new.png", make_image(99), "real")])

    first = build(ws, function.id, others_work).model
    assert changed
    assert first is not None
    assert first.sample_count == 12
    # The change asked for the next one by itself; it has other data, and says so.
    [waiting] = [job for job in jobs.list_jobs(ws.db, function.id) if job.kind == BUILD]
    assert waiting.state == "queued"
    second = build(ws, function.id).model
    assert second is not None
    assert (second.version, second.sample_count) == (2, 11)
    assert second.training_fingerprint != first.training_fingerprint
    # The first one still answers as it was, where somebody puts it back.
    assert load_serving_model(ws, function.id, first.id).row.sample_count == 12
    assert [row.version for row in models.list_models(ws.db, function.id)] == [2, 1]
    # Rows and files are one and the same; what was deleted lies in the bin until that is emptied.
    with ws.db.read() as connection:
        hashes = set(connection.scalars(select(images_table.c.hash)))
        live = connection.scalar(select(func.count()).where(samples.c.deleted_at.is_(None)))
    assert live == 11
    assert image_files(tmp_path / "blobs") == hashes
    assert left_over(tmp_path / "blobs") == []
    # Nothing is left to do: a third build finds the same labels.
    assert not build(ws, function.id).trained
    ws.close()
