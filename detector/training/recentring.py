"""One offset of the logit for the place where a detector is used, found from a few labelled pictures of that place.

Where pictures are others than the samples, both labels' scores often keep their order but move together: what was
divided at 0 is divided at -3 now. Moving them back takes one number, and a dozen pictures of each label are enough to
find it (Yang et al., "Your AI-Generated Image Detector Can Secretly Achieve SOTA Accuracy, If Calibrated", 2026, arXiv
2602.01973). Two labels only: their score is the log odds of the second one, after the model's temperature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from detector.arrays import Floats, Ints
from detector.formatting import count, limit, percent
from detector.training.metrics import wilson_interval
from detector.training.thresholds import CONFIDENCE, Thresholds
from detector.training.unseen_promise import worse_share

#: Pictures of each label that it takes. With 10 of them and no false accusation, the share of false accusations may
#: still be 26 %: fewer would promise nothing that is worth a word.
FEWEST_PICTURES = 10
#: Pictures of each label that are looked at. With more, training on them is the better way.
MOST_PICTURES = 500

# An offset is expected around 0 with this deviation: a prior that is worth about one picture of twenty.
_DEVIATION = 3.0
# Halvings of an interval of a few hundred: beyond these it is no wider than the last digit of a number.
_HALVINGS = 80


@dataclass(frozen=True)
class Recentring:
    """How one version of a model is adapted to the place where it is used.

    Attributes
    ----------
    offset : float
        Added to the log odds of the second label, in units of calibrated logits.
    label_ids : (str, str)
        The model's two labels, in its order.
    before : (tuple of float, tuple of float)
        By label, the log odds of the second one for each of its pictures, as the model was trained.
    after : the same, each with an offset that was found from all other pictures
        By its own offset a picture would look better than the next one will.
    hashes : tuple of str
        SHA-256 of the pictures, so that none of them is taken for a test of what it was used for.
    at : float
        When, in seconds since the epoch.
    """

    offset: float
    label_ids: tuple[str, str]
    before: tuple[tuple[float, ...], tuple[float, ...]]
    after: tuple[tuple[float, ...], tuple[float, ...]]
    hashes: tuple[str, ...]
    at: float

    @property
    def counts(self) -> tuple[int, int]:
        """How many pictures of each label."""
        return len(self.before[0]), len(self.before[1])

    @property
    def n(self) -> int:
        """How many pictures."""
        return sum(self.counts)

    def shift(self, probabilities: Floats) -> Floats:
        """(n, 2) probabilities of the model -> those for the place that it is adapted to. A row stands for itself."""
        return from_log_odds(log_odds(probabilities) + self.offset)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Recentring:
        """The inverse of ``to_json``, also after a trip through ``json``."""
        first, second = data["label_ids"]
        before, after = ((tuple(pair[0]), tuple(pair[1])) for pair in (data["before"], data["after"]))
        return cls(data["offset"], (first, second), before, after, tuple(data["hashes"]), data["at"])


@dataclass(frozen=True)
class Checked:
    """What became of the given pictures of one label, before and after.

    Attributes
    ----------
    label, other : the label's name, and that of the other one
    n : pictures
    right : (int, int)
        How many had their label as the more probable one, before and after.
    accused : (int, int)
        How many got a verdict that names the other label, before and after.
    false_accusation_limit : float or None
        The limit that the thresholds were made for; None without thresholds, when no verdict names a label.
    """

    label: str
    other: str
    n: int
    right: tuple[int, int]
    accused: tuple[int, int]
    false_accusation_limit: float | None

    @property
    def at_most(self) -> float:
        """The largest share of such pictures that may get the other label, for all that these show: 95 % sure."""
        return worse_share(self.n, self.accused[1])

    @property
    def refuted(self) -> bool:
        """Whether the pictures show that the limit is not kept: so many accused ones are no accident."""
        if self.false_accusation_limit is None or not self.accused[1]:
            return False
        # Here, not above: pages import this module, and the first one must not wait for scipy.
        from scipy.special import betaincinv

        # The lower Clopper-Pearson bound.
        lowest = betaincinv(self.accused[1], self.n - self.accused[1] + 1, 1 - CONFIDENCE)
        return bool(lowest > self.false_accusation_limit)

    @property
    def sentence(self) -> str:
        """Before and after, in counts."""
        wrong = self.n - self.right[0], self.n - self.right[1]
        return f"Of your {count(self.n)} {self.label} pictures {wrong[0]:,} were called {self.other}, now {wrong[1]:,}."

    @property
    def support(self) -> str:
        """What these pictures show about the next ones."""
        if self.refuted:
            assert self.false_accusation_limit is not None
            return (
                f"{self.accused[1]:,} of your {self.n:,} {self.label} pictures would still get the verdict "
                f"{self.other}. That is more than a limit of {limit(self.false_accusation_limit)} allows, so the "
                f"verdict {self.other} is not given while adapted."
            )
        return (
            f"{self.accused[1]:,} of your {self.n:,} {self.label} pictures got the verdict {self.other}. So few "
            f"pictures only show that at most {percent(self.at_most, 0)} of all such pictures get it."
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, with 95 % intervals (Wilson)."""
        found: dict[str, Any] = {"label": self.label, "n": self.n}
        for when, right, accused in zip(("before", "after"), self.right, self.accused, strict=True):
            found[when] = {
                "right": right,
                "accuracy": right / self.n,
                "interval": list(wilson_interval(right, self.n)),
                "falselyAccused": accused,
                "falselyAccusedInterval": list(wilson_interval(accused, self.n)),
            }
        return {**found, "falselyAccusedAtMost": self.at_most, "keepsToLimit": not self.refuted}


