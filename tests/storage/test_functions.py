"""Functions and labels as rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.errors import Conflict, InvalidInput, NotFound
from detector.storage import annotating, bin, functions, predictions, samples
from detector.storage.predictions import PredictionRow
from detector.workspace import Workspace
from tests.factories import empty_function, label_ids, labelled_function, workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


def test_a_new_function_has_its_labels_in_the_order_given(ws: Workspace) -> None:
    function = empty_function(ws, "  My   detector ", ["b", "a", "c"])
    assert function.name == "My   detector"
    assert [label.name for label in functions.list_labels(ws.db, function.id)] == ["b", "a", "c"]
    assert functions.get_function(ws.db, function.id) == function
    assert function.live_model_id is None


@pytest.mark.parametrize("name", ["", "   ", "x" * 121])
def test_a_name_of_no_or_too_many_characters_is_refused(ws: Workspace, name: str) -> None:
    with pytest.raises(InvalidInput):
        empty_function(ws, name)
    assert functions.list_functions(ws.db) == []


def test_the_same_label_twice_is_refused(ws: Workspace) -> None:
    with pytest.raises(InvalidInput):
        empty_function(ws, "Test", ["real", " real "])


def test_a_function_is_found_by_id_before_name_and_the_newest_of_a_name(ws: Workspace) -> None:
    first, second = empty_function(ws, "Same"), empty_function(ws, "Same")
    named_like_an_id = empty_function(ws, first.id)
    assert functions.find_function(ws.db, "Same").id == second.id
    assert functions.find_function(ws.db, first.id).id == first.id
    assert functions.find_function(ws.db, named_like_an_id.id).name == first.id
    with pytest.raises(NotFound):
        functions.find_function(ws.db, "Other")


def test_renaming_trims_and_misses_what_is_not_there(ws: Workspace) -> None:
    function = empty_function(ws)
    functions.rename_function(ws.db, function.id, " New  name ")
    assert functions.get_function(ws.db, function.id).name == "New  name"
    with pytest.raises(NotFound):
        functions.rename_function(ws.db, "none", "New name")


def test_another_backbone_has_its_precision_measured_anew(ws: Workspace) -> None:
    function = empty_function(ws)
    functions.set_precision(ws.db, function.id, "bfloat16")
    functions.set_backbone(ws.db, function.id, "other", "because")
    changed = functions.get_function(ws.db, function.id)
    assert (changed.backbone_id, changed.backbone_reason, changed.precision) == ("other", "because", None)


def test_the_list_counts_samples_and_annotations_but_not_deleted_ones(ws: Workspace) -> None:
    function = labelled_function(ws, 3)
    ids = samples.matching_ids(ws.db, function.id, samples.SampleFilter())
    annotating.annotate(ws.db, ids[:1], None)
    bin.delete_samples(ws.db, function.id, ids[1:2])
    [line] = functions.list_functions(ws.db)
    assert (line.sample_count, line.annotated_count, line.model_version, line.accuracy) == (5, 4, None, None)
    assert not line.busy


def test_deleting_a_function_deletes_its_rows_and_no_other_functions(ws: Workspace) -> None:
    kept, gone = labelled_function(ws, 2, "Kept"), labelled_function(ws, 2, "Gone")
    functions.delete_function(ws.db, gone.id)
    assert [line.function.id for line in functions.list_functions(ws.db)] == [kept.id]
    assert samples.count_samples(ws.db, gone.id) == 0
    assert samples.count_samples(ws.db, kept.id) == 4
    assert functions.list_labels(ws.db, gone.id) == []
    assert functions.find_live(ws.db, gone.id) is None
    with pytest.raises(NotFound):
        functions.delete_function(ws.db, gone.id)


def test_a_label_of_the_same_name_is_a_conflict_that_names_the_other(ws: Workspace) -> None:
    function = empty_function(ws)
    ids = label_ids(ws, function)
    with pytest.raises(Conflict) as made:
        functions.create_label(ws.db, function.id, " real ")
    assert made.value.existing_id == ids["real"]
    with pytest.raises(Conflict) as renamed:
        functions.rename_label(ws.db, ids["synthetic"], "real")
    assert renamed.value.existing_id == ids["real"]
    assert functions.create_label(ws.db, function.id, "Real", "Photographs", {"a": 1}).metadata == {"a": 1}


def test_renaming_a_label_keeps_its_description_unless_given(ws: Workspace) -> None:
    function = empty_function(ws, labels=[])
    label = functions.create_label(ws.db, function.id, "a", "first", {"x": 1})
    assert functions.rename_label(ws.db, label.id, "b").description == "first"
    assert functions.rename_label(ws.db, label.id, "b", "second").metadata == {"x": 1}


def test_missing_labels_are_made_once_and_known_ones_kept(ws: Workspace) -> None:
    function = empty_function(ws)
    before = label_ids(ws, function)
    found = functions.ensure_labels(ws.db, function.id, ["other", "real", "other"])
    assert {name: found[name] for name in before} == before
    assert functions.ensure_labels(ws.db, function.id, ["other"]) == found


def test_a_folder_name_with_odd_spaces_finds_its_trimmed_label(ws: Workspace) -> None:
    """An import looks its labels up by the folder's own name; "my  class " used to end in a KeyError."""
    function = empty_function(ws)
    found = functions.ensure_labels(ws.db, function.id, ["my  class "])
    assert found["my  class "] == found["my  class"]


def test_hundreds_of_labels_are_a_mistake_in_choosing_folders(ws: Workspace) -> None:
    function = empty_function(ws)
    with pytest.raises(InvalidInput) as caught:
        functions.ensure_labels(ws.db, function.id, [f"person {n}" for n in range(functions.MAX_LABELS)])
    assert "folder level" in str(caught.value)
    assert len(label_ids(ws, function)) == 2


def test_deleting_a_label_unlabels_its_samples_and_takes_its_predictions_away(ws: Workspace) -> None:
    function = labelled_function(ws, 2)
    ids = label_ids(ws, function)
    rows = samples.find_samples(ws.db, function.id)
    predictions.write_predictions(
        ws.db,
        function.id,
        "model",
        [PredictionRow(row.id, ids["synthetic"], 0.9, 0.8, True, b"") for row in rows[:3]]
        + [PredictionRow(rows[3].id, ids["real"], 0.7, 0.4, True, b"")],
    )
    functions.delete_label(ws.db, ids["synthetic"])
    after = {row.id: row for row in samples.find_samples(ws.db, function.id)}
    for row in rows:
        now = after[row.id]
        if row.label_id == ids["synthetic"]:
            assert (now.label_id, now.annotated_at, now.annotated_by, now.agrees) == (None, None, None, None)
        else:
            assert (now.label_id, now.annotated_at) == (row.label_id, row.annotated_at)
    for row in rows[:3]:
        now = after[row.id]
        assert (now.predicted_label_id, now.confidence, now.agrees, now.out_of_fold, now.predicted_by) == (None,) * 5
    assert after[rows[3].id].confidence == 0.7
    with pytest.raises(NotFound):
        functions.delete_label(ws.db, ids["synthetic"])
