"""Which files a function's samples cover: a picture beyond them was never tried, whatever its score.

A fact of a file is covered where *every* label has samples like it. Where only one label has (all real pictures are
large, all synthetic ones small), nobody knows whether a model that sees such a picture goes by what it shows.

The range of a label is that of its 1st to 99th percentile, and somewhat more, since no picture changes by a pixel more
or a point of quality less: see `SIZE_TOLERANCE` and its neighbours. Kinds of files (saved without loss, or with) are
covered where they make up at least `FEWEST_OF_A_KIND` of every label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from detector.formatting import all_labels
from detector.imaging.file_look import FileLook

#: Samples of a label below which nothing is said of its files, and no picture is held back.
FEWEST = 20
#: A kind of file must make up at least this share of a label's samples, or it counts as never tried.
FEWEST_OF_A_KIND = 0.05
#: Percentiles between which a fact counts as tried.
LOWEST, HIGHEST = 1.0, 99.0
#: A picture may be larger or smaller than what was tried by this factor.
SIZE_TOLERANCE = 1.25
#: The quality may be so many points worse, or better, than what was tried. Of 160 photographs from elsewhere a function
#: of pictures of quality 92 called 38 synthetic at 92 and at 95, 39 at 85, 36 at 98, but 42 at 100 and 47 saved without
#: loss: so somewhat worse or better files compare, and those without loss are a kind of their own.
WORSE_QUALITY, BETTER_QUALITY = 10, 6
#: The estimated enlargement may be beyond what was tried by this factor; the estimate itself is no better.
RESCALING_TOLERANCE = 1.25

#: The facts that decide, in the order in which they are named.
SIZE, QUALITY, RESCALING = "size", "quality", "rescaling"
FACTS = (SIZE, QUALITY, RESCALING)

#: Estimates below this are none of an enlargement.
_NOT_ENLARGED = 1.05
#: Shorter sides that pictures have from small ones on web pages to those of a telephone's camera.
_USUAL_SIDES = (400, 3000)

#: Lower and upper end, both included.
Range = tuple[float, float]


@dataclass(frozen=True)
class LabelFiles:
    """What the files of one label's samples are like.

    Attributes
    ----------
    n : how many were looked at, copies left out
    side : Range
        Shorter sides in pixels, from the 1st to the 99th percentile.
    quality : Range or None
        Of the files saved with loss, where their quality is known; None where hardly any is.
    lossless, unknown : float
        The share saved without loss, and of those in formats that do not say their quality.
    rescaling : Range or None
        None where too few pictures were looked at, or it could not be told.
    """

    n: int
    side: Range
    quality: Range | None
    lossless: float
    unknown: float
    rescaling: Range | None = None

    @classmethod
    def of(cls, samples: Sequence[FileLook], copies: Sequence[FileLook] = ()) -> LabelFiles:
        """From the files of a label's samples, and of the degraded copies that were trained on, too.

        Parameters
        ----------
        samples : not empty
        """
        looks = [*samples, *copies]
        known = [look.quality for look in looks if look.quality is not None]
        lossless = sum(look.lossless for look in looks)
        return cls(
            n=len(samples),
            side=_range([look.side for look in looks]),
            quality=_range(known) if len(known) >= FEWEST_OF_A_KIND * len(looks) else None,
            lossless=lossless / len(looks),
            unknown=(len(looks) - lossless - len(known)) / len(looks),
            rescaling=rescaling_range([look.rescaling for look in looks]),
        )

    def range_of(self, fact: str) -> Range | None:
        """The range of one of `FACTS`."""
        return {SIZE: self.side, QUALITY: self.quality, RESCALING: self.rescaling}[fact]

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LabelFiles:
        """The inverse of what `Coverage.to_json` makes of it."""
        ends = {name: tuple(data[name]) if data[name] else None for name in ("side", "quality", "rescaling")}
        return cls(**{**data, **ends})


@dataclass(frozen=True)
class Miss:
    """One fact of a picture that the samples do not cover, in a sentence."""

    fact: str
    sentence: str


@dataclass(frozen=True)
class Coverage:
    """What the files of all labels' samples cover.

    Attributes
    ----------
    labels : dict of label id to LabelFiles
    facts : tuple of str
        Those of `FACTS` that decide. Of a function that normalises its images, only the size does.
    largest_side : int or None
        Pictures of more pixels than this on the shorter side are all alike to the function, which scales them to it.
    """

    labels: dict[str, LabelFiles]
    facts: tuple[str, ...] = FACTS
    largest_side: int | None = None

    def of_labels(self, label_ids: Sequence[str]) -> Coverage:
        """The same for some of the labels: others were deleted since."""
        return replace(self, labels={item: self.labels[item] for item in label_ids if item in self.labels})

    @property
    def asks_rescaling(self) -> bool:
        """Whether pictures themselves have to be looked at."""
        return RESCALING in self.facts and self.decides and any(files.rescaling for files in self.labels.values())

    @property
    def decides(self) -> bool:
        """Whether there are samples enough of every label to say anything."""
        return len(self.labels) >= 2 and all(files.n >= FEWEST for files in self.labels.values())

    def covered(self, fact: str) -> Range | None:
        """What every label covers of a fact, its tolerance included; None where that is nothing, or it is not known."""
        ranges = [self._tolerated(fact, files) for files in self.labels.values()]
        known = [item for item in ranges if item is not None]
        if len(known) < len(ranges) or not known:
            return None
        low, high = max(item[0] for item in known), min(item[1] for item in known)
        return (low, high) if low <= high else None

    def misses(self, look: FileLook, names: Mapping[str, str]) -> list[Miss]:
        """What of a picture's file was never tried with every label; empty where it compares.

        Parameters
        ----------
        look : FileLook
        names : dict of label id to name
            Of the labels that there are.
        """
        known = self.of_labels(list(names))
        if not known.decides:
            return []
        found = (known._size(look, names), known._quality(look, names), known._rescaling(look, names))
        return [miss for miss in found if miss is not None]

    def _size(self, look: FileLook, names: Mapping[str, str]) -> Miss | None:
        if SIZE not in self.facts:
            return None
        side = look.side if self.largest_side is None else min(look.side, self.largest_side)
        return self._outside(SIZE, side, names, f"{look.side:,} px")

    def _quality(self, look: FileLook, names: Mapping[str, str]) -> Miss | None:
        if QUALITY not in self.facts:
            return None
        if look.lossless:
            without = [item for item, files in self.labels.items() if files.lossless < FEWEST_OF_A_KIND]
            if not without:
                return None
            who = _whose(without, self.labels, names)
            return Miss(QUALITY, f"{who} were all saved with loss, such as JPEG; this picture was not, such as PNG.")
        if look.quality is None:
            return None
        without = [
            item
            for item, files in self.labels.items()
            if files.quality is None and files.unknown < FEWEST_OF_A_KIND <= files.lossless
        ]
        if without:
            who = _whose(without, self.labels, names)
            return Miss(QUALITY, f"{who} were all saved without loss, such as PNG; this is a JPEG.")
        return self._outside(QUALITY, look.quality, names, f"of quality {look.quality}")

    def _rescaling(self, look: FileLook, names: Mapping[str, str]) -> Miss | None:
        if RESCALING not in self.facts or look.rescaling is None:
            return None
        return self._outside(
            RESCALING, look.rescaling, names, describe_range(RESCALING, (look.rescaling, look.rescaling))
        )

    def _outside(self, fact: str, value: float, names: Mapping[str, str], this: str) -> Miss | None:
        missed = {}
        verb = "look" if fact == RESCALING else "are"
        for item, files in self.labels.items():
            ends = self._tolerated(fact, files)
            if ends is not None and not ends[0] <= value <= ends[1]:
                tried = files.range_of(fact)
                assert tried is not None
                missed[item] = describe_range(fact, tried)
        if not missed:
            return None
        if len(missed) == len(self.labels) and len(set(missed.values())) == 1:
            said = f"Your samples {verb} {next(iter(missed.values()))}"
        else:
            said = "Your samples labelled " + ", those labelled ".join(
                f"{names[item]} {verb} {words}" for item, words in missed.items()
            )
        side = " (shorter side)" if fact == SIZE else ""
        return Miss(fact, f"{said}{side}; this {'looks' if fact == RESCALING else 'is'} {this}.")

    def _tolerated(self, fact: str, files: LabelFiles) -> Range | None:
        ends = files.range_of(fact)
        if ends is None:
            return None
        low, high = ends
        if fact == QUALITY:
            return low - WORSE_QUALITY, high + BETTER_QUALITY
        factor = SIZE_TOLERANCE if fact == SIZE else RESCALING_TOLERANCE
        if fact == SIZE and self.largest_side is not None:
            low, high = min(low, self.largest_side), min(high, self.largest_side)
        return low / factor, high * factor

    def what_to_add(self, names: Mapping[str, str]) -> list[str]:
        """What samples would let the function judge more pictures, one sentence a fact at most."""
        known = self.of_labels(list(names))
        if not known.decides:
            return []
        both = all_labels(len(known.labels))
        found = [known._sizes_to_add(names, both), known._kinds_to_add(names, both)]
        return [sentence for sentence in found if sentence]

    def _sizes_to_add(self, names: Mapping[str, str], both: str) -> str:
        if SIZE not in self.facts:
            return ""
        common = self.covered(SIZE)
        if common is None:
            said = _by_label(self.labels, names, SIZE)
            return f"No size is common to {both}: {said}. Add photographs of the same sizes with {both}."
        low, high = max(files.side[0] for files in self.labels.values()), common[1] / SIZE_TOLERANCE
        wanted = []
        if self.largest_side is None and high < _USUAL_SIDES[1]:
            wanted.append(f"larger than {high:,.0f} px")
        if self.largest_side is not None:
            low = min(low, self.largest_side)
        if low > _USUAL_SIDES[0]:
            wanted.append(f"smaller than {low:,.0f} px")
        return f"Add photographs {' and '.join(wanted)} with {both}." if wanted else ""

    def _kinds_to_add(self, names: Mapping[str, str], both: str) -> str:
        if QUALITY not in self.facts:
            return ""
        lossless = [files.lossless >= FEWEST_OF_A_KIND for files in self.labels.values()]
        lossy = [files.quality is not None or files.unknown >= FEWEST_OF_A_KIND for files in self.labels.values()]
        missing = [kind for kind, has in (("PNG", lossless), ("JPEG", lossy)) if not all(has)]
        if missing:
            return f"Add {' and '.join(missing)} files with {both}."
        if self.covered(QUALITY) is None and all(files.quality for files in self.labels.values()):
            return f"No JPEG quality is common to {both}: {_by_label(self.labels, names, QUALITY)}."
        return ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        stored = asdict(self)
        for files in stored["labels"].values():
            files.update(
                {name: list(files[name]) if files[name] else None for name in ("side", "quality", "rescaling")}
            )
        return {**stored, "facts": list(self.facts)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Coverage:
        """The inverse of ``to_json``."""
        labels = {item: LabelFiles.from_json(files) for item, files in data["labels"].items()}
        return cls(labels, tuple(data["facts"]), data["largest_side"])


def rescaling_range(found: Sequence[float | None]) -> Range | None:
    """The range of estimates; None where fewer than `FEWEST` pictures could be told."""
    known = [value for value in found if value is not None]
    return _range(known) if len(known) >= FEWEST else None


def describe_range(fact: str, ends: Range) -> str:
    """ "all 256 px", "224 to 512 px", "of quality 85 to 95", "enlarged 1.4 times at most"."""
    low, high = ends
    if fact == RESCALING:
        if high < _NOT_ENLARGED:
            return "not enlarged"
        below = f"{low:.1f} to " if low >= _NOT_ENLARGED and f"{low:.1f}" != f"{high:.1f}" else ""
        return f"enlarged {below}{high:.1f} times{'' if low >= _NOT_ENLARGED else ' at most'}"
    before, after = ("", " px") if fact == SIZE else ("of quality ", "")
    if round(low) == round(high):
        return f"all {before}{low:,.0f}{after}"
    return f"{before}{low:,.0f} to {high:,.0f}{after}"


def _range(values: Sequence[float]) -> Range:
    # Values that were seen, none between them: "255.4 px" is the size of no picture.
    low, high = np.percentile(values, (LOWEST, HIGHEST), method="nearest")
    return float(low), float(high)


def _whose(without: Sequence[str], labels: Mapping[str, LabelFiles], names: Mapping[str, str]) -> str:
    if len(without) == len(labels):
        return "Your samples"
    return f"Your samples labelled {' and '.join(names[item] for item in without)}"


def _by_label(labels: Mapping[str, LabelFiles], names: Mapping[str, str], fact: str) -> str:
    parts = [(names[item], files.range_of(fact)) for item, files in labels.items()]
    return ", ".join(f"{name} samples are {describe_range(fact, ends)}" for name, ends in parts if ends is not None)
