"""Images -> verdicts, with the live model: the same decoding, embedding and rounding as for samples."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from detector.errors import ImageError
from detector.imaging import DecodedImage, decode_image
from detector.imaging.file_look import FileLook, file_look
from detector.imaging.rescaling import estimate_rescaling
from detector.serving.likeness import LIKENESS, Likeness, likeness_of_views
from detector.serving.model import ServingModel, load_serving_model, renormalised, serving_backbone
from detector.storage.embeddings import as_stored
from detector.storage.stored_names import DETAIL, WHOLE
from detector.system.batches import Executor, threads
from detector.training.coverage import Miss
from detector.training.thresholds import CANT_TELL, MODERATE, STRONG
from detector.workspace import Workspace

if TYPE_CHECKING:
    from detector.backbones import Backbone

#: What follows for a picture whose file was never tried with every label, and where it is judged all the same.
NOT_COMPARED = (
    "The function was never tried on such pictures. Add some with every label, or choose “Judge such pictures all the "
    "same” on the Invoke page."
)
COMPARED_ALL_THE_SAME = "The function was never tried on such pictures, so the verdict is moderate at most."


@dataclass(frozen=True)
class Score:
    label: str
    label_id: str
    confidence: float


@dataclass(frozen=True)
class Verdict:
    """What the function says of one image.

    Attributes
    ----------
    scores : tuple of Score
        Every label, most confident first.
    grade : str
        ``STRONG``: it also kept to the limit on sources that were left out of the training. ``MODERATE``: it keeps to
        it for pictures like the samples. ``CANT_TELL``: below both, or the picture or its file is unlike the samples.
    reason : str
        What stands behind the grade, or keeps it from being higher. Empty where only the image's own score is too low
        to say a label.
    unlike : tuple of Miss
        What of the picture's file, or of the picture itself, was never tried with every label; the reason begins with
        it.
    look : FileLook, optional
        What of the file decides that.
    offset : float or None
        What the model was adapted by when it said so; None where it answered as it was trained.
    likeness : Likeness or None
        How far the picture lies from the samples; None where that cannot be said. Where it is flagged, that is the
        last of ``unlike``.
    """

    name: str
    scores: tuple[Score, ...]
    model_id: str
    model_version: int
    seconds: float
    grade: str
    reason: str = ""
    unlike: tuple[Miss, ...] = ()
    look: FileLook | None = None
    offset: float | None = None
    likeness: Likeness | None = None

    @property
    def label(self) -> str:
        return self.scores[0].label

    @property
    def sure(self) -> bool:
        """Whether the function commits itself to a label."""
        return self.grade != CANT_TELL

    @property
    def verdict(self) -> str:
        """The label's name where the function is sure enough of it, else ``CANT_TELL``."""
        return self.label if self.sure else CANT_TELL

    @property
    def label_id(self) -> str:
        return self.scores[0].label_id

    @property
    def confidence(self) -> float:
        return self.scores[0].confidence


@dataclass(frozen=True, eq=False)
class Examined:
    """One picture and all that was made of it on the way to its verdict, so that nothing is made twice.

    Attributes
    ----------
    decoded : DecodedImage
        Upright and RGB, with the facts of its file.
    views : dict of str to (dimension,) float32
        Its embedding, rounded as those of samples are.
    verdict : Verdict
    """

    decoded: DecodedImage
    views: dict[str, np.ndarray]
    verdict: Verdict


# Two passes at a time: while the network calculates for one, the other is decoded. Both share the backbone's threads;
# a third would only take memory.
_passes = threading.BoundedSemaphore(2)


def invoke(
    ws: Workspace, function_id: str, images: Sequence[tuple[str, bytes]], model_id: str | None = None
) -> list[Verdict | ImageError]:
    """Classify images with the live model of a function, or with the version asked for.

    Parameters
    ----------
    images : sequence of (name, bytes)

    Returns
    -------
    list, aligned with ``images``
        A Verdict, or the ImageError that says why this file could not be used.

    Raises
    ------
    NoModel, NotFound, BackboneUnavailable
    """
    serving = load_serving_model(ws, function_id, model_id)
    return answer(ws, serving, serving_backbone(ws, serving), images)


