"""Keys and calls of the HTTP API, as stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.errors import InvalidInput, NotFound
from detector.storage import calls, keys
from detector.storage.database import Database
from tests.factories import empty_function, workspace


def make_database(folder: Path) -> Database:
    return Database(f"sqlite:///{folder / 'detector.sqlite'}")


def test_a_key_is_found_by_its_secret_and_by_nothing_else(tmp_path: Path) -> None:
    db = make_database(tmp_path)
    key, other = keys.create_key(db, "  Nightly import "), keys.create_key(db, "Other")
    found = keys.check_secret(db, key.id, key.secret)
    assert found is not None
    assert (found.id, found.name) == (key.id, "Nightly import")
    assert keys.check_secret(db, key.id, other.secret) is None
    assert keys.check_secret(db, key.id, "") is None
    assert keys.check_secret(db, "unknown", key.secret) is None
    assert keys.check_secret(db, "\x00'\ud800", "é\ud800") is None


def test_the_secret_is_nowhere_in_the_data_folder(tmp_path: Path) -> None:
    db = make_database(tmp_path)
    key = keys.create_key(db, "Nightly import")
    db.close()
    assert len(key.secret) >= 40
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not any(key.secret.encode() in path.read_bytes() for path in files)


def test_a_revoked_key_is_refused_but_still_listed(tmp_path: Path) -> None:
    db = make_database(tmp_path)
    key, other = keys.create_key(db, "Old"), keys.create_key(db, "New")
    keys.revoke_key(db, key.id)
    assert keys.check_secret(db, key.id, key.secret) is None
    assert keys.find_active(db, key.id) is None
    assert keys.find_active(db, other.id) is not None
    revoked_at = {item.name: item.revoked_at for item in keys.list_keys(db)}
    assert revoked_at["Old"] is not None
    assert revoked_at["New"] is None
    keys.revoke_key(db, key.id)
    assert {item.name: item.revoked_at for item in keys.list_keys(db)} == revoked_at


def test_revoking_what_is_not_there_and_a_key_without_a_name_are_refused(tmp_path: Path) -> None:
    db = make_database(tmp_path)
    with pytest.raises(NotFound):
        keys.revoke_key(db, "unknown")
    with pytest.raises(InvalidInput):
        keys.create_key(db, "  ")
    assert keys.list_keys(db) == []


def test_a_key_made_by_another_process_works_at_once(tmp_path: Path) -> None:
    server, command_line = make_database(tmp_path), make_database(tmp_path)
    assert keys.list_keys(server) == []
    key = keys.create_key(command_line, "Made beside it")
    assert keys.check_secret(server, key.id, key.secret) is not None


def note(db: Database, function_id: str, number: int, key_id: str = "gone") -> None:
    call = {
        "key_id": key_id,
        "function_id": function_id,
        "path": f"POST /v1/functions/{function_id}/invoke",
        "verdict": "real",
        "milliseconds": float(number),
        "status": 200,
    }
    calls.record_calls(db, [call])


def test_recent_calls_come_newest_first_with_names_and_of_one_function_when_asked(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function, key = empty_function(ws, "Press photos"), keys.create_key(ws.db, "Nightly import")
    for number in range(4):
        note(ws.db, function.id if number % 2 else "deleted", number, key.id if number % 2 else "gone")
    assert [call.milliseconds for call in calls.recent_calls(ws.db)] == [3, 2, 1, 0]
    assert [call.milliseconds for call in calls.recent_calls(ws.db, limit=2)] == [3, 2]
    mine = calls.recent_calls(ws.db, function.id)
    assert [(call.milliseconds, call.function_name, call.key_name) for call in mine] == [
        (3, "Press photos", "Nightly import"),
        (1, "Press photos", "Nightly import"),
    ]
    others = calls.recent_calls(ws.db, "deleted")
    assert {(call.function_name, call.key_name) for call in others} == {(None, None)}


def test_only_the_latest_calls_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "KEPT_CALLS", 5)
    db = make_database(tmp_path)
    for number in range(12):
        note(db, "function", number)
    assert [call.milliseconds for call in calls.recent_calls(db, limit=100)] == [11, 10, 9, 8, 7]
