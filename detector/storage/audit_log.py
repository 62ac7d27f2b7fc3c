"""What cannot be undone or opens a door, and in whose name it was done: deletions, keys, users, sign-ins.

Written in the transaction of the deed itself where there is one: neither is there without the other. Never a secret.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from detector.errors import StorageTrouble
from detector.formatting import DAY
from detector.storage.acting import LOOK, SERVER, Actor, actor_now
from detector.storage.database import Database, now
from detector.storage.known_labels import without_controls
from detector.storage.people_schema import audit_log, users

log = logging.getLogger(__name__)

#: How long entries are kept.
KEPT_DAYS = 400
#: Of a name in an entry: it may come from somebody who is only trying.
MOST_CHARACTERS = 200
#: A refusal of the same name from the same address is written once in so many seconds.
REFUSAL_SECONDS = 60.0
#: And of all names together no more than so many: names can be thought of without end.
MOST_REFUSALS = 60
#: Of names that are users so many beside them, and each name once: nobody hides guesses at a user among made-up names.
MOST_OF_USERS = 20
#: What further ones are written as, in one entry a minute that counts them.
FURTHER = "further attempts"
#: Entries that are kept; the oldest go.
MOST_ENTRIES = 1_000_000
REFUSED = "sign-in refused"

#: What an entry may be about; its words are those that people read.
ACTIONS = (
    *("function deleted", "label deleted", "bin emptied", "records deleted", "run deleted"),
    *("key made", "key revoked"),
    *("user made", "user changed", "password changed"),
    *("signed in", REFUSED),
    *("backup", "restore", "check", "upgrade"),
)

_STEP = 500
_FURTHER_FACT = "attempts"
#: What a sign-in waits at most for others who write, in seconds.
_MOMENT = 2.0


@dataclass(frozen=True)
class Entry:
    """One line of the log; ``who`` is None where nobody signs in."""

    sequence: int
    at: float
    who: str | None
    door: str
    action: str
    what: str
    facts: dict[str, Any] | None


def note(
    db: Database, action: str, what: str = "", facts: Mapping[str, Any] | None = None, actor: Actor | None = None
) -> None:
    """Write an entry in a transaction of its own; `note_with` where the deed has one.

    Parameters
    ----------
    action : str
        One of `ACTIONS`.
    what : str
        What it was done to, in words of this moment.
    facts : mapping, optional
        Numbers and short texts beside it. No secrets.
    actor : Actor, optional
        Who did it; if not given, whoever acts now.
    """
    with db.write(()) as connection:
        note_with(connection, action, what, facts, actor)


def note_with(
    connection: Connection,
    action: str,
    what: str = "",
    facts: Mapping[str, Any] | None = None,
    actor: Actor | None = None,
) -> None:
    """Write an entry in the transaction of the deed, as `note`; what is too old or too much goes."""
    actor = actor or actor_now()
    moment = now()
    connection.execute(delete(audit_log).where(audit_log.c.at < moment - KEPT_DAYS * DAY))
    newest = connection.scalar(select(func.max(audit_log.c.sequence))) or 0
    if newest >= MOST_ENTRIES:
        connection.execute(delete(audit_log).where(audit_log.c.sequence <= newest + 1 - MOST_ENTRIES))
    connection.execute(
        insert(audit_log).values(
            at=moment,
            who=shown_name(actor.shown) if actor is not None and actor.shown is not None else None,
            door=actor.door if actor is not None else SERVER,
            action=action[:32],
            what=shown_name(what),
            facts={shown_name(str(key)): _fact(value) for key, value in facts.items()} if facts else None,
        )
    )


def note_sign_in(db: Database, what: str, address: str, actor: Actor | None = None) -> None:
    """Write that somebody came in, where that can be written: a full or locked database keeps nobody out."""
    with _where_possible("a sign-in"), db.write((), _MOMENT) as connection:
        note_with(connection, "signed in", what, {"address": address}, actor)


def note_refusal(db: Database, name: str, address: str, door: str) -> None:
    """Write that a sign-in was refused: once a minute for one name from one address, whoever tries how often.

    Where it cannot be written, that is in the server's log: the answer is the same.
    """
    name, address = shown_name(name), shown_name(address)
    with _where_possible("a refused sign-in"), db.write((), _MOMENT) as connection:
        # A clock that was set back makes none of them hold for ever.
        moment = now()
        lately = connection.execute(
            select(audit_log.c.sequence, audit_log.c.what, audit_log.c.facts).where(
                audit_log.c.at > moment - REFUSAL_SECONDS,
                audit_log.c.at <= moment,
                audit_log.c.action == REFUSED,
            )
        ).all()
        counted = next((row for row in lately if _FURTHER_FACT in (row.facts or {})), None)
        named = [row for row in lately if row is not counted]
        if any(row.what == name and (row.facts or {}).get("address") == address for row in named):
            return
        of_users = _names_of_users(connection)
        is_user = _folded(name) in of_users
        alike = [_folded(row.what) for row in named if (_folded(row.what) in of_users) is is_user]
        if len(alike) < (MOST_OF_USERS if is_user else MOST_REFUSALS) or (is_user and _folded(name) not in alike):
            note_with(connection, REFUSED, name, {"address": address}, Actor(None, LOOK, door))
        elif counted is None:
            note_with(connection, REFUSED, FURTHER, {_FURTHER_FACT: 1}, Actor(None, LOOK, door))
        else:
            connection.execute(
                update(audit_log)
                .where(audit_log.c.sequence == counted.sequence)
                .values(facts={_FURTHER_FACT: counted.facts[_FURTHER_FACT] + 1})
            )


def list_entries(
    db: Database, search: str = "", action: str | None = None, limit: int = 100, before: int | None = None
) -> list[Entry]:
    """Entries, the newest first.

    Parameters
    ----------
    search : str
        A part of the name of who did it, or of what it was done to, in whatever case; empty: all.
    action : str, optional
        Only such.
    before : int, optional
        Only those before the entry of that sequence, for the next page.
    """
    wanted = _folded(search)
    query = select(audit_log).order_by(audit_log.c.sequence.desc())
    if action is not None:
        query = query.where(audit_log.c.action == action)
    found: list[Entry] = []
    with db.read() as connection:
        while len(found) < limit:
            page = query if before is None else query.where(audit_log.c.sequence < before)
            # SQLite folds no letters beyond a to z: the search is done here.
            rows = connection.execute(page.limit(_STEP if wanted else limit)).all()
            for row in rows:
                if not wanted or wanted in _folded(f"{row.who or ''}\n{row.what}"):
                    found.append(Entry(**row._mapping))
            if not wanted or len(rows) < _STEP:
                break
            before = rows[-1].sequence
    return found[:limit]


def shown_name(text: str) -> str:
    """Text that may come from anybody, as it is stored: without control characters and not longer than is read."""
    return without_controls(text.encode("utf-8", "replace").decode())[:MOST_CHARACTERS]


def _names_of_users(connection: Connection) -> set[str]:
    """What people may give as their name at the door, folded."""
    rows = connection.execute(select(users.c.name, users.c.identity)).all()
    return {_folded(shown_name(text)) for row in rows for text in row if text}


@contextmanager
def _where_possible(what: str) -> Iterator[None]:
    try:
        yield
    except StorageTrouble as error:
        log.error("the audit log lacks %s: %s", what, error)


def _fact(value: object) -> object:
    return value if value is None or isinstance(value, bool | int | float) else shown_name(str(value))


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", without_controls(text).casefold())
