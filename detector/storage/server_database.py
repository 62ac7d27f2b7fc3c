"""What a database server with many writers needs so that all code written for SQLite's one writer stays true there.

Two writers at once read the same, and each writes what it concluded from that: two models of one version number, one
label twice, one job for two processes. SQLite has one writer. On PostgreSQL a writer takes locks of the transaction
first, always in the same order, so that no two can wait for each other:

- one lock of the whole database: shared by all who say what they are going to change, alone by whoever does not say;
- then one lock for each thing that it says, by number: writers of one function take turns, those of two do not.

The locks are PostgreSQL's advisory ones. They end with the transaction, after its changes can be seen.
https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Engine, func, select

#: Tells our locks from those of other programs in the same database.
_OURS = 0x41494D47
_WHOLE = 0

#: Writers of one process at a time. Each holds a connection while it waits for its locks, and the pool has 15: those
#: who read, as whoever looks at a page, must not wait behind them.
MOST_WRITERS = 8


#: Milliseconds that others wait for one that does nothing: a machine that lost its power in the middle does not say
#: goodbye.
_MOST_IDLE = "60000"


def reading(engine: Engine) -> Engine:
    """The engine for those who read: all statements of one transaction see one state, as they do in SQLite."""
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def take_turn(connection: Connection, lanes: Iterable[str] | None, seconds: float) -> None:
    """Wait until nobody else writes what this transaction is going to write.

    Parameters
    ----------
    lanes : iterable of str, or None
        What it is going to change, such as ids of functions; none of them: only rows of which each stands for itself;
        None: anything.
    seconds : float
        How long it waits for others at most.
    """
    milliseconds = str(int(1000 * seconds))
    asked: list[Any] = [
        func.set_config("lock_timeout", milliseconds, True),
        func.set_config("idle_in_transaction_session_timeout", _MOST_IDLE, True),
    ]
    if lanes is None:
        asked.append(func.pg_advisory_xact_lock(_OURS, _WHOLE))
    else:
        asked.append(func.pg_advisory_xact_lock_shared(_OURS, _WHOLE))
        asked += [func.pg_advisory_xact_lock(_OURS, number) for number in sorted(set(map(_number, lanes)))]
    # One statement, one way to the server and back.
    connection.execute(select(*asked))


def _number(lane: str) -> int:
    """31 bits; two of one number take turns for nothing, which does no harm. Never that of the whole database."""
    return zlib.crc32(lane.encode()) >> 1 or 1
