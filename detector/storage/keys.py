"""Keys of the HTTP API: a public client id and a secret that is shown once and stored only as a hash."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from sqlalchemy import insert, select, update

from detector.errors import NotFound
from detector.storage.database import Database, new_id, now
from detector.storage.functions import clean_name
from detector.storage.schema import api_keys


@dataclass(frozen=True)
class ApiKey:
    id: str
    name: str
    created_at: float
    revoked_at: float | None


@dataclass(frozen=True)
class NewKey:
    """A key just made; the only moment at which its secret is known."""

    id: str
    name: str
    secret: str


def create_key(db: Database, name: str) -> NewKey:
    """Make a key. Raises InvalidInput when the name is empty or too long."""
    key = NewKey(new_id(), clean_name(name, "key"), secrets.token_urlsafe(32))
    with db.write() as connection:
        connection.execute(
            insert(api_keys).values(
                id=key.id, name=key.name, secret_hash=_hash(key.secret), created_at=now(), revoked_at=None
            )
        )
    return key


def list_keys(db: Database) -> list[ApiKey]:
    """All keys, revoked ones too, newest first."""
    with db.read() as connection:
        rows = connection.execute(_SELECT.order_by(api_keys.c.created_at.desc(), api_keys.c.id))
        return [ApiKey(**row._mapping) for row in rows]


def revoke_key(db: Database, key_id: str) -> None:
    """End a key and all its tokens, at once and for good. Raises NotFound."""
    with db.write() as connection:
        if connection.scalar(select(api_keys.c.id).where(api_keys.c.id == key_id)) is None:
            raise NotFound("key", key_id)
        connection.execute(
            update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None)).values(revoked_at=now())
        )


def find_active(db: Database, key_id: str) -> ApiKey | None:
    """The key of that id; None when there is none or it was revoked."""
    with db.read() as connection:
        row = connection.execute(_SELECT.where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))).one_or_none()
    return ApiKey(**row._mapping) if row is not None else None


def check_secret(db: Database, key_id: str, secret: str) -> ApiKey | None:
    """The key that this pair stands for; None, in the same time, for an unknown id, a wrong secret or a revoked key."""
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
    return ApiKey(row.id, row.name, row.created_at, row.revoked_at)


def _hash(secret: str) -> str:
    # One round is enough: the secret is 256 random bits, not something that a person thought of.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


_SELECT = select(*(api_keys.c[name] for name in ApiKey.__dataclass_fields__))
