"""Samples that an invoke brought: why they were put there, and how many of a month already."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection, func, select, update

from detector.storage.database import Database
from detector.storage.schema import import_batches, samples

#: Why a picture was put among the samples, as it stands in their rows.
LOW_GRADE: Final = "low grade"
UNLIKE: Final = "unlike"
RANDOM: Final = "random"
ASKED: Final = "asked"
DISPUTED: Final = "disputed"
REASONS: Final = (LOW_GRADE, UNLIKE, RANDOM, ASKED, DISPUTED)

#: The origin of the import batch that captured pictures are in, one for each function.
ORIGIN: Final = "capture"

#: Those that nobody asked for one by one: of them a month brings no more than the function's bound.
BY_THEMSELVES: Final = (LOW_GRADE, UNLIKE, RANDOM)


def month_start(moment: float) -> float:
    """When the month of a moment began, in UTC; both in seconds since the epoch."""
    at = datetime.fromtimestamp(moment, UTC)
    return datetime(at.year, at.month, 1, tzinfo=UTC).timestamp()


def count_captured(connection: Connection, function_id: str, since: float) -> int:
    """How many pictures were captured by themselves since a moment, those that were put into the bin included."""
    # By the batch that they are all in, which has an index: every invoke of a picture worth keeping asks this.
    batches = select(import_batches.c.id).where(
        import_batches.c.function_id == function_id, import_batches.c.origin == ORIGIN
    )
    statement = select(func.count()).where(
        samples.c.import_batch_id.in_(batches), samples.c.captured.in_(BY_THEMSELVES), samples.c.created_at >= since
    )
    return connection.scalar(statement) or 0


def captured_this_month(db: Database, function_id: str, moment: float) -> int:
    """How many pictures of a function were captured by themselves in the month of a moment."""
    with db.read() as connection:
        return count_captured(connection, function_id, month_start(moment))


def is_or_was_sample(db: Database, function_id: str, image_hash: str) -> bool:
    """Whether a function has these very bytes among its samples, or in the bin."""
    statement = select(samples.c.id).where(samples.c.function_id == function_id, samples.c.image_hash == image_hash)
    with db.read() as connection:
        return connection.scalar(statement) is not None


def note_captured(db: Database, sample_id: str, reason: str) -> None:
    """Write down why a sample was put among the others, one of `REASONS`."""
    with db.write([]) as connection:
        connection.execute(update(samples).where(samples.c.id == sample_id).values(captured=reason))
