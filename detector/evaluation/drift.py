"""Whether the pictures that a function is asked about are still like those that its model was trained and measured on.

What was invoked is known as counts only (`detector.serving.invoke_counts`): how many pictures of which size, saved in
which way, judged with which confidence. Each is compared with the labelled samples of the live model: the population
stability index, sum of (p - q) ln(p / q) over the bins, which credit scoring has used for this for decades. By custom
0.25 is a large change. For few invokes it is large by chance alone: of two samples of n and m from one population it is
distributed as (1/n + 1/m) times chi squared with one degree of freedom less than bins (Yurdakul and Naranjo 2020), so
that a change is only said where it is above the 99.9th percentile of that as well, and below 50 invokes or 50 samples
nothing is.

The share of each label is not compared: how many of the pictures that somebody asks about are synthetic says nothing of
the samples. How many get can't tell is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from math import log
from typing import Final

from detector.formatting import count, percent
from detector.imaging.file_look import LOSSLESS_FORMATS, FileLook
from detector.serving.invoke_counts import (
    CONFIDENCE,
    CONFIDENCE_BINS,
    FORMAT,
    LOSSLESS,
    QUALITY,
    SAID,
    SIDE,
    confidence_bin,
    file_bins,
)
from detector.storage.database import now
from detector.storage.gallery_rows import revisions
from detector.storage.invoke_days import Counts, InvokeDay, add_counts, read_invokes
from detector.storage.models import ModelRow
from detector.storage.scored_files import ScoredFile, scored_files
from detector.training.thresholds import CANT_TELL
from detector.workspace import Workspace

#: Fewer invokes, or samples, than this say nothing.
FEWEST: Final = 50
#: Days that are looked back, the shorter first: what has changed lately is the news.
WINDOWS: Final = (7, 30)
#: From this index on a change is large enough to be said ...
LARGE_CHANGE: Final = 0.25
#: ... where chance alone would make one so large less often than this.
BY_CHANCE: Final = 0.001

#: Functions whose samples are remembered as counts.
_KEPT = 8

_FORMAT_NAMES = {"WEBP": "WebP", "HEIF": "HEIC"}
_NOT_SUCH = "The figures on this page are not of such pictures."
_MAY_NOT_HOLD = "What the figures on this page say may not hold for these pictures."


@dataclass(frozen=True)
class Change:
    """One thing in which what was invoked differs from the samples.

    Attributes
    ----------
    part : str
        What was counted, as of `detector.serving.invoke_counts`.
    days, n : int
        How far back, and how many invokes.
    index, bound : float
        The population stability index, and what it had to exceed.
    invoked, samples : float
        The shares that the sentence names.
    said : str
        What has changed, as a sentence.
    """

    part: str
    days: int
    n: int
    index: float
    bound: float
    invoked: float
    samples: float
    said: str

    @property
    def follows(self) -> str:
        """What that means for the figures of the model."""
        return _MAY_NOT_HOLD if self.part in (SAID, CONFIDENCE) else _NOT_SUCH

    @property
    def sentence(self) -> str:
        """What has changed, and what follows."""
        return f"{self.said} {self.follows}"


@dataclass(frozen=True)
class Drift:
    """What was invoked lately, and how it differs from the samples of the live model.

    Attributes
    ----------
    days : tuple of InvokeDay
        Of the last `WINDOWS` days, all doors and models, oldest first.
    invokes : int
        With the live model, in these days.
    compared : int
        Labelled samples that they are compared with.
    changes : tuple of Change
        The largest first; of one thing the latest window that shows it.
    """

    days: tuple[InvokeDay, ...]
    invokes: int
    compared: int
    changes: tuple[Change, ...]

    @property
    def decides(self) -> bool:
        """Whether there is enough of both to say anything."""
        return self.invokes >= FEWEST and self.compared >= FEWEST

    @property
    def warning(self) -> str:
        """All changes, and once what follows; empty where there is none."""
        if not self.changes:
            return ""
        follows = _NOT_SUCH if any(change.follows == _NOT_SUCH for change in self.changes) else _MAY_NOT_HOLD
        return " ".join((*(change.said for change in self.changes), follows))


@dataclass(frozen=True)
class _Event:
    """Some bins, and what one says of a picture in them."""

    bins: frozenset[str]
    words: str


def drift_of(ws: Workspace, model: ModelRow, today: date | None = None) -> Drift:
    """Compare what was invoked in the last days with the labelled samples of a model.

    Parameters
    ----------
    model : ModelRow
        The live one, with thresholds (`detector.serving.thresholds.with_thresholds`).
    today : date, optional
        In UTC; now where None.
    """
    today = today or datetime.fromtimestamp(now(), UTC).date()
    first = today - timedelta(days=max(WINDOWS) - 1)
    days = tuple(item for item in read_invokes(ws.db, model.function_id, first.isoformat()))
    mine = [item for item in days if item.model_id == model.id]
    invokes = sum(item.count for item in mine)
    if invokes < FEWEST:
        return Drift(days, invokes, 0, ())
    compared, samples = _samples(ws, model)
    found: dict[str, Change] = {}
    for window in WINDOWS:
        start = (today - timedelta(days=window - 1)).isoformat()
        counts: Counts = {}
        for item in mine:
            if item.day >= start:
                counts = add_counts(counts, item.counts)
        for part in _compared_parts(model):
            if part not in found and (change := compare(part, counts.get(part, {}), samples.get(part, {}), window)):
                found[part] = change
    # One says what the other does, in the words that people know.
    for said, other in ((SAID, CONFIDENCE), (QUALITY, FORMAT)):
        if said in found:
            found.pop(other, None)
    return Drift(days, invokes, compared, tuple(sorted(found.values(), key=lambda change: -change.index)))


def compare(part: str, invoked: Mapping[str, int], samples: Mapping[str, int], days: int) -> Change | None:
    """One part of the counts of both; None where they are alike, or too few to say.

    Parameters
    ----------
    part : str
        `SIDE`, `QUALITY`, `FORMAT`, `CONFIDENCE` or `SAID`.
    invoked, samples : mapping
        How many are in each bin.
    days : int
        How far back ``invoked`` goes; for the sentence.
    """
    if part == SAID:
        invoked, samples = _told(invoked), _told(samples)
    n, m = sum(invoked.values()), sum(samples.values())
    if n < FEWEST or m < FEWEST:
        return None
    bins = sorted(invoked.keys() | samples.keys())
    index = stability_index([invoked.get(name, 0) for name in bins], [samples.get(name, 0) for name in bins])
    bound = max(LARGE_CHANGE, by_chance(n, m, len(bins)))
    if index <= bound:
        return None

    def shares(event: _Event) -> tuple[float, float]:
        return (
            sum(invoked.get(name, 0) for name in event.bins) / n,
            sum(samples.get(name, 0) for name in event.bins) / m,
        )

    event = max(_events(part, bins), key=lambda event: shares(event)[0] - shares(event)[1])
    among_invoked, among_samples = shares(event)
    said = (
        f"Of {count(n, 'invoke')} in the last {days} days {percent(among_invoked, 0)} {event.words}; of your samples "
        f"{percent(among_samples, 0)}."
    )
    return Change(part, days, n, index, bound, among_invoked, among_samples, said)


def stability_index(first: Sequence[int], second: Sequence[int]) -> float:
    """The population stability index of two counts over the same bins; half a picture is added to each bin.

    Without that a bin which is empty on one side would make it infinite.
    """
    bins = len(first)
    n, m = sum(first) + bins / 2, sum(second) + bins / 2
    pairs = [((a + 0.5) / n, (b + 0.5) / m) for a, b in zip(first, second, strict=True)]
    return sum((p - q) * log(p / q) for p, q in pairs)


def by_chance(n: int, m: int, bins: int) -> float:
    """The index that two samples of n and m from one population exceed with the probability `BY_CHANCE`."""
    # Here, not above: it takes a tenth of a second, and pages import this module.
    from scipy.special import chdtri

    return float(chdtri(max(bins - 1, 1), BY_CHANCE)) * (1 / n + 1 / m)


def _compared_parts(model: ModelRow) -> tuple[str, ...]:
    # A function that normalises its images re-encodes them: how they were saved is nothing to it.
    parts = (SIDE,) if model.normalise else (SIDE, QUALITY, FORMAT)
    # What an adapted version says is shifted; what is stored of the samples is as it was trained.
    return parts if model.recentring else (*parts, CONFIDENCE, SAID)


def _told(counts: Mapping[str, int]) -> dict[str, int]:
    """What was said, as can't tell or any verdict."""
    unsure = counts.get(CANT_TELL, 0)
    return {CANT_TELL: unsure, "": sum(counts.values()) - unsure} if counts else {}


