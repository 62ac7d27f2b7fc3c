"""What a benchmark returns: one figure, what it should reach, and the measurements behind it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes
    ----------
    name : as in the table of ``docs/benchmarks.md``
    what : what was measured, in a line
    value : the figure: a median over repeats
    unit : "x" for a ratio, else "s", "ms", "MB", "/s"
    reach : what it should be
    at_least : whether larger is better
    measurements : dict of str to list of float
        What the value was computed from, by side ("ours", "peer"), one number a repeat.
    note : what limits it, or what else one must know
    """

    name: str
    what: str
    value: float
    unit: str
    reach: float
    at_least: bool
    measurements: dict[str, list[float]] = field(default_factory=dict)
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether the figure reaches what it should."""
        return self.value >= self.reach if self.at_least else self.value <= self.reach

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self) | {"met": self.met}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Figure:
        """The inverse of ``to_json``."""
        return cls(**{name: value for name, value in data.items() if name != "met"})


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median over repeats of one side divided by the other of the same repeat: noise that both share cancels."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))
