"""What the gallery shows and in which order, and the same as words of an address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum

from detector.storage.captured import REASONS
from detector.storage.stored_names import TEST, TRAIN

#: The value of a filter for samples that do not have the thing at all; no label id, source or batch is called so.
NONE = "~"
#: ... and for those that have it, whichever it is.
ANY = "any"
#: A verdict: the function is not sure enough to say any label.
UNSURE = "unsure"


class Order(StrEnum):
    """Orders of the gallery; each ends in the import order, newest first, so that pages never overlap.

    Samples to which an order does not apply (no prediction, no annotation) come last.
    """

    LEAST_CONFIDENT = "least-confident"
    MOST_CONFIDENT = "most-confident"
    SMALLEST_MARGIN = "smallest-margin"
    MISLABELLED = "mislabelled"
    USEFUL = "useful"
    NEWEST = "newest"
    OLDEST = "oldest"
    ANNOTATED_LAST = "annotated-last"
    ANNOTATED_FIRST = "annotated-first"


@dataclass(frozen=True)
class GalleryFilter:
    """What the gallery shows; all conditions hold at once, None everywhere is every sample outside the bin.

    Attributes
    ----------
    says : label id, or ``NONE`` (no prediction yet)
    label : label id, ``ANY`` (some annotation) or ``NONE``
    agreement : "differs" or "agrees"
    source : a source, or ``NONE``
    verdict : label id or ``UNSURE``: what invoke would say, by the live model's thresholds
    flips : a change of the stress strip under which the verdict flips, or ``ANY``
    split : "test" (the locked test set) or "train"
    low, high : the range of the confidence, both ends included
    batch : import batch id, or ``NONE``
    group : the near-duplicate group to show alone
    duplicates : only samples that have a near-duplicate
    captured : why an invoke put them here, one of `detector.storage.captured.REASONS`, or ``ANY``
    text : part of the file name, whatever the case
    bin : what was deleted, instead of what was not
    """

    says: str | None = None
    label: str | None = None
    agreement: str | None = None
    source: str | None = None
    verdict: str | None = None
    flips: str | None = None
    split: str | None = None
    low: float | None = None
    high: float | None = None
    batch: str | None = None
    group: str | None = None
    duplicates: bool = False
    captured: str | None = None
    text: str | None = None
    bin: bool = False

    def to_query(self) -> dict[str, str]:
        """The conditions that are set, as an address says them; the inverse of ``from_query``."""
        query: dict[str, str] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value is True:
                query[field.name] = "yes"
            elif isinstance(value, float):
                query[field.name] = f"{value:.4g}"
            elif value:
                query[field.name] = value
        return query

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> GalleryFilter:
        """Read the conditions of an address. What cannot be a condition is left out: people edit addresses."""
        values: dict[str, str | float | bool] = {}
        for name in ("says", "label", "source", "verdict", "flips", "batch", "group", "text"):
            if query.get(name):
                values[name] = query[name]
        for name, allowed in (
            ("agreement", ("differs", "agrees")),
            ("split", (TEST, TRAIN)),
            ("captured", (ANY, *REASONS)),
        ):
            if query.get(name) in allowed:
                values[name] = query[name]
        for name in ("low", "high"):
            number = _fraction(query.get(name, ""))
            if number is not None:
                values[name] = number
        for name in ("duplicates", "bin"):
            if query.get(name) == "yes":
                values[name] = True
        return cls(**values)  # type: ignore[arg-type]

    def without(self, *names: str) -> GalleryFilter:
        """The same without some of its conditions."""
        empty = GalleryFilter()
        return replace(self, **{name: getattr(empty, name) for name in names})


#: Captured pictures that wait for a label.
INBOX = GalleryFilter(label=NONE, captured=ANY)


def _fraction(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0.0 <= number <= 1.0 else None