def _events(part: str, bins: Sequence[str]) -> Iterator[_Event]:
    """What can be said of some of the pictures: below or above a border, or of one kind."""
    numbers = sorted(int(name) for name in bins if name.isdecimal())
    for place, border in enumerate(numbers):
        below = frozenset(str(number) for number in numbers[:place])
        above = frozenset(str(number) for number in numbers[place:])
        if part == SIDE:
            yield _Event(below, f"are of pictures smaller than {2**border:,} px (shorter side)")
            yield _Event(above, f"are of pictures of {2**border:,} px or more (shorter side)")
        elif part == QUALITY:
            yield _Event(below, f"are of JPEG files of a quality below {border}")
            yield _Event(above, f"are of JPEG files of quality {border} or better" if place else "are of JPEG files")
        else:
            yield _Event(below, f"got a confidence below {percent(border / CONFIDENCE_BINS, 0)}")
            yield _Event(above, f"got a confidence of {percent(border / CONFIDENCE_BINS, 0)} or more")
    for name in bins:
        if part == SAID:
            yield _Event(frozenset([name]), f"got {CANT_TELL}" if name == CANT_TELL else "got a label as verdict")
        elif part == FORMAT:
            yield _Event(frozenset([name]), f"are of {_FORMAT_NAMES.get(name, name)} files")
        elif name == LOSSLESS:
            yield _Event(frozenset([name]), "are of files saved without loss, such as PNG")


