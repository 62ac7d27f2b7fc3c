"""The bin: what is deleted leaves training, gallery and counts, and can come back until the bin is emptied."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select, update

from detector.storage.audit_log import note_with
from detector.storage.database import Database, now
from detector.storage.revisions import next_revision
from detector.storage.schema import functions, samples

#: How many ids one statement may name; SQLite's own limit is 32,766.
_CHUNK = 5000


def delete_samples(db: Database, function_id: str, sample_ids: Sequence[str]) -> int:
    """Put samples of a function into the bin; returns how many."""
    return _move(db, function_id, sample_ids, now())


def restore_samples(db: Database, function_id: str, sample_ids: Sequence[str]) -> int:
    """Take samples of a function out of the bin, with the labels that they had; returns how many."""
    return _move(db, function_id, sample_ids, None)


def _move(db: Database, function_id: str, sample_ids: Sequence[str], deleted_at: float | None) -> int:
    moved = 0
    there = samples.c.deleted_at.is_(None) if deleted_at is not None else samples.c.deleted_at.is_not(None)
    with db.write([function_id]) as connection:
        revision = next_revision(connection, function_id)
        for start in range(0, len(sample_ids), _CHUNK):
            moved += connection.execute(
                update(samples)
                .where(
                    samples.c.id.in_(sample_ids[start : start + _CHUNK]), samples.c.function_id == function_id, there
                )
                .values(deleted_at=deleted_at, revision=revision)
            ).rowcount
    return moved


def empty_bin(db: Database, function_id: str) -> int:
    """Remove the rows of what lies in the bin of a function; returns how many samples.

    Images that no other sample uses go with `detector.operations.deletion`.
    """
    with db.write([function_id]) as connection:
        revision = next_revision(connection, function_id)
        connection.execute(update(functions).where(functions.c.id == function_id).values(purge_revision=revision))
        gone = connection.execute(
            delete(samples).where(samples.c.function_id == function_id, samples.c.deleted_at.is_not(None))
        ).rowcount
        if gone:
            name = connection.scalar(select(functions.c.name).where(functions.c.id == function_id))
            note_with(connection, "bin emptied", name or "", {"function": function_id, "samples": gone})
        return gone
