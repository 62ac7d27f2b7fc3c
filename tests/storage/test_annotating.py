"""Giving labels, undoing it, and the history that both leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.storage import annotating, functions, samples
from detector.storage.annotating import Undone
from detector.storage.functions import Function
from detector.storage.trash import delete_samples
from detector.workspace import Workspace
from tests.factories import empty_function, label_ids, labelled_function, workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return workspace(tmp_path / "data")


@pytest.fixture
def function(ws: Workspace) -> Function:
    return labelled_function(ws, 3)


def _labels(ws: Workspace, function: Function) -> dict[str, str | None]:
    return {row.id: row.label_id for row in samples.find_samples(ws.db, function.id)}


def test_what_was_done_together_is_undone_together_the_newest_first(ws: Workspace, function: Function) -> None:
    ids = label_ids(ws, function)
    before = {row.id: row for row in samples.find_samples(ws.db, function.id)}
    reals = [key for key, row in before.items() if row.label_id == ids["real"]]
    annotating.annotate(ws.db, reals, ids["synthetic"])
    annotating.annotate(ws.db, reals[:1], None)
    assert annotating.can_undo(ws.db, function.id)
    assert annotating.undo_last(ws.db, function.id) == Undone(1, None)
    assert _labels(ws, function)[reals[0]] == ids["synthetic"]
    assert annotating.can_undo(ws.db, function.id)
    assert annotating.undo_last(ws.db, function.id) == Undone(3, ids["synthetic"])
    # All of it is as before, the times and authors of the first labels included.
    assert {row.id: row for row in samples.find_samples(ws.db, function.id)} == before
    assert not annotating.can_undo(ws.db, function.id)
    assert annotating.undo_last(ws.db, function.id) is None


def test_only_what_a_person_did_to_this_function_is_undone(ws: Workspace, function: Function) -> None:
    ids = label_ids(ws, function)
    other = labelled_function(ws, 2, name="Other")
    mine = next(key for key, label in _labels(ws, function).items() if label == ids["real"])
    annotating.annotate(ws.db, [mine], ids["synthetic"], by="api")
    elsewhere = next(iter(_labels(ws, other)))
    annotating.annotate(ws.db, [elsewhere], None)
    assert annotating.undo_last(ws.db, function.id) is None
    assert annotating.undo_last(ws.db, other.id) == Undone(1, None)


def test_what_changed_again_since_keeps_what_it_has(ws: Workspace, function: Function) -> None:
    ids = label_ids(ws, function)
    first, second, third = (key for key, label in _labels(ws, function).items() if label == ids["real"])
    annotating.annotate(ws.db, [first, second, third], ids["synthetic"])
    annotating.annotate(ws.db, [first], None, by="api")
    delete_samples(ws.db, function.id, [second])
    assert annotating.undo_last(ws.db, function.id) == Undone(1, ids["synthetic"])
    labels = _labels(ws, function)
    assert (labels[first], labels[third]) == (None, ids["real"])


def test_a_label_that_is_gone_does_not_come_back(ws: Workspace) -> None:
    function = labelled_function(ws, 2, labels=("real", "synthetic", "drawn"))
    ids = label_ids(ws, function)
    drawn = [key for key, label in _labels(ws, function).items() if label == ids["drawn"]]
    annotating.annotate(ws.db, drawn, ids["real"])
    functions.delete_label(ws.db, ids["drawn"])
    undone = annotating.undo_last(ws.db, function.id)
    assert undone is not None
    assert undone.changed == 0
    assert all(_labels(ws, function)[key] == ids["real"] for key in drawn)


def test_the_history_tells_every_label_and_what_was_undone(ws: Workspace) -> None:
    function = empty_function(ws)
    labelled = labelled_function(ws, 1, name="Labelled")
    ids = label_ids(ws, labelled)
    sample = next(key for key, label in _labels(ws, labelled).items() if label == ids["real"])
    annotating.annotate(ws.db, [sample], ids["synthetic"])
    annotating.undo_last(ws.db, labelled.id)
    newest, first = annotating.history(ws.db, sample)
    assert (first.label_id, first.previous_label_id, first.by) == (ids["real"], None, "import")
    assert (newest.label_id, newest.previous_label_id, newest.by) == (ids["synthetic"], ids["real"], "person")
    assert newest.undone_at is not None
    assert annotating.history(ws.db, function.id) == []
