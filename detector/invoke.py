"""Images -> verdicts, with the live model: the same decoding, embedding and rounding as for samples."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from detector.errors import ImageError
from detector.evaluation.thresholds import CANT_TELL
from detector.serving import ServingModel, load_serving_model, serving_backbone
from detector.storage.embeddings import as_stored
from detector.workspace import Workspace


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
    sure : bool
        The first one lies above its threshold: the function commits itself.
    """

    name: str
    scores: tuple[Score, ...]
    model_id: str
    model_version: int
    seconds: float
    sure: bool

    @property
    def label(self) -> str:
        return self.scores[0].label

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


# One forward pass at a time: two at once only share the same cores, and memory would double.
_forward = threading.Lock()


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
    # Here, not above: it brings torch, which the server needs only once it looks at images.
    from detector.backbones.pipeline import embed_files

    serving = load_serving_model(ws, function_id, model_id)
    backbone = serving_backbone(ws, serving)
    # From here on: loading the backbone is the first call's alone and says nothing of how long an image takes.
    start = perf_counter()
    answers: list[Verdict | ImageError | None] = [None] * len(images)
    embedded: list[tuple[str, dict[str, np.ndarray]]] = []

    def collect(rows: list[tuple[str, dict[str, np.ndarray]]], failures: list[tuple[str, ImageError]]) -> None:
        embedded.extend(rows)
        for key, error in failures:
            answers[int(key)] = error

    with _forward:
        embed_files(
            ((str(position), data, name) for position, (name, data) in enumerate(images)),
            backbone,
            ws.limits,
            ws.settings.threads,
            collect,
        )
    if embedded:
        whole = np.stack([as_stored(views["whole"]).astype(np.float32) for _, views in embedded])
        detail = np.stack([as_stored(views.get("detail", views["whole"])).astype(np.float32) for _, views in embedded])
        probabilities = serving.probabilities({"whole": whole, "detail": detail})
        seconds = (perf_counter() - start) / len(images)
        for (key, _), row, sure in zip(embedded, probabilities, serving.sure(probabilities), strict=True):
            position = int(key)
            answers[position] = _verdict(serving, images[position][0], row, seconds, bool(sure))
    return [answer for answer in answers if answer is not None]


def _verdict(serving: ServingModel, name: str, row: np.ndarray, seconds: float, sure: bool) -> Verdict:
    scores = tuple(
        Score(serving.labels[index].name, serving.labels[index].id, float(row[index]))
        for index in np.argsort(-row, kind="stable")
    )
    return Verdict(name, scores, serving.row.id, serving.row.version, seconds, sure)
