"""Which worker processes are there and take part in each other's work: a row for each, with its last sign of life."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, insert, select, update

from detector.storage.database import Database, now
from detector.storage.jobs import owner_lives, this_process
from detector.storage.schema import workers

#: The kind of those that take pieces of each other's work.
TASKS = "tasks"


@dataclass(frozen=True)
class WorkerRow:
    """One worker.

    Attributes
    ----------
    name : as `this_process` gives it: machine, number, birth
    kinds : what it runs, see ``detector.worker.runner``
    heartbeat : its last sign of life
    """

    name: str
    kinds: list[str]
    started_at: float
    heartbeat: float


def sign_worker(db: Database, kinds: Sequence[str]) -> None:
    """Say that this process is there; again every some seconds."""
    with db.write([]) as connection:
        mine = workers.c.name == this_process()
        if not connection.execute(update(workers).where(mine).values(heartbeat=now(), kinds=list(kinds))).rowcount:
            connection.execute(
                insert(workers).values(name=this_process(), kinds=list(kinds), started_at=now(), heartbeat=now())
            )


def remove_worker(db: Database) -> None:
    """Say that this process ends."""
    with db.write([]) as connection:
        connection.execute(delete(workers).where(workers.c.name == this_process()))


def live_workers(db: Database) -> list[WorkerRow]:
    """Those that have given a sign of life, oldest first."""
    columns = [workers.c[name] for name in WorkerRow.__dataclass_fields__]
    with db.read() as connection:
        rows = [
            WorkerRow(**row._mapping) for row in connection.execute(select(*columns).order_by(workers.c.started_at))
        ]
    return [row for row in rows if owner_lives(f"worker:{row.name}", row.name, row.heartbeat)]


def other_workers(db: Database, kind: str) -> int:
    """How many other processes are there that run work of a kind."""
    return sum(row.name != this_process() and kind in row.kinds for row in live_workers(db))


def sweep_workers(db: Database) -> None:
    """Remove those that are gone."""
    alive = [row.name for row in live_workers(db)]
    with db.read() as connection:
        gone = [name for name in connection.scalars(select(workers.c.name)) if name not in alive]
    if gone:
        with db.write([]) as connection:
            connection.execute(delete(workers).where(workers.c.name.in_(gone)))
