"""From stored embeddings to the scaled features that the classifier sees.

Features are a list of blocks, one for each view and named feature set, side by side. Two ways of scaling:

- ``standardise``: every column gets mean 0 and deviation 1 over the training samples.
- ``unit-length``: every row of a block gets length 1, then every column mean 0. (An unpenalised intercept makes
  centring harmless, and without it the squared norm would mostly measure how far from the origin all images lie.)

Neither looks at labels, so both may see the samples that a fold holds out. Several views are averaged: each block is
divided by the square root of the number of views, so that the Gram matrix of ``both`` is the mean of the views'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from detector.arrays import Floats

STANDARDISE, UNIT_LENGTH = "standardise", "unit-length"
SCALINGS = (STANDARDISE, UNIT_LENGTH)
# Rows turned into float64 at a time: so few stay in the cores' caches (2,000 rows of 2,912 numbers are read in 16 ms,
# all at once in 43 ms and more).
CHUNK_ROWS = 256
# Above so many samples memory is what a training must save.
LARGE = 5000
# A column whose deviation is below this share of its size (a dead channel) does not vary: it is rounding noise.
CONSTANT_COLUMN = 1e-6


class Rows(Protocol):
    """A matrix that gives its rows where it is indexed: an array, or one that lies in a file (``EmbeddingFile``)."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any, /) -> Any: ...


Embeddings = Mapping[str, Rows]


@dataclass(frozen=True)
class FeatureScaling:
    """Which columns are used, and how each is scaled: ``(column - mean) / scale``, after unit length if that is chosen.

    Attributes
    ----------
    views : names of the views, in the order of the blocks
    slices : (start, stop) of the columns within one view's row, one block each
    scaling : "standardise" or "unit-length"
    mean, scale : (D,) float64, over all blocks side by side
    """

    views: tuple[str, ...]
    slices: tuple[tuple[int, int], ...]
    scaling: str
    mean: Floats
    scale: Floats

    def apply(self, embeddings: Embeddings, rows: slice = slice(None)) -> Floats:
        """Scaled features of some rows: (n, D) float64."""
        raw = _raw(embeddings, self.views, self.slices, self.scaling, rows)
        raw -= self.mean
        raw /= self.scale
        return raw

    def chunks(self, embeddings: Embeddings) -> Iterator[tuple[slice, Floats]]:
        """Scaled features of all rows, few at a time, to keep float64 copies small."""
        for rows in row_chunks(len(embeddings[self.views[0]])):
            yield rows, self.apply(embeddings, rows)


def row_chunks(n: int) -> list[slice]:
    return [slice(start, min(start + CHUNK_ROWS, n)) for start in range(0, n, CHUNK_ROWS)]


def fit_scaling(
    embeddings: Embeddings, views: Sequence[str], slices: Sequence[tuple[int, int]], scaling: str
) -> FeatureScaling:
    """Measure the columns of the training samples.

    Parameters
    ----------
    embeddings : (n, d) float array by view
    views, slices, scaling : as in FeatureScaling
    """
    views, slices = tuple(views), tuple(slices)
    n = len(embeddings[views[0]])
    chunks = row_chunks(n)
    mean = np.sum([_raw(embeddings, views, slices, scaling, rows).sum(axis=0) for rows in chunks], axis=0) / n
    blocks = len(views)
    if scaling == STANDARDISE:
        squares = [((_raw(embeddings, views, slices, scaling, rows) - mean) ** 2).sum(axis=0) for rows in chunks]
        deviation = np.sqrt(np.sum(squares, axis=0) / n)
        scale = np.where(deviation > CONSTANT_COLUMN * np.maximum(np.abs(mean), 1e-30), deviation, 1.0)
    else:
        scale = np.ones_like(mean)
        blocks *= len(slices)
    return FeatureScaling(views, slices, scaling, mean, scale * np.sqrt(blocks))


def _raw(
    embeddings: Embeddings, views: Sequence[str], slices: Sequence[tuple[int, int]], scaling: str, rows: slice
) -> Floats:
    blocks = []
    for view in views:
        for start, stop in slices:
            block = np.asarray(embeddings[view][rows, start:stop], dtype=np.float64)
            if scaling == UNIT_LENGTH:
                length = np.sqrt(np.einsum("nd,nd->n", block, block))[:, None]
                block = block / np.where(length > 0.0, length, 1.0)
            blocks.append(block)
    return np.concatenate(blocks, axis=1)
