"""From "at most this share may be falsely accused" to thresholds, and to three answers: a label, another, can't tell.

A label may be said of an image only where its probability exceeds a threshold that hardly any image of another label
exceeds. "Hardly any" is the share that the user tolerates; the threshold is set so that the *upper* end of what the
true share may plausibly be keeps to it, not the share that happened to be seen: of 1,000 images, 20 accused ones are
2 %, but may well be 3 % of the next thousand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.arrays import Floats, Ints
from detector.errors import InvalidInput
from detector.formatting import limit, listed
from detector.storage.label_names import CANT_TELL as CANT_TELL
from detector.training.unseen_promise import Unseen

#: What is said of a function that has no other answer yet.
ONLY_CANT_TELL = 'So far it can only answer "can\'t tell"'

#: How far a verdict is backed by measured error: beyond the threshold that also kept to the limit on sources that were
#: left out of the training, or only beyond the one for pictures like the samples. Below both nothing is said.
STRONG, MODERATE = "strong", "moderate"
GRADES = (STRONG, MODERATE, CANT_TELL)

#: Why nothing is said strongly as long as nothing is known.
NOT_MEASURED = (
    "How it does on sources it has not seen is not measured yet. That follows each training by itself, when nothing "
    "else is to be done."
)

DEFAULT_FALSE_ACCUSATION_LIMIT = 0.02
LOWEST_FALSE_ACCUSATION_LIMIT, HIGHEST_FALSE_ACCUSATION_LIMIT = 0.001, 0.5

#: Images of each label that give a first model worth looking at. What a verdict takes is `needed_samples`, which
#: follows from the limit on false accusations: the two figures for a person who asks how many images to bring.
FIRST_MODEL = 120

#: How sure it is that a threshold keeps to the limit on false accusations, for each pair of labels.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Thresholds:
    """When a function commits itself.

    Attributes
    ----------
    false_accusation_limit : float
        The share, in 0..1, of the images of any one other label that a label may be said of.
    label_names : the labels, in the order of the probabilities
    above : dict of str to float
        A label is said when it is the most probable one and its probability is above this. A label that is missing is
        never said: too few images of the others to vouch for any threshold.
    counts : dict of str to dict of str to int
        By annotated label, how many out-of-fold samples got which verdict (a label, or ``CANT_TELL``).
    notes : tuple of str
        One sentence for each label that is never said.
    different : dict of str to int
        By annotated label, how many different images were seen: near-duplicates, and whatever belongs together
        otherwise, count once. Empty in what was stored before this was counted.
    unseen : Unseen, optional
        The same on sources that were left out of the training; None as long as that is not measured.
    grades : dict of str to dict of str to int
        By annotated label, how many out-of-fold samples got a verdict of which of `GRADES`.
    """

    false_accusation_limit: float
    label_names: tuple[str, ...]
    above: dict[str, float]
    counts: dict[str, dict[str, int]]
    notes: tuple[str, ...]
    different: dict[str, int] = field(default_factory=dict)
    unseen: Unseen | None = None
    grades: dict[str, dict[str, int]] = field(default_factory=dict)

    def sure(self, probabilities: Floats) -> NDArray[np.bool_]:
        """(n,) whether the most probable label may be said, for (n, k) probabilities."""
        return self._beyond(self.above, probabilities)

    def graded(self, probabilities: Floats) -> list[str]:
        """The grade of the verdict on each row of (n, k) probabilities."""
        strong = self._beyond(self.unseen.above if self.unseen is not None else {}, probabilities)
        return [
            (STRONG if by_all else MODERATE) if sure else CANT_TELL
            for by_all, sure in zip(strong.tolist(), self.sure(probabilities).tolist(), strict=True)
        ]

    def _beyond(self, above: Mapping[str, float], probabilities: Floats) -> NDArray[np.bool_]:
        """(n,) whether the most probable label's probability is above its threshold; never where it has none."""
        limits = np.array([above.get(name, np.inf) for name in self.label_names])
        best = probabilities.argmax(axis=1)
        return np.asarray(probabilities[np.arange(len(best)), best] > limits[best])

    def verdicts(self, probabilities: Floats) -> list[str]:
        """The verdict on each row of (n, k) probabilities: a label's name or ``CANT_TELL``."""
        best = probabilities.argmax(axis=1)
        return [
            self.label_names[label] if sure else CANT_TELL
            for label, sure in zip(best.tolist(), self.sure(probabilities).tolist(), strict=True)
        ]

    @property
    def lacking(self) -> dict[str, int]:
        """The labels with fewer different images than it takes to vouch for a threshold, and how many they have."""
        needed = needed_samples(self.false_accusation_limit)
        return {name: n for name, n in self.different.items() if n < needed}

    def too_few(self, label: str | None = None) -> str:
        """Why a label (None: every label) is never said yet, and what to do; empty where it may be said."""
        if (self.above if label is None else label in self.above) or len(self.label_names) < 2:
            return ""
        lacking = {name: n for name, n in self.lacking.items() if name != label}
        if label is None:
            what, needed = ONLY_CANT_TELL, images_needed(lacking, self.false_accusation_limit, len(self.label_names))
        else:
            what, needed = (
                f'It cannot say "{label}" yet',
                images_needed(lacking, self.false_accusation_limit, of="each other label"),
            )
        return f"{what}: {needed}. Import more images, or raise the limit on the Invoke page."

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        stored = {**asdict(self), "label_names": list(self.label_names), "notes": list(self.notes)}
        stored["unseen"] = self.unseen.to_json() if self.unseen is not None else None
        # The word under which versions before stored it, and still do.
        stored["tolerated"] = stored.pop("false_accusation_limit")
        return stored

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Thresholds:
        """The inverse of ``to_json``."""
        fields = {**data, "label_names": tuple(data["label_names"]), "notes": tuple(data["notes"])}
        fields["false_accusation_limit"] = fields.pop("tolerated")
        fields["unseen"] = Unseen.from_json(data["unseen"]) if data.get("unseen") else None
        return cls(**fields)


