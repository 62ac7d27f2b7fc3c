"""Which annotations are most likely wrong: those that held-out predictions speak against the loudest."""

from __future__ import annotations

import numpy as np

from detector.training.calibration import Floats, Ints

#: cleanlab's score for one sample, and whether labels are first made comparable by their average confidence.
_METHOD, _ADJUST = "self_confidence", False


def label_quality(labels: Ints, probabilities: Floats) -> Floats:
    """How well each annotation fits what the model says that never saw it.

    Parameters
    ----------
    labels : (n,) int array of indices into the columns of ``probabilities``
    probabilities : (n, k) array
        Out-of-fold: near-duplicates must have shared a fold, or a wrong label vouches for its twin.

    Returns
    -------
    (n,) float64, 0..1; the lowest are most likely mislabelled
    """
    if not len(labels):
        return np.zeros(0)
    # Here, not above: it brings scikit-learn and pandas, which the server must not wait for when it starts.
    from cleanlab.rank import get_label_quality_scores

    scores = get_label_quality_scores(
        np.asarray(labels, dtype=np.int64),
        np.asarray(probabilities, dtype=np.float64),
        method=_METHOD,
        adjust_pred_probs=_ADJUST,
    )
    return np.clip(np.asarray(scores, dtype=np.float64), 0.0, 1.0)
