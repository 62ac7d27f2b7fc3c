"""What a model says of samples, stored with them: predictions, and where a look at them is worth most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, case, select, update

from detector.storage.database import Database
from detector.storage.revisions import next_revision
from detector.storage.schema import labels, samples

#: Values of a sample that no model has anything to say of.
NO_PREDICTION = dict.fromkeys(
    (
        "predicted_label_id",
        "confidence",
        "margin",
        "agrees",
        "out_of_fold",
        "predicted_by",
        "probabilities",
        "label_quality",
        "usefulness",
    )
)


@dataclass(frozen=True, slots=True)
class PredictionRow:
    """One sample's prediction, ready to be written; ``probabilities`` float32 bytes in the model's label order."""

    sample_id: str
    label_id: str
    confidence: float
    margin: float
    out_of_fold: bool
    probabilities: bytes


@dataclass(frozen=True)
class ReviewScore:
    """Where a sample stands among those that are worth a look; None where the order does not concern it."""

    sample_id: str
    label_quality: float | None
    usefulness: float | None


def write_predictions(db: Database, function_id: str, model_id: str, rows: Sequence[PredictionRow]) -> None:
    """Store the predictions of one model; ``agrees`` is set against the annotation of this moment.

    A prediction whose label was deleted meanwhile is left out.
    """
    statement = (
        update(samples)
        .where(samples.c.id == bindparam("sample"))
        .values(
            predicted_label_id=bindparam("label"),
            confidence=bindparam("p"),
            margin=bindparam("gap"),
            out_of_fold=bindparam("oof"),
            probabilities=bindparam("all"),
            predicted_by=model_id,
            revision=bindparam("count"),
            agrees=case((samples.c.label_id.is_(None), None), else_=samples.c.label_id == bindparam("label")),
        )
    )
    with db.write([function_id]) as connection:
        alive = set(connection.scalars(select(labels.c.id).where(labels.c.id.in_({row.label_id for row in rows}))))
        rows = [row for row in rows if row.label_id in alive]
        if rows:
            revision = next_revision(connection, function_id)
            connection.execute(
                statement,
                [
                    {
                        "count": revision,
                        "sample": row.sample_id,
                        "label": row.label_id,
                        "p": row.confidence,
                        "gap": row.margin,
                        "oof": row.out_of_fold,
                        "all": row.probabilities,
                    }
                    for row in rows
                ],
            )


def write_review_scores(db: Database, function_id: str, rows: Sequence[ReviewScore]) -> None:
    """Store how well annotations fit, and how useful missing ones would be."""
    statement = update(samples).where(samples.c.id == bindparam("sample"))
    with db.write([function_id]) as connection:
        if rows:
            revision = next_revision(connection, function_id)
            connection.execute(
                statement.values(label_quality=bindparam("quality"), usefulness=bindparam("use"), revision=revision),
                [{"sample": row.sample_id, "quality": row.label_quality, "use": row.usefulness} for row in rows],
            )


def clear_predictions(db: Database, function_id: str) -> None:
    """Take every prediction of a function away."""
    with db.write([function_id]) as connection:
        connection.execute(
            update(samples)
            .where(samples.c.function_id == function_id)
            .values(**NO_PREDICTION, revision=next_revision(connection, function_id))
        )