def log_odds(probabilities: Floats) -> Floats:
    """(n, 2) probabilities -> (n,) log odds of the second label; finite also where one of them rounds to 0."""
    tiny = np.finfo(np.float64).tiny
    return np.asarray(np.log(np.maximum(probabilities[:, 1], tiny)) - np.log(np.maximum(probabilities[:, 0], tiny)))


def from_log_odds(scores: Floats) -> Floats:
    """The inverse of `log_odds`: (n, 2) probabilities whose rows sum to 1."""
    from scipy.special import expit

    return np.column_stack([expit(-scores), expit(scores)])


def find_offset(scores: Floats, y: Ints) -> float:
    """The offset under which the scores explain the labels best, both labels counting the same.

    It minimises the log loss, balanced over the labels, with a weak prior that keeps it near 0 where pictures are few.
    The loss is convex with one minimum, so that neither ties nor labels that are told apart without a mistake leave a
    choice; with both labels there it is finite, however wrong the scores are.

    Parameters
    ----------
    scores : (n,) log odds of the second label
    y : (n,) 0 and 1; both must occur

    Returns
    -------
    float
    """
    first, second = scores[y == 0], scores[y == 1]
    # The prior pulls towards 0, so that the offset is never further out than what moves every score across 0.
    bound = float(np.abs(scores).max()) + 50.0
    low, high = -bound, bound
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        slope = len(scores) / 2 * (_sigmoid(first + middle).mean() - _sigmoid(-second - middle).mean())
        if slope + middle / _DEVIATION**2 > 0:
            high = middle
        else:
            low = middle
    return (low + high) / 2


def recentre(scores: Sequence[Floats], label_ids: tuple[str, str], hashes: Sequence[str], at: float) -> Recentring:
    """The offset for these pictures, and what it does to each of them when found from the others.

    Parameters
    ----------
    scores : two (n,) arrays
        By label, the log odds of the second label for its pictures; at least two of each.
    """
    everything = np.concatenate([scores[0], scores[1]])
    y = np.repeat([0, 1], [len(scores[0]), len(scores[1])])
    others = ~np.eye(len(y), dtype=bool)
    shifted = [float(everything[n] + find_offset(everything[rest], y[rest])) for n, rest in enumerate(others)]
    split = len(scores[0])
    return Recentring(
        find_offset(everything, y),
        label_ids,
        (tuple(map(float, scores[0])), tuple(map(float, scores[1]))),
        (tuple(shifted[:split]), tuple(shifted[split:])),
        tuple(hashes),
        at,
    )


def check(recentring: Recentring, names: Sequence[str], thresholds: Thresholds | None) -> tuple[Checked, Checked]:
    """How the pictures fare before and after, under thresholds that stay where they are, in shifted scores.

    Parameters
    ----------
    names : the two labels' names of today, in the model's order
    thresholds : of the model, its labels in the same order; None for a model that is not validated
    """
    first, second = (_checked(recentring, label, names, thresholds) for label in (0, 1))
    return first, second


def _checked(recentring: Recentring, label: int, names: Sequence[str], thresholds: Thresholds | None) -> Checked:
    other = 1 - label
    probabilities = [from_log_odds(np.array(scores[label])) for scores in (recentring.before, recentring.after)]
    right = [int((prob.argmax(axis=1) == label).sum()) for prob in probabilities]
    accused = [0, 0]
    if thresholds is not None:
        wrong = thresholds.label_names[other]
        accused = [thresholds.verdicts(prob).count(wrong) for prob in probabilities]
    return Checked(
        names[label],
        names[other],
        recentring.counts[label],
        (right[0], right[1]),
        (accused[0], accused[1]),
        thresholds.false_accusation_limit if thresholds is not None else None,
    )


def balanced_accuracy(checked: Sequence[Checked]) -> tuple[float, float]:
    """Mean of both labels' shares of right pictures, before and after."""
    before, after = (sum(item.right[when] / item.n for item in checked) / len(checked) for when in (0, 1))
    return before, after


def _sigmoid(values: Floats) -> Floats:
    """Without an overflow on either side, and without scipy, which pages would wait for."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * values)))
