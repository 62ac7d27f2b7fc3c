"""How many samples each choice of each filter would leave, counted over tables of small numbers.

Each way to divide the samples (by label, by source, ...) gives every sample a small number. Several of them together
give one number, of up to 65,536: one pass over these counts all of their choices at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.arrays import Floats, Ints
from detector.gallery.columns import Bools, Column

#: Bars of the confidence histogram, over 0 to 1.
BINS = 40
#: The most that a table of counts may have: its numbers take two bytes each.
_CELLS = 1 << 16


@dataclass(frozen=True)
class Division:
    """Samples divided: each row's place among ``size`` ones."""

    places: NDArray[Any]
    size: int


def by_code(column: Column) -> Division:
    """Place 0: none; place i + 1: the i-th value."""
    return _division(column.codes + 1, len(column.values) + 1)


def by_confidence(confidence: Floats) -> Division:
    """The bars of the histogram, each with its lower end, the last one with both; and, behind them, all others."""
    edges = np.linspace(0.0, 1.0, BINS + 1)
    there = (confidence >= 0) & (confidence <= 1)
    known = np.where(there, confidence, 0.0)
    places = (known * BINS).astype(np.int16)
    np.minimum(places, BINS - 1, out=places)
    # What the multiplication has rounded over an edge.
    places -= known < edges[places]
    places += (known >= edges[places + 1]) & (places < BINS - 1)
    return _division(np.where(there, places, BINS), BINS + 1)


def by_verdict(predicted: Column, sure: Bools) -> Division:
    """Place 0: no prediction; 1: not sure; i + 2: says the i-th value."""
    codes = predicted.codes
    return _division(np.where(codes < 0, 0, np.where(sure, codes + 2, 1)), len(predicted.values) + 2)


def by_flag(flags: Bools) -> Division:
    """Place 0: no; place 1: yes."""
    return _division(flags, 2)


def by_agreement(agrees: NDArray[np.int8]) -> Division:
    """Place 0: nothing to compare; 1: differs; 2: agrees."""
    return _division(agrees + 1, 3)


def _division(places: NDArray[Any], size: int) -> Division:
    kind = np.uint8 if size <= 1 << 8 else np.uint16 if size <= _CELLS else np.int32
    return Division(places.astype(kind), size)


@dataclass(frozen=True)
class _Table:
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    places: NDArray[Any]


class Tables:
    """Divisions put together in as few tables as hold them."""

    def __init__(self, divisions: Mapping[str, Division]) -> None:
        self._divisions = dict(divisions)
        self._tables: list[_Table] = []
        group: list[str] = []
        cells = 1
        for name, division in sorted(divisions.items(), key=lambda item: item[1].size):
            if group and cells * division.size > _CELLS:
                self._tables.append(self._table(group))
                group, cells = [], 1
            group.append(name)
            cells *= division.size
        if group:
            self._tables.append(self._table(group))

    def _table(self, names: Iterable[str]) -> _Table:
        names = tuple(names)
        divisions = [self._divisions[name] for name in names]
        places = divisions[0].places
        if len(names) > 1:
            places = places.astype(np.uint16)
            for division in divisions[1:]:
                places *= np.uint16(division.size)
                places += division.places.astype(np.uint16, copy=False)
        return _Table(names, tuple(division.size for division in divisions), places)

    def count(self, among: Bools) -> dict[str, Ints]:
        """How many of these rows lie at each place, by division."""
        # The places of a few rows are had sooner by their numbers.
        chosen = np.flatnonzero(among) if np.count_nonzero(among) < len(among) / 8 else among
        found: dict[str, Ints] = {}
        for table in self._tables:
            counts = np.bincount(table.places[chosen], minlength=int(np.prod(table.sizes))).reshape(table.sizes)
            for axis, name in enumerate(table.names):
                found[name] = counts.sum(axis=tuple(other for other in range(counts.ndim) if other != axis))
        return found

    def count_one(self, name: str, among: Bools) -> Ints:
        """The same of one division."""
        division = self._divisions[name]
        return np.bincount(division.places[among], minlength=division.size)
