"""Pieces of one job's work that other workers may take: rows that live no longer than the job."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, delete, insert, select, update

from detector.errors import JobTakenOver
from detector.formatting import count
from detector.storage.database import Database, new_id, now
from detector.storage.jobs import owner_lives, this_process
from detector.storage.schema import jobs, tasks

#: So many workers in a row may end with a task in hand and nothing of it done; then it has failed. Where something was
#: done, it was the machines that ended: what lies in one picture meets every worker at the same place.
MOST_DEATHS = 3

#: After this silence somebody else gets a task even where its worker lives: it may hang in a network drive, or have
#: meant to give the task back at a moment when the database was away. Longer than the loading of a network takes.
SILENT_SECONDS = 300.0

#: Of running tasks by job: lease, last sign, and when that was first seen here, by a clock that nobody sets. Their
#: workers' clocks may differ from this one.
_signs: dict[str, dict[str, tuple[str | None, float | None, float]]] = {}


@dataclass(frozen=True)
class Task:
    """One row that this process took.

    Attributes
    ----------
    position : among the tasks of its job
    work : the name of what is to be done, see ``SharedWork``
    parameters, items : plain JSON
    lease : of whoever runs it; another one takes it under another lease
    deaths : how many workers had ended with it before
    """

    id: str
    job_id: str
    position: int
    work: str
    parameters: dict[str, Any]
    items: list[Any]
    lease: str
    deaths: int


@dataclass(frozen=True)
class EndedTask:
    """What came of one: its result, or why it failed."""

    position: int
    result: dict[str, Any] | None
    message: str


def put_task(
    db: Database, job_id: str, position: int, work: str, parameters: dict[str, Any], items: Sequence[Any]
) -> None:
    """Offer a piece of a job's work to whoever has time."""
    with db.write([]) as connection:
        connection.execute(
            insert(tasks).values(
                id=new_id(),
                job_id=job_id,
                position=position,
                work=work,
                parameters=parameters,
                items=list(items),
                state="queued",
                created_at=now(),
            )
        )


def take_task(db: Database, job_id: str | None = None, but_of: Sequence[str] = ()) -> Task | None:
    """Take the oldest task that nobody has, of a job that is still run; None when there is none.

    Parameters
    ----------
    job_id : str, optional
        Of this job only.
    but_of : sequence of str
        Jobs that this process runs itself: whoever runs them takes their tasks too.
    """
    offered = (
        select(tasks.c.id)
        .join(jobs, and_(jobs.c.id == tasks.c.job_id, jobs.c.state == "running"))
        .where(tasks.c.state == "queued", tasks.c.job_id.not_in(but_of))
        .order_by(tasks.c.created_at, tasks.c.position)
        .limit(1)
    )
    if job_id is not None:
        offered = offered.where(tasks.c.job_id == job_id)
    with db.read() as connection:
        # Workers that have nothing to do ask twice a second: no transaction that writes for that.
        if connection.scalar(offered) is None:
            return None
    with db.write([]) as connection:
        # The row alone: its job's row stays free for those who write progress.
        found = connection.scalar(offered.with_for_update(of=tasks, skip_locked=True))
        if found is None:
            return None
        lease = new_id()
        connection.execute(
            update(tasks)
            .where(tasks.c.id == found, tasks.c.state == "queued")
            .values(state="running", owner=this_process(), lease=lease, heartbeat=now())
        )
        row = connection.execute(
            select(*(tasks.c[name] for name in Task.__dataclass_fields__)).where(
                tasks.c.id == found, tasks.c.lease == lease
            )
        ).one_or_none()
        return Task(**row._mapping) if row is not None else None


def begin_task(db: Database, task: Task) -> None:
    """Say that the items themselves are begun with. Raises JobTakenOver where it is not this process's any more.

    A worker that ends before this, as while it loads the network, says nothing against them. From now on it counts as
    one that ended with them, until something of them is done.
    """
    _change(db, task, heartbeat=now(), deaths=tasks.c.deaths + 1)


def keep_task(db: Database, task: Task, progressed: bool = False) -> None:
    """Say that a task is still worked on. Raises JobTakenOver where it is not this process's any more.

    Parameters
    ----------
    progressed : bool
        Something of it was done by this process, and is stored: no other worker has to do it again.
    """
    _change(db, task, heartbeat=now(), **({"deaths": 0} if progressed else {}))


def finish_task(db: Database, task: Task, result: dict[str, Any]) -> None:
    """Note what came of a task. Raises JobTakenOver where it is not this process's any more."""
    _change(db, task, state="done", result=result, owner=None, lease=None)


