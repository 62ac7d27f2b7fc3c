from __future__ import annotations

import json
from pathlib import Path

import pytest

from detector.errors import InvalidInput, NothingLeftToTrain
from detector.operations.holdout import (
    MANY_USES,
    HoldoutScore,
    accuracy_difference,
    give_back,
    put_aside_samples,
    put_aside_share,
    put_aside_source,
    read_holdout,
)
from detector.pipeline.build import build, put_back
from detector.storage import annotating, functions, imports, models, samples
from detector.storage.models import ModelRow
from detector.storage.samples import TrainingRow
from detector.training.model_file import read_model
from detector.training.out_of_fold import OutOfFold
from detector.worker.running import run_pending
from detector.workspace import Workspace
from tests.databases import copy_data
from tests.factories import (
    add_images,
    empty_function,
    images,
    label_ids,
    labelled_function,
    make_image,
    near_duplicate,
    workspace,
)


def aside(ws: Workspace, function_id: str) -> list[TrainingRow]:
    return [row for row in samples.training_rows(ws.db, function_id) if row.split == "test"]


def built(ws: Workspace, function_id: str) -> ModelRow:
    model = build(ws, function_id).model
    assert model is not None
    return model


@pytest.mark.slow
def test_what_is_put_aside_has_no_part_in_the_model(tmp_path: Path) -> None:
    """The model, its thresholds and its figures are those of a function that never had these samples."""
    ws = workspace(tmp_path / "a")
    function = labelled_function(ws, 16)
    functions.set_false_accusation_limit(ws.db, function.id, 0.3)
    built(ws, function.id)
    assert put_aside_share(ws, function.id, 0.25) == 8
    model = built(ws, function.id)
    hidden = {row.image_hash for row in aside(ws, function.id)}
    assert model.sample_count == 24
    assert model.holdout_score is not None
    score = HoldoutScore.from_json(json.loads(json.dumps(model.holdout_score)))
    assert (score.n, score.look, score.left_out) == (8, 1, 0)
    assert {name: label.n for name, label in score.labels.items()} == {"real": 4, "synthetic": 4}

    other = workspace(tmp_path / "b")
    twin = empty_function(other)
    functions.set_false_accusation_limit(other.db, twin.id, 0.3)
    from detector.imaging import sha256_hex

    add_images(other, twin, [item for item in images(16) if sha256_hex(item[1]) not in hidden])
    alone = built(other, twin.id)
    first, second = (read_model(models.model_file(w.blobs, m.id)) for w, m in ((ws, model), (other, alone)))
    for name in ("mean", "scale", "coefficients", "intercept"):
        assert (getattr(first, name) == getattr(second, name)).all()
    assert (first.temperature, first.thresholds) == (second.temperature, second.thresholds)
    assert (model.cross_validation, model.sweep, model.thresholds) == (
        alone.cross_validation,
        alone.sweep,
        alone.thresholds,
    )
    known = models.out_of_fold_file(ws.blobs, model.id)
    assert known is not None
    assert not hidden & set(OutOfFold.from_bytes(known).hashes)


