"""What was found on sources that were left out of the training, and what follows from it for a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from detector.formatting import count


@dataclass(frozen=True)
class UnseenCount:
    """What left-out sources of one label showed about another label that was not to be said of them.

    Attributes
    ----------
    label : the label of the sources
    sources : how many were left out and judged, each by itself
    images : different images in them
    accused : how many of these got the other label, beyond its threshold
    worse : of how many sources a larger share than the limit got it
    worst, worst_images, worst_accused : the source with the highest share of them; empty name: several small ones
    """

    label: str
    sources: int
    images: int
    accused: int
    worse: int
    worst: str
    worst_images: int
    worst_accused: int


@dataclass(frozen=True)
class Unseen:
    """The second promise.

    Attributes
    ----------
    above : dict of str to float
        By label: the probability beyond which it is said strongly. A label that is missing is never said so.
    counts : dict of str to tuple of UnseenCount
        By label, for each other label.
    caught : dict of str to (int, int)
        By label: how many of its own left-out images it is strongly said of, and how many there were.
    why_not : dict of str to str
        By label that is never said strongly: why, and what to do.
    """

    above: dict[str, float]
    counts: dict[str, tuple[UnseenCount, ...]]
    caught: dict[str, tuple[int, int]]
    why_not: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "above": self.above,
            "counts": {name: [asdict(item) for item in items] for name, items in self.counts.items()},
            "caught": {name: list(pair) for name, pair in self.caught.items()},
            "why_not": self.why_not,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Unseen:
        """The inverse of ``to_json``."""
        return cls(
            data["above"],
            {name: tuple(UnseenCount(**item) for item in items) for name, items in data["counts"].items()},
            {name: (pair[0], pair[1]) for name, pair in data["caught"].items()},
            data["why_not"],
        )


def no_promise(label_names: Sequence[str], why: str) -> Unseen:
    """None of the labels can be said strongly, for one reason."""
    return Unseen({}, {}, {}, dict.fromkeys(label_names, why))


def worse_share(sources: int, worse: int = 0, confidence: float = 0.95) -> float:
    """The largest share of all sources that may be worse than the limit where ``worse`` of ``sources`` seen ones are.

    The upper Clopper-Pearson bound; with none of n it is 1 - 0.05 ** (1 / n).
    """
    if worse >= sources:
        return 1.0
    # Here, not above: pages import this module, and the first one must not wait for scipy.
    from scipy.special import betaincinv

    return float(betaincinv(worse + 1, sources - worse, confidence))


def in_counts(name: str, counts: Sequence[UnseenCount]) -> str:
    """What stands behind a strong verdict of that name, in counts: a sentence for each other label."""
    said = []
    for item in counts:
        source = f" ({item.worst})" if item.worst else ""
        said.append(
            f"{count(item.sources, 'source')} of {item.label}, each left out in turn: {item.accused:,} of "
            f"{count(item.images, 'image')} wrongly called {name}; at worst {item.worst_accused:,} of "
            f"{item.worst_images:,} in one source{source}. So few sources only show that at most "
            f"{worse_share(item.sources, item.worse):.0%} of all sources of {item.label} go beyond the limit."
        )
    return " ".join(said).replace("%", " %").replace("  %", " %")
