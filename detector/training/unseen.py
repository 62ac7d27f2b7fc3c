"""What a model would say of sources that it has never seen: each is left out in turn and judged by the others' model.

Out-of-fold scores show how a detector does on more pictures of the same cameras and generators. People ask about other
pictures. So one source of one label at a time leaves the training, with everything that is nearly the same as one of
its images, and neither the coefficients nor the scaling know it when it is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from detector.arrays import Floats, Ints
from detector.training.calibration import probabilities
from detector.training.copies import Copies
from detector.training.refit import Hyperparameters, logits_without
from detector.training.scaling import Embeddings
from detector.training.source_units import find_units, group_numbers, without
from detector.training.unseen_scores import UnseenScores


def judge_unseen(
    embeddings: Embeddings,
    y: Ints,
    k: int,
    hyperparameters: Hyperparameters,
    temperature: float,
    hashes: Sequence[str],
    sources: Sequence[str],
    groups: Sequence[object],
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    copies: Copies | None = None,
) -> UnseenScores:
    """Leave each unit of `find_units` out and judge it.

    Parameters
    ----------
    embeddings : (n, d) float array by view
    y : (n,) int array of labels 0..k-1
    hyperparameters : Hyperparameters
        Those of the model; they are not chosen again.
    temperature : float
        That of the model.
    hashes, sources, groups : n of each
        Samples without a source are neither trained on nor judged: they may be of the very source that is left out.
    progress : callable
        (units done, units in all).
    copies : Copies, optional
        Those that the model was trained on.
    """
    group, units = group_numbers(groups), find_units(y, sources, groups)
    known = np.array([bool(source) for source in sources], dtype=bool)
    judged: list[tuple[int, Ints, Floats]] = []
    for number, unit in enumerate(units):
        progress(number, len(units))
        rest = without(unit, known, group)
        if len(np.unique(y[rest])) < k:
            continue
        mine = np.zeros(len(y), dtype=bool)
        mine[unit.rows] = True
        logits = logits_without(embeddings, y, k, hyperparameters, rest, mine, copies)
        judged.append((number, unit.rows, probabilities(logits, temperature)))
    progress(len(units), len(units))
    rows = np.concatenate([item[1] for item in judged]) if judged else np.empty(0, np.int64)
    return UnseenScores(
        [hashes[row] for row in rows.tolist()],
        np.concatenate([item[2] for item in judged]) if judged else np.empty((0, k)),
        y[rows],
        group[rows],
        np.concatenate([np.full(len(item[1]), place) for place, item in enumerate(judged)])
        if judged
        else np.empty(0, np.int64),
        [units[number].source for number, _, _ in judged],
    )
