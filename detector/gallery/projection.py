"""Embeddings made small: the few directions in which samples differ most, enough to find what lies near."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Numbers kept of each embedding.
DIMENSIONS = 128
#: Samples that the directions are learned from, and the extra directions that make the search for them exact enough.
_LEARN_FROM = 1024
_EXTRA = 16


@dataclass(frozen=True, eq=False)
class Projection:
    """Centres and scales embeddings, then keeps their principal components.

    Embeddings of one backbone share a large mean, so the cosines of raw ones are all near 1; and their numbers differ
    in scale, so a few would decide alone.

    Attributes
    ----------
    centre, scale : (d,) float32
    directions : (d, p) float32, orthonormal; p is ``DIMENSIONS`` where there is that much to tell apart
    """

    centre: np.ndarray
    scale: np.ndarray
    directions: np.ndarray

    @classmethod
    def fit(cls, embeddings: np.ndarray) -> Projection:
        """Learn from (n, d) embeddings, n >= 1, of which the first thousand stand for all.

        The directions are those of a randomised principal component analysis with one power iteration (Halko,
        Martinsson and Tropp 2011, https://arxiv.org/abs/0909.4061), always with the same random numbers.
        """
        embeddings = embeddings[:_LEARN_FROM]
        centre = embeddings.mean(axis=0, dtype=np.float64).astype(np.float32)
        scale = embeddings.std(axis=0, dtype=np.float64).astype(np.float32)
        # What never changes tells nothing; dividing by nearly nothing would make its rounding errors the loudest.
        scale[scale <= 1e-6 * np.abs(centre)] = np.inf
        scale[scale == 0] = np.inf
        rows = (embeddings - centre) / scale
        d = rows.shape[1]
        start = np.random.default_rng(0).standard_normal((d, min(d, DIMENSIONS + _EXTRA)), dtype=np.float32)
        basis, _ = np.linalg.qr(rows.T @ (rows @ start))
        _, _, order = np.linalg.svd(rows @ basis, full_matrices=False)
        return cls(centre, scale, np.ascontiguousarray(basis @ order[:DIMENSIONS].T))

    def even(self, embeddings: np.ndarray) -> np.ndarray:
        """(n, d) -> (n, d) unit vectors, centred and scaled: products of two rows are their similarity."""
        return _unit((np.asarray(embeddings, dtype=np.float32) - self.centre) / self.scale)

    def compact(self, embeddings: np.ndarray) -> np.ndarray:
        """(n, d) -> (n, p) float16 unit vectors: products of two rows come near their similarity."""
        weights = self.directions / self.scale[:, None]
        return _unit(embeddings @ weights - self.centre @ weights).astype(np.float16)


def _unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, np.finfo(np.float32).tiny), dtype=np.float32)
