"""Which annotations are most likely wrong: those that held-out predictions speak against the loudest.

The scores are cleanlab's (Northcutt, Jiang and Chuang 2021, https://arxiv.org/abs/1911.00068). The best of them,
self-confidence, is the probability of the given label: it is computed here, since importing cleanlab for it takes a
second of every first training; a test holds both against each other. Which score is best was measured on 2,000
pictures of mixed2000, trained after 5 % of their labels were replaced at random: how many of the 100 wrong ones were
among the first 200, mean over seeds.

===========================  =====================  ==========================
score                        two labels, six seeds  14 sources, three seeds
===========================  =====================  ==========================
self_confidence              91 % (85 to 97)        89 %
confidence_weighted_entropy  91 %                   86 %
normalized_margin            91 %                   76 %
normalized_margin, adjusted  91 %                   42 %
self_confidence, adjusted    91 %                   33 %
===========================  =====================  ==========================

Of two labels all three scores give one order. "Adjusted" (adjust_pred_probs) makes up for labels of unequal size; with
1,000 against 250 samples, 73 % of the wrong ones were among as many first ones as there were, without it 79 %. The 14
sources were trained with fixed settings.
"""

from __future__ import annotations

import numpy as np

from detector.arrays import Floats, Ints


def label_quality(labels: Ints, probabilities: Floats) -> Floats:
    """How well each annotation fits what the model says that never saw it.

    Parameters
    ----------
    labels : (n,) int array of indices into the columns of ``probabilities``
    probabilities : (n, k) array
        Out-of-fold. Near-duplicates must have shared a fold: a model that learned a wrong label would vouch for it on
        the picture's twin. Twins under different labels are then predicted alike, and the wrong one stands out.

    Returns
    -------
    (n,) float64, 0..1; the lowest are most likely mislabelled
    """
    chosen = np.asarray(probabilities, dtype=np.float64)[np.arange(len(labels)), np.asarray(labels, dtype=np.int64)]
    return np.clip(chosen, 0.0, 1.0)
