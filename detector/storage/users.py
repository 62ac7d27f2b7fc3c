"""Named people who may come in: their names, roles, and what they show at the door."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, create_engine, func, insert, inspect, select, update
from sqlalchemy.exc import SQLAlchemyError

from detector.errors import Conflict, DataFolderUnusable, InvalidInput, NotFound, StorageTrouble
from detector.storage.acting import MANAGE, known_role, needs
from detector.storage.audit_log import note_with
from detector.storage.database import Database, new_id, now
from detector.storage.folder import sqlite_file
from detector.storage.known_labels import stored_spelling
from detector.storage.people_schema import users

log = logging.getLogger(__name__)

MOST_NAME_CHARACTERS = 80
_MOST_IDENTITY_CHARACTERS = 254
#: How often it is written down that somebody is here, in seconds.
_SEEN_SECONDS = 60.0
#: And how long it may wait for others who write.
_SEEN_PATIENCE = 0.2

#: When it was tried last, by database and user.
_tried: WeakKeyDictionary[Database, dict[str, float]] = WeakKeyDictionary()


@dataclass(frozen=True)
class User:
    """A user, without the hash of the password.

    Attributes
    ----------
    identity : str or None
        What the sign-in of an organisation calls them; None: by password only.
    has_password : bool
    sign_in_epoch : int
        Who signed in under another one has to sign in again.
    """

    id: str
    name: str
    identity: str | None
    has_password: bool
    role: str
    sign_in_epoch: int
    created_at: float
    disabled_at: float | None
    last_seen_at: float | None


def are_in(url: str) -> bool:
    """Whether a database that is not opened has users; it is left as it is, and not made where it is not there.

    Raises DataFolderUnusable.
    """
    file = sqlite_file(url)
    if file is not None and not file.is_file():
        return False
    try:
        engine = create_engine(url)
    except (ImportError, SQLAlchemyError):
        # Said in full when it is opened.
        return False
    try:
        with engine.connect() as connection:
            there = inspect(connection).has_table(users.name)
            return there and connection.scalar(select(users.c.id).limit(1)) is not None
    except SQLAlchemyError as error:
        raise DataFolderUnusable(
            "Whether there are users, who would protect this server, cannot be asked: the database cannot be read. See "
            "that it is there and may be read, then start again."
        ) from error
    finally:
        engine.dispose()


def any_users(db: Database) -> bool:
    """Whether there are users, in force or not: then nobody comes in but they."""
    with db.read() as connection:
        return connection.execute(select(users.c.id).limit(1)).first() is not None


def list_users(db: Database) -> list[User]:
    """All users, those who are shut out too, by name."""
    with db.read() as connection:
        found = [_user(row) for row in connection.execute(select(users))]
    return sorted(found, key=lambda user: (user.name.casefold(), user.id))


def get_user(db: Database, user_id: str) -> User:
    """The user of that id. Raises NotFound."""
    with db.read() as connection:
        row = connection.execute(select(users).where(users.c.id == user_id)).one_or_none()
    if row is None:
        raise NotFound("user", user_id)
    return _user(row)


def find_user(db: Database, name: str) -> User | None:
    """The user of that name, in whatever case; None without one."""
    with db.read() as connection:
        return _named(connection, name)


def by_identity(db: Database, identity: str) -> User | None:
    """The user of that identity, in whatever case of a to z, shut out or not; None without one."""
    wanted = _one_identity(identity)
    return next((user for user in list_users(db) if user.identity and _one_identity(user.identity) == wanted), None)


def user_in_force(db: Database, user_id: str, sign_in_epoch: int) -> User | None:
    """The user that was let in under that epoch; None where they are out since."""
    with db.read() as connection:
        row = connection.execute(
            select(users).where(
                users.c.id == user_id, users.c.sign_in_epoch == sign_in_epoch, users.c.disabled_at.is_(None)
            )
        ).one_or_none()
    return _user(row) if row is not None else None


def password_hash(db: Database, user_id: str) -> str | None:
    """The hash of the user's password; None where they have none, or are not there."""
    with db.read() as connection:
        return connection.scalar(select(users.c.password_hash).where(users.c.id == user_id))


@needs(MANAGE, "making a user")
def add_user(db: Database, name: str, role: str, password_hash: str | None = None, identity: str | None = None) -> User:
    """Make a user.

    Parameters
    ----------
    password_hash : str, optional
        As of `detector.web.password`; None: they come in by their identity only.
    identity : str, optional
        What the sign-in of an organisation calls them, mostly an e-mail address.

    Raises
    ------
    Conflict
        The name or the identity is somebody's.
    InvalidInput
        A name, an identity or a role that cannot be, neither password nor identity, or the first one could not manage.
    """
    name, role = _clean_user_name(name), known_role(role)
    identity = _clean_identity(identity)
    if password_hash is None and identity is None:
        raise InvalidInput("The user could not come in. Give a password, or the e-mail address of the organisation.")
    user_id = new_id()
    with db.write() as connection:
        if (known := _named(connection, name)) is not None:
            raise Conflict(f"There is a user {known.name!r} already. Choose another name.", known.id)
        for row in connection.execute(select(users.c.id, users.c.identity)).all():
            if (
                identity is not None
                and row.identity is not None
                and _one_identity(row.identity) == _one_identity(identity)
            ):
                raise Conflict(f"The address {identity!r} is another user's. Use that user.", row.id)
        if role != MANAGE and connection.execute(select(users.c.id).limit(1)).first() is None:
            raise InvalidInput(
                f"The first user needs the role {MANAGE!r}: otherwise nobody could make further ones. Choose it."
            )
        connection.execute(
            insert(users).values(
                id=user_id,
                name=name,
                identity=identity,
                password_hash=password_hash,
                role=role,
                sign_in_epoch=0,
                created_at=now(),
            )
        )
        note_with(connection, "user made", name, {"role": role})
    return get_user(db, user_id)


