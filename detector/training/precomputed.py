"""A training set made ready for many regressions: how its features are scaled, and what all of them have in common.

None of it depends on labels, folds, values of C or class weights. Of fewer samples than features it is their Gram
matrix; of large sets with many features their leading directions (see ``reduction``); of others the scaling alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from detector.arrays import Floats
from detector.training.design import Design, gram_matrix
from detector.training.reduction import along, leading_directions, reduce, worth_reducing
from detector.training.scaling import Embeddings, FeatureScaling
from detector.training.single_thread import product


@dataclass(frozen=True)
class PreparedSamples:
    """Samples whose regressions can be solved.

    Attributes
    ----------
    scaling : FeatureScaling
    mean_squared_norm : float
        Of the scaled samples; relative C is divided by it.
    dtype : torch.float32, accurate enough for choosing among settings, or torch.float64, whose coefficients are equal
        to scikit-learn's. Always the former of a reduced set, in which more is lost otherwise.
    gram : (n, n) tensor of that type, or None
    directions : (D, r) float32 tensor, orthonormal; None where nothing is reduced
    """

    scaling: FeatureScaling
    mean_squared_norm: float
    dtype: torch.dtype
    gram: Tensor | None = None
    directions: Tensor | None = None
    # The samples along the directions, where they were made on the way: whoever asks first takes them away.
    _made: list[Tensor] = field(default_factory=list, repr=False)

    @property
    def nbytes(self) -> int:
        """Of the matrices."""
        return sum(each.nbytes for each in (self.gram, self.directions) if each is not None)

    @property
    def parameters(self) -> int:
        """Numbers of one sample as a design without a Gram matrix has them."""
        return len(self.scaling.mean) if self.directions is None else self.directions.shape[1]

    def chunks(self, embeddings: Embeddings) -> Iterator[tuple[slice, np.ndarray]]:
        """The samples as that design has them, few at a time: for whoever has no room for all."""
        for rows, features in self.scaling.chunks(embeddings):
            if self.directions is None:
                yield rows, features
            else:
                yield rows, product(torch.from_numpy(features).float(), self.directions).numpy()

    def exact(self, embeddings: Embeddings) -> PreparedSamples:
        """The same in float64, unless the set is reduced."""
        if self.directions is not None or self.dtype == torch.float64:
            return self
        gram = None if self.gram is None else gram_of(embeddings, self.scaling, torch.float64)
        return replace(self, dtype=torch.float64, gram=gram)

    def design(self, embeddings: Embeddings) -> Design:
        """What the solver takes."""
        if self.gram is not None:
            return Design.of(self.gram, dual=True)
        if self.directions is None:
            return Design.of(_features(embeddings, self.scaling, self.dtype), dual=False)
        reduced = self._made.pop() if self._made else along(embeddings, self.scaling, self.directions)
        return Design.of(reduced, dual=False)

    def coefficients(self, embeddings: Embeddings, vectors: Tensor) -> Floats:
        """Bring solutions (m, p) back to the scaled features: (m, D) float64."""
        solution = vectors.double()
        if self.directions is not None:
            return product(solution, self.directions.double().T).numpy()
        if self.gram is None:
            return solution.numpy()
        result = torch.zeros((len(solution), len(self.scaling.mean)), dtype=torch.float64)
        for rows, features in self.scaling.chunks(embeddings):
            result += product(solution[:, rows], torch.from_numpy(features))
        return result.numpy()


def prepare(
    embeddings: Embeddings,
    scaling: FeatureScaling,
    dtype: torch.dtype,
    gram: Callable[[], Tensor] | None = None,
    in_memory: bool = True,
) -> PreparedSamples:
    """Calculate what all regressions of these samples have in common.

    Parameters
    ----------
    embeddings : (n, d) float array by view
    scaling : FeatureScaling
    dtype : torch.float32 or torch.float64
    gram : callable, optional
        Where the (n, n) Gram matrix comes from if it is needed (n <= D); the sweep adds it up from those of the blocks.
    in_memory : bool
        False: of a reduced set only the directions are made; its samples are asked for in chunks.
    """
    n, dimension = len(embeddings[scaling.views[0]]), len(scaling.mean)
    if worth_reducing(n, dimension) and not in_memory:
        trace, directions = leading_directions(embeddings, scaling)
        return PreparedSamples(scaling, _mean(trace, n), torch.float32, directions=directions)
    if worth_reducing(n, dimension):
        trace, directions, made = reduce(embeddings, scaling)
        return PreparedSamples(scaling, _mean(trace, n), torch.float32, directions=directions, _made=[made])
    if n <= dimension:
        products = gram_of(embeddings, scaling, dtype) if gram is None else gram()
        return PreparedSamples(scaling, _mean(float(products.diagonal().double().sum()), n), dtype, products)
    trace = sum(float(np.einsum("nd,nd->", features, features)) for _, features in scaling.chunks(embeddings))
    return PreparedSamples(scaling, _mean(trace, n), dtype)


def gram_of(embeddings: Embeddings, scaling: FeatureScaling, dtype: torch.dtype) -> Tensor:
    """Inner products of all pairs of scaled samples: (n, n). Only for n <= D, where the features fit as well."""
    return gram_matrix(_features(embeddings, scaling, dtype))


def _mean(trace: float, n: int) -> float:
    return trace / n if trace > 0.0 else 1.0


def _features(embeddings: Embeddings, scaling: FeatureScaling, dtype: torch.dtype) -> Tensor:
    """(n, D) scaled features."""
    result = torch.empty((len(embeddings[scaling.views[0]]), len(scaling.mean)), dtype=dtype)
    for rows, features in scaling.chunks(embeddings):
        result[rows] = torch.from_numpy(features).to(dtype)
    return result