def answer(
    ws: Workspace, serving: ServingModel, backbone: Backbone, images: Sequence[tuple[str, bytes]]
) -> list[Verdict | ImageError]:
    """`invoke` with what it loads first: the model, and the backbone that belongs to it."""
    # The clock starts here: loading the backbone is the first call's alone and says nothing of how long an image takes.
    start = perf_counter()
    with _passes:
        embedded, answers, looks = _embedded(ws, backbone, images, serving.asks_rescaling)
    names = [name for name, _ in images]
    answers |= verdicts_of(serving, embedded, names, looks, (perf_counter() - start) / max(len(images), 1))
    return [answers[position] for position in range(len(images))]


def verdicts_of(
    serving: ServingModel,
    embedded: Sequence[tuple[int, dict[str, np.ndarray]]],
    names: Mapping[int, str] | Sequence[str],
    looks: Mapping[int, FileLook],
    seconds: float,
) -> dict[int, Verdict]:
    """The verdicts on embedded pictures, by their positions: what follows once the network has looked at them.

    Parameters
    ----------
    embedded : sequence of (position, {view: (dimension,) float32})
    names, looks : by position
    seconds : float
        What one picture took.
    """
    if not embedded:
        return {}
    whole = np.stack([as_stored(views[WHOLE]).astype(np.float32) for _, views in embedded])
    detail = np.stack([as_stored(views.get(DETAIL, views[WHOLE])).astype(np.float32) for _, views in embedded])
    probabilities = serving.probabilities({WHOLE: whole, DETAIL: detail})
    likenesses = likenesses_of(serving, whole)
    grades = serving.grades(probabilities)
    return {
        position: _verdict(serving, names[position], row, seconds, grade, looks[position], like)
        for (position, _), row, grade, like in zip(embedded, probabilities, grades, likenesses, strict=True)
    }


def examine(ws: Workspace, serving: ServingModel, backbone: Backbone, name: str, decoded: DecodedImage) -> Examined:
    """The verdict on one decoded picture as of `answer`, with its embedding.

    Raises
    ------
    ImageError
    """
    start = perf_counter()
    with _passes:
        look = look_of(decoded, serving.asks_rescaling)
        [found] = backbone.embed([backbone.views_of(decoded.pixels)])
    views = {view: as_stored(row).astype(np.float32) for view, row in found.items()}
    given = {WHOLE: views[WHOLE][None], DETAIL: views.get(DETAIL, views[WHOLE])[None]}
    probabilities = serving.probabilities(given)
    [grade] = serving.grades(probabilities)
    [like] = likenesses_of(serving, given[WHOLE])
    seconds = perf_counter() - start
    return Examined(decoded, views, _verdict(serving, name, probabilities[0], seconds, grade, look, like))


def likenesses_of(serving: ServingModel, whole: np.ndarray) -> Sequence[Likeness | None]:
    """How far each picture lies from the samples, by its (n, dimension) embedding of the whole; None: not known."""
    return [None] * len(whole) if serving.likeness is None else likeness_of_views(serving.likeness, whole)


def look_of(decoded: DecodedImage, with_rescaling: bool) -> FileLook:
    """What of a picture's file decides whether it compares with the samples'."""
    rescaling = estimate_rescaling(decoded.pixels) if with_rescaling else None
    return file_look(decoded.facts.to_json(), rescaling)


def rejudge(
    ws: Workspace, function_id: str, answers: Sequence[Verdict | ImageError], model_id: str | None = None
) -> list[Verdict | ImageError] | None:
    """The same answers under the thresholds, and the labels' names, of now: no image is looked at again.

    Scores stay, so that another limit of false accusations costs nothing. None where another model is live by now than
    the one that answered (or than ``model_id``), its labels are others, or it is adapted to other pictures: these
    images have to be looked at again.

    Raises
    ------
    NoModel, NotFound
    """
    serving = load_serving_model(ws, function_id, model_id)
    judged: list[Verdict | ImageError] = []
    for answer_ in answers:
        if isinstance(answer_, ImageError):
            judged.append(answer_)
            continue
        known = {score.label_id: score.confidence for score in answer_.scores}
        same = answer_.model_id == serving.row.id and answer_.offset == serving.offset
        if not same or not {label.id for label in serving.labels} <= known.keys():
            return None
        kept = np.array([known[label.id] for label in serving.labels])
        if len(kept) < len(known):
            # A label was deleted since; the others share its part.
            [kept] = renormalised(kept[None, :])
        [grade] = serving.grades(kept[None, :])
        judged.append(_verdict(serving, answer_.name, kept, answer_.seconds, grade, answer_.look, answer_.likeness))
    return judged


