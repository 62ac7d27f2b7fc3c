"""The queue of background work as rows: what waits, what runs, who runs it, how far it is."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import ColumnElement, Connection, and_, case, func, insert, or_, select, update

from detector.errors import JobTakenOver, NotFound
from detector.storage.database import JOBS, Database, holdable, new_id, now
from detector.storage.held import lost as _lost
from detector.storage.schema import functions, jobs

#: After this silence a job of another machine counts as orphaned; on this machine the process itself is asked.
STALE_SECONDS = 60

#: Clocks are set right by less than this without anybody noticing.
_CLOCK_SLACK = 1.0

#: Of running jobs of other machines: their last sign of life and when, by a clock that nobody sets, it was first seen.
_last_signs: dict[str, tuple[float | None, float]] = {}


@dataclass(frozen=True)
class Job:
    """One row.

    Attributes
    ----------
    heartbeat : when something was last said of it: asked for, put off, taken, progress, or that its process lives
    lease : of whoever runs it; another one takes it under another lease
    crashes : how often a background process died or hung with it
    """

    id: str
    function_id: str
    kind: str
    payload: dict[str, Any]
    state: str
    phase: str
    done: int
    total: int
    rate: float | None
    message: str
    owner: str | None
    lease: str | None
    heartbeat: float | None
    crashes: int
    run_after: float
    created_at: float
    started_at: float | None
    finished_at: float | None

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds to the end of the phase; None where nothing is known."""
        if not self.rate or self.total <= 0:
            return None
        return max(self.total - self.done, 0) / self.rate


def enqueue(
    db: Database,
    function_id: str,
    kind: str,
    payload: dict[str, Any] | None = None,
    delay: float = 0,
    postpone: bool = True,
) -> str:
    """Queue a job; returns its id.

    A queued job of the same function, kind and payload is used again: this is what makes twenty label changes one
    retraining. Its start moves to now + ``delay``; without ``postpone`` it stays where it was.

    Raises
    ------
    NotFound
        The function was deleted.
    """
    payload = payload or {}
    with db.write([f"{JOBS} {function_id}"]) as connection:
        for row in connection.execute(
            select(jobs.c.id, jobs.c.payload).where(
                jobs.c.function_id == function_id, jobs.c.kind == kind, jobs.c.state == "queued"
            )
        ):
            if row.payload == payload:
                if postpone:
                    connection.execute(
                        # Where it was taken at this very moment, it reads what it is about after this.
                        update(jobs)
                        .where(jobs.c.id == row.id, jobs.c.state == "queued")
                        .values(run_after=now() + delay, heartbeat=now())
                    )
                return str(row.id)
        if connection.scalar(select(functions.c.id).where(functions.c.id == function_id)) is None:
            raise NotFound("function", function_id)
        job_id = new_id()
        connection.execute(
            insert(jobs).values(
                id=job_id,
                function_id=function_id,
                kind=kind,
                payload=payload,
                state="queued",
                run_after=now() + delay,
                heartbeat=now(),
                created_at=now(),
            )
        )
    return job_id


def claim(
    db: Database, kinds: tuple[str, ...], function_id: str | None = None, ignore_delay: bool = False
) -> Job | None:
    """Take the oldest job that is due and make it this process's; None when there is none.

    Two jobs of one function and kind never run at the same time, on whatever machines: no two processes are in here at
    once.
    """
    with db.write([JOBS]) as connection:
        _follow_the_clock(connection)
        running = select(jobs.c.function_id).where(jobs.c.state == "running", jobs.c.kind.in_(kinds))
        statement = select(jobs.c.id).where(
            jobs.c.state == "queued", jobs.c.kind.in_(kinds), jobs.c.function_id.not_in(running)
        )
        if not ignore_delay:
            statement = statement.where(jobs.c.run_after <= now())
        if function_id is not None:
            statement = statement.where(jobs.c.function_id == function_id)
        job_id = connection.scalar(statement.order_by(jobs.c.run_after, jobs.c.created_at).limit(1))
        if job_id is None:
            return None
        connection.execute(
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.state == "queued")
            .values(
                state="running",
                owner=this_process(),
                lease=new_id(),
                heartbeat=now(),
                started_at=now(),
                message="",
            )
        )
        # In this transaction: whoever takes the row the next moment has another lease.
        return Job(**connection.execute(_SELECT.where(jobs.c.id == job_id)).one()._mapping)


