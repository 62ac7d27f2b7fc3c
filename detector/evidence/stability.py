"""The verdict on copies of a picture: what is left of it when the picture has been passed on.

The copies are made of the decoded picture, in memory, and judged by their scores alone: whether the file of a copy is
like the samples' says nothing of the picture. Their probabilities are kept, so that another limit costs no second look.

A verdict has to survive on every copy. Measured with the offline backbone on 488 pictures of mixed2000 that a function
of the other 1,512 had not seen, at a limit of 2 %: of 397 right verdicts 47 become can't tell, and so do 3 of 4 wrong
ones; of 171 strong verdicts 126 stay strong and 40 become moderate.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, JpegImagePlugin, WebPImagePlugin

from detector.backbones.views import PreparedViews
from detector.formatting import count
from detector.imaging import DecodedImage
from detector.imaging.degraded_copies import saved_as
from detector.progress import Report, silent
from detector.serving.invoke import Verdict
from detector.serving.model import ServingModel, renormalised
from detector.storage.embeddings import as_stored
from detector.storage.stored_names import DETAIL, WHOLE
from detector.system.batches import map_batches, thread_count
from detector.training.thresholds import CANT_TELL, GRADES
from detector.workspace import Workspace

if TYPE_CHECKING:
    from detector.backbones import Backbone

AS_IT_IS = "as-it-is"
#: What a messenger leaves of a picture: its longer side in pixels, and the quality of its JPEG.
MESSENGER_SIDE, MESSENGER_QUALITY = 1280, 70
#: Share of each side that the crop keeps.
CROP = 0.8
#: Longest side of the small pictures.
PREVIEW_SIDE = 160

#: Copies of larger pictures are made one after the other: each takes several times the picture's memory.
_MOST_PIXELS_AT_ONCE = 40_000_000
#: Pictures whose copies are made at a time, whoever asks: as many as passes of an invoke.
_examined = threading.BoundedSemaphore(2)

# Importing the plugins registers reader and writer; Pillow would else load all of its plugins at the first save.
assert JpegImagePlugin.Image is not None
assert WebPImagePlugin.SUPPORTED


@dataclass(frozen=True)
class Change:
    """One kind of copy.

    Attributes
    ----------
    words : str
        What people call it.
    apply : callable
        Upright RGB picture -> the picture in the copy.
    preview_side : int
        Longest side of its small picture.
    """

    words: str
    apply: Callable[[Image.Image], Image.Image]
    preview_side: int = PREVIEW_SIDE


@dataclass(frozen=True)
class Copy:
    """What the function says of one copy.

    Attributes
    ----------
    name, words : str
        The key of `CHANGES`, and what people call it.
    probabilities : dict of str to float
        By label id.
    label, label_id : str
        The most probable label.
    grade : str
        What its score alone has earned, of `detector.training.thresholds.GRADES`.
    preview : bytes
        A small picture of it, as WebP.
    """

    name: str
    words: str
    probabilities: dict[str, float]
    label: str
    label_id: str
    grade: str
    preview: bytes

    @property
    def said(self) -> str:
        """The verdict in one word: the label's name, or can't tell."""
        return self.label if self.grade != CANT_TELL else CANT_TELL

    def says_as(self, other: Copy) -> bool:
        """Whether both got the same verdict, whatever their grades."""
        return self.said == other.said


@dataclass(frozen=True)
class Stability:
    """The verdicts on the copies of one picture.

    Attributes
    ----------
    copies : tuple of Copy
        In the order of `CHANGES`; the first is the picture as it is.
    seconds : float
        What making and judging them took.
    """

    copies: tuple[Copy, ...]
    seconds: float

    @property
    def original(self) -> Copy:
        return self.copies[0]

    @property
    def changed(self) -> tuple[Copy, ...]:
        """The copies on which the function says something else."""
        return tuple(copy for copy in self.copies[1:] if not copy.says_as(self.original))

    @property
    def steady(self) -> bool:
        """Whether it says the same on every copy."""
        return not self.changed

    @property
    def flips(self) -> int:
        """On how many copies it says something else."""
        return len(self.changed)

    @property
    def sentence(self) -> str:
        """How steady the verdict is, as people say it."""
        n = len(self.copies) - 1
        if not self.steady:
            words = ", ".join(copy.words for copy in self.changed)
            return f"On {self.flips} of {count(n, 'copy', 'copies')} the function says something else: {words}."
        if self.original.said == CANT_TELL:
            return f"The function can't tell on any of the {count(n, 'copy', 'copies')} either."
        return f"Steady on {n} of {count(n, 'copy', 'copies')}."

    def to_json(self) -> list[dict[str, Any]]:
        """One object a copy, the picture as it is first."""
        return [
            {
                "name": copy.name,
                "words": copy.words,
                "verdict": copy.said,
                "grade": copy.grade,
                "confidence": max(copy.probabilities.values()),
            }
            for copy in self.copies
        ]


def examine_stability(
    ws: Workspace,
    serving: ServingModel,
    backbone: Backbone,
    decoded: DecodedImage,
    verdict: Verdict,
    report: Report = silent,
) -> Stability:
    """Judge copies of a picture.

    Parameters
    ----------
    serving, backbone
        The model that gave the verdict, and its network.
    decoded : DecodedImage
    verdict : Verdict
        On the picture itself: its scores are not calculated again.
    report : Report
        May raise to stop the work.
    """
    start = perf_counter()
    changes = list(CHANGES.items())
    workers = (
        1 if decoded.facts.width * decoded.facts.height > _MOST_PIXELS_AT_ONCE else thread_count(ws.settings.threads)
    )

    def make(batch: list[tuple[str, Change]]) -> tuple[PreparedViews | None, bytes]:
        [(name, change)] = batch
        picture = change.apply(decoded.pixels)
        # The picture as it is was looked at already.
        if name == AS_IT_IS:
            return None, _preview(picture, change.preview_side)
        views = backbone.views_of(picture)
        # What the model does not ask for need not be calculated.
        needed = views if DETAIL in serving.model.views else PreparedViews(views.whole)
        return needed, _preview(picture, change.preview_side)

    prepared, previews = [], []
    with _examined:
        report("stability", 0, len(changes), "Making copies of the picture", None)
        for views, preview in map_batches(make, changes, size=1, workers=workers, name="copies"):
            previews.append(preview)
            if views is not None:
                prepared.append(views)
            report("stability", len(previews), len(changes), "Making copies of the picture", None)
        report("stability", len(changes), len(changes), "Judging the copies", None)
        found = backbone.embed(prepared)
    whole = np.stack([as_stored(views[WHOLE]).astype(np.float32) for views in found])
    detail = np.stack([as_stored(views.get(DETAIL, views[WHOLE])).astype(np.float32) for views in found])
    rows = serving.probabilities({WHOLE: whole, DETAIL: detail})
    known = {score.label_id: score.confidence for score in verdict.scores}
    own = np.array([[known[label.id] for label in serving.labels]])
    probabilities = np.concatenate([own, rows])
    copies = [
        Copy(name, change.words, {}, "", "", CANT_TELL, preview)
        for (name, change), preview in zip(changes, previews, strict=True)
    ]
    return Stability(_judged(serving, copies, probabilities), perf_counter() - start)


def rejudged(serving: ServingModel, stability: Stability) -> Stability | None:
    """The same copies under the thresholds, and the labels' names, of now; no picture is looked at.

    None where the model has labels that they were not judged for: then the copies have to be looked at again, as where
    another model is live or it is adapted to other pictures (see `detector.serving.invoke.rejudge`).
    """
    ids = [label.id for label in serving.labels]
    known = stability.original.probabilities
    if not set(ids) <= known.keys():
        return None
    rows = np.array([[copy.probabilities[label_id] for label_id in ids] for copy in stability.copies])
    if len(ids) < len(known):
        # A label was deleted since; the others share its part.
        rows = renormalised(rows)
    return replace(stability, copies=_judged(serving, stability.copies, rows))


def capped_grade(grade: str, stability: Stability) -> tuple[str, str]:
    """The grade that is left of a verdict's own when its copies are asked too, and why it is lower.

    Parameters
    ----------
    grade : str
        Of the verdict.

    Returns
    -------
    grade : str
        Never above the lowest among the copies; can't tell where a copy gets another verdict.
    reason : str
        One sentence; empty where the copies take nothing away.
    """
    if grade == CANT_TELL:
        return grade, ""
    others = stability.copies[1:]
    if not stability.steady:
        words = ", ".join(f"{copy.words} ({copy.said})" for copy in stability.changed)
        return CANT_TELL, f"The verdict does not hold on every copy of this picture: {words}."
    lowest = max((copy.grade for copy in others), key=GRADES.index)
    if GRADES.index(lowest) <= GRADES.index(grade):
        return grade, ""
    words = ", ".join(copy.words for copy in others if copy.grade == lowest)
    return lowest, f"On copies of this picture the verdict is only {lowest}: {words}."


def _judged(
    serving: ServingModel, copies: list[Copy] | tuple[Copy, ...], probabilities: np.ndarray
) -> tuple[Copy, ...]:
    judged = []
    for copy, row, grade in zip(copies, probabilities, serving.grades(probabilities), strict=True):
        best = serving.labels[int(row.argmax())]
        by_label = {label.id: float(share) for label, share in zip(serving.labels, row, strict=True)}
        judged.append(replace(copy, probabilities=by_label, label=best.name, label_id=best.id, grade=grade))
    return tuple(judged)


def _preview(picture: Image.Image, side: int) -> bytes:
    scale = min(1.0, side / max(picture.size))
    size = (max(1, round(scale * picture.width)), max(1, round(scale * picture.height)))
    file = io.BytesIO()
    picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0).save(file, "WEBP", quality=80, method=0)
    return file.getvalue()


def _half(picture: Image.Image) -> Image.Image:
    return picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)), Image.Resampling.BICUBIC)


def _cropped(picture: Image.Image) -> Image.Image:
    width, height = max(1, round(CROP * picture.width)), max(1, round(CROP * picture.height))
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


def _messenger(picture: Image.Image) -> Image.Image:
    scale = MESSENGER_SIDE / max(picture.size)
    if scale < 1:
        size = (max(1, round(scale * picture.width)), max(1, round(scale * picture.height)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return saved_as(picture, "JPEG", quality=MESSENGER_QUALITY)


#: The copies, in the order in which they are shown.
CHANGES: dict[str, Change] = {
    AS_IT_IS: Change("as it is", lambda picture: picture),
    "jpeg-75": Change("JPEG 75", lambda picture: saved_as(picture, "JPEG", quality=75)),
    "jpeg-50": Change("JPEG 50", lambda picture: saved_as(picture, "JPEG", quality=50)),
    "half-size": Change("half size", _half, PREVIEW_SIDE // 2),
    "crop": Change("cropped", _cropped),
    "messenger": Change("messenger", _messenger),
}
