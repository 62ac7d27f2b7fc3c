"""Settings that folds cannot tell apart are chosen by sources left out: which are, which never, and on what."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from detector.errors import InvalidInput, JobCancelled
from detector.training.calibration import log_losses
from detector.training.options import SweepRow, SweepSettings
from detector.training.outward import near_the_best, standard_error, unseen_log_loss
from detector.training.reduction import REDUCE_ABOVE
from detector.training.refit import Hyperparameters, logits_without
from detector.training.source_units import MOST_UNITS_OF_A_CHOICE, Unit, group_numbers, units_for_a_choice, without
from detector.training.sweep import SHORTLIST, SweepResult
from detector.training.train import TrainedModel, TrainingData, train
from tests.training.factories import key

#: What holds for every source of a label, and what is each source's own: see ``pictures``.
SHARED, MARKS = "shared", "marks"
FEATURES = {SHARED: slice(0, 4), MARKS: slice(4, 20)}
ONE_C = SweepSettings(c=(1.0,), scaling=("standardise",), features=(SHARED, MARKS))


def pictures(
    shared: float, marks: float, labels: int = 2, sources: int = 4, each: int = 40, seed: int = 0
) -> TrainingData:
    """Made embeddings: some columns tell the labels apart, others only which source a picture is of.

    Parameters
    ----------
    shared, marks : how far the labels lie apart in the former, and the sources in the latter
    """
    rng = np.random.default_rng(seed)
    rows, y, tags = [], [], []
    for label in range(labels):
        for source in range(sources):
            x = rng.normal(size=(each, 20))
            x[:, label % 4] += shared
            x[:, 4:] += rng.normal(size=16) * marks
            rows.append(x)
            y += [label] * each
            tags += [f"{label}-{source}"] * each
    keys = [key(index) for index in range(len(y))]
    return TrainingData(
        sample_keys=keys,
        views={"whole": np.concatenate(rows).astype(np.float32)},
        features=FEATURES,
        labels=np.array(y),
        label_names=[f"label {label}" for label in range(labels)],
        groups=keys,
        sources=tags,
    )


def by_features(trained: TrainedModel) -> dict[str, SweepRow]:
    return {row.features: row for row in trained.sweep_results}


def without_sources(data: TrainingData) -> TrainingData:
    return dataclasses.replace(data, sources=None)


@pytest.mark.parametrize("labels", [2, 3])
def test_of_settings_that_folds_cannot_tell_apart_the_one_that_knows_no_source_is_taken(labels: int) -> None:
    data = pictures({2: 1.4, 3: 1.15}[labels], 1.0, labels)
    before, after = train(without_sources(data), ONE_C), train(data, ONE_C)
    assert before.hyperparameters["features"] == MARKS
    assert after.hyperparameters["features"] == SHARED
    rows = by_features(after)
    assert rows[MARKS].log_loss < rows[SHARED].log_loss
    assert rows[MARKS].unseen_log_loss > rows[SHARED].unseen_log_loss + 0.2
    assert [row.chosen for row in after.sweep_results] == [True, False]
    # Everything that is said of the model is said of the setting that was taken.
    assert after.model.feature == SHARED
    assert after.cross_validation.accuracy == pytest.approx(rows[SHARED].accuracy)
    alone = train(without_sources(data), dataclasses.replace(ONE_C, features=(SHARED,)))
    assert np.allclose(after.model.coefficients, alone.model.coefficients, rtol=1e-9, atol=1e-12)
    assert np.array_equal(after.out_of_fold, alone.out_of_fold)


def test_what_folds_find_clearly_worse_is_never_taken_and_not_even_tried() -> None:
    data = pictures(1.0, 1.5)
    trained = train(data, ONE_C)
    rows = by_features(trained)
    assert trained.hyperparameters["features"] == MARKS
    assert rows[SHARED].unseen_log_loss is None
    # Had it been asked, it would have won.
    alone = train(data, dataclasses.replace(ONE_C, features=(SHARED,)))
    assert by_features(alone)[SHARED].unseen_log_loss < rows[MARKS].unseen_log_loss


def test_the_error_is_that_of_the_difference_on_the_same_pictures() -> None:
    """All settings find the same pictures hard: by the best loss's own error a setting worse on each would be near."""
    y = np.array([0, 1] * 50)
    hard = np.random.default_rng(0).normal(0, 2.0, 100)
    best = np.where(y == 1, hard, -hard)
    logits = {0: best[:, None], 1: np.where(y == 1, best - 0.05, best + 0.05)[:, None]}
    losses = [float(log_losses(each, y).mean()) for each in logits.values()]
    rows = [SweepRow("whole", "all", "standardise", c, c, "none", loss, 0.9, 0.9) for c, loss in enumerate(losses)]
    own_error = log_losses(logits[0], y).std() / 10
    assert 0 < losses[1] - losses[0] < own_error / 2
    found = SweepResult(rows, rows[0], logits[0], shortlist=logits)
    assert near_the_best(found, y, np.arange(100)) == [0]