def _embedded(
    ws: Workspace, backbone: Backbone, images: Sequence[tuple[str, bytes]], with_rescaling: bool
) -> tuple[list[tuple[int, dict[str, np.ndarray]]], dict[int, Verdict | ImageError], dict[int, FileLook]]:
    embedded: list[tuple[int, dict[str, np.ndarray]]] = []
    answers: dict[int, Verdict | ImageError] = {}
    looks: dict[int, FileLook] = {}

    def look(position: int, decoded: DecodedImage) -> None:
        looks[position] = look_of(decoded, with_rescaling)

    if len(images) == 1:
        # Nothing to decode ahead of the network: threads for it would cost more than they save.
        name, data = images[0]
        try:
            decoded = decode_image(data, name, ws.limits)
            look(0, decoded)
            [views] = backbone.embed([backbone.views_of(decoded.pixels)])
            embedded.append((0, views))
        except ImageError as error:
            answers[0] = error
        return embedded, answers, looks
    # Here, not above: it brings torch, which the server needs only once it looks at images.
    from detector.backbones.pipeline import embed_files

    def collect(rows: list[tuple[int, dict[str, np.ndarray]]], failures: list[tuple[int, ImageError]]) -> None:
        embedded.extend(rows)
        answers.update(failures)

    files = ((position, data, name) for position, (name, data) in enumerate(images))
    decoders = _decoders(ws.settings.threads)
    embed_files(files, backbone, ws.limits, ws.settings.threads, collect, decoders, look)
    return embedded, answers, looks


@cache
def _decoders(workers: int) -> Executor:
    """Threads of all passes: starting some for each pass of a few images would cost more than they save."""
    return threads(workers, "decode")


def _verdict(
    serving: ServingModel,
    name: str,
    row: np.ndarray,
    seconds: float,
    grade: str,
    look: FileLook | None,
    likeness: Likeness | None,
) -> Verdict:
    scores = tuple(
        Score(serving.labels[index].name, serving.labels[index].id, float(row[index]))
        for index in np.argsort(-row, kind="stable")
    )
    unlike = misses_of(serving, look, likeness)
    grade, reason = with_its_file(serving, scores[0].label, grade, said_of(unlike))
    made_by = (serving.row.id, serving.row.version)
    return Verdict(name, scores, *made_by, seconds, grade, reason, unlike, look, serving.offset, likeness)


def misses_of(serving: ServingModel, look: FileLook | None, likeness: Likeness | None) -> tuple[Miss, ...]:
    """What of a picture's file, and last of the picture itself, was never tried with every label."""
    of_the_file = tuple(serving.misses(look))
    if likeness is None or not likeness.flagged:
        return of_the_file
    return (*of_the_file, Miss(LIKENESS, likeness.reason))


def said_of(misses: Sequence[Miss]) -> str:
    """What of a file was never tried, in words; empty where it compares."""
    return " ".join(miss.sentence for miss in misses)


def with_its_file(serving: ServingModel, label: str, grade: str, said: str) -> tuple[str, str]:
    """The grade of a verdict and its reason, once the file is asked too.

    Parameters
    ----------
    label : str
        The one that scores highest, by its name of today.
    grade : str
        What the score alone has earned.
    said : str
        See `said_of`.
    """
    if grade == CANT_TELL:
        reason = serving.why_unsure(label)
    else:
        reason = serving.why_strong(label) if grade == STRONG else serving.why_not_strong(label)
    if not said:
        return grade, reason
    if not serving.judge_unlike:
        return CANT_TELL, f"{said} {NOT_COMPARED}{f' {reason}' if grade == CANT_TELL and reason else ''}"
    if grade != CANT_TELL:
        return MODERATE, f"{said} {COMPARED_ALL_THE_SAME}"
    return grade, f"{said} {reason}" if reason else reason
