"""In what state a picture comes: how it was saved, its size, whether it was enlarged or blurred; and what that costs.

Sharpness is the blur effect of Crete, Dolmiere, Ladret and Nicolas ("The blur effect: perception and estimation with a
new no-reference perceptual blur metric", 2007): a picture is blurred once more, and what of its differences between
neighbouring pixels that takes away is how sharp it was. A sharp picture loses much, a blurred one hardly anything.
Measured on the 2,000 pictures of mixed2000: below the cut of 0.5 lie 1.9 % of them as they are, 27.4 % blurred by a
sigma of 1 pixel and 98.0 % by 2 pixels; the medians are 0.74, 0.55 and 0.33. An estimated enlargement of 2 or more have
1.2 % as they are, 73.6 % blurred by 1 pixel and 98.0 % by 2: neither can tell a blur from an enlargement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detector.evaluation.results import StressScore
from detector.formatting import listed, share
from detector.imaging import DecodedImage
from detector.imaging.file_look import FileLook, file_look
from detector.imaging.rescaling import estimate_rescaling

#: Pictures are reduced to this longest side before their sharpness is measured: photographs of many megapixels are
#: never sharp from one pixel to the next.
SHARPNESS_SIDE = 1024
#: Pixels that the second blur takes the mean of.
_SPAN = 9
#: Below this mean difference between neighbouring pixels, in grey levels, there is nothing to be sharp.
_PLAIN = 0.2
BLURRED_BELOW = 0.5
ENLARGED_FROM = 2.0

#: What the counts of `audit_says` are of, for whoever shows them.
LIKELIER_LABEL = "Counted is the likelier label of each copy, whether or not the limit lets it be said."

#: The quality of the JPEGs of each change that the audit tries, those of versions before among them.
_JPEG_OF = {"jpeg-95": 95, "jpeg-75": 75, "messenger": 70, "jpeg-50": 50, "jpeg-40": 40}
_BLUR = "blur-2"
_WEBP = ("webp-60", "webp")
_COPIES = {
    "jpeg-95": "saved as JPEG 95",
    "jpeg-75": "saved as JPEG 75",
    "jpeg-50": "saved as JPEG 50",
    "jpeg-40": "saved as JPEG 40",
    "messenger": "sent by messenger (JPEG 70, 1,280 pixels at most)",
    "blur-2": "blurred by 2 pixels",
    "webp-60": "saved as WebP 60",
    "webp": "saved as WebP",
}


@dataclass(frozen=True)
class Quality:
    """The state of one picture.

    Attributes
    ----------
    format : str
    width, height : int
        Of the upright picture.
    jpeg_quality : int or None
        Of a JPEG, as its tables say.
    lossless : bool
        Whether its file keeps every pixel; what was lost before stays lost.
    rescaling : float or None
        See `detector.imaging.rescaling`; None where it cannot be told.
    sharpness : float, 0..1, or None
        None: too small, or without any detail.
    """

    format: str
    width: int
    height: int
    jpeg_quality: int | None
    lossless: bool
    rescaling: float | None
    sharpness: float | None

    @property
    def side(self) -> int:
        """The shorter side in pixels."""
        return min(self.width, self.height)

    @property
    def blurred(self) -> bool:
        return self.sharpness is not None and self.sharpness < BLURRED_BELOW

    @property
    def enlarged(self) -> bool:
        return self.rescaling is not None and self.rescaling >= ENLARGED_FROM

    @property
    def sentence(self) -> str:
        """The state in words."""
        saved = self.format
        if self.jpeg_quality is not None:
            saved += f", quality about {self.jpeg_quality}"
        elif self.lossless:
            saved += ", saved without loss"
        said = f"{saved}, {self.width:,} x {self.height:,} pixels."
        if self.enlarged:
            said += f" It has as little fine detail as a picture enlarged {self.rescaling:.1f} times."
        if self.blurred:
            said += " It looks blurred."
        return said

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        found = asdict(self) | {"side": self.side, "blurred": self.blurred, "enlarged": self.enlarged}
        for name in ("rescaling", "sharpness"):
            found[name] = None if found[name] is None else round(found[name], 3)
        return {_camel(name): value for name, value in found.items()}


def quality_of(decoded: DecodedImage, look: FileLook | None = None) -> Quality:
    """Look at a picture's file and pixels.

    Parameters
    ----------
    decoded : DecodedImage
    look : FileLook, optional
        Where the file was looked at already: its rescaling is not estimated again.
    """
    facts = decoded.facts
    if look is None or look.rescaling is None:
        look = file_look(facts.to_json(), estimate_rescaling(decoded.pixels))
    return Quality(
        format=facts.format,
        width=facts.width,
        height=facts.height,
        jpeg_quality=look.quality,
        lossless=look.lossless,
        rescaling=look.rescaling,
        sharpness=sharpness(decoded.pixels),
    )


def sharpness(picture: Image.Image) -> float | None:
    """What a second blur takes from the differences between neighbouring pixels, in the direction that loses less.

    Parameters
    ----------
    picture : PIL.Image.Image
        Upright RGB, of any size.

    Returns
    -------
    float in 0..1, or None
        None where it cannot be told: a picture too small, or without any detail.
    """
    factor = -(-max(picture.size) // SHARPNESS_SIDE)
    small = picture.reduce(factor) if factor > 1 else picture
    if min(small.size) < 2 * _SPAN:
        return None
    grey = np.asarray(small.convert("L"), dtype=np.float32)
    lost = [_lost(grey), _lost(grey.T)]
    return None if None in lost else min(each for each in lost if each is not None)


def _lost(grey: NDArray[np.float32]) -> float | None:
    sums = np.cumsum(grey, axis=1, dtype=np.float64)
    blurred = (sums[:, _SPAN:] - sums[:, :-_SPAN]) / _SPAN
    # The blurred pixel at place 0 stands over the pixel _SPAN // 2 + 1 of the picture.
    start = _SPAN // 2 + 1
    before = np.abs(np.diff(grey[:, start : start + blurred.shape[1]], axis=1))
    if before.mean() < _PLAIN:
        return None
    after = np.abs(np.diff(blurred, axis=1))
    return float(np.maximum(before - after, 0).sum() / before.sum())


def audit_says(stress: Sequence[StressScore], quality: Quality, labels: Mapping[str, str]) -> list[str]:
    """What the audit of a model found on copies in such a state, a sentence each; empty where it tried none.

    Of each copy the likelier label counts, whether or not the limit lets it be said: see `LIKELIER_LABEL`.

    Parameters
    ----------
    stress : sequence of StressScore
        From `detector.evaluation.report.Audit.stress`.
    quality : Quality
    labels : mapping of str to str
        The function's labels of today: id -> name.
    """
    tried = {score.name: score for score in stress}
    chosen = []
    jpegs = [name for name in tried if name in _JPEG_OF]
    if quality.jpeg_quality is not None and jpegs:
        asked = quality.jpeg_quality
        chosen.append(min(jpegs, key=lambda name: (abs(_JPEG_OF[name] - asked), _JPEG_OF[name])))
    if quality.format == "WEBP" and not quality.lossless:
        chosen.extend([name for name in _WEBP if name in tried][:1])
    if quality.blurred and _BLUR in tried:
        chosen.append(_BLUR)
    return [_counted(tried[name], labels) for name in chosen]


def _counted(score: StressScore, labels: Mapping[str, str]) -> str:
    on = f"On copies {_COPIES[score.name]} this model"
    known = {label_id: counts for label_id, counts in score.by_label.items() if label_id in labels and counts[0]}
    if len(known) < 2:
        wrong = score.n - round(score.accuracy * score.n)
        return f"{on} was wrong about {share(wrong, score.n)} images."
    parts = []
    for label_id, (n, right) in known.items():
        others = [name for other, name in labels.items() if other != label_id]
        called = others[0] if len(others) == 1 else "something else"
        parts.append(f"{share(n - right, n)} {labels[label_id]} images {called}")
    return f"{on} called {listed(parts)}."


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
