from __future__ import annotations

import numpy as np
import pytest

from detector.training.folds import make_folds
from detector.training.options import SweepSettings, sweep_options
from detector.training.sweep import TIE, sweep
from tests.training.factories import clouds, key

FEATURES = {"projected": slice(0, 8), "pre_projection": slice(8, 20)}


def _set(counts=(30, 30)):
    x, y = clouds(counts, 20)
    views = {"whole": x, "detail": clouds(counts, 20, seed=4)[0]}
    return views, y, make_folds(y, [key(i) for i in range(len(y))])


@pytest.mark.slow
def test_the_chosen_row_is_the_simplest_of_the_best():
    views, y, folds = _set((30, 20))
    options = sweep_options(SweepSettings(), views, FEATURES, y)
    result = sweep(views, y, 2, folds, options)
    best = min(row.log_loss for row in result.rows)
    tied = [row for row in result.rows if row.log_loss <= best + TIE]
    assert len(result.rows) == options.settings_count
    assert [row.chosen for row in result.rows].count(True) == 1
    assert result.chosen.chosen
    assert result.chosen in tied


@pytest.mark.slow
def test_ties_go_to_the_simpler_setting():
    # Both views the same and all features alike: views and features make no difference.
    views, y, folds = _set()
    x = np.concatenate([views["whole"][:, :8]] * 2, axis=1)
    same = {"whole": x, "detail": x}
    features = {"first": slice(0, 8), "second": slice(8, 16)}
    result = sweep(same, y, 2, folds, sweep_options(SweepSettings(), same, features, y))
    assert (result.chosen.views, result.chosen.features) == ("whole", "first")


def test_relative_c_means_the_same_for_other_units_and_more_copies_of_the_features():
    views, y, folds = _set()
    x = views["whole"]
    losses = []
    for embeddings in (x, x * 1000, np.concatenate([x] * 3, axis=1)):
        given = {"whole": embeddings}
        settings = SweepSettings(scaling=("standardise",))
        options = sweep_options(settings, given, {"statistics": slice(0, embeddings.shape[1])}, y)
        losses.append([row.log_loss for row in sweep(given, y, 2, folds, options).rows])
    assert np.allclose(losses[0], losses[1], atol=2e-4)
    assert np.allclose(losses[0], losses[2], atol=2e-4)


@pytest.mark.slow
def test_progress_counts_fits_and_never_goes_back():
    views, y, folds = _set()
    seen = []
    options = sweep_options(SweepSettings(), views, FEATURES, y)
    sweep(views, y, 2, folds, options, lambda done, total, message: seen.append((done, total, message)))
    done = [entry[0] for entry in seen]
    assert done == sorted(done)
    assert done[-1] == seen[-1][1] == options.settings_count * 5
    assert seen[0][2] == "Trying whole view, projected, standardise"
