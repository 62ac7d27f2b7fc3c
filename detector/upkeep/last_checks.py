"""What is remembered of checks: the last one, and since when all is known to be well."""

from __future__ import annotations

from sqlalchemy import select

from detector.storage.database import Database
from detector.storage.people_schema import upkeep_runs

CHECK = "check"

#: Checks that are looked through for a full one.
_MOST = 1000


def well_since(db: Database, quick: bool) -> float | None:
    """When the last check found all well, in seconds since the epoch; None: none has.

    Parameters
    ----------
    quick : bool
        Whether one counts that left the bytes unread.
    """
    statement = (
        select(upkeep_runs.c.at, upkeep_runs.c.facts)
        .where(upkeep_runs.c.kind == CHECK, upkeep_runs.c.ok)
        .order_by(upkeep_runs.c.sequence.desc())
        .limit(_MOST)
    )
    with db.read() as connection:
        rows = connection.execute(statement).all()
    return next((row.at for row in rows if quick or not row.facts.get("quick", False)), None)
