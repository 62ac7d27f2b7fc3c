"""Scaled samples as the solver takes them: their features or, of fewer samples than features, their inner products.

With a penalty on the squared length the best coefficients are a sum of samples, ``w = sum_i a_i x_i`` (the representer
theorem; Kimeldorf and Wahba 1971, https://doi.org/10.1016/0022-247X(71)90184-3). So where there are fewer samples than
features, the solver looks for the n numbers ``a`` instead of the D numbers ``w``. Lengths and angles stay those of
``w``: the *image* of ``a`` is ``a @ gram``, and the inner product of two vectors is that of one with the other's image.
In features a vector is its own image, and both kinds go through the same code.

Either way the regressions are badly conditioned, mostly in the few directions in which the samples differ most. The
solver treats these apart. They are found by a randomised search (Halko, Martinsson and Tropp 2011,
https://arxiv.org/abs/0909.4061), with the same random numbers each time; of many samples with few features, all are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from detector.training.single_thread import product, run_each_single_threaded, run_single_threaded

# On 2,000 images (2,912 features, 50 regressions) 32 directions need as few iterations as 100 or as all 2,000, and take
# the least time to find and to use.
DIRECTIONS = 32
# Of 100,000 samples with 512 features all directions need a third of the iterations of 32, and cost next to nothing.
# Up to so many features they are looked for.
ALL_DIRECTIONS = 1024
# Directions more than that make the search exact enough, and so often it is refined.
_EXTRA = 16
_REFINEMENTS = 2
# Rows of one block of a Gram matrix, of which only the lower half is calculated.
_BLOCK_ROWS = 256


@dataclass(frozen=True)
class Design:
    """One training set in the solver's terms. A vector has p numbers: one for each feature, or for each sample.

    Attributes
    ----------
    matrix : (n, p) tensor
        Centred features, or (p = n) the inner products of all pairs of samples.
    dual : bool
        Whether it is inner products.
    strengths : (q,) tensor, descending
        How much the samples differ along the directions: eigenvalues of the Gram matrix, nearly.
    directions : (q, p) tensor, of length 1 and at right angles: the leading ones
    images : (q, p) tensor, those of the directions
    """

    matrix: Tensor
    dual: bool
    strengths: Tensor
    directions: Tensor
    images: Tensor

    @classmethod
    def of(cls, matrix: Tensor, dual: bool) -> Design:
        """Find the directions of features or of a Gram matrix."""
        bare = cls(matrix, dual, torch.empty(0), torch.empty(0), torch.empty(0))
        if not dual and matrix.shape[1] <= ALL_DIRECTIONS:
            return cls(matrix, dual, *_all(matrix))
        return cls(matrix, dual, *run_single_threaded(partial(_leading, bare)))

    @property
    def samples(self) -> int:
        return self.matrix.shape[0]

    @property
    def parameters(self) -> int:
        """Numbers in one vector."""
        return self.matrix.shape[1]

    def image(self, vectors: Tensor) -> Tensor:
        """(m, p) -> (m, p)."""
        return product(vectors, self.matrix) if self.dual else vectors

    def logits(self, vectors: Tensor, images: Tensor) -> Tensor:
        """What vectors (m, p) say of the samples, without an intercept: (m, n). Their images are needed in any case."""
        return images if self.dual else product(vectors, self.matrix.T)

    def gradient(self, slopes: Tensor) -> Tensor:
        """Slopes of losses in the logits (m, n) as vectors (m, p)."""
        return slopes if self.dual else product(slopes, self.matrix)


def _all(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Strengths, directions and images of all directions."""
    products = product(features.T, features).double()
    strengths, turn = run_single_threaded(lambda: torch.linalg.eigh(products))
    directions = turn.flip(1).T.to(features.dtype).contiguous()
    return strengths.flip(0).clamp_min(0.0).to(features.dtype), directions, directions


def _leading(design: Design) -> tuple[Tensor, Tensor, Tensor]:
    """Strengths, directions and images of the leading directions."""
    dtype, p = design.matrix.dtype, design.parameters
    generator = torch.Generator().manual_seed(0)
    tried = torch.randn((min(DIRECTIONS + _EXTRA, p), p), generator=generator).to(dtype)
    for _ in range(_REFINEMENTS):
        spread = design.gradient(design.logits(tried, design.image(tried)))
        tried = torch.linalg.qr(spread.T).Q.T
    images = design.image(tried)
    logits = design.logits(tried, images)
    # Exact within what they span, in two steps: first at right angles (of length 1 by the images), then turned.
    lengths, turn = torch.linalg.eigh((tried @ images.T).double())
    kept = lengths > torch.finfo(dtype).eps * lengths[-1]
    kept[-1] = True
    turn = turn[:, kept] / lengths[kept].clamp_min(torch.finfo(dtype).tiny).sqrt()
    strengths, turn_again = torch.linalg.eigh(turn.T @ (logits @ logits.T).double() @ turn)
    turn = (turn @ turn_again).flip(1)[:, :DIRECTIONS].T.to(dtype)
    return strengths.flip(0)[:DIRECTIONS].clamp_min(0.0).to(dtype), turn @ tried, turn @ images


def gram_matrix(features: Tensor) -> Tensor:
    """Inner products of all pairs of rows: (n, n). The upper half is copied from the lower."""
    n = len(features)
    products = torch.empty((n, n), dtype=features.dtype)

    def fill(start: int) -> None:
        stop = start + _BLOCK_ROWS
        block = features[start:] @ features[start:stop].T
        products[start:, start:stop] = block
        products[start:stop, start:] = block.T

    run_each_single_threaded([partial(fill, start) for start in range(0, n, _BLOCK_ROWS)])
    return products
