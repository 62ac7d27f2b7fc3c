"""The count of changes of a function's samples: what a copy of them in memory needs to stay true."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from detector.storage.schema import functions


def next_revision(connection: Connection, function_id: str) -> int:
    """Count one more change of a function's samples and return the count, to stamp the changed rows with.

    Call it inside the transaction that changes them: writers of one function then queue behind one another, so whoever
    has read revision r has seen every row stamped r or lower.
    """
    connection.execute(
        update(functions).where(functions.c.id == function_id).values(sample_revision=functions.c.sample_revision + 1)
    )
    return connection.scalar(select(functions.c.sample_revision).where(functions.c.id == function_id)) or 0
