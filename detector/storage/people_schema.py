"""The tables of who may come in, of what was done in whose name, and of how the data was looked after."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Float, Index, Integer, String, Table, Text

from detector.storage.schema import metadata

#: Named people. Without any, the dashboard is as open as the settings leave it.
users = Table(
    "users",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    # What the sign-in of an organisation calls them, mostly an e-mail address; NULL: by password only.
    Column("identity", Text, unique=True),
    # NULL: by the sign-in of an organisation only.
    Column("password_hash", Text),
    Column("role", String(8), nullable=False),  # look, label, manage
    # Goes up when the password or the role changes, or the user is shut out: who signed in before signs in again.
    Column("sign_in_epoch", Integer, nullable=False, server_default="0"),
    Column("created_at", Float, nullable=False),
    Column("disabled_at", Float),
    Column("last_seen_at", Float),
)

#: What cannot be undone or opens a door: deletions, keys, users, sign-ins. Rows are only added.
audit_log = Table(
    "audit_log",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    # A user, a key, or NULL where nobody signs in.
    Column("who", Text),
    Column("door", String(16), nullable=False),  # page, api, command line
    Column("action", String(32), nullable=False),
    # What it was done to, in words of that moment: it may be gone.
    Column("what", Text, nullable=False, server_default=""),
    Column("facts", JSON(none_as_null=True)),
    Index("ix_audit_log_at", "at"),
)

#: Checks, backups and restores that came to their end: since when the data is known to be well, and the last backup.
upkeep_runs = Table(
    "upkeep_runs",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("kind", String(16), nullable=False),  # check, backup, restore, upgrade
    Column("at", Float, nullable=False),
    Column("ok", Boolean, nullable=False),
    Column("facts", JSON, nullable=False),
    Index("ix_upkeep_runs_kind", "kind", "at"),
)