#: (revision, limits, samples, counts) by database and model: 100,000 samples take a second to read.
_known: dict[tuple[str, str], tuple[int, tuple[tuple[str, float], ...], int, Counts]] = {}


def _samples(ws: Workspace, model: ModelRow) -> tuple[int, Counts]:
    """How many labelled samples there are, and their counts in the bins of invokes."""
    key, revision = (ws.settings.url, model.id), revisions(ws.db, model.function_id)[0]
    limits = _limits(model)
    kept = _known.get(key)
    if kept is None or kept[:2] != (revision, tuple(limits.items())):
        number, counts = _count(scored_files(ws.db, model.function_id, model.id), limits)
        kept = (revision, tuple(limits.items()), number, counts)
        while len(_known) >= _KEPT:
            _known.pop(next(iter(_known)), None)
        _known[key] = kept
    return kept[2], kept[3]


def _limits(model: ModelRow) -> dict[str, float]:
    """The confidence above which each label is said, by its id; empty where none is ever said."""
    above = (model.thresholds or {}).get("above", {})
    return {
        label_id: above[name]
        for label_id, name in zip(model.label_ids, model.label_names, strict=True)
        if name in above
    }


def _count(files: Iterator[ScoredFile], limits: Mapping[str, float]) -> tuple[int, Counts]:
    number = 0
    counts: Counts = {}
    for file in files:
        number += 1
        lossless = file.format in LOSSLESS_FORMATS
        bins = file_bins(FileLook(min(file.width, file.height), file.quality, None, lossless, file.format))
        if file.confidence is not None:
            bins[CONFIDENCE] = confidence_bin(file.confidence)
            if limits:
                sure = file.confidence > limits.get(file.predicted_label_id or "", 1.0)
                bins[SAID] = (file.predicted_label_id or "") if sure else CANT_TELL
        for part, name in bins.items():
            known = counts.setdefault(part, {})
            known[name] = known.get(name, 0) + 1
    return number, counts
