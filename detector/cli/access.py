"""The command line's part for keys of the HTTP API, the dashboard's password and the API's schema."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from datetime import UTC, datetime
from typing import Any

from detector.cli.output import answer, json_option, say
from detector.errors import InvalidInput
from detector.storage import keys
from detector.storage.acting import MANAGE, ROLES
from detector.web.password import PasswordHash
from detector.workspace import Workspace


def add_access_commands(commands: Any) -> None:
    """Add ``keys``, ``password`` and ``openapi`` to the parser's commands."""
    nouns = commands.add_parser("keys", help="make, list and revoke keys of the HTTP API").add_subparsers(
        required=True, metavar="create|list|revoke"
    )
    create = nouns.add_parser("create", help="make a key; its secret is shown only this once")
    create.add_argument("--name", required=True, help="what the key is for")
    create.add_argument("--role", choices=ROLES, default=MANAGE, help="what its tokens may do (default: manage)")
    create.add_argument("--expires", type=float, metavar="DAYS", help="end it by itself (default: never)")
    create.add_argument(
        "--per-minute", type=int, metavar="N", help="at most so many calls a minute, of each server (default: any)"
    )
    json_option(create, "print the key as JSON")
    create.set_defaults(run=_create)
    listing = nouns.add_parser("list", help="list the keys, without secrets")
    json_option(listing, "print the keys as JSON")
    listing.set_defaults(run=_list)
    revoke = nouns.add_parser("revoke", help="end a key and its tokens, at once and for good")
    revoke.add_argument("id", metavar="ID", help="the key's client id")
    json_option(revoke)
    revoke.set_defaults(run=_revoke)

    password = commands.add_parser("password", help="ask for a password and print its hash")
    json_option(password)
    password.set_defaults(run=_password, opens_data=False)

    openapi = commands.add_parser("openapi", help="print the schema of the HTTP API")
    json_option(openapi, "print JSON, which is what is printed anyway")
    openapi.set_defaults(run=_openapi)


def _create(ws: Workspace, options: argparse.Namespace) -> int:
    key = keys.create_key(ws.db, options.name, options.role, options.expires, options.per_minute)
    if options.json:
        print(json.dumps({"clientId": key.id, "clientSecret": key.secret, "name": key.name}, ensure_ascii=False))
    else:
        print(f"client id      {key.id}\nclient secret  {key.secret}")
        print("Keep the secret now: it is stored only as a hash and cannot be shown again.", file=sys.stderr)
    return 0


def _list(ws: Workspace, options: argparse.Namespace) -> int:
    found = keys.list_keys(ws.db)
    rows = [
        {
            "clientId": key.id,
            "name": key.name,
            "createdAt": _moment(key.created_at),
            "revokedAt": _moment(key.revoked_at) if key.revoked_at is not None else None,
            "role": key.role,
            "expiresAt": _moment(key.expires_at) if key.expires_at is not None else None,
            "callsPerMinute": key.calls_per_minute,
        }
        for key in found
    ]
    if options.json:
        print(json.dumps(rows, ensure_ascii=False))
        return 0
    if not rows:
        print("There are no keys yet. Make one with: python -m detector keys create --name NAME", file=sys.stderr)
    for key, row in zip(found, rows, strict=True):
        state = f"revoked {row['revokedAt']}" if row["revokedAt"] else "active"
        if row["expiresAt"] and not row["revokedAt"]:
            state = f"expired {row['expiresAt']}" if key.expired else f"active until {row['expiresAt']}"
        pace = f"  {key.calls_per_minute:,} calls a minute" if key.calls_per_minute is not None else ""
        print(f"{row['clientId']}  {row['name']}  made {row['createdAt']}  {state}  {key.role}{pace}")
    return 0


def _revoke(ws: Workspace, options: argparse.Namespace) -> int:
    keys.revoke_key(ws.db, options.id)
    if options.json:
        answer({"clientId": options.id, "revoked": True})
    say(f"The key {options.id} is revoked; its tokens are refused from now on.")
    return 0


def _password(_ws: None, options: argparse.Namespace) -> int:
    if sys.stdin.isatty():
        password = getpass.getpass("New password for the dashboard: ")
        if getpass.getpass("Once more: ") != password:
            raise InvalidInput("The two passwords differ. Start again.")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    made = PasswordHash.make(password)
    if options.json:
        answer({"hash": str(made)})
    else:
        print(made)
    print("Set DETECTOR_PASSWORD_HASH to this line before the server starts.", file=sys.stderr)
    return 0


def _openapi(ws: Workspace, _options: argparse.Namespace) -> int:
    from detector.api.app import api_app

    print(json.dumps(api_app(ws).openapi(), ensure_ascii=False, indent=2))
    return 0


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
