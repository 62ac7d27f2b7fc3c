"""What the gallery keeps in memory of every sample, read whole or as far as it has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Row, func, select

from detector.storage.database import Database
from detector.storage.samples import Sample
from detector.storage.schema import evaluations, functions, models, sample_flips, samples

#: How many ids one statement may name; SQLite's own limit is 32,766.
_CHUNK = 5000

#: Rows that are read at once where all are read.
_PART = 20_000

#: The columns of `changed_rows`, in this order.
FIELDS = (
    "sequence",
    "id",
    "label_id",
    "predicted_label_id",
    "agrees",
    "confidence",
    "margin",
    "label_quality",
    "usefulness",
    "annotated_at",
    "source",
    "import_batch_id",
    "split",
    "near_duplicate_group",
    "deleted_at",
    "predicted_by",
    "captured",
    "file_name",
)


def revisions(db: Database, function_id: str) -> tuple[int, int]:
    """(revision, purge revision) of a function's samples; (0, 0) for a function that is not there."""
    with db.read() as connection:
        row = connection.execute(
            select(functions.c.sample_revision, functions.c.purge_revision).where(functions.c.id == function_id)
        ).one_or_none()
    return (row.sample_revision, row.purge_revision) if row is not None else (0, 0)


def changed_rows(db: Database, function_id: str, after: int | None) -> tuple[int, int, Sequence[Row[Any]]]:
    """Rows of a function's samples, those in the bin included, that have changed after a revision.

    Parameters
    ----------
    after : int, optional
        None: all rows.

    Returns
    -------
    (revision, purge revision, rows)
        One consistent state; the rows have ``FIELDS``, in import order.
    """
    statement = select(*(samples.c[name] for name in FIELDS)).where(samples.c.function_id == function_id)
    if after is not None:
        statement = statement.where(samples.c.revision > after)
    with db.read() as connection:
        row = connection.execute(
            select(functions.c.sample_revision, functions.c.purge_revision).where(functions.c.id == function_id)
        ).one_or_none()
        if row is None:
            return 0, 0, []
        found = connection.execute(statement.order_by(samples.c.sequence)).all()
    return row.sample_revision, row.purge_revision, found


def read_all(db: Database, function_id: str, take: Callable[[Sequence[Row[Any]]], None]) -> tuple[int, int]:
    """All rows of a function's samples, as `changed_rows` has them, given to ``take`` in parts. One consistent state.

    Returns
    -------
    (revision, purge revision)
    """
    statement = select(*(samples.c[name] for name in FIELDS)).where(samples.c.function_id == function_id)
    with db.read() as connection:
        row = connection.execute(
            select(functions.c.sample_revision, functions.c.purge_revision).where(functions.c.id == function_id)
        ).one_or_none()
        if row is None:
            return 0, 0
        found = connection.execute(statement.order_by(samples.c.sequence), execution_options={"yield_per": _PART})
        for part in found.partitions():
            take(part)
    return row.sample_revision, row.purge_revision


def samples_by_sequence(db: Database, sequences: Sequence[int]) -> list[Sample]:
    """The samples of these sequences, in this order; what is gone meanwhile is left out."""
    found: dict[int, Sample] = {}
    with db.read() as connection:
        for start in range(0, len(sequences), _CHUNK):
            rows = connection.execute(
                select(*(samples.c[name] for name in Sample.__dataclass_fields__)).where(
                    samples.c.sequence.in_([int(sequence) for sequence in sequences[start : start + _CHUNK]])
                )
            )
            found.update({row.sequence: Sample(**row._mapping) for row in rows})
    return [found[int(sequence)] for sequence in sequences if int(sequence) in found]


def live_verdicts(db: Database, function_id: str) -> tuple[str | None, int | None, dict[str, float]]:
    """(id, version, confidence by label id above which the label is said) of the live model.

    A label that is missing is never said. Cheaper than reading the model's row with all its curves.
    """
    statement = (
        select(models.c.id, models.c.version, models.c.label_ids, models.c.label_names, models.c.thresholds)
        .join(functions, functions.c.live_model_id == models.c.id)
        .where(functions.c.id == function_id)
    )
    with db.read() as connection:
        row = connection.execute(statement).one_or_none()
    if row is None:
        return None, None, {}
    above = (row.thresholds or {}).get("above", {})
    limits = {label: above[name] for label, name in zip(row.label_ids, row.label_names, strict=True) if name in above}
    return row.id, row.version, limits


def audit_parts(db: Database, model_id: str) -> int:
    """How many parts of a model's audit are done: its flips change only with them."""
    with db.read() as connection:
        return (
            connection.scalar(select(func.count()).select_from(evaluations).where(evaluations.c.model_id == model_id))
            or 0
        )


def flipped_sequences(db: Database, model_id: str) -> dict[str, list[int]]:
    """The samples whose verdict flips, as sequences, by change."""
    statement = (
        select(sample_flips.c.stress, samples.c.sequence)
        .join(samples, samples.c.id == sample_flips.c.sample_id)
        .where(sample_flips.c.model_id == model_id)
    )
    found: dict[str, list[int]] = {}
    with db.read() as connection:
        for row in connection.execute(statement):
            found.setdefault(row.stress, []).append(row.sequence)
    return found


def labels_read_at(db: Database, model_id: str) -> float:
    """When a model's labels were read, in seconds since the epoch; labels changed later are not in it."""
    with db.read() as connection:
        return connection.scalar(select(models.c.labels_read_at).where(models.c.id == model_id)) or 0.0


def group_of(db: Database, sample_id: str) -> str | None:
    """The near-duplicate group of a sample; None before its first build, or when it is gone."""
    with db.read() as connection:
        return connection.scalar(select(samples.c.near_duplicate_group).where(samples.c.id == sample_id))
