"""Which samples leave the training together where a source is left out. Light to import: no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detector.arrays import Ints
from detector.training.unseen_scores import FEWEST_IMAGES
from detector.training.unseen_thresholds import FEWEST_SOURCES

#: Each unit costs a training; the smallest beyond so many are not judged.
MOST_UNITS = 60
#: Five settings times so many units are about as many trainings as the sweep before them.
MOST_UNITS_OF_A_CHOICE = 24


@dataclass(frozen=True, eq=False)
class Unit:
    """Samples of one label that leave the training together.

    Attributes
    ----------
    label : index of the label
    source : their source; empty where the smaller ones of a label go together
    rows : their places among all samples
    """

    label: int
    source: str
    rows: Ints


def find_units(y: Ints, sources: Sequence[str], groups: Sequence[object]) -> list[Unit]:
    """What is left out together: the sources of each label, largest first.

    A source needs `FEWEST_IMAGES` different images of the label; those that have fewer are one unit if they have as
    many together, else they are never judged. Samples without a source (an empty name) belong to none.
    """
    tags, group = np.asarray(sources, dtype=object), group_numbers(groups)
    found = []
    for label in np.unique(y):
        smaller: list[Ints] = []
        for source in sorted({name for name in tags[y == label].tolist() if name}):
            rows = np.flatnonzero((y == label) & (tags == source))
            if len(np.unique(group[rows])) >= FEWEST_IMAGES:
                found.append(Unit(int(label), source, rows))
            else:
                smaller.append(rows)
        if smaller:
            rows = np.sort(np.concatenate(smaller))
            if len(np.unique(group[rows])) >= FEWEST_IMAGES:
                found.append(Unit(int(label), "", rows))
    return sorted(found, key=lambda unit: (-len(unit.rows), unit.label, unit.source))[:MOST_UNITS]


def units_for_a_choice(y: Ints, k: int, sources: Sequence[str], groups: Sequence[object]) -> list[Unit]:
    """The units on which settings are compared; none where they would say too little.

    They say enough where the second promise exists for at least one label (`FEWEST_SOURCES` units of every other label)
    and no label is without any: by the units of one label alone, the best model would be one that says nothing else.
    Of many units the largest of each label are taken in turn, up to `MOST_UNITS_OF_A_CHOICE`.
    """
    group, known = group_numbers(groups), np.array([bool(source) for source in sources], dtype=bool)
    by_label: list[list[Unit]] = [[] for _ in range(k)]
    for unit in find_units(y, sources, groups):
        if len(np.unique(y[without(unit, known, group)])) == k:
            by_label[unit.label].append(unit)
    counts = np.array([len(units) for units in by_label])
    promised = [bool((np.delete(counts, label) >= FEWEST_SOURCES).all()) for label in range(k)]
    if not any(promised) or not counts.all():
        return []
    in_turn = sorted((place, unit.label) for units in by_label for place, unit in enumerate(units))
    return [by_label[label][place] for place, label in in_turn[:MOST_UNITS_OF_A_CHOICE]]


def without(unit: Unit, known: np.ndarray, group: Ints) -> np.ndarray:
    """(n,) bool: samples that a unit's judge is trained on, of a known source and nearly the same as none of it."""
    return known & ~np.isin(group, group[unit.rows])


def group_numbers(groups: Sequence[object]) -> Ints:
    """(n,) ints; equal where the groups are."""
    return np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)
