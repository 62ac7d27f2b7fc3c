"""What becomes of each file of an import."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from detector.imaging.thumbnail import thumbnail_type
from detector.storage import annotating, imports, samples, trash
from detector.storage.functions import Function
from detector.storage.imports import ImportCounts
from detector.storage.schema import annotation_history
from detector.workspace import Workspace
from tests.factories import empty_function, label_ids, make_image, new_sample, stored_batch, workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


@pytest.fixture
def function(ws: Workspace) -> Function:
    return empty_function(ws)


def _batch(ws: Workspace, function: Function) -> str:
    return imports.create_batch(ws.db, function.id, "upload", "Test")


def test_a_new_image_becomes_a_sample_with_its_facts_and_thumbnail(ws: Workspace, function: Function) -> None:
    ids, data = label_ids(ws, function), make_image(1)
    item = new_sample(ws, data, "a.png", label_id=ids["real"], source="camera", external_id="7", group_key="g")
    batch = _batch(ws, function)
    [added] = imports.add_samples(ws.db, function.id, batch, [item])
    sample = samples.get_sample(ws.db, added.sample_id)
    assert added.outcome == "imported"
    assert (sample.file_name, sample.source, sample.external_id) == ("a.png", "camera", "7")
    assert (sample.label_id, sample.annotated_by, sample.split) == (ids["real"], "import", "train")
    assert thumbnail_type(samples.thumbnail(ws.db, sample.image_hash)) == "image/jpeg"
    assert samples.image_format(ws.db, sample.image_hash) == "PNG"
    assert ws.blobs.image(sample.image_hash) == data
    assert samples.training_rows(ws.db, function.id)[0].group_key == "g"


def test_the_same_image_twice_is_one_sample(ws: Workspace, function: Function) -> None:
    ids, batch = label_ids(ws, function), _batch(ws, function)
    first = new_sample(ws, make_image(1), "a.png", label_id=ids["real"])
    again = new_sample(ws, make_image(1), "b.png", label_id=ids["real"])
    results = imports.add_samples(ws.db, function.id, batch, [first, again])
    assert [item.outcome for item in results] == ["imported", "present"]
    assert results[0].sample_id == results[1].sample_id
    assert samples.count_samples(ws.db, function.id) == 1
    assert imports.batch_counts(ws.db, batch) == ImportCounts(imported=1, present=1)
    assert "a.png" in imports.batch_rows(ws.db, batch, ["present"])[0].reason


@pytest.mark.parametrize("together", [True, False])
def test_a_second_label_is_a_conflict_and_the_first_one_stays(
    ws: Workspace, function: Function, together: bool
) -> None:
    ids, batch = label_ids(ws, function), _batch(ws, function)
    first = new_sample(ws, make_image(1), "a.png", label_id=ids["real"])
    other = new_sample(ws, make_image(1), "b.png", label_id=ids["synthetic"])
    if together:
        [_, result] = imports.add_samples(ws.db, function.id, batch, [first, other])
    else:
        imports.add_samples(ws.db, function.id, _batch(ws, function), [first])
        [result] = imports.add_samples(ws.db, function.id, batch, [other])
    sample = samples.get_sample(ws.db, result.sample_id)
    assert (result.outcome, sample.label_id, sample.file_name) == ("conflict", ids["real"], "a.png")
    [line] = imports.batch_rows(ws.db, batch, ["conflict"])
    assert line.file == "b.png"
    assert "labelled real" in line.reason
    assert "synthetic" in line.reason


def test_an_image_without_a_label_takes_the_one_of_a_later_import(ws: Workspace, function: Function) -> None:
    ids = label_ids(ws, function)
    [first] = imports.add_samples(ws.db, function.id, _batch(ws, function), [new_sample(ws, make_image(1))])
    item = new_sample(ws, make_image(1), label_id=ids["synthetic"])
    [second] = imports.add_samples(ws.db, function.id, _batch(ws, function), [item])
    assert second.outcome == "present"
    sample = samples.get_sample(ws.db, first.sample_id)
    assert sample.label_id == ids["synthetic"]
    assert sample.annotated_at is not None
    assert sample.agrees is None


def test_a_deleted_sample_comes_back_with_its_annotation(ws: Workspace, function: Function) -> None:
    ids = label_ids(ws, function)
    item = new_sample(ws, make_image(1), "a.png", label_id=ids["real"])
    [first] = imports.add_samples(ws.db, function.id, _batch(ws, function), [item])
    trash.delete_samples(ws.db, function.id, [first.sample_id])
    batch = _batch(ws, function)
    [again] = imports.add_samples(ws.db, function.id, batch, [new_sample(ws, make_image(1), "b.png")])
    sample = samples.get_sample(ws.db, first.sample_id)
    assert (again.sample_id, again.outcome) == (first.sample_id, "imported")
    assert (sample.label_id, sample.file_name) == (ids["real"], "b.png")
    assert imports.batch_counts(ws.db, batch) == ImportCounts(imported=1)


def test_a_deleted_sample_that_comes_back_under_another_label_is_reported(ws: Workspace, function: Function) -> None:
    """It used to be counted as imported, and the label given was dropped without a word."""
    ids = label_ids(ws, function)
    item = new_sample(ws, make_image(1), "a.png", label_id=ids["real"])
    [first] = imports.add_samples(ws.db, function.id, _batch(ws, function), [item])
    trash.delete_samples(ws.db, function.id, [first.sample_id])
    batch = _batch(ws, function)
    other = new_sample(ws, make_image(1), "a.png", label_id=ids["synthetic"])
    [again] = imports.add_samples(ws.db, function.id, batch, [other])
    assert again.outcome == "conflict"
    assert samples.get_sample(ws.db, first.sample_id).label_id == ids["real"]
    assert imports.batch_counts(ws.db, batch) == ImportCounts(conflict=1)


def test_the_same_batch_again_reports_its_own_samples_as_imported(ws: Workspace, function: Function) -> None:
    ids, batch = label_ids(ws, function), _batch(ws, function)
    items = [new_sample(ws, make_image(n), f"{n}.png", label_id=ids["real"]) for n in range(3)]
    items.append(new_sample(ws, make_image(0), "copy.png", label_id=ids["real"]))
    imports.add_samples(ws.db, function.id, batch, items, [("bad.txt", "no image")])
    before = imports.batch_counts(ws.db, batch)
    again = imports.add_samples(ws.db, function.id, batch, items, [("bad.txt", "no image")])
    assert [item.outcome for item in again] == ["imported", "imported", "imported", "present"]
    assert imports.batch_counts(ws.db, batch) == before == ImportCounts(imported=3, present=1, rejected=1)


def test_one_image_in_two_functions_is_stored_once(ws: Workspace, function: Function) -> None:
    other = empty_function(ws, "Other")
    [first] = imports.add_samples(ws.db, function.id, None, [new_sample(ws, make_image(1))])
    [second] = imports.add_samples(ws.db, other.id, None, [new_sample(ws, make_image(1))])
    assert first.sample_id != second.sample_id
    assert second.outcome == "imported"


def test_a_label_that_was_deleted_meanwhile_leaves_the_sample_unlabelled(ws: Workspace, function: Function) -> None:
    [added] = imports.add_samples(ws.db, function.id, None, [new_sample(ws, make_image(1), label_id="gone")])
    assert samples.get_sample(ws.db, added.sample_id).label_id is None


def test_rejected_files_are_lines_of_the_report(ws: Workspace, function: Function) -> None:
    batch = _batch(ws, function)
    imports.add_samples(ws.db, function.id, batch, [], [("a.txt", "not an image"), ("b.txt", "empty")])
    lines = imports.batch_rows(ws.db, batch, ["rejected"])
    assert [(line.file, line.reason) for line in lines] == [("a.txt", "not an image"), ("b.txt", "empty")]
    assert len(imports.batch_rows(ws.db, batch, ["rejected"], limit=1)) == 1


def test_every_annotation_is_in_the_history(ws: Workspace, function: Function) -> None:
    ids = label_ids(ws, function)
    [added] = imports.add_samples(ws.db, function.id, None, [new_sample(ws, make_image(1), label_id=ids["real"])])
    annotating.annotate(ws.db, [added.sample_id], ids["synthetic"])
    annotating.annotate(ws.db, [added.sample_id], None)
    with ws.db.read() as connection:
        rows = connection.execute(select(annotation_history).order_by(annotation_history.c.sequence)).all()
    assert [(row.previous_label_id, row.label_id, row.by) for row in rows] == [
        (None, ids["real"], "import"),
        (ids["real"], ids["synthetic"], "person"),
        (ids["synthetic"], None, "person"),
    ]


def test_batches_are_listed_newest_first_and_end_as_told(ws: Workspace, function: Function) -> None:
    first, second = _batch(ws, function), _batch(ws, function)
    imports.finish_batch(ws.db, first, "failed", 4, "The archive is damaged.")
    assert [batch.id for batch in imports.list_batches(ws.db, function.id)] == [second, first]
    ended = stored_batch(ws, first)
    assert (ended.state, ended.total, ended.note) == ("failed", 4, "The archive is damaged.")
    assert ended.finished_at is not None
    assert stored_batch(ws, second).state == "running"


def test_what_no_database_holds_is_left_out_of_texts_that_come_from_files(ws: Workspace) -> None:
    """Kind: a NUL, or half of a character, in the name of a file or in a column of a table, ended an import."""
    function = empty_function(ws)
    facts = {"source": "sd\ud800xl", "external_id": "1\x002", "group_key": "\x00g"}
    new = new_sample(ws, make_image(1), "a\x00\udcffb.png", **facts)
    batch_id = imports.create_batch(ws.db, function.id, "zip", "a\x00b.zip")
    [added] = imports.add_samples(ws.db, function.id, batch_id, [new], [("c\ud800.png", "It is \x00.")])
    again = imports.add_samples(ws.db, function.id, batch_id, [new])
    imports.finish_batch(ws.db, batch_id, "done", 2, "It ended\x00.")
    found = samples.get_sample(ws.db, added.sample_id)
    assert (found.file_name, found.source, found.external_id) == ("ab.png", "sdxl", "12")
    [batch] = imports.list_batches(ws.db, function.id)
    assert (batch.title, batch.note) == ("ab.zip", "It ended.")
    assert [(row.file, row.reason) for row in imports.batch_rows(ws.db, batch_id, ["rejected"])] == [
        ("c.png", "It is .")
    ]
    # A killed import that runs again knows its own.
    assert [item.outcome for item in again] == ["imported"]
