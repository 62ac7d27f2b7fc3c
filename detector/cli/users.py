"""The command line's part for named users of the dashboard. Passwords are asked for, never arguments."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from detector.cli.output import answer, json_option, say
from detector.errors import InvalidInput, NotFound
from detector.importing.entries import printable
from detector.storage import users
from detector.storage.acting import ROLES
from detector.storage.users import User
from detector.workspace import Workspace

#: No password is longer; what a file holds beyond it is not read.
_MOST_BYTES = 10_000


def add_user_commands(commands: Any) -> None:
    """Add ``users`` to the parser's commands."""
    nouns = commands.add_parser(
        "users", help="make, list and change named users of the dashboard, and their roles"
    ).add_subparsers(required=True, metavar="list|create|disable|enable|role|password")
    listing = nouns.add_parser("list", help="list the users")
    json_option(listing, "print the users as JSON")
    listing.set_defaults(run=_list)

    create = nouns.add_parser(
        "create",
        help="make a user; asks for the password",
        description="Make a user. The first one needs --role manage.",
    )
    create.add_argument("name", metavar="NAME", help="what they sign in with")
    create.add_argument("--role", choices=ROLES, required=True, help="what they may do")
    create.add_argument("--identity", metavar="E-MAIL", help="what the sign-in of your organisation calls them")
    _password_option(create, "instead of asking (with --identity no password is asked for)")
    json_option(create)
    create.set_defaults(run=_create)

    for word, says in (("disable", "shut a user out, at once"), ("enable", "let a user in again")):
        command = nouns.add_parser(word, help=says)
        command.add_argument("name", metavar="NAME")
        json_option(command)
        command.set_defaults(run=_disable, disabled=word == "disable")

    role = nouns.add_parser("role", help="give a user another role; they sign in again")
    role.add_argument("name", metavar="NAME")
    role.add_argument("role", metavar="ROLE", choices=ROLES)
    json_option(role)
    role.set_defaults(run=_role)

    password = nouns.add_parser("password", help="give a user another password; asks for it")
    password.add_argument("name", metavar="NAME")
    _password_option(password, "instead of asking")
    json_option(password)
    password.set_defaults(run=_password)


def _password_option(parser: argparse.ArgumentParser, why: str) -> None:
    parser.add_argument(
        "--password-file", type=Path, metavar="FILE", help=f"read the password from the first line of a file, {why}"
    )


def _list(ws: Workspace, options: argparse.Namespace) -> int:
    found = users.list_users(ws.db)
    if options.json:
        print(json.dumps([_row(user) for user in found], ensure_ascii=False))
        return 0
    if not found:
        say("There are no users: the dashboard asks nobody for a name. Make one with: users create NAME --role manage")
    for user in found:
        ways = ", ".join([*(["password"] if user.has_password else []), *([user.identity] if user.identity else [])])
        state = f"  shut out {_moment(user.disabled_at)}" if user.disabled_at is not None else ""
        print(f"{user.name}  {user.role}  {ways}{state}")
    return 0


def _create(ws: Workspace, options: argparse.Namespace) -> int:
    from detector.web.people import create_user

    password = None
    if options.identity is None or options.password_file is not None:
        password = _asked_password(options, options.name)
    user = create_user(ws.db, options.name, options.role, password, options.identity)
    if options.json:
        answer(_row(user))
    say(f"{user.name} may come in, with the role {user.role}. Nobody comes into the dashboard now but its users.")
    return 0


def _disable(ws: Workspace, options: argparse.Namespace) -> int:
    user = _found(ws, options.name)
    users.set_disabled(ws.db, user.id, options.disabled)
    return _changed(ws, user, options, "is shut out" if options.disabled else "may come in again")


def _role(ws: Workspace, options: argparse.Namespace) -> int:
    user = _found(ws, options.name)
    users.set_role(ws.db, user.id, options.role)
    return _changed(ws, user, options, f"has the role {options.role}")


def _password(ws: Workspace, options: argparse.Namespace) -> int:
    from detector.web.people import give_password

    user = _found(ws, options.name)
    give_password(ws.db, user.id, _asked_password(options, user.name))
    return _changed(ws, user, options, "has another password, and signs in again")


def _changed(ws: Workspace, user: User, options: argparse.Namespace, says: str) -> int:
    if options.json:
        answer(_row(users.get_user(ws.db, user.id)))
    say(f"{user.name} {says}.")
    return 0


def _found(ws: Workspace, name: str) -> User:
    user = users.find_user(ws.db, name)
    if user is None:
        raise NotFound("user", printable(name)[:100])
    return user


def _asked_password(options: argparse.Namespace, name: str) -> str:
    if options.password_file is not None:
        try:
            with options.password_file.open("rb") as file:
                line = file.readline(_MOST_BYTES)
        except OSError as error:
            raise InvalidInput(
                f"{printable(str(options.password_file))} cannot be read ({error.strerror or error}). Name another "
                "file."
            ) from error
        try:
            return line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise InvalidInput("The file of the password is not text in UTF-8. Save it as such.") from error
    if not sys.stdin.isatty():
        return sys.stdin.readline(_MOST_BYTES).rstrip("\r\n")
    password = getpass.getpass(f"New password for {printable(name)}: ")
    if getpass.getpass("Once more: ") != password:
        raise InvalidInput("The two passwords differ. Start again.")
    return password


def _row(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "name": user.name,
        "role": user.role,
        "identity": user.identity,
        "hasPassword": user.has_password,
        "createdAt": _moment(user.created_at),
        "disabledAt": _moment(user.disabled_at) if user.disabled_at is not None else None,
        "lastSeenAt": _moment(user.last_seen_at) if user.last_seen_at is not None else None,
    }


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