@pytest.mark.slow
def test_a_version_is_scored_once_and_every_version_is_one_more_look(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = labelled_function(ws, 10)
    put_aside_share(ws, function.id, 0.3)
    first = built(ws, function.id)
    assert built(ws, function.id).holdout_score == first.holdout_score
    assert read_holdout(ws, function.id).uses == 1
    functions.set_sweep_settings(ws.db, function.id, {"seed": 1})
    second = built(ws, function.id)
    assert (first.holdout_score or {})["look"] == 1
    assert (second.holdout_score or {})["look"] == 2
    put_back(ws, function.id, first.id)
    state = read_holdout(ws, function.id)
    assert (state.n, state.uses, state.warning) == (6, 2, "")


@pytest.mark.slow
def test_after_many_looks_it_says_that_it_has_become_a_training_set(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = labelled_function(ws, 8)
    put_aside_share(ws, function.id, 0.25)
    model = built(ws, function.id)
    ids = [row.sample_id for row in aside(ws, function.id)]
    for look in range(2, MANY_USES + 1):
        assert read_holdout(ws, function.id).warning == ""
        models.set_holdout_score(ws.db, model.id, {**(model.holdout_score or {}), "look": look}, ids)
    assert "can overstate accuracy by up to" in read_holdout(ws, function.id).warning
    # Taking them back and putting them aside again does not make them new.
    give_back(ws, function.id)
    put_aside_samples(ws, function.id, ids)
    assert read_holdout(ws, function.id).uses == MANY_USES


def test_near_duplicates_go_aside_together(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = empty_function(ws)
    add_images(ws, function, [*images(8), ("again.png", near_duplicate(make_image(2)), "real")])
    names = {sample.file_name: sample.id for sample in samples.find_samples(ws.db, function.id, limit=100)}
    assert put_aside_samples(ws, function.id, [names["again.png"]]) == 2
    assert {row.sample_id for row in aside(ws, function.id)} == {names["again.png"], names["real-2.png"]}


@pytest.mark.slow
def test_near_duplicates_of_training_images_are_left_out_of_the_score(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = labelled_function(ws, 8)
    put_aside_share(ws, function.id, 0.25)
    (first, *_) = aside(ws, function.id)
    built(ws, function.id)
    # Imported later, and so not put aside.
    add_images(ws, function, [("late.png", near_duplicate(ws.blobs.image(first.image_hash)), "real")])
    score = built(ws, function.id).holdout_score or {}
    assert (score["n"], score["left_out"]) == (3, 1)


@pytest.mark.slow
def test_a_version_that_was_trained_on_them_is_not_scored(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = labelled_function(ws, 8)
    first = built(ws, function.id)
    put_aside_share(ws, function.id, 0.25)
    second = built(ws, function.id)
    assert second.holdout_score is not None
    put_back(ws, function.id, first.id)
    assert models.get_model(ws.db, first.id).holdout_score is None


@pytest.mark.slow
def test_a_source_is_put_aside_whole_and_labels_are_kept(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = empty_function(ws)
    from detector.importing.batch import Incoming, import_items

    items = [
        Incoming(name, lambda data=data: data, label, source="new" if index >= 12 else "old")  # type: ignore[misc]
        for index, (name, data, label) in enumerate(images(10))
    ]
    import_items(ws, function.id, imports.create_batch(ws.db, function.id, "upload", "x"), items, len(items))
    assert put_aside_source(ws, function.id, "new") == 8
    assert {row.source for row in aside(ws, function.id)} == {"new"}
    state = read_holdout(ws, function.id)
    assert (state.n, state.by_label, state.unlabelled) == (8, {"real": 4, "synthetic": 4}, 0)
    annotating.annotate(ws.db, [aside(ws, function.id)[0].sample_id], None)
    assert read_holdout(ws, function.id).unlabelled == 1
    run_pending(ws, function.id)
    assert (models.list_models(ws.db, function.id)[0].holdout_score or {})["n"] == 7
    assert give_back(ws, function.id) == 8
    assert aside(ws, function.id) == []


def test_a_label_is_not_put_aside_whole(tmp_path: Path) -> None:
    """Training then said "real 0 ... Label at least 2 more images as real", and nobody knew why."""
    ws = workspace(tmp_path)
    function = labelled_function(ws, 5)
    by_label = label_ids(ws, function)
    real = [row.sample_id for row in samples.training_rows(ws.db, function.id) if row.label_id == by_label["real"]]
    samples.set_source(ws.db, function.id, real, "only camera")
    with pytest.raises(NothingLeftToTrain) as refused:
        put_aside_source(ws, function.id, "only camera")
    assert "all 5 training images labelled real" in str(refused.value)
    with pytest.raises(NothingLeftToTrain) as refused:
        put_aside_samples(ws, function.id, real[:4])
    assert "all but 1 of the 5" in str(refused.value)
    assert aside(ws, function.id) == []
    assert put_aside_samples(ws, function.id, real[:3]) == 3


def test_who_has_everything_locked_is_told_where_the_images_are(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = labelled_function(ws, 3)
    real = label_ids(ws, function)["real"]
    locked = [row.sample_id for row in samples.training_rows(ws.db, function.id) if row.label_id == real]
    samples.set_split(ws.db, function.id, locked, "test")
    build(ws, function.id)
    assert functions.get_function(ws.db, function.id).training_note.endswith(
        "In the locked test set are 3 labelled real."
    )


@pytest.mark.parametrize(("per_label", "share", "moved"), [(3, 0.2, 0), (2, 0.5, 0), (3, 0.9, 2), (5, 0.2, 2)])
def test_a_share_of_few_images_leaves_two_of_each_label(
    tmp_path: Path, per_label: int, share: float, moved: int
) -> None:
    ws = workspace(tmp_path)
    function = labelled_function(ws, per_label)
    assert put_aside_share(ws, function.id, share) == moved


def test_the_random_choice_is_the_same_each_time_and_balanced(tmp_path: Path) -> None:
    chosen = []
    for name in ("a", "b"):
        ws = workspace(tmp_path / name)
        function = labelled_function(ws, 10)
        put_aside_share(ws, function.id, 0.3)
        by_name = {value: key for key, value in label_ids(ws, function).items()}
        chosen.append([(row.image_hash, by_name[row.label_id or ""]) for row in aside(ws, function.id)])
        # The share is one of all samples: asking again for the same moves nothing.
        assert put_aside_share(ws, function.id, 0.3) == 0
    assert chosen[0] == chosen[1]
    assert sorted(label for _, label in chosen[0]) == ["real"] * 3 + ["synthetic"] * 3
    with pytest.raises(InvalidInput):
        put_aside_share(ws, function.id, 1.0)


def test_the_combined_interval_is_newcombes() -> None:
    # Newcombe 1998, table II, first row: 56/70 against 48/80.
    difference, low, high = accuracy_difference(56, 70, 48, 80)
    assert difference == pytest.approx(0.2)
    assert (low, high) == (pytest.approx(0.0524, abs=1e-4), pytest.approx(0.3339, abs=1e-4))


@pytest.mark.long
@pytest.mark.slow
def test_on_a_held_out_part_of_two_thousand_images_the_figures_keep_their_promise(
    mixed2000_data: Path, tmp_path: Path
) -> None:
    copy_data(mixed2000_data, tmp_path / "data")
    ws = workspace(tmp_path / "data", precision="auto")
    function = functions.find_function(ws.db, "mixed2000")
    assert put_aside_share(ws, function.id, 0.3) >= 600
    model = built(ws, function.id)
    score = HoldoutScore.from_json(model.holdout_score or {})
    validation = model.cross_validation or {}
    print(f"locked test {score.accuracy:.4f} of {score.n}, ECE {score.ece:.4f}; {validation['accuracy']:.4f}")
    assert score.n >= 600
    assert score.ece <= 0.03
    right = round(validation["accuracy"] * validation["n"])
    _, low, high = accuracy_difference(score.correct, score.n, right, validation["n"])
    assert low <= 0 <= high
