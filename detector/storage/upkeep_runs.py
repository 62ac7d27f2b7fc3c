"""Checks, backups, restores and upgrades that came to their end: when, how, and what is to be remembered of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select

from detector.storage.database import Database, now
from detector.storage.people_schema import upkeep_runs


@dataclass(frozen=True)
class UpkeepRun:
    """One of them; ``kind``: check, backup, restore or upgrade; ``facts``: plain JSON."""

    kind: str
    at: float
    ok: bool
    facts: dict[str, Any]


def note_run(db: Database, kind: str, ok: bool, facts: dict[str, Any]) -> None:
    """Write down that one has ended."""
    with db.write([]) as connection:
        connection.execute(insert(upkeep_runs).values(kind=kind, at=now(), ok=ok, facts=facts))


def last_run(db: Database, kind: str, ok: bool | None = None) -> UpkeepRun | None:
    """The latest of a kind, or the latest that ended well or badly; None where there was none."""
    statement = (
        select(upkeep_runs.c.kind, upkeep_runs.c.at, upkeep_runs.c.ok, upkeep_runs.c.facts)
        .where(upkeep_runs.c.kind == kind)
        .order_by(upkeep_runs.c.sequence.desc())
        .limit(1)
    )
    if ok is not None:
        statement = statement.where(upkeep_runs.c.ok.is_(ok))
    with db.read() as connection:
        row = connection.execute(statement).one_or_none()
    return UpkeepRun(**row._mapping) if row is not None else None