def give_back_task(db: Database, task: Task, died: bool = False) -> None:
    """Let another worker have it. Raises JobTakenOver where it is not this process's any more.

    Parameters
    ----------
    died : bool
        It could not be done, for a reason that may lie in it: counted as if a worker had ended with it.
    """
    with db.write([]) as connection:
        deaths = connection.scalar(select(tasks.c.deaths).where(tasks.c.id == task.id, tasks.c.lease == task.lease))
        if deaths is None:
            raise _lost()
        connection.execute(
            _given_back(task.id, task.lease, max(deaths, task.deaths + 1) if died else min(deaths, task.deaths))
        )


def take_back_tasks(db: Database, job_id: str, silence: float = SILENT_SECONDS) -> int:
    """Offer those tasks of a job again whose worker is dead or silent; returns how many.

    Parameters
    ----------
    silence : float
        Seconds without a new sign, as seen from this process, after which it does not matter whether the worker lives.
    """
    statement = select(tasks.c.id, tasks.c.owner, tasks.c.lease, tasks.c.heartbeat, tasks.c.deaths).where(
        tasks.c.job_id == job_id, tasks.c.state == "running"
    )
    with db.read() as connection:
        rows = connection.execute(statement).all()
    moment = time.monotonic()
    before = _signs.get(job_id, {})
    signs = {}
    for row in rows:
        lease, heartbeat, since = before.get(row.id, (None, None, moment))
        same = (lease, heartbeat) == (row.lease, row.heartbeat)
        signs[row.id] = (row.lease, row.heartbeat, since if same else moment)
    _signs[job_id] = signs
    silent = [
        row
        for row in rows
        if moment - signs[row.id][2] > silence or not owner_lives(f"task:{row.id}", row.owner, row.heartbeat)
    ]
    if not silent:
        return 0
    with db.write([]) as connection:
        return sum(connection.execute(_given_back(row.id, row.lease, row.deaths)).rowcount for row in silent)


def collect_tasks(db: Database, job_id: str) -> list[EndedTask]:
    """What has ended of a job's tasks since the last call; their rows are gone then."""
    ended = and_(tasks.c.job_id == job_id, tasks.c.state.in_(("done", "failed")))
    statement = select(tasks.c.id, tasks.c.position, tasks.c.result, tasks.c.message).where(ended)
    with db.read() as connection:
        rows = connection.execute(statement).all()
    if rows:
        with db.write([]) as connection:
            connection.execute(delete(tasks).where(tasks.c.id.in_([row.id for row in rows])))
    return [EndedTask(row.position, row.result, row.message) for row in rows]


def clear_tasks(db: Database, job_id: str) -> None:
    """Remove a job's tasks, those too that somebody works on: what they stored stays, and nobody waits for more."""
    _signs.pop(job_id, None)
    with db.write([]) as connection:
        connection.execute(delete(tasks).where(tasks.c.job_id == job_id))


def sweep_tasks(db: Database) -> int:
    """Remove the tasks of jobs that have ended; returns how many."""
    ended = tasks.c.job_id.in_(select(jobs.c.id).where(jobs.c.state.not_in(("queued", "running"))))
    with db.read() as connection:
        if connection.scalar(select(tasks.c.id).where(ended).limit(1)) is None:
            return 0
    with db.write([]) as connection:
        return connection.execute(delete(tasks).where(ended)).rowcount


def _given_back(task_id: str, lease: str | None, deaths: int) -> Any:
    statement = update(tasks).where(tasks.c.id == task_id, tasks.c.state == "running", tasks.c.lease == lease)
    if deaths < MOST_DEATHS:
        return statement.values(state="queued", owner=None, lease=None, deaths=deaths)
    sentence = (
        f"One piece of the work ended {count(deaths, 'worker')} one after the other, so it is not tried again by "
        "itself. Their logs say more; often memory is short. What is done already is kept."
    )
    return statement.values(state="failed", owner=None, lease=None, deaths=deaths, message=sentence)


def _change(db: Database, task: Task, **values: Any) -> None:
    mine = and_(tasks.c.id == task.id, tasks.c.state == "running", tasks.c.lease == task.lease)
    with db.write([]) as connection:
        if not connection.execute(update(tasks).where(mine).values(**values)).rowcount:
            raise _lost()


def _lost() -> JobTakenOver:
    return JobTakenOver("This piece of work was given to another worker, or is not wanted any more.")
