"""Above a stated number of samples settings are chosen on some of them, and everything else is made of all."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch

from detector.training import large, reduction
from detector.training.folds import make_folds
from detector.training.large import CHOOSE_ON, SHARDED_ABOVE, rows_to_choose_on
from detector.training.model_file import write_model
from detector.training.options import SweepSettings
from detector.training.sweep import fold_weights, held_out_logits, prepare_choice
from detector.training.train import TrainedModel, train
from tests.training.factories import training_data

COUNTS = (500, 420, 60)


@pytest.fixture
def chosen_on_300(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "CHOOSE_ON", 300)
    monkeypatch.setattr(large, "_LEAST_OF_A_LABEL", 40)
    monkeypatch.setattr("detector.training.train.CHOOSE_ON", 300)
    monkeypatch.setattr(large.rows_to_choose_on, "__defaults__", (300,))


def _coefficients(trained: TrainedModel) -> np.ndarray:
    """Of differences between labels, which are all that matter."""
    numbers = np.column_stack([trained.model.coefficients, trained.model.intercept])
    return numbers - numbers.mean(axis=0)


@pytest.mark.slow
def test_nothing_is_chosen_on_a_part_up_to_100_000_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (CHOOSE_ON, SHARDED_ABOVE) == (100_000, 1_000_000)
    data = training_data(COUNTS, 20)
    before = train(data)
    monkeypatch.setattr("detector.training.train.CHOOSE_ON", sum(COUNTS))
    at_the_border = train(data)
    assert write_model(at_the_border.model, {}) == write_model(before.model, {})
    assert "chosen_on" not in at_the_border.hyperparameters


@pytest.mark.slow
def test_the_model_and_its_figures_are_those_of_all_samples(chosen_on_300: None) -> None:
    data = training_data(COUNTS, 20)
    found = train(data)
    chosen = found.hyperparameters
    # As often as among all, and of the rare label no fewer than it takes to fill the folds.
    assert chosen["chosen_on"] == 153 + 129 + 40
    assert found.cross_validation is not None
    assert found.cross_validation.n == sum(COUNTS)
    assert "chosen on 322 of 980 samples" in found.note
    same = SweepSettings(
        views=(chosen["views"],),
        features=(chosen["features"],),
        scaling=(chosen["scaling"],),
        c=(chosen["c"],),
        class_weight=(chosen["class_weight"],),
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("detector.training.train.CHOOSE_ON", 10_000)
        whole = train(data, same)
    assert chosen["C"] == pytest.approx(whole.hyperparameters["C"])
    assert np.allclose(_coefficients(found), _coefficients(whole), atol=2e-3)
    assert np.allclose(found.out_of_fold, whole.out_of_fold, atol=1e-3)


@pytest.mark.parametrize("reduced", [False, True])
@pytest.mark.long
def test_shards_make_the_model_that_memory_makes(
    chosen_on_300: None, reduced: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if reduced:
        monkeypatch.setattr(reduction, "REDUCE_ABOVE", 50)
        monkeypatch.setattr(reduction, "DIRECTIONS", 16)
    data = training_data(COUNTS, 40)
    in_memory = train(data)
    monkeypatch.setattr(large, "SHARDED_ABOVE", 900)
    monkeypatch.setattr(large, "SHARD_ROWS", 170)
    in_shards = train(data, scratch=tmp_path)
    assert in_shards.hyperparameters == in_memory.hyperparameters
    assert np.allclose(_coefficients(in_shards), _coefficients(in_memory), atol=2e-3)
    assert np.allclose(in_shards.out_of_fold, in_memory.out_of_fold, atol=1e-3)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(large, "SHARDED_ABOVE", 10_000)
    with ProcessPoolExecutor(2, mp_context=get_context("forkserver")) as executor:
        handed_over = train(data, scratch=tmp_path, executor=executor)
    assert write_model(handed_over.model, {}) == write_model(in_shards.model, {})


@pytest.mark.slow
def test_neither_the_order_of_rows_nor_repetition_changes_a_bit(chosen_on_300: None) -> None:
    data = training_data(COUNTS, 20)
    turned = np.random.default_rng(1).permutation(len(data.labels))
    other = dataclasses.replace(
        data,
        sample_keys=[data.sample_keys[row] for row in turned],
        views={view: rows[turned] for view, rows in data.views.items()},
        labels=data.labels[turned],
        groups=[data.groups[row] for row in turned],
    )
    first, again, third = train(data), train(data), train(other)
    assert write_model(first.model, {}) == write_model(again.model, {}) == write_model(third.model, {})


def test_the_samples_to_choose_on_stay_when_others_come() -> None:
    keys = [f"key {number}" for number in range(3000)]
    y = np.arange(3000) % 3 // 2
    folds = np.arange(3000) % 5
    before = {keys[row] for row in rows_to_choose_on(keys[:2900], y[:2900], folds[:2900], 600).tolist()}
    after = {keys[row] for row in rows_to_choose_on(keys, y, folds, 600).tolist()}
    assert len(before & after) > 0.9 * len(before)


def test_where_a_label_would_be_missing_in_a_fold_all_samples_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "_LEAST_OF_A_LABEL", 1)
    y, folds = np.array([0] * 995 + [1] * 5), np.arange(1000) % 5
    assert len(rows_to_choose_on([str(row) for row in range(1000)], y, folds, 100)) == 1000


@pytest.mark.slow
def test_out_of_fold_scores_are_those_of_models_without_the_fold(chosen_on_300: None) -> None:
    data = training_data(COUNTS, 20)
    found = train(data)
    chosen = found.hyperparameters
    order = np.argsort(np.asarray(data.sample_keys))
    y, views = data.labels[order], {view: rows[order] for view, rows in data.views.items()}
    folds = make_folds(y, [data.groups[row] for row in order])
    assert folds is not None
    prepared = prepare_choice(views, chosen["views"], found.model.slices, chosen["scaling"], torch.float32)
    weights = [
        fold_weights(y, 3, folds, fold, chosen["class_weight"]).astype(np.float32) for fold in range(folds.max() + 1)
    ]
    setting = [(chosen["c"], chosen["class_weight"])]
    [logits] = held_out_logits(prepared, prepared.design(views), y, 3, folds, setting, weights)
    assert found.out_of_fold is not None
    assert (logits.argmax(axis=1) == found.out_of_fold[order].argmax(axis=1)).mean() > 0.998
