"""The labelled samples of a training as their files are, and how confident the model was of each while it had not seen
it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import select

from detector.storage.database import Database
from detector.storage.schema import images, samples
from detector.storage.stored_names import TRAIN


@dataclass(frozen=True, slots=True)
class ScoredFile:
    """One sample; ``predicted_label_id`` and ``confidence`` are None where the model has seen it, or not yet judged it.

    ``quality`` is that of a JPEG.
    """

    width: int
    height: int
    format: str
    quality: int | None
    predicted_label_id: str | None
    confidence: float | None


def scored_files(db: Database, function_id: str, model_id: str) -> Iterator[ScoredFile]:
    """Every labelled sample of a function outside the bin and the locked test set, a few in memory at a time."""
    statement = (
        select(
            images.c.width,
            images.c.height,
            images.c.format,
            images.c.facts["extra"]["jpeg_quality"].as_integer().label("quality"),
            samples.c.predicted_label_id,
            samples.c.confidence,
            samples.c.out_of_fold,
            samples.c.predicted_by,
        )
        .join(images, images.c.hash == samples.c.image_hash)
        .where(
            samples.c.function_id == function_id,
            samples.c.deleted_at.is_(None),
            samples.c.label_id.is_not(None),
            samples.c.split == TRAIN,
        )
        .execution_options(yield_per=2000)
    )
    with db.read() as connection:
        for row in connection.execute(statement):
            scored = row.out_of_fold and row.predicted_by == model_id
            yield ScoredFile(
                *(row.width, row.height, row.format, row.quality),
                *((row.predicted_label_id, row.confidence) if scored else (None, None)),
            )
