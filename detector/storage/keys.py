"""Keys of the HTTP API: a public client id and a secret that is shown once and stored only as a hash."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from sqlalchemy import insert, select, update

from detector.errors import InvalidInput, KeyExpired, NotFound
from detector.formatting import DAY
from detector.storage.acting import MANAGE, known_role, needs
from detector.storage.audit_log import note_with
from detector.storage.database import Database, new_id, now
from detector.storage.functions import clean_name
from detector.storage.schema import api_keys

#: Longest life of a key, in days: ten years.
MOST_DAYS = 3_650
#: A limit above this is none.
MOST_CALLS_PER_MINUTE = 6_000


@dataclass(frozen=True)
class ApiKey:
    id: str
    name: str
    created_at: float
    revoked_at: float | None
    role: str = MANAGE
    expires_at: float | None = None
    calls_per_minute: int | None = None

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and self.expires_at <= now()


@dataclass(frozen=True)
class NewKey:
    """A key just made; the only moment at which its secret is known."""

    id: str
    name: str
    secret: str


@needs(MANAGE, "making a key")
def create_key(
    db: Database, name: str, role: str = MANAGE, days: float | None = None, per_minute: int | None = None
) -> NewKey:
    """Make a key.

    Parameters
    ----------
    role : str
        What its tokens may do, one of `detector.storage.acting.ROLES`.
    days : float, optional
        How long it is good for; None: until it is revoked.
    per_minute : int, optional
        How many calls a minute are answered, by each server; None: as many as come.

    Raises
    ------
    InvalidInput
        The name is empty or too long, or one of the others cannot be.
    """
    key = NewKey(new_id(), clean_name(name, "key"), secrets.token_urlsafe(32))
    known_role(role)
    # Written so that NaN is refused too.
    if days is not None and not 0 < days <= MOST_DAYS:
        raise InvalidInput(f"A key cannot be good for {days:g} days; choose more than 0 and at most {MOST_DAYS:,}.")
    if per_minute is not None and not 1 <= per_minute <= MOST_CALLS_PER_MINUTE:
        raise InvalidInput(
            f"A key cannot have {per_minute:,} calls a minute; choose 1 to {MOST_CALLS_PER_MINUTE:,}, or no limit."
        )
    with db.write() as connection:
        connection.execute(
            insert(api_keys).values(
                id=key.id,
                name=key.name,
                secret_hash=_hash(key.secret),
                role=role,
                created_at=now(),
                expires_at=now() + days * DAY if days is not None else None,
                calls_per_minute=per_minute,
                revoked_at=None,
            )
        )
        facts = {"key": key.id, "role": role, "days": days, "calls a minute": per_minute}
        note_with(connection, "key made", key.name, {name: fact for name, fact in facts.items() if fact is not None})
    return key


def list_keys(db: Database) -> list[ApiKey]:
    """All keys, revoked ones too, newest first."""
    with db.read() as connection:
        rows = connection.execute(_SELECT.order_by(api_keys.c.created_at.desc(), api_keys.c.id))
        return [ApiKey(**row._mapping) for row in rows]


@needs(MANAGE, "revoking a key")
def revoke_key(db: Database, key_id: str) -> None:
    """End a key and all its tokens, at once and for good. Raises NotFound."""
    with db.write() as connection:
        name = connection.scalar(select(api_keys.c.name).where(api_keys.c.id == key_id))
        if name is None:
            raise NotFound("key", key_id)
        if connection.execute(
            update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None)).values(revoked_at=now())
        ).rowcount:
            note_with(connection, "key revoked", name, {"key": key_id})


def find_active(db: Database, key_id: str) -> ApiKey | None:
    """The key of that id; None when there is none or it was revoked. Raises KeyExpired where its time is over."""
    with db.read() as connection:
        row = connection.execute(_SELECT.where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))).one_or_none()
    if row is None:
        return None
    return _in_time(ApiKey(**row._mapping))


def check_secret(db: Database, key_id: str, secret: str) -> ApiKey | None:
    """The key that this pair stands for; None, in the same time, for an unknown id, a wrong secret or a revoked key.

    Raises KeyExpired where its time is over: whoever has the secret may know.
    """
    # Lone surrogates can come in a form of an odd charset, and the database has no way to write them.
    key_id = key_id.encode("utf-8", "replace").decode("utf-8")
    with db.read() as connection:
        row = connection.execute(
            _SELECT.add_columns(api_keys.c.secret_hash).where(api_keys.c.id == key_id)
        ).one_or_none()
    # Something of the same length is compared even where nothing is stored.
    stored = row.secret_hash if row is not None else "0" * 64
    right = hmac.compare_digest(stored, _hash(secret))
    if row is None or not right or row.revoked_at is not None:
        return None
    return _in_time(ApiKey(*row[:-1]))


def _in_time(key: ApiKey) -> ApiKey:
    if key.expired:
        raise KeyExpired
    return key


def _hash(secret: str) -> str:
    # One round is enough: the secret is 256 random bits, not something that a person thought of.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


_SELECT = select(*(api_keys.c[name] for name in ApiKey.__dataclass_fields__))
