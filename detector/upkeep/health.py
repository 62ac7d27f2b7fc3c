"""How the data and what looks after it are doing, in words: what the page Health shows, computed without it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select

from detector.formatting import ago, count, duration, file_size, moment
from detector.storage.database import Database
from detector.storage.jobs import owner_lives
from detector.storage.schema import jobs, workers
from detector.storage.upkeep_runs import UpkeepRun, last_run
from detector.upkeep.findings import Problem, well_before
from detector.upkeep.last_checks import CHECK, well_since
from detector.workspace import Workspace

#: After so many days without one, the page advises a check or a backup.
ADVISED_DAYS = 14
_DAY = 24 * 3600.0

BACKUP_COMMAND = "python -m detector backup FILE.zip"
CHECK_COMMAND = "python -m detector check"


@dataclass(frozen=True)
class CheckShown:
    """The last check.

    Attributes
    ----------
    title : in a few words whether all is well
    ok : None where nothing was ever checked
    told : when it was, what it looked at, since when something is wrong
    problems : what it found, what is left first
    advice : what to do next; may be empty
    """

    title: str
    ok: bool | None
    told: str
    problems: tuple[Problem, ...]
    advice: str


@dataclass(frozen=True)
class WorkerShown:
    """A worker: its name as the system has it, what it runs, and its last sign of life."""

    name: str
    kinds: str
    sign: str
    lives: bool


@dataclass(frozen=True)
class Room:
    """Of the disk of the data folder; ``used`` is a share of 0 to 1."""

    free: str
    used: float
    told: str


@dataclass(frozen=True)
class Health:
    """All of it."""

    check: CheckShown
    backup: str
    backup_ok: bool
    room: Room
    upgrade: str
    restore: str
    workers: tuple[WorkerShown, ...]
    worker_note: str


def health(ws: Workspace, now: datetime | None = None) -> Health:
    """What is known at this moment; reads a few rows, whatever is stored."""
    now = now or datetime.now(UTC)
    backup, backup_ok = _backup(last_run(ws.db, "backup"), last_run(ws.db, "backup", ok=True), now)
    upgrade = last_run(ws.db, "upgrade")
    restore = last_run(ws.db, "restore", ok=True)
    return Health(
        check=_check(ws.db, now),
        backup=backup,
        backup_ok=backup_ok,
        room=_room(ws),
        upgrade=_upgrade(upgrade, now) if upgrade is not None else "",
        restore=f"Restored from a backup {_when(restore, now)}." if restore is not None else "",
        workers=(shown := _workers(ws.db, now)),
        worker_note=_worker_note(ws, bool(shown), now),
    )


def _check(db: Database, now: datetime) -> CheckShown:
    last = last_run(db, CHECK)
    if last is None:
        return CheckShown("Never checked", None, "Nobody has looked yet whether all that is stored is whole.", (), "")
    problems = tuple(
        Problem(str(found["kind"]), str(found["what"]), bool(found["repaired"]))
        for found in last.facts.get("problems", [])
    )
    problems = tuple(sorted(problems, key=lambda problem: problem.repaired))
    left = sum(not problem.repaired for problem in problems)
    told = f"Checked {_when(last, now)}. Looked at {_looked_at(last.facts)} in {_seconds(last.facts)}."
    if last.facts.get("quick"):
        told += f" {_quick(db, now)}"
    if left:
        told += f" {well_before(last.facts.get('since_at'))}"
        return CheckShown(f"{count(left, 'problem')} left", False, told, problems, _advice(last))
    old = (now - _at(last)).total_seconds() > ADVISED_DAYS * _DAY
    advice = "It is time for another check: a disk may lose something at any time." if old else ""
    return CheckShown("Everything is well", True, told, problems, advice)


def _quick(db: Database, now: datetime) -> str:
    full = well_since(db, quick=False)
    if full is None:
        return "It was a quick look: the bytes of pictures and embeddings were never read yet."
    return f"It was a quick look; all bytes were read {ago(datetime.fromtimestamp(full, UTC), now)}, and were well."


def _advice(last: UpkeepRun) -> str:
    if last.facts.get("repair"):
        return "What is left cannot be mended from here: each line says what to do."
    return f"Much of it can be mended without a risk: press Repair what is safe, or run {CHECK_COMMAND} --repair."


def _looked_at(facts: dict[str, Any]) -> str:
    looked = ", ".join(f"{int(number):,} {noun}" for noun, number in dict(facts.get("looked_at", {})).items() if number)
    return looked or "an empty data folder"


def _seconds(facts: dict[str, Any]) -> str:
    return duration(max(float(facts.get("seconds", 0.0)), 1.0))


def _backup(last: UpkeepRun | None, good: UpkeepRun | None, now: datetime) -> tuple[str, bool]:
    if last is None:
        return "There is no backup yet. Pictures and hours of labelling lie on one disk only.", False
    if good is None or not last.ok:
        before = f" The last good one was made {_when(good, now)}." if good is not None else " There is no good one."
        return f"The last backup, {_when(last, now)}, is not complete.{before}", False
    size = good.facts.get("bytes", good.facts.get("size"))
    parts = [f"Made {_when(good, now)}"]
    if isinstance(size, int | float):
        parts.append(file_size(int(size)))
    parts.append("read back and compared" if good.facts.get("verified", True) else "not read back")
    told = ", ".join(parts) + "."
    if (now - _at(good)).total_seconds() > ADVISED_DAYS * _DAY:
        return f"{told} What came in since is in no backup.", False
    return told, True


def _room(ws: Workspace) -> Room:
    disk = shutil.disk_usage(ws.settings.data_dir)
    # Not by what is used: some of the rest may be kept for others.
    share = 1.0 - disk.free / disk.total if disk.total else 1.0
    return Room(
        file_size(disk.free), min(max(share, 0.0), 1.0), f"of {file_size(disk.total)} on the disk of the data folder"
    )


def _upgrade(run: UpkeepRun, now: datetime) -> str:
    facts = run.facts
    versions = f" from schema {facts['from']} to {facts['to']}" if {"from", "to"} <= facts.keys() else ""
    copy = f" The database of before is kept as {facts['copy']}." if facts.get("copy") else ""
    return f"Upgraded{versions} {_when(run, now)}.{copy}"


def _workers(db: Database, now: datetime) -> tuple[WorkerShown, ...]:
    with db.read() as connection:
        rows = connection.execute(select(workers).order_by(workers.c.started_at)).all()
    return tuple(
        WorkerShown(
            row.name,
            ", ".join(map(str, row.kinds)),
            ago(datetime.fromtimestamp(row.heartbeat, UTC), now),
            owner_lives(f"worker:{row.name}", row.name, row.heartbeat),
        )
        for row in rows
    )


def _worker_note(ws: Workspace, some: bool, now: datetime) -> str:
    """Who runs the jobs, and when one ended last: a server's own worker on SQLite has no row, to spare the disk."""
    with ws.db.read() as connection:
        last = connection.scalar(select(func.max(jobs.c.finished_at)))
    ended = f" The last job ended {ago(datetime.fromtimestamp(last, UTC), now)}." if last is not None else ""
    if ws.settings.worker != "none":
        return f"This server runs a worker of its own, and starts it again when it ends.{ended}"
    if some:
        return f"This server has no worker of its own (DETECTOR_WORKER).{ended}"
    return (
        "This server has no worker of its own (DETECTOR_WORKER), and no other has given a sign. Start one: python -m "
        f"detector worker.{ended}"
    )


def _when(run: UpkeepRun, now: datetime) -> str:
    at = _at(run)
    told = ago(at, now)
    return told if told == "just now" else f"{told} ({moment(at)})"


def _at(run: UpkeepRun) -> datetime:
    return datetime.fromtimestamp(run.at, UTC)
