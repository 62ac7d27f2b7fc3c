"""The law by which error falls with the number of training images, fitted to what was measured. Light to import."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: The law is fitted to this many of the largest sizes.
FITTED = 4

_LEAST_ERROR = 1e-4


def accuracy_at(sizes: Sequence[float], accuracy: Sequence[float], wanted: Sequence[float]) -> NDArray[np.float64]:
    """The accuracy that the law expects at other sizes.

    The error is taken to fall as a power of the size (Hestness et al., "Deep Learning Scaling is Predictable,
    Empirically", 2017).

    Parameters
    ----------
    sizes, accuracy : of equal length, in ascending order of size
        At least two.
    wanted : sizes, > 0

    Returns
    -------
    array of one accuracy for each wanted size
    """
    error = np.maximum(1.0 - np.asarray(accuracy[-FITTED:], dtype=np.float64), _LEAST_ERROR)
    slope, offset = np.polyfit(np.log(sizes[-FITTED:]), np.log(error), 1)
    return np.asarray(1.0 - np.exp(offset + slope * np.log(wanted)))
