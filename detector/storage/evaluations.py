"""What audits found, part by part, and which verdicts flip on changed copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, distinct, func, insert, select

from detector.storage.database import Database, now
from detector.storage.schema import evaluations, models, sample_flips

#: Parts of an audit by the names under which they are stored.
SHORTCUT, DUPLICATES, SOURCES, LEARNING_CURVE = "shortcut", "duplicates", "sources", "learning_curve"
#: What the model would say of sources that it has not seen; the scores lie beside the model.
UNSEEN = "unseen"
#: What the files of its samples cover; it lies with the model, too.
COVERAGE = "coverage"


@dataclass(frozen=True)
class Flip:
    """A sample whose copy after ``stress`` is given the label ``label_id``, other than the sample itself."""

    stress: str
    sample_id: str
    label_id: str


def write_part(
    db: Database, model_id: str, part: str, result: dict[str, Any], seconds: float, flips: Sequence[Flip] = ()
) -> None:
    """Store one part of a model's audit together with the flips that it found; a part that is there is replaced."""
    with db.write(_lanes(db, model_id)) as connection:
        connection.execute(delete(evaluations).where(evaluations.c.model_id == model_id, evaluations.c.part == part))
        connection.execute(
            insert(evaluations).values(model_id=model_id, part=part, result=result, seconds=seconds, created_at=now())
        )
        for stress in {flip.stress for flip in flips}:
            connection.execute(
                delete(sample_flips).where(sample_flips.c.model_id == model_id, sample_flips.c.stress == stress)
            )
        if flips:
            connection.execute(
                insert(sample_flips),
                [
                    {
                        "model_id": model_id,
                        "stress": flip.stress,
                        "sample_id": flip.sample_id,
                        "label_id": flip.label_id,
                    }
                    for flip in flips
                ],
            )


def delete_part(db: Database, model_id: str, part: str) -> None:
    """Forget one part of a model's audit: what it looked at has changed."""
    with db.write(_lanes(db, model_id)) as connection:
        connection.execute(delete(evaluations).where(evaluations.c.model_id == model_id, evaluations.c.part == part))


def read_parts(db: Database, model_id: str) -> dict[str, dict[str, Any]]:
    """The finished parts of a model's audit by name."""
    with db.read() as connection:
        rows = connection.execute(
            select(evaluations.c.part, evaluations.c.result).where(evaluations.c.model_id == model_id)
        )
        return dict(rows.all())


def part_seconds(db: Database, model_id: str) -> dict[str, float]:
    """How long each finished part took."""
    with db.read() as connection:
        rows = connection.execute(
            select(evaluations.c.part, evaluations.c.seconds).where(evaluations.c.model_id == model_id)
        )
        return dict(rows.all())


def count_flipped(db: Database, model_id: str) -> int:
    """How many samples flip under at least one change."""
    statement = select(func.count(distinct(sample_flips.c.sample_id))).where(sample_flips.c.model_id == model_id)
    with db.read() as connection:
        return connection.scalar(statement) or 0


def flips_of(db: Database, model_id: str, sample_id: str) -> list[Flip]:
    """The flips of one sample under a model."""
    statement = select(sample_flips.c.stress, sample_flips.c.sample_id, sample_flips.c.label_id).where(
        sample_flips.c.model_id == model_id, sample_flips.c.sample_id == sample_id
    )
    with db.read() as connection:
        return [Flip(**row._mapping) for row in connection.execute(statement)]


def _lanes(db: Database, model_id: str) -> list[str]:
    """The model's function: flips name its samples, which others may be about to remove."""
    with db.read() as connection:
        return [connection.scalar(select(models.c.function_id).where(models.c.id == model_id)) or model_id]