def check_false_accusation_limit(false_accusation_limit: float) -> float:
    """The share itself. Raises InvalidInput where it is none that can be kept."""
    if not LOWEST_FALSE_ACCUSATION_LIMIT <= false_accusation_limit <= HIGHEST_FALSE_ACCUSATION_LIMIT:
        raise InvalidInput(
            f"The limit on false accusations is {false_accusation_limit:g}; expected "
            f"{LOWEST_FALSE_ACCUSATION_LIMIT:g} to {HIGHEST_FALSE_ACCUSATION_LIMIT:g}, such as "
            f"{DEFAULT_FALSE_ACCUSATION_LIMIT:g} for 2 %."
        )
    return false_accusation_limit


def needed_samples(false_accusation_limit: float, confidence: float = CONFIDENCE) -> int:
    """How many different images of a label it takes before any threshold can be vouched for."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-false_accusation_limit))


def images_needed(
    different: Mapping[str, int], false_accusation_limit: float, label_count: int = 0, of: str = "each label"
) -> str:
    """ "a limit of 2 % false accusations needs 149 different images of each label (you have 15 of each; ...)".

    Parameters
    ----------
    different : how many different images the labels that lack some have; empty where it was never counted
    false_accusation_limit : float
    label_count : int
        Labels of the function: with all of them having as many, they are not named one by one.
    of : str
        The labels that need them.
    """
    if not different:
        have = "fewer"
    elif len(different) == label_count and len(set(different.values())) == 1:
        have = f"{next(iter(different.values())):,} of each"
    else:
        have = listed(f"{n:,} of {name}" for name, n in different.items())
    return (
        f"a limit of {limit(false_accusation_limit)} false accusations needs "
        f"{needed_samples(false_accusation_limit):,} different images of {of} "
        f"(you have {have}; near-duplicates count once)"
    )


def never_validated(needed: str = "") -> str:
    """Why a model that is not validated never says a label; ``needed`` from `images_needed`, where that was counted."""
    has = f" {needed[0].upper()}{needed[1:]}." if needed else ""
    return (
        f"{ONLY_CANT_TELL}: the model has not been validated, so no threshold can be trusted.{has} Import more "
        "different images."
    )


def how_many_images(false_accusation_limit: float = DEFAULT_FALSE_ACCUSATION_LIMIT) -> str:
    """How many images to bring: for a first model, and for one that may say a label at all."""
    needed = needed_samples(false_accusation_limit)
    if needed <= FIRST_MODEL:
        return (
            f"{FIRST_MODEL} images of each label give a first model, which can be sure at a limit of "
            f"{limit(false_accusation_limit)} false accusations where {needed} of each are different images."
        )
    return (
        f"{FIRST_MODEL} images of each label give a first model; with at least {needed:,} different images of each "
        f"label it can be sure at a limit of {limit(false_accusation_limit)} false accusations."
    )


def accused_at_most(n: int, false_accusation_limit: float, confidence: float = CONFIDENCE) -> int:
    """How many of ``n`` seen images may be accused so that the upper Clopper-Pearson bound keeps to the limit.

    -1 where even none is too many: ``n`` is too small. Clopper and Pearson, "The use of confidence or fiducial limits
    illustrated in the case of the binomial", 1934; the order statistic that follows is Wilks' one-sided tolerance
    limit, 1941, which assumes nothing about how scores are distributed.
    """
    alpha = 1 - confidence
    # More than the expected number is never safe.
    counts = np.arange(min(math.ceil(n * false_accusation_limit) + 1, n + 1))
    # Here, not above: pages import this module, and the first one must not wait for scipy.
    from scipy.special import bdtr

    return int(np.sum(bdtr(counts, n, false_accusation_limit) <= alpha)) - 1


def find_thresholds(
    probabilities: Floats,
    y: Ints,
    label_names: Sequence[str],
    false_accusation_limit: float = DEFAULT_FALSE_ACCUSATION_LIMIT,
    groups: Sequence[object] | None = None,
    copies: Floats | None = None,
) -> Thresholds:
    """Thresholds for every label, each on the safe side for the images of every other label.

    Parameters
    ----------
    probabilities : (n, k) array
        Out-of-fold: what a model says of its own training images proves nothing.
    y : (n,) int array of indices into ``label_names``
    false_accusation_limit : float, in 0.001..0.5
    groups : n hashables, optional
        Near-duplicates count as one image, with the highest of their scores.
    copies : (n, k) array, optional
        The same of one degraded copy of each, NaN where there is none. The limit is kept for images that have
        travelled too: of the two thresholds the higher counts.

    Raises
    ------
    InvalidInput
        ``false_accusation_limit`` is out of its range.
    """
    check_false_accusation_limit(false_accusation_limit)
    names = tuple(label_names)
    group = np.arange(len(y)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    above: dict[str, float] = {}
    different = {name: len(np.unique(group[y == label])) for label, name in enumerate(names)}
    for label, name in enumerate(names):
        limits = []
        for other in range(len(names)):
            if other == label:
                continue
            mine = y == other
            limits.append(_safe_threshold(probabilities[mine, label], group[mine], false_accusation_limit))
            if copies is not None:
                mine &= ~np.isnan(copies).any(axis=1)
                travelled = _safe_threshold(copies[mine, label], group[mine], false_accusation_limit)
                # Infinite where a few have copies only: they can raise no objection.
                limits.append(travelled if travelled < math.inf else -math.inf)
        if max(limits, default=math.inf) < math.inf:
            above[name] = max(limits)
    unfinished = Thresholds(false_accusation_limit, names, above, {}, (), different)
    notes = tuple(note for name in names if (note := unfinished.too_few(name)))
    counts = {name: dict.fromkeys((*names, CANT_TELL), 0) for name in names}
    for label, verdict in zip(y.tolist(), unfinished.verdicts(probabilities), strict=True):
        counts[names[label]][verdict] += 1
    found = Thresholds(false_accusation_limit, names, above, counts, notes, different)
    return replace(found, grades=count_grades(found, probabilities, y))


def _safe_threshold(scores: Floats, group: Ints, false_accusation_limit: float) -> float:
    """The lowest threshold at which it is sure enough that no more than the limit exceed it; infinite without one."""
    highest = highest_by_group(scores, group)
    return exceeded_by(highest, accused_at_most(len(highest), false_accusation_limit))


def count_grades(thresholds: Thresholds, probabilities: Floats, y: Ints) -> dict[str, dict[str, int]]:
    """By annotated label, how many samples get a verdict of which grade, from their out-of-fold probabilities."""
    counts = {name: dict.fromkeys(GRADES, 0) for name in thresholds.label_names}
    for label, grade in zip(y.tolist(), thresholds.graded(probabilities), strict=True):
        counts[thresholds.label_names[label]][grade] += 1
    return counts


def exceeded_by(scores: Floats, allowed: int) -> float:
    """The lowest threshold that at most ``allowed`` scores exceed; infinite where even none is too many."""
    if allowed < 0:
        return math.inf
    return float(np.sort(scores)[::-1][allowed])


def highest_by_group(scores: Floats, group: Ints) -> Floats:
    """The highest score of each group: near-duplicates count as one image."""
    if len(scores) == 0:
        return scores
    _, index = np.unique(group, return_inverse=True)
    highest = np.full(int(index.max()) + 1, -np.inf)
    np.maximum.at(highest, index, scores)
    return highest
