"""Everything about samples in the words of people: labels, models and imports by name, for exports and large views."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, select

from detector.errors import NotFound
from detector.storage.database import Database
from detector.storage.schema import images, import_batches, labels, models, samples

#: Rows in memory at a time; with their facts and probabilities about a kilobyte each.
_CHUNK = 500


@dataclass(frozen=True)
class SampleRecord:
    """One sample with what stands in the tables beside it; samples in the bin have ``deleted_at``.

    ``label``, ``prediction`` and ``batch`` are names; ``facts`` is ``ImageFacts`` as JSON; ``confidences`` are label
    names with what the model gave them, in the model's order and without labels that were deleted since. Those of a
    prediction that cannot be told apart any more are empty.
    """

    id: str
    function_id: str
    file_name: str
    image_hash: str
    label: str | None
    annotated_at: float | None
    annotated_by: str | None
    prediction: str | None
    confidence: float | None
    out_of_fold: bool | None
    agrees: bool | None
    source: str | None
    external_id: str | None
    split: str
    near_duplicate_group: str | None
    label_quality: float | None
    created_at: float
    deleted_at: float | None
    captured: str | None
    batch: str | None
    batch_origin: str | None
    format: str
    width: int
    height: int
    byte_count: int
    facts: dict[str, Any]
    confidences: tuple[tuple[str, float], ...]


def read_records(db: Database, function_id: str, sample_ids: Sequence[str]) -> Iterator[SampleRecord]:
    """The samples of a function in the order of ``sample_ids``, a few in memory at a time.

    Those that are not there, or belong to another function, are left out: between the choice of the ids and this
    reading somebody may have emptied the bin.
    """
    for start in range(0, len(sample_ids), _CHUNK):
        chunk = list(sample_ids[start : start + _CHUNK])
        # One connection a chunk: a reader that pauses between two of them keeps none from the others.
        with db.read() as connection:
            found = _read(connection, samples.c.id.in_(chunk) & (samples.c.function_id == function_id))
        yield from (found[sample_id] for sample_id in chunk if sample_id in found)


def find_record(db: Database, sample_id: str) -> SampleRecord:
    """One sample, in the bin or outside. Raises NotFound."""
    with db.read() as connection:
        found = _read(connection, samples.c.id == sample_id)
    if sample_id not in found:
        raise NotFound("sample", sample_id)
    return found[sample_id]


def label_confidences(
    probabilities: bytes | None, model_label_ids: Sequence[str], names: Mapping[str, str]
) -> tuple[tuple[str, float], ...]:
    """Stored probabilities with the names of their labels.

    Parameters
    ----------
    probabilities : bytes or None
        float32, one for each label that the model could answer with when it was asked: its labels in their order,
        without those that had been deleted by then.
    model_label_ids : sequence of str
        All labels of the model, as it was trained.
    names : label id -> name of the labels that there are now

    Returns
    -------
    tuple of (name, fraction)
        Empty where there is no prediction, or where labels were deleted before and after it: which number is whose
        cannot be told then, until the next prediction is written.
    """
    if not probabilities:
        return ()
    values = np.frombuffer(probabilities, dtype=np.float32).tolist()
    alive = [label_id for label_id in model_label_ids if label_id in names]
    order = next((ids for ids in (alive, list(model_label_ids)) if len(ids) == len(values)), [])
    return tuple((names[label_id], value) for label_id, value in zip(order, values, strict=False) if label_id in names)


def _read(connection: Connection, condition: ColumnElement[bool]) -> dict[str, SampleRecord]:
    rows = [dict(row._mapping) for row in connection.execute(_SELECT.where(condition))]
    models_asked = {row["predicted_by"] for row in rows}
    orders: dict[str, list[str]] = dict(
        connection.execute(select(models.c.id, models.c.label_ids).where(models.c.id.in_(models_asked))).all()
    )
    owners = {row["function_id"] for row in rows}
    names: dict[str, str] = dict(
        connection.execute(select(labels.c.id, labels.c.name).where(labels.c.function_id.in_(owners))).all()
    )
    found = {}
    for row in rows:
        order = orders.get(row.pop("predicted_by"), [])
        confidences = label_confidences(row.pop("probabilities"), order, names)
        found[row["id"]] = SampleRecord(**row, confidences=confidences)
    return found


_annotated, _predicted = labels.alias(), labels.alias()

_SELECT = (
    select(
        samples.c.id,
        samples.c.function_id,
        samples.c.file_name,
        samples.c.image_hash,
        _annotated.c.name.label("label"),
        samples.c.annotated_at,
        samples.c.annotated_by,
        _predicted.c.name.label("prediction"),
        samples.c.confidence,
        samples.c.out_of_fold,
        samples.c.agrees,
        samples.c.source,
        samples.c.external_id,
        samples.c.split,
        samples.c.near_duplicate_group,
        samples.c.label_quality,
        samples.c.created_at,
        samples.c.deleted_at,
        samples.c.captured,
        import_batches.c.title.label("batch"),
        import_batches.c.origin.label("batch_origin"),
        images.c.format,
        images.c.width,
        images.c.height,
        images.c.byte_count,
        images.c.facts,
        samples.c.predicted_by,
        samples.c.probabilities,
    )
    .join(images, images.c.hash == samples.c.image_hash)
    .outerjoin(_annotated, _annotated.c.id == samples.c.label_id)
    .outerjoin(_predicted, _predicted.c.id == samples.c.predicted_label_id)
    .outerjoin(import_batches, import_batches.c.id == samples.c.import_batch_id)
)