def test_near_duplicates_count_once_in_the_error() -> None:
    values = np.random.default_rng(0).normal(size=60)
    once = standard_error(values, np.arange(60))
    assert once == pytest.approx(values.std(ddof=1) / np.sqrt(60))
    assert standard_error(np.repeat(values, 4), np.repeat(np.arange(60), 4)) == pytest.approx(once)
    # Where they count as different pictures, it looks half as large.
    assert standard_error(np.repeat(values, 4), np.arange(240)) == pytest.approx(once / 2, rel=0.02)
    assert standard_error(values, np.zeros(60, np.int64)) == 0.0


def test_a_large_source_speaks_no_louder_than_a_small_one_and_a_label_of_many_no_louder_than_one_of_few() -> None:
    y = np.array([0] * 12 + [1] * 4)
    units = [Unit(0, "large", np.arange(10)), Unit(0, "small", np.arange(10, 12)), Unit(1, "other", np.arange(12, 16))]

    def logits(loss: float, unit: Unit) -> np.ndarray:
        """Of the right label, so that the log loss is as given."""
        odds = -np.log(np.expm1(loss))
        return np.full((len(unit.rows), 1), odds if unit.label == 1 else -odds)

    given = [logits(loss, unit) for loss, unit in zip((0.2, 0.6, 1.0), units, strict=True)]
    assert unseen_log_loss(given, units, y, 2) == pytest.approx(((0.2 + 0.6) / 2 + 1.0) / 2)


def test_the_losses_are_nearly_those_of_models_that_do_not_even_share_the_scaling() -> None:
    data = pictures(1.5, 0.8)
    trained = train(data, dataclasses.replace(ONE_C, features=(SHARED,)))
    [row] = trained.sweep_results
    chosen = Hyperparameters("whole", ((0, 4),), row.scaling, row.c, row.class_weight)
    units = units_for_a_choice(data.labels, 2, data.sources, data.groups)
    assert len(units) == 8
    group, known = group_numbers(data.groups), np.ones(len(data.labels), dtype=bool)
    exact = []
    for unit in units:
        judged = np.zeros(len(known), dtype=bool)
        judged[unit.rows] = True
        used = without(unit, known, group)
        exact.append(logits_without(data.views, data.labels, 2, chosen, used, judged))
    assert row.unseen_log_loss == pytest.approx(unseen_log_loss(exact, units, data.labels, 2), rel=0.01)
    # And not those of pictures of sources that it knows.
    assert row.unseen_log_loss != pytest.approx(row.log_loss, rel=0.01)


def test_pictures_of_unknown_source_are_neither_trained_on_nor_judged() -> None:
    data = pictures(1.5, 0.8, sources=6)
    unknown = np.arange(len(data.labels)) % 5 == 0
    sources = ["" if bare else name for bare, name in zip(unknown, data.sources, strict=True)]
    units = units_for_a_choice(data.labels, 2, sources, data.groups)
    assert len(units) == 12
    used = without(units[0], ~unknown, group_numbers(data.groups))
    assert not used[unknown].any()
    assert not any(unknown[unit.rows].any() for unit in units)


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({0: ["a"] * 160, 1: ["b", "c", "d", "e"] * 40}, "one source of a label cannot be left out"),
        ({0: ["a", "b"] * 80, 1: ["c", "d"] * 80}, "two of each are too few for a promise"),
        ({0: [""] * 160, 1: ["c", "d", "e", "f"] * 40}, "a label without sources"),
        ({0: [""] * 160, 1: [""] * 160}, "no source at all"),
    ],
)
def test_where_sources_say_too_little_everything_is_as_without_them(tags: dict[int, list[str]], why: str) -> None:
    data = pictures(1.4, 1.0)
    given = dataclasses.replace(data, sources=[*tags[0], *tags[1]])
    before, after = train(without_sources(data), ONE_C), train(given, ONE_C)
    assert after.sweep_results == before.sweep_results, why
    assert {row.unseen_log_loss for row in after.sweep_results} == {None}
    assert np.array_equal(after.out_of_fold, before.out_of_fold)


def test_two_sources_of_one_label_and_three_of_the_other_are_enough() -> None:
    data = pictures(1.4, 1.0)
    sources = ["a", "b"] * 80 + [f"c{number % 3}" for number in range(160)]
    trained = train(dataclasses.replace(data, sources=sources), ONE_C)
    assert any(row.unseen_log_loss is not None for row in trained.sweep_results)


