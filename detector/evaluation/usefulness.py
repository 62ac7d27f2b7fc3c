"""Which samples to label next: those that the model is unsure about, and that are unlike one another.

Taking the most uncertain ones alone gives fifty copies of the same difficulty. So the first few hundred are chosen one
after the other, each as the most uncertain of those that lie far from all that were chosen before: farthest-first
traversal (Gonzalez 1985, the core of Sener and Savarese 2018, https://arxiv.org/abs/1708.00489), weighted by
uncertainty.

Measured on mixed2000 with 60 labels, then 100 more (six seeds, accuracy on 600 others): 84.3 % before, 89.8 % after
these 100, 89.1 % after the 100 most uncertain ones, 88.9 % after 100 at random.
"""

from __future__ import annotations

import numpy as np
import torch

from detector.arrays import Floats
from detector.training.single_thread import run_single_threaded

#: How many are chosen to be unlike one another; more than anybody labels between two trainings.
DIVERSE = 300
#: ... out of this many, the most uncertain ones.
_CANDIDATES = 3000


def usefulness(probabilities: Floats, embeddings: np.ndarray) -> Floats:
    """How much the label of each unlabelled sample would teach.

    Parameters
    ----------
    probabilities : (m, k) array, k >= 2, calibrated
    embeddings : (m, d) array
        Centred, so that directions differ; only the directions count.

    Returns
    -------
    (m,) float64, 0..1, highest = most useful to label next
        Above 0.5 the chosen ones in their order; below it the others by uncertainty.
    """
    m = len(probabilities)
    if not m:
        return np.zeros(0)
    uncertainty = _uncertainty(np.asarray(probabilities, dtype=np.float64))
    scores = 0.5 * uncertainty
    candidates = np.argsort(-uncertainty, kind="stable")[:_CANDIDATES]
    chosen = candidates[_spread(uncertainty[candidates], _unit(embeddings[candidates]), min(DIVERSE, m))]
    # The last one chosen must still lie above 0.5.
    scores[chosen] = 1.0 - 0.5 * np.arange(len(chosen)) / len(chosen)
    return scores


def _uncertainty(probabilities: Floats) -> Floats:
    """1 where two labels are equally probable, 0 where one is certain."""
    two = np.partition(probabilities, -2, axis=1)[:, -2:]
    return np.clip(1.0 - (two[:, 1] - two[:, 0]), 0.0, 1.0)


def _spread(weights: Floats, directions: np.ndarray, count: int) -> list[int]:
    """Greedy: the largest product of weight and distance to what is chosen already, ``count`` times."""
    rows = torch.from_numpy(directions)
    # The cosine distances; of copies they can come out a little below 0.
    distances = run_single_threaded(lambda: (1.0 - rows @ rows.T).clamp_(min=0.0)).numpy()
    distance = np.full(len(weights), np.inf)
    chosen = [int(weights.argmax())]
    while len(chosen) < count:
        np.minimum(distance, distances[chosen[-1]], out=distance)
        gain = weights * distance
        gain[chosen] = -1.0
        chosen.append(int(gain.argmax()))
    return chosen


def _unit(embeddings: np.ndarray) -> np.ndarray:
    rows = np.asarray(embeddings, dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, np.finfo(np.float32).tiny))
