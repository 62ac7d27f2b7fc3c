"""What a sweep may choose from: settings of the expert page, and the combinations that make sense for a training set.

Light to import (no torch), because pages and the command line show these choices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from detector.arrays import Ints
from detector.errors import InvalidInput
from detector.storage.stored_names import DETAIL, WHOLE
from detector.training.folds import MAX_FOLDS
from detector.training.scaling import SCALINGS, Embeddings

# Relative C. On 2,000 images the best is near 100 and the loss flat around it; few samples want less, many more.
C_GRID = tuple(float(f"{10.0 ** (exponent / 2):.4g}") for exponent in range(-2, 8))
CLASS_WEIGHTS = ("none", "balanced")
BOTH = "both"
VIEW_SETS = {WHOLE: (WHOLE,), DETAIL: (DETAIL,), BOTH: (WHOLE, DETAIL)}
ALL_FEATURES = "all"


@dataclass(frozen=True)
class SweepSettings:
    """What the sweep may choose from; None is everything that makes sense. One value fixes a setting.

    Attributes
    ----------
    views : of "whole", "detail", "both"
    features : names of the backbone's feature sets, or "all" for all of them side by side
    scaling : of "standardise", "unit-length"
    c : positive numbers, relative C
    class_weight : of "none", "balanced"
    folds : int, >= 2; fewer are made where a label has fewer groups of samples
    seed : int; another one deals the samples out to other folds
    """

    views: tuple[str, ...] | None = None
    features: tuple[str, ...] | None = None
    scaling: tuple[str, ...] | None = None
    c: tuple[float, ...] | None = None
    class_weight: tuple[str, ...] | None = None
    folds: int = MAX_FOLDS
    seed: int = 0


@dataclass(frozen=True)
class Candidate:
    """One combination. ``C`` is scikit-learn's; ``c`` is it relative to the mean squared norm of the features."""

    views: str
    features: str
    scaling: str
    c: float
    C: float
    class_weight: str


@dataclass(frozen=True)
class SweepRow(Candidate):
    """A candidate and its out-of-fold figures, before calibration.

    ``unseen_log_loss`` is that on sources that were left out, of the few settings among which it decides (see
    ``outward``); None for all others, and in sweeps that were stored before there was one.
    """

    log_loss: float
    accuracy: float
    balanced_accuracy: float
    chosen: bool = False
    unseen_log_loss: float | None = None

    def is_choice_of(self, other: Candidate) -> bool:
        """Whether both are the same combination."""
        return all(
            getattr(self, name) == getattr(other, name)
            for name in ("views", "features", "scaling", "c", "class_weight")
        )


@dataclass(frozen=True)
class Options:
    """The sweep's axes for one training set, each from the simplest value to the least simple."""

    views: tuple[str, ...]
    features: tuple[str, ...]
    scaling: tuple[str, ...]
    c: tuple[float, ...]
    class_weight: tuple[str, ...]
    slices: Mapping[str, tuple[tuple[int, int], ...]]

    @property
    def settings_count(self) -> int:
        axes = (self.views, self.features, self.scaling, self.c, self.class_weight)
        return int(np.prod([len(axis) for axis in axes]))


def sweep_options(settings: SweepSettings, embeddings: Embeddings, features: Mapping[str, slice], y: Ints) -> Options:
    """The combinations that make sense here.

    Raises
    ------
    InvalidInput
        The settings name something that these embeddings do not have.
    """
    slices: dict[str, tuple[tuple[int, int], ...]] = {}
    for name, columns in features.items():
        slices[name] = ((int(columns.start or 0), int(columns.stop)),)
    if len(slices) > 1:
        slices[ALL_FEATURES] = tuple(part for parts in tuple(slices.values()) for part in parts)
    view_sets = tuple(name for name, views in VIEW_SETS.items() if all(view in embeddings for view in views))
    counts = np.bincount(y)
    equal = len(set(counts[counts > 0].tolist())) == 1
    grid = settings.c if settings.c is not None else C_GRID
    if not grid or not all(np.isfinite(c) and c > 0 for c in grid):
        raise InvalidInput(f"The setting c is {grid!r}; expected positive numbers.")
    weights = _allowed("class_weight", settings.class_weight, CLASS_WEIGHTS)
    if equal:
        # Balanced already: both are the same regression.
        weights = weights[:1]
    return Options(
        views=_allowed("views", settings.views, view_sets),
        features=_allowed("features", settings.features, tuple(slices)),
        scaling=_allowed("scaling", settings.scaling, SCALINGS),
        c=tuple(sorted({float(c) for c in grid})),
        class_weight=weights,
        slices=slices,
    )


def _allowed(name: str, wanted: tuple[str, ...] | None, offered: tuple[str, ...]) -> tuple[str, ...]:
    if wanted is None:
        return offered
    unknown = [value for value in wanted if value not in offered]
    if unknown or not wanted:
        found = ", ".join(map(repr, unknown)) or "empty"
        raise InvalidInput(f"The setting {name} is {found}; these samples offer {', '.join(offered)}. Choose of those.")
    return tuple(value for value in offered if value in wanted)