def test_near_duplicates_of_a_source_leave_with_it() -> None:
    data = pictures(1.5, 0.8)
    groups = list(data.groups)
    groups[200] = groups[0]
    [unit] = [
        unit for unit in units_for_a_choice(data.labels, 2, data.sources, groups) if unit.source == data.sources[0]
    ]
    used = without(unit, np.ones(len(groups), dtype=bool), group_numbers(groups))
    assert np.flatnonzero(~used).tolist() == [*range(40), 200]


def test_of_many_sources_the_largest_of_each_label_are_tried_in_turn() -> None:
    sizes = {0: [*range(60, 30, -1)], 1: [30, 25, 20]}
    y = np.concatenate([np.full(sum(of_label), label) for label, of_label in sizes.items()])
    sources = [f"{label}-{n}" for label, of_label in sizes.items() for n in of_label for _ in range(n)]
    units = units_for_a_choice(y, 2, sources, list(range(len(y))))
    assert len(units) == MOST_UNITS_OF_A_CHOICE
    assert [unit.source for unit in units[:8]] == ["0-60", "1-30", "0-59", "1-25", "0-58", "1-20", "0-57", "0-56"]


@pytest.mark.slow
@pytest.mark.parametrize("labels", [2, 3])
def test_the_order_of_rows_changes_nothing_and_neither_does_a_repetition(labels: int) -> None:
    data = pictures(1.2, 0.5, labels)
    order = np.random.default_rng(1).permutation(len(data.labels))
    shuffled = dataclasses.replace(
        data,
        sample_keys=[data.sample_keys[i] for i in order],
        groups=[data.groups[i] for i in order],
        sources=[data.sources[i] for i in order],
        labels=data.labels[order],
        views={name: rows[order] for name, rows in data.views.items()},
    )
    settings = SweepSettings(c=(0.1, 1.0, 10.0, 100.0))
    first, again, other = (train(given, settings) for given in (data, data, shuffled))
    assert sum(row.unseen_log_loss is not None for row in first.sweep_results) > 1
    assert first.sweep_results == again.sweep_results == other.sweep_results
    assert np.array_equal(first.out_of_fold[order], other.out_of_fold)


def test_only_the_shortlist_is_tried() -> None:
    trained = train(pictures(1.2, 0.5))
    tried = [row for row in trained.sweep_results if row.unseen_log_loss is not None]
    assert 1 <= len(tried) <= SHORTLIST + 1 < len(trained.sweep_results)
    assert max(row.log_loss for row in tried) <= sorted(row.log_loss for row in trained.sweep_results)[SHORTLIST]
    [chosen] = [row for row in trained.sweep_results if row.chosen]
    assert chosen.unseen_log_loss <= min(row.unseen_log_loss for row in tried) + 1e-4


def test_a_training_can_be_given_up_while_sources_are_left_out() -> None:
    def progress(_done: int, _total: int, message: str) -> None:
        if "sources left out" in message:
            raise JobCancelled

    with pytest.raises(JobCancelled):
        train(pictures(1.2, 0.5), ONE_C, progress)


def test_as_many_sources_as_samples_are_expected() -> None:
    data = pictures(1.2, 0.5)
    with pytest.raises(InvalidInput, match="sources must have one entry for each of the 320 samples"):
        train(dataclasses.replace(data, sources=data.sources[:-1]), ONE_C)


def test_a_sweep_that_was_stored_before_still_opens() -> None:
    stored = {"views": "whole", "features": "statistics", "scaling": "standardise", "c": 1.0, "C": 0.1}
    stored |= {"class_weight": "none", "log_loss": 0.3, "accuracy": 0.9, "balanced_accuracy": 0.9, "chosen": True}
    assert SweepRow(**stored).unseen_log_loss is None


@pytest.mark.slow
def test_a_set_so_large_that_it_is_reduced_is_tried_as_well() -> None:
    """Block by block, and of what the sweep still has at hand."""
    rng = np.random.default_rng(0)
    y = np.arange(REDUCE_ABOVE + 200) % 2
    x = rng.standard_normal((len(y), 1100), dtype=np.float32)
    x[:, 0] += 2.0 * y
    keys = [key(index) for index in range(len(y))]
    sources = [f"{label}-{place % 40}" for place, label in enumerate(y)]
    data = TrainingData(keys, {"whole": x}, {"all": slice(0, 1100)}, y, ["real", "synthetic"], keys, sources=sources)
    settings = SweepSettings(c=(0.1, 1.0), scaling=("standardise",))
    trained = train(data, settings)
    tried = [row for row in trained.sweep_results if row.unseen_log_loss is not None]
    assert len(tried) >= 1
    # No source has a mark of its own here: it does on those left out nearly as on pictures of all of them.
    assert [row.unseen_log_loss for row in tried] == pytest.approx([row.log_loss for row in tried], rel=0.15)
