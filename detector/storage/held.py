"""What a process may write as long as it holds a job, and no longer: a worker that was thought dead writes nothing.

Each transaction of a job's thread asks, before anything else, whether the job's row still has the lease under which
it was taken. The row cannot change until that transaction ends: on PostgreSQL it is locked, and SQLite has one writer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from detector.errors import JobCancelled, JobTakenOver
from detector.storage.schema import jobs


@dataclass(frozen=True)
class HeldJob:
    """A job that this thread works on; ``database`` is whose table has its row."""

    database: Any
    job_id: str
    lease: str


_held: ContextVar[HeldJob | None] = ContextVar("held", default=None)


@contextmanager
def holding(database: Any, job_id: str, lease: str | None) -> Iterator[None]:
    """Within this, every transaction of this thread raises JobTakenOver or JobCancelled where the job is lost."""
    token = _held.set(HeldJob(database, job_id, lease) if lease is not None else None)
    try:
        yield
    finally:
        _held.reset(token)


def held_job(database: Any) -> HeldJob | None:
    """The job that this thread works on; None outside of one."""
    held = _held.get()
    return held if held is not None and held.database is database else None


def require_held(database: Any, connection: Connection) -> None:
    """Called at the beginning of each transaction that writes. Raises JobTakenOver, JobCancelled."""
    held = held_job(database)
    if held is None:
        return
    statement = select(jobs.c.state, jobs.c.lease).where(jobs.c.id == held.job_id).with_for_update(read=True)
    row = connection.execute(statement).one_or_none()
    if row is None or row.state != "running" or row.lease != held.lease:
        raise lost(connection, held.job_id, held.lease)


def lost(connection: Connection, job_id: str, lease: str | None) -> JobCancelled:
    """Why a job is not run any more by whoever had it under a lease."""
    row = connection.execute(select(jobs.c.state, jobs.c.lease).where(jobs.c.id == job_id)).one_or_none()
    # One that has ended any other way was ended by whoever took it over: its end is not to be written over.
    if row is not None and lease is not None and row.state != "cancelled":
        return JobTakenOver("This process was taken for dead, and its job was given to another one.")
    return JobCancelled("The job was cancelled.")
