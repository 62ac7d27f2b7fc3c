"""Degraded copies as rows beside those of their originals. Light to import: no torch.

A copy is trained on wherever its original is, and nowhere else; an original and its copies together weigh as much as a
sample without copies. So neither folds nor subsets nor sources need to know of copies: they are chosen for originals.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from detector.arrays import Floats, Ints
from detector.training.scaling import Embeddings, Rows


@dataclass(frozen=True, eq=False)
class Copies:
    """Copies of n samples.

    Attributes
    ----------
    of : (m,) int array
        The row of each copy's original.
    numbers : (m,) int array, ascending
        Which copy of its original it is.
    views : (m, d) float array by view, the same views as the samples have
    """

    of: Ints
    numbers: Ints
    views: Embeddings

    def __len__(self) -> int:
        return len(self.of)

    def of_rows(self, rows: Ints) -> Copies:
        """The copies of some samples, given by their places; these are counted from 0 then, in the order given."""
        place = np.full(int(max(self.of.max(initial=-1), rows.max(initial=-1))) + 1, -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        of = place[self.of]
        order = np.lexsort((of, self.numbers))
        order = order[of[order] >= 0]
        return Copies(of[order], self.numbers[order], {view: each[order] for view, each in self.views.items()})


@dataclass(frozen=True, eq=False)
class Stack:
    """Samples with their copies below them, as one training sees them.

    Attributes
    ----------
    n : samples; the rows from n on are copies
    of : (n + m,) int array
        The sample that each row is, or is a copy of.
    weights : (n + m,) float array
        They sum to 1 for a sample and its copies.
    views : (n + m, d) by view
    """

    n: int
    of: Ints
    weights: Floats
    views: Embeddings

    def first_copies(self) -> Ints:
        """Of each sample the place of its first copy among the copies; -1 where it has none: (n,)."""
        result = np.full(self.n, -1, dtype=np.int64)
        originals, places = np.unique(self.of[self.n :], return_index=True)
        result[originals] = places
        return result


@dataclass(frozen=True)
class Side:
    """Out-of-fold figures of one kind of training: log loss and accuracy on clean and on degraded pictures."""

    clean_loss: float
    degraded_loss: float
    clean_accuracy: float
    degraded_accuracy: float


@dataclass(frozen=True)
class Hardening:
    """What training on copies brought.

    Attributes
    ----------
    copies : the most of one sample
    before, after : Side
        Without and with copies, measured alike.
    taken : bool
        Whether the model was trained on copies.
    """

    copies: int
    before: Side
    after: Side
    taken: bool

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Hardening:
        """The inverse of ``to_json``."""
        return cls(data["copies"], Side(**data["before"]), Side(**data["after"]), data["taken"])


def stacked(embeddings: Embeddings, copies: Copies | None) -> Stack:
    """Samples (n, d) by view, and their copies if there are any."""
    n = len(next(iter(embeddings.values())))
    own = np.arange(n, dtype=np.int64)
    if copies is None or not len(copies):
        return Stack(n, own, np.ones(n), embeddings)
    of = np.concatenate([own, copies.of])
    weights = 1.0 / (1.0 + np.bincount(copies.of, minlength=n))
    views = {view: below(rows, copies.views[view]) for view, rows in embeddings.items()}
    return Stack(n, of, weights[of], views)


def below(upper: Rows, lower: Rows) -> Rows:
    """Two matrices as one; nothing of what lies in a file is read for it."""
    if isinstance(upper, np.ndarray) and isinstance(lower, np.ndarray):
        return np.concatenate([upper, lower])
    return _Below(upper, lower)


class _Below:
    """Two matrices of which at least one lies in a file, one below the other: rows are read where they are asked for.

    Indexed as an ``EmbeddingFile`` is: a slice of rows, with columns or without, is an array; an array of rows is such
    a matrix again.
    """

    def __init__(self, upper: Rows, lower: Rows, order: Ints | None = None) -> None:
        self._upper, self._lower = upper, lower
        self._order = np.arange(len(upper) + len(lower)) if order is None else order

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, d)"""
        return len(self._order), int(self._upper.shape[1])

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, key: Any) -> Any:
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        wanted = self._order[rows]
        if not isinstance(rows, slice):
            return _Below(self._upper, self._lower, wanted)
        n = len(self._upper)
        above = wanted < n
        parts = [(above, self._upper, wanted[above]), (~above, self._lower, wanted[~above] - n)]
        result = np.empty((len(wanted), self.shape[1]), np.float32)
        for mine, matrix, places in parts:
            if len(places):
                result[mine] = matrix[places][:]
        return result[:, columns]
