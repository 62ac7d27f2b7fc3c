"""The latest calls of the HTTP API: which function answered what, how fast, with which status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, insert, select

from detector.storage.database import Database, holdable, now
from detector.storage.schema import api_calls, api_keys, functions

#: Older calls are dropped: this is a window to look through, not an archive.
KEPT_CALLS = 10_000


@dataclass(frozen=True)
class Call:
    """One call. ``function_name`` and ``key_name`` are None where the function or key is not there (any more)."""

    at: float
    key_id: str
    key_name: str | None
    function_id: str
    function_name: str | None
    path: str
    verdict: str | None
    milliseconds: float
    status: int


def record_calls(db: Database, calls: Sequence[Mapping[str, Any]]) -> None:
    """Note calls, oldest first, and drop what is older than the latest `KEPT_CALLS`.

    Parameters
    ----------
    calls : sequence of mapping
        ``key_id``; ``function_id``, without prefix and empty where the call concerns none; ``path``, method and path
        such as ``"POST /v1/functions/function_ab12/invoke"``, without the query; ``verdict``, the label that an invoke
        answered with, or None; ``milliseconds`` from the request's arrival to its answer; the answer's HTTP ``status``;
        and ``at`` in seconds since the epoch where it was not now.
    """
    if not calls:
        return
    rows = [
        {
            "at": now(),
            **call,
            "key_id": holdable(call["key_id"])[:32],
            "function_id": holdable(call["function_id"])[:64],
            "path": holdable(call["path"])[:200],
        }
        for call in calls
    ]
    with db.write([api_calls.name]) as connection:
        connection.execute(insert(api_calls), rows)
        newest = connection.scalar(select(func.max(api_calls.c.sequence))) or 0
        connection.execute(delete(api_calls).where(api_calls.c.sequence <= newest - KEPT_CALLS))


def recent_calls(db: Database, function_id: str | None = None, limit: int = 50) -> list[Call]:
    """The latest calls, newest first; of one function, or of all."""
    query = (
        select(
            *(api_calls.c[name] for name in Call.__dataclass_fields__ if name in api_calls.c),
            functions.c.name.label("function_name"),
            api_keys.c.name.label("key_name"),
        )
        .outerjoin(functions, functions.c.id == api_calls.c.function_id)
        .outerjoin(api_keys, api_keys.c.id == api_calls.c.key_id)
        .order_by(api_calls.c.sequence.desc())
        .limit(limit)
    )
    if function_id is not None:
        query = query.where(api_calls.c.function_id == function_id)
    with db.read() as connection:
        return [Call(**row._mapping) for row in connection.execute(query)]
