"""Prepared samples that are kept from one training to the next."""

from __future__ import annotations

import numpy as np

from detector.training import gram_cache
from detector.training.folds import make_folds
from detector.training.gram_cache import GramCache, content_digest
from detector.training.options import SweepSettings, sweep_options
from detector.training.precomputed import PreparedSamples
from detector.training.scaling import STANDARDISE
from detector.training.sweep import SweepResult, prepare_choice, sweep

WHOLE = ("whole", ((0, 60),), STANDARDISE)


def _embeddings(seed: int, n: int = 40) -> dict[str, np.ndarray]:
    return {"whole": np.random.default_rng(seed).standard_normal((n, 60)).astype(np.float32)}


def _prepared(embeddings: dict[str, np.ndarray]) -> PreparedSamples:
    return prepare_choice(embeddings, *WHOLE)


def _sweep(embeddings: dict[str, np.ndarray], y: np.ndarray) -> SweepResult:
    options = sweep_options(SweepSettings(), embeddings, {"all": slice(0, 60)}, y)
    folds = make_folds(y, [str(index) for index in range(len(y))], 4, 0)
    assert folds is not None
    return sweep(embeddings, y, 2, folds, options)


def test_the_same_numbers_are_remembered_and_others_have_not() -> None:
    kept = GramCache()
    embeddings = _embeddings(1)
    first = kept.get(content_digest(embeddings), WHOLE, lambda: _prepared(embeddings))
    again = {"whole": embeddings["whole"].copy()}
    assert kept.get(content_digest(again), WHOLE, lambda: _prepared(again)) is first
    again["whole"][3, 4] += 1e-3
    assert kept.get(content_digest(again), WHOLE, lambda: _prepared(again)) is not first
    narrower = ("whole", ((0, 8),), STANDARDISE)
    assert kept.get(content_digest(embeddings), narrower, lambda: prepare_choice(embeddings, *narrower)) is not first


def test_kind_of_number_shape_and_name_of_the_view_tell_embeddings_apart() -> None:
    rows = np.zeros((4, 6), np.float32)
    others = [{"whole": rows}, {"detail": rows}, {"whole": rows.reshape(6, 4)}, {"whole": rows.view(np.int32)}]
    assert len({content_digest(embeddings) for embeddings in others}) == len(others)


def test_the_oldest_go_when_there_is_no_room_and_large_sets_are_not_kept() -> None:
    sets = [_embeddings(seed) for seed in range(3)]
    made = [_prepared(embeddings) for embeddings in sets]
    kept = GramCache(most_bytes=2 * made[0].nbytes)
    for embeddings in sets:
        kept.get(content_digest(embeddings), WHOLE, lambda embeddings=embeddings: _prepared(embeddings))
    asked = []
    for number in (2, 1, 0):
        kept.get(content_digest(sets[number]), WHOLE, lambda number=number: asked.append(number) or made[number])
    assert asked == [0]
    assert content_digest(_embeddings(1, gram_cache.MOST_SAMPLES + 1)) is None


def test_a_sweep_after_some_labels_were_changed_gives_what_it_gives_without_a_memory(monkeypatch) -> None:
    embeddings = _embeddings(2, 80)
    y = (embeddings["whole"][:, 0] > 0).astype(np.int64)
    _sweep(embeddings, y)
    y[:5] = 1 - y[:5]
    remembering = _sweep(embeddings, y)
    monkeypatch.setattr("detector.training.sweep.GRAM_CACHE", GramCache())
    forgetful = _sweep(embeddings, y)
    assert remembering.rows == forgetful.rows
    assert np.array_equal(remembering.logits, forgetful.logits)