@needs(MANAGE, "changing a user")
def set_role(db: Database, user_id: str, role: str) -> None:
    """Give a user another role; they sign in again. Raises InvalidInput, NotFound."""
    known_role(role)
    with db.write() as connection:
        user = _locked(connection, user_id)
        if user.role == role:
            return
        _require_another_manager(connection, user)
        _change(connection, user, role=role)
        note_with(connection, "user changed", user.name, {"role": role, "before": user.role})


@needs(MANAGE, "changing a user")
def set_disabled(db: Database, user_id: str, disabled: bool) -> None:
    """Shut a user out, at once, or let them come in again. Raises InvalidInput, NotFound."""
    with db.write() as connection:
        user = _locked(connection, user_id)
        if (user.disabled_at is not None) == disabled:
            return
        if disabled:
            _require_another_manager(connection, user)
        _change(connection, user, disabled_at=now() if disabled else None)
        note_with(connection, "user changed", user.name, {"access": "shut out" if disabled else "let in again"})


@needs(MANAGE, "changing a user's password")
def set_password(db: Database, user_id: str, password_hash: str) -> None:
    """Give a user another password; they sign in again everywhere. Raises NotFound."""
    _set_password(db, user_id, password_hash)


def set_own_password(db: Database, user_id: str, password_hash: str) -> None:
    """As `set_password`, for who has shown the old one (`detector.web.people.change_password`)."""
    _set_password(db, user_id, password_hash)


def note_seen(db: Database, user: User) -> None:
    """Write down that a user is here, once a minute at most, and where that can be done in a moment.

    Pages call it in each of their runs: nobody waits for it, and a database that cannot be written shows its pages.
    """
    if user.last_seen_at is not None and 0 <= now() - user.last_seen_at < _SEEN_SECONDS:
        return
    # What is written is no sign that it was tried: writing may fail, or another server's clock may be ahead.
    tried = _tried.setdefault(db, {})
    if time.monotonic() - tried.get(user.id, -_SEEN_SECONDS) < _SEEN_SECONDS:
        return
    tried[user.id] = time.monotonic()
    try:
        with db.write((), _SEEN_PATIENCE) as connection:
            connection.execute(update(users).where(users.c.id == user.id).values(last_seen_at=now()))
    except StorageTrouble as error:
        log.warning("it cannot be written down that a user is here: %s", error)


def _set_password(db: Database, user_id: str, password_hash: str) -> None:
    with db.write() as connection:
        user = _locked(connection, user_id)
        _change(connection, user, password_hash=password_hash)
        note_with(connection, "password changed", user.name)


def _locked(connection: Connection, user_id: str) -> User:
    row = connection.execute(select(users).where(users.c.id == user_id).with_for_update()).one_or_none()
    if row is None:
        raise NotFound("user", user_id)
    return _user(row)


def _change(connection: Connection, user: User, **values: object) -> None:
    connection.execute(
        update(users).where(users.c.id == user.id).values(sign_in_epoch=users.c.sign_in_epoch + 1, **values)
    )


def _require_another_manager(connection: Connection, user: User) -> None:
    """Whoever takes the last one away locks the door from both sides."""
    if user.role != MANAGE or user.disabled_at is not None:
        return
    others = connection.scalar(
        select(func.count())
        .select_from(users)
        .where(users.c.role == MANAGE, users.c.disabled_at.is_(None), users.c.id != user.id)
    )
    if not others:
        raise InvalidInput(
            f"{user.name} is the only user with the role {MANAGE!r}: nobody could undo this. Give that role to "
            "somebody else first."
        )


def _named(connection: Connection, name: str) -> User | None:
    wanted = stored_spelling(name).casefold()
    return next((_user(row) for row in connection.execute(select(users)) if row.name.casefold() == wanted), None)


def _clean_user_name(name: str) -> str:
    name = stored_spelling(name)
    if not name or len(name) > MOST_NAME_CHARACTERS or not re.fullmatch(r"[\w .,@'+-]+", name):
        raise InvalidInput(
            f"The name of a user has 1 to {MOST_NAME_CHARACTERS} letters, digits, spaces or . , @ ' + - _. Choose "
            "another one."
        )
    return name


def _clean_identity(identity: str | None) -> str | None:
    if identity is None or not identity.strip():
        return None
    identity = identity.strip()
    if len(identity) > _MOST_IDENTITY_CHARACTERS or not identity.isprintable() or " " in identity:
        raise InvalidInput("The identity of a user is an e-mail address such as anna@example.org. Correct it.")
    return identity


def _one_identity(identity: str) -> str:
    # No other folding: mailboxes whose names differ in letters such as the dotless i may be two people's.
    return "".join(letter.lower() if letter.isascii() else letter for letter in identity.strip())


def _user(row: object) -> User:
    values = dict(row._mapping)  # type: ignore[attr-defined]
    has_password = values.pop("password_hash") is not None
    return User(**values, has_password=has_password)
