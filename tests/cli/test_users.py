"""The commands for users, and for keys with a role and an end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detector.storage import users
from detector.storage.audit_log import list_entries
from detector.web.password import PasswordHash
from tests.command_line import run_here
from tests.factories import workspace

PASSWORD = "correct horse battery"


def _password_file(folder: Path) -> Path:
    file = folder / "password.txt"
    file.write_text(f"{PASSWORD}\n", encoding="utf-8")
    return file


@pytest.mark.slow
def test_users_are_made_changed_and_listed(tmp_path: Path) -> None:
    data, file = tmp_path / "data", _password_file(tmp_path)
    first = run_here(data, "users", "create", "Anna", "--role", "look", "--password-file", file)
    assert first.code == 1
    assert "first user needs the role 'manage'" in first.err
    assert run_here(data, "users", "create", "Eva", "--role", "manage", "--password-file", file).code == 0
    made = run_here(data, "users", "create", "Anna", "--role", "look", "--identity", "anna@example.org", "--json").json
    assert (made["name"], made["role"], made["hasPassword"]) == ("Anna", "look", False)
    assert run_here(data, "users", "role", "anna", "label").code == 0
    assert run_here(data, "users", "password", "anna", "--password-file", file, "--json").json["hasPassword"] is True
    assert run_here(data, "users", "disable", "Anna", "--json").json["disabledAt"] is not None
    listed = json.loads(run_here(data, "users", "list", "--json").out)
    assert [(row["name"], row["role"]) for row in listed] == [("Anna", "label"), ("Eva", "manage")]
    assert "shut out" in run_here(data, "users", "list").out
    assert run_here(data, "users", "enable", "Anna").code == 0

    ws = workspace(data)
    eva = users.find_user(ws.db, "eva")
    assert eva is not None
    assert PasswordHash.parse(users.password_hash(ws.db, eva.id) or "").matches(PASSWORD)
    entries = list_entries(ws.db)
    assert {entry.door for entry in entries} == {"command line"}
    assert [entry.action for entry in entries][-2:] == ["user made", "user made"]
    ws.close()


@pytest.mark.slow
def test_what_cannot_be_ends_with_one_sentence(tmp_path: Path) -> None:
    data, file = tmp_path / "data", _password_file(tmp_path)
    assert run_here(data, "users", "create", "Eva", "--role", "manage", "--password-file", file).code == 0
    short = tmp_path / "short.txt"
    short.write_text("short", encoding="utf-8")
    for arguments in (
        ("create", "EVA", "--role", "look", "--password-file", file),
        ("create", "Carl", "--role", "look", "--password-file", short),
        ("create", "Carl", "--role", "look", "--password-file", tmp_path / "none.txt"),
        ("role", "Eva", "look"),
        ("disable", "Eva"),
        ("disable", "Nobody\n\x1b[31m"),
    ):
        done = run_here(data, "users", *arguments)
        assert done.code == 1, arguments
        assert done.out == ""
        assert len(done.err.splitlines()) == 1
        assert "\x1b" not in done.err


def test_a_key_has_a_role_an_end_and_a_pace(tmp_path: Path) -> None:
    data = tmp_path / "data"
    made = run_here(
        data, "keys", "create", "--name", "K", "--role", "label", "--expires", "30", "--per-minute", "60", "--json"
    ).json
    [row] = json.loads(run_here(data, "keys", "list", "--json").out)
    assert (row["clientId"], row["role"], row["callsPerMinute"]) == (made["clientId"], "label", 60)
    assert row["expiresAt"] is not None
    assert "active until" in run_here(data, "keys", "list").out
    assert run_here(data, "keys", "create", "--name", "K", "--expires", "0").code == 1
