"""Invokes by day, door and model: how many, and of what kind. Counts only, nothing of a single picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import insert, select, update

from detector.storage.database import Database
from detector.storage.schema import functions, invoke_days

#: By what was counted and then by its bin: how many invokes.
Counts = dict[str, dict[str, int]]


@dataclass(frozen=True)
class InvokeDay:
    """The invokes of one day (UTC, as "2026-11-03") through one door with one model.

    ``counts`` has the bins of `detector.serving.invoke_counts.counts_of`; each of its parts sums up to ``count`` or
    less.
    """

    function_id: str
    day: str
    door: str
    model_id: str
    count: int
    counts: Counts = field(default_factory=dict)


def add_counts(first: Mapping[str, Mapping[str, int]], second: Mapping[str, Mapping[str, int]]) -> Counts:
    """Both together."""
    found = {part: dict(bins) for part, bins in first.items()}
    for part, bins in second.items():
        into = found.setdefault(part, {})
        for name, n in bins.items():
            into[name] = into.get(name, 0) + n
    return found


def add_invokes(db: Database, counted: Sequence[InvokeDay]) -> None:
    """Add to what was counted before, in one transaction; those of a function that is gone are dropped."""
    if not counted:
        return
    with db.write({item.function_id for item in counted}) as connection:
        wanted = {item.function_id for item in counted}
        # For update: on a server's database another process may be adding to the same rows, or to none yet.
        held = select(functions.c.id).where(functions.c.id.in_(wanted)).order_by(functions.c.id).with_for_update()
        there = set(connection.scalars(held))
        for item in counted:
            if item.function_id not in there:
                continue
            key = {name: getattr(item, name) for name in ("function_id", "day", "door", "model_id")}
            here = [invoke_days.c[name] == value for name, value in key.items()]
            known = connection.execute(
                select(invoke_days.c.count.label("number"), invoke_days.c.counts).where(*here)
            ).one_or_none()
            if known is None:
                connection.execute(insert(invoke_days).values(**key, count=item.count, counts=item.counts))
                continue
            connection.execute(
                update(invoke_days)
                .where(*here)
                .values(count=known.number + item.count, counts=add_counts(known.counts, item.counts))
            )


def read_invokes(db: Database, function_id: str, since: str = "") -> list[InvokeDay]:
    """What was counted from a day on, oldest first."""
    statement = (
        select(*(invoke_days.c[name] for name in InvokeDay.__dataclass_fields__))
        .where(invoke_days.c.function_id == function_id, invoke_days.c.day >= since)
        .order_by(invoke_days.c.day, invoke_days.c.door, invoke_days.c.model_id)
    )
    with db.read() as connection:
        return [InvokeDay(**row._mapping) for row in connection.execute(statement)]
