"""How many pieces of shared work there are."""

from __future__ import annotations

from sqlalchemy import func, select

from detector.storage.database import Database
from detector.storage.schema import tasks


def count_tasks(db: Database, job_id: str | None = None) -> dict[str, int]:
    """By state, of a job or of all."""
    statement = select(tasks.c.state, func.count()).group_by(tasks.c.state)
    if job_id is not None:
        statement = statement.where(tasks.c.job_id == job_id)
    with db.read() as connection:
        return dict(connection.execute(statement).all())
