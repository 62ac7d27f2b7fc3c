"""Which score is enough of an image from a source that the model has never seen.

The thresholds of `detector.training.thresholds` keep to the limit on false accusations for pictures like the samples.
These keep to it on whole sources that were left out of the training (`detector.training.unseen`), which is the nearest
that samples come to pictures from elsewhere. Sources are few where images are many: that is said, as a number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from detector.arrays import Floats, Ints
from detector.formatting import listed
from detector.training.thresholds import accused_at_most, exceeded_by, highest_by_group
from detector.training.unseen_promise import Unseen, UnseenCount
from detector.training.unseen_scores import FEWEST_IMAGES, UnseenScores

#: Fewer sources of a label say nothing about the next one.
FEWEST_SOURCES = 3


def find_unseen(
    scores: UnseenScores, above: dict[str, float], label_names: Sequence[str], false_accusation_limit: float
) -> Unseen:
    """Thresholds that also keep to the limit on sources that were left out.

    A label's is the highest of three: its threshold for pictures like the samples; the one that keeps to the limit on
    all left-out images of each other label together, at the upper end of what their share may be; and the lowest at
    which the sources' own rates keep to it on average, so that a large source does not speak for all. That every single
    one keeps to it is not asked: of a source of 60 images one is 1.7 % and two are 3.3 %, and asked for on the
    benchmark ``elsewhere`` it halved what is caught and spared one accusation in 500. The worst one is named instead.

    Parameters
    ----------
    scores : UnseenScores
    above : dict of str to float
        Thresholds for pictures like the samples, by label.
    label_names : k names, in the order of the probabilities
    false_accusation_limit : float
    """
    names = tuple(label_names)
    # A label is said only where it is the most probable one: of easy sets a threshold lies below that.
    most_probable = scores.probabilities == scores.probabilities.max(axis=1, keepdims=True, initial=0.0)
    called = replace(scores, probabilities=np.where(most_probable, scores.probabilities, 0.0))
    found: dict[str, float] = {}
    counts: dict[str, tuple[UnseenCount, ...]] = {}
    why_not: dict[str, str] = {}
    for label, name in enumerate(names):
        others = [other for other in range(len(names)) if other != label]
        by_unit = {other: _by_unit(scores, other, label) for other in others}
        few = {names[other]: len(units) for other, units in by_unit.items() if len(units) < FEWEST_SOURCES}
        threshold = above.get(name, math.inf)
        for other in others:
            pooled = highest_by_group(*_of(scores, other, label))
            allowed = accused_at_most(len(pooled), false_accusation_limit)
            threshold = max(threshold, exceeded_by(pooled, allowed))
            threshold = max(
                threshold, _kept_on_average([single for _, single in by_unit[other]], false_accusation_limit)
            )
        if name not in above:
            why_not[name] = "It has no threshold for pictures like the samples yet."
        elif few:
            why_not[name] = _needs_sources(few)
        elif threshold == math.inf:
            why_not[name] = "The sources that were left out have too few different images for this limit."
        else:
            found[name] = threshold
            counts[name] = tuple(
                _count(names[other], _by_unit(called, other, label), threshold, false_accusation_limit)
                for other in others
            )
    return Unseen(found, counts, _caught(scores, names, found), why_not)


def _of(scores: UnseenScores, of: int, label: int) -> tuple[Floats, Ints]:
    mine = scores.labels == of
    return scores.probabilities[mine, label], scores.groups[mine]


def _by_unit(scores: UnseenScores, of: int, label: int) -> list[tuple[str, Floats]]:
    """The scores of a label on each judged source of another one, near-duplicates once."""
    found = []
    for unit in np.unique(scores.units[scores.labels == of]).tolist():
        mine = (scores.units == unit) & (scores.labels == of)
        found.append((scores.sources[unit], highest_by_group(scores.probabilities[mine, label], scores.groups[mine])))
    return found


def _kept_on_average(by_source: Sequence[Floats], most: float) -> float:
    """The lowest threshold at which the mean of the sources' shares beyond it is at most ``most``."""
    if not by_source:
        return math.inf
    scores = np.concatenate(by_source)
    order = np.argsort(scores)
    # What each score adds to the mean while it lies beyond the threshold.
    weight = np.concatenate([np.full(len(single), 1 / (len(single) * len(by_source))) for single in by_source])[order]
    # Beyond the i-th lowest score lie those after it. A rounding error must not cost the exact limit.
    beyond = 1.0 - np.cumsum(weight)
    return float(scores[order][np.argmax(beyond <= most + 1e-12)])


def _count(label: str, units: Sequence[tuple[str, Floats]], threshold: float, limit: float) -> UnseenCount:
    accused = [(int((single > threshold).sum()), len(single), str(source)) for source, single in units]
    worst = max(accused, key=lambda item: (item[0] / item[1], item[1]))
    return UnseenCount(
        label,
        len(units),
        sum(item[1] for item in accused),
        sum(item[0] for item in accused),
        sum(item[0] > limit * item[1] for item in accused),
        worst[2],
        worst[1],
        worst[0],
    )


def _caught(scores: UnseenScores, names: Sequence[str], above: dict[str, float]) -> dict[str, tuple[int, int]]:
    best = scores.probabilities.argmax(axis=1) if len(scores.labels) else np.empty(0, np.int64)
    found = {}
    for name in above:
        label = names.index(name)
        mine = scores.labels == label
        strong = (best[mine] == label) & (scores.probabilities[mine, label] > above[name])
        found[name] = (int(strong.sum()), int(mine.sum()))
    return found


def _needs_sources(few: dict[str, int]) -> str:
    have = listed(f"{n} of {name}" for name, n in few.items())
    return (
        f"It takes {FEWEST_SOURCES} sources of each other label, with {FEWEST_IMAGES} different images each, to try it "
        f"on sources it has not seen (you have {have}). Import images of further sources."
    )