def report(
    db: Database,
    job_id: str,
    phase: str,
    done: int,
    total: int,
    message: str,
    rate: float | None = None,
    lease: str | None = None,
) -> None:
    """Write progress.

    Parameters
    ----------
    lease : str, optional
        Of whoever runs it.

    Raises
    ------
    JobCancelled
        The job was cancelled, or its function deleted.
    JobTakenOver
        Somebody else runs it meanwhile, or is about to.
    """
    with db.write([]) as connection:
        changed = connection.execute(
            update(jobs)
            .where(*_held(job_id, lease))
            .values(phase=phase, done=done, total=total, message=holdable(message), rate=rate, heartbeat=now())
        ).rowcount
        if not changed:
            raise _lost(connection, job_id, lease)


def finish(db: Database, job_id: str, state: str, message: str = "", lease: str | None = None) -> None:
    """End a job as done, failed or cancelled.

    Parameters
    ----------
    lease : str, optional
        Of whoever ran it; without one a job is ended whoever runs it, as by a person who cancels it.

    Raises
    ------
    JobTakenOver
        Somebody else runs it meanwhile, is about to, or has ended it another way.
    """
    with db.write([]) as connection:
        mine = (jobs.c.id == job_id,) if lease is None else (jobs.c.id == job_id, _not_taken_over(lease))
        changed = connection.execute(
            update(jobs)
            .where(*mine)
            .values(state=state, message=holdable(message), finished_at=now(), owner=None, lease=None, rate=None)
        ).rowcount
        if changed:
            return
        lost = _lost(connection, job_id, lease)
        # What was written before the connection broke is asked for once more: it has ended just so.
        ended = connection.scalar(select(jobs.c.state).where(jobs.c.id == job_id))
        if isinstance(lost, JobTakenOver) and ended != state:
            raise lost


def requeue(db: Database, job_id: str, lease: str | None = None) -> None:
    """Put a running job back into the queue, to be run again from what the tables say."""
    with db.write([]) as connection:
        connection.execute(
            update(jobs).where(*_held(job_id, lease)).values(state="queued", owner=None, lease=None, run_after=0.0)
        )


def requeue_crashed(db: Database, owner: str, job_id: str | None = None) -> int:
    """Queue again what a process died or hung with, and count that; returns how many jobs.

    Parameters
    ----------
    owner : str
        What the process called itself: see `this_process`.
    job_id : str, optional
        Only this one: a single thread of the process died.
    """
    statement = update(jobs).where(jobs.c.state == "running", jobs.c.owner == owner)
    if job_id is not None:
        statement = statement.where(jobs.c.id == job_id)
    with db.write([]) as connection:
        return connection.execute(
            statement.values(state="queued", owner=None, lease=None, run_after=0.0, crashes=jobs.c.crashes + 1)
        ).rowcount


def put_off(db: Database, job_id: str, sentence: str, seconds: float) -> None:
    """Put a running job of this process back into the queue for a while; ``sentence`` says what it waits for."""
    with db.write([]) as connection:
        connection.execute(
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.state == "running", jobs.c.owner == this_process())
            .values(
                state="queued",
                owner=None,
                lease=None,
                rate=None,
                message=holdable(sentence),
                run_after=now() + seconds,
                heartbeat=now(),
            )
        )


def say_alive(db: Database) -> None:
    """Give all jobs that this process runs a sign of life, for those who cannot see the process."""
    with db.write([]) as connection:
        connection.execute(
            update(jobs).where(jobs.c.state == "running", jobs.c.owner == this_process()).values(heartbeat=now())
        )


def requeue_orphans(db: Database, running: Collection[str] | None = None) -> int:
    """Queue again what nobody runs; returns how many jobs.

    Parameters
    ----------
    running : collection of str, optional
        What this process runs, where the caller knows: whatever else its rows claim is an orphan too, as a job that
        was taken just before the database went away. If not given, all of them count as run.
    """
    with db.write([JOBS]) as connection:
        rows = connection.execute(
            select(jobs.c.id, jobs.c.owner, jobs.c.heartbeat).where(jobs.c.state == "running")
        ).all()
        orphans = [
            row.id
            for row in rows
            if not owner_lives(row.id, row.owner, row.heartbeat)
            or (running is not None and row.owner == this_process() and row.id not in running)
        ]
        for job_id in _last_signs.keys() - {row.id for row in rows}:
            if ":" not in job_id:
                _last_signs.pop(job_id, None)
        if orphans:
            connection.execute(
                update(jobs).where(jobs.c.id.in_(orphans)).values(state="queued", owner=None, lease=None, run_after=0.0)
            )
    return len(orphans)


