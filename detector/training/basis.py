"""The eigenbasis in which the sweep solves its regressions.

With n samples of D scaled features the solutions live in r = min(n, D) dimensions: those of the Gram matrix (n <= D) or
of the covariance matrix (n > D). One eigendecomposition serves all folds, values of C and class weights, since none of
them changes the features; and there the penalty is still the plain squared length, because the basis is orthonormal.
Of large sets with many features it holds only the leading directions: see ``reduction``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from detector.training.calibration import Floats
from detector.training.one_core import on_one_core
from detector.training.reduction import reduce, worth_reducing
from detector.training.scaling import Embeddings, FeatureScaling

# Directions whose eigenvalue is below this share of the largest one hold nothing but rounding.
NEGLIGIBLE = 1e-12
# Size of matrix up to which one core decomposes it: 1.2 s for 2,000 rows, where two took 1 to 13 s on a busy machine.
ONE_CORE_ROWS = 3000


@dataclass(frozen=True)
class Eigenbasis:
    """Scaled samples in their own eigenbasis.

    Attributes
    ----------
    scaling : FeatureScaling
    mean_squared_norm : float
        Of the scaled samples; relative C is divided by it.
    eigenvalues : (r,) float64
    vectors : (n, r) eigenvectors of the Gram matrix, or (D, r) of the covariance matrix
    from_gram : bool
    reduced : whether directions were left out
    """

    scaling: FeatureScaling
    mean_squared_norm: float
    eigenvalues: Floats
    vectors: Floats
    from_gram: bool
    reduced: bool = False
    # The samples in this basis, where they were made on the way: whoever asks first takes them away.
    _made: list[np.ndarray] = field(default_factory=list, repr=False)

    def design(self, embeddings: Embeddings, dtype: type = np.float64) -> np.ndarray:
        """The samples in this basis: (n, r), with orthogonal columns."""
        if self.from_gram:
            return (self.vectors * np.sqrt(self.eigenvalues)).astype(dtype, copy=False)
        if self._made and dtype is np.float32:
            return self._made.pop()
        n = len(embeddings[self.scaling.views[0]])
        result: np.ndarray = np.empty((n, self.vectors.shape[1]), dtype=dtype)
        vectors: np.ndarray = self.vectors.astype(dtype, copy=False)
        for rows, features in self.scaling.chunks(embeddings):
            result[rows] = features.astype(dtype, copy=False) @ vectors
        return result

    def coefficients(self, embeddings: Embeddings, solution: Floats) -> Floats:
        """Bring a solution (r, k) back to the scaled features: (k, D)."""
        if not self.from_gram:
            return np.ascontiguousarray((self.vectors @ solution).T)
        positive = self.eigenvalues > 0.0
        root = np.sqrt(np.where(positive, self.eigenvalues, 1.0))
        dual = self.vectors @ (np.where(positive, 1.0 / root, 0.0)[:, None] * solution)
        result = np.zeros((solution.shape[1], len(self.scaling.mean)))
        for rows, features in self.scaling.chunks(embeddings):
            result += dual[rows].T @ features
        return result


def eigenbasis(embeddings: Embeddings, scaling: FeatureScaling, gram: Callable[[], Floats] | None = None) -> Eigenbasis:
    """Decompose the scaled samples.

    Parameters
    ----------
    embeddings : (n, d) float array by view
    scaling : FeatureScaling
    gram : callable, optional
        Where the (n, n) Gram matrix comes from if it is needed (n <= D); the sweep adds it up from those of the blocks.
    """
    n, dimension = len(embeddings[scaling.views[0]]), len(scaling.mean)
    if worth_reducing(n, dimension):
        trace, eigenvalues, vectors, made = reduce(embeddings, scaling)
        return Eigenbasis(scaling, trace / n if trace > 0.0 else 1.0, eigenvalues, vectors, False, True, [made])
    from_gram = n <= dimension
    if from_gram:
        matrix = gram_matrix(embeddings, scaling) if gram is None else gram()
        trace = float(np.trace(matrix))
    else:
        # float32 products suffice here: they only tilt the basis a little, and any orthonormal one is exact.
        matrix, trace = np.zeros((dimension, dimension)), 0.0
        for _, features in scaling.chunks(embeddings):
            trace += float(np.einsum("nd,nd->", features, features))
            narrow = features.astype(np.float32)
            matrix += narrow.T @ narrow
    eigenvalues, vectors = _decompose(matrix)
    # The last direction stays in any case: identical images have no other.
    kept = eigenvalues > NEGLIGIBLE * max(eigenvalues[-1], 0.0)
    kept[-1] = True
    eigenvalues = np.maximum(eigenvalues[kept], 0.0)
    return Eigenbasis(scaling, trace / n if trace > 0.0 else 1.0, eigenvalues, vectors[:, kept], from_gram)


def _decompose(matrix: Floats) -> tuple[Floats, Floats]:
    symmetric = torch.from_numpy(matrix)
    if len(matrix) <= ONE_CORE_ROWS:
        values, vectors = on_one_core(lambda: torch.linalg.eigh(symmetric))
    else:
        values, vectors = torch.linalg.eigh(symmetric)
    return values.numpy(), vectors.numpy()


def gram_matrix(embeddings: Embeddings, scaling: FeatureScaling) -> Floats:
    """Inner products of all pairs of scaled samples: (n, n). Only for n <= D, where the features fit as well."""
    features = scaling.apply(embeddings)
    return np.asarray(features @ features.T)