def get_job(db: Database, job_id: str) -> Job:
    """The job of that id. Raises NotFound."""
    with db.read() as connection:
        row = connection.execute(_SELECT.where(jobs.c.id == job_id)).one_or_none()
    if row is None:
        raise NotFound("job", job_id)
    return Job(**row._mapping)


def list_jobs(db: Database, function_id: str | None = None, active: bool = True, limit: int = 20) -> list[Job]:
    """Jobs, newest first: of one function or of all, only those queued or running or the ended ones too."""
    statement = _SELECT.order_by(jobs.c.created_at.desc()).limit(limit)
    if function_id is not None:
        statement = statement.where(jobs.c.function_id == function_id)
    if active:
        statement = statement.where(or_(jobs.c.state == "queued", jobs.c.state == "running"))
    with db.read() as connection:
        return [Job(**row._mapping) for row in connection.execute(statement)]


def this_process() -> str:
    """A name for this process that no later process of the same number shares."""
    return _name_of_process(os.getpid())


@cache
def _name_of_process(pid: int) -> str:
    return f"{_place()}:{pid}:{_born(pid)}"


@cache
def _place() -> str:
    """Within what a number means one process: this machine, or one container of it.

    Containers may have one host name, and each counts its processes from 1. Names of before had the host name only.
    """
    host = socket.gethostname()
    try:
        # As "pid:[4026531836]".
        return f"{host}/{str(Path('/proc/self/ns/pid').readlink()).rpartition('[')[2].rstrip(']')}"
    except OSError:
        return host


def _born(pid: int) -> str | None:
    """What tells a process from all others of its number; None where there is none of it now.

    Not the time of its start: Linux counts from the start of the machine, and once somebody sets the clock, everybody
    who works out the time anew gets another one.
    """
    try:
        # The name of the program may hold spaces and brackets; behind the last bracket are numbers only.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        machine = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        # Dead, but its parent has not asked how it ended.
        return f"{machine[:8]}-{fields[19]}" if fields[0] not in "ZX" else None
    except (OSError, IndexError):
        pass
    try:
        return f"{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return None


def _boot(born: str | None) -> str:
    """Which start of a machine a process belongs to; empty where that is not known."""
    return (born or "").rpartition("-")[0]


def owner_lives(what: str, owner: str | None, heartbeat: float | None) -> bool:
    """Whether a process still works on something.

    Parameters
    ----------
    what : str
        The id of the job; whatever else it is has a colon in its name.
    owner : str
        What the process calls itself, see `this_process`. On this machine, or in this container, it is looked for.
    heartbeat : float
        Its last sign: what counts for processes of other machines and containers, and of before the last start of this
        machine: another one of the same name looks just like that.
    """
    if owner is None:
        return False
    place, pid, born = owner.rsplit(":", 2)
    if place in (_place(), socket.gethostname()) and _boot(born) in ("", _boot(_born(os.getpid()))):
        return _born(int(pid)) == born
    # Its clock or ours may have been set back since, and then its last sign looks new for as long as that.
    moment = time.monotonic()
    if _last_signs.get(what, (None, 0.0))[0] != heartbeat or what not in _last_signs:
        _last_signs[what] = (heartbeat, moment)
    return heartbeat is not None and now() - heartbeat < STALE_SECONDS and moment - _last_signs[what][1] < STALE_SECONDS


def _held(job_id: str, lease: str | None) -> tuple[ColumnElement[bool], ...]:
    """The job runs, under this lease where one is given."""
    running = (jobs.c.id == job_id, jobs.c.state == "running")
    return running if lease is None else (*running, jobs.c.lease == lease)


def _not_taken_over(lease: str) -> ColumnElement[bool]:
    """It runs under this lease, or it was cancelled meanwhile: such a job may be ended once more."""
    return or_(jobs.c.lease == lease, and_(jobs.c.lease.is_(None), jobs.c.state == "cancelled"))


def _follow_the_clock(connection: Connection) -> None:
    """Where the clock was set back since jobs were asked for or put off: their pause begins now, not in an hour."""
    moment = now()
    asked = func.coalesce(jobs.c.heartbeat, jobs.c.created_at)
    connection.execute(
        update(jobs)
        .where(jobs.c.state == "queued", asked > moment + _CLOCK_SLACK, jobs.c.run_after > moment)
        .values(
            run_after=moment + case((jobs.c.run_after > asked, jobs.c.run_after - asked), else_=0.0), heartbeat=moment
        )
    )


_SELECT = select(*(jobs.c[name] for name in Job.__dataclass_fields__))
