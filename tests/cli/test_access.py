"""The commands for keys, the password and the schema; those that read standard input or need no data as processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from detector.storage import keys
from detector.web.password import PasswordHash
from tests.command_line import run_here
from tests.factories import workspace

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).resolve().parents[2]


def run(folder: Path, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "detector", *arguments],
        cwd=CHECKOUT,
        env=os.environ | {"DETECTOR_DATA_DIR": str(folder / "data")},
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_keys_are_created_listed_and_revoked(tmp_path: Path) -> None:
    ws = workspace(tmp_path / "data")
    made = json.loads(run_here(tmp_path / "data", "keys", "create", "--name", "Nightly import", "--json").out)
    assert set(made) == {"clientId", "clientSecret", "name"}
    assert made["name"] == "Nightly import"
    assert keys.check_secret(ws.db, made["clientId"], made["clientSecret"]) is not None

    listed = run_here(tmp_path / "data", "keys", "list")
    assert made["clientId"] in listed.out
    assert "active" in listed.out
    assert made["clientSecret"] not in listed.out

    assert run_here(tmp_path / "data", "keys", "revoke", made["clientId"]).code == 0
    assert keys.check_secret(ws.db, made["clientId"], made["clientSecret"]) is None
    (row,) = json.loads(run_here(tmp_path / "data", "keys", "list", "--json").out)
    assert row["revokedAt"] is not None
    ws.close()


def test_the_words_for_people_hold_id_and_secret_too(tmp_path: Path) -> None:
    done = run_here(tmp_path / "data", "keys", "create", "--name", "Laptop")
    client_id, secret = (line.split()[-1] for line in done.out.splitlines())
    ws = workspace(tmp_path / "data")
    assert keys.check_secret(ws.db, client_id, secret) is not None
    ws.close()


def test_a_key_that_is_not_there_and_one_without_a_name_end_with_a_sentence(tmp_path: Path) -> None:
    for arguments in (("revoke", "unknown"), ("create", "--name", " ")):
        done = run_here(tmp_path / "data", "keys", *arguments)
        assert done.code == 1
        assert done.out == ""
        assert len(done.err.splitlines()) == 1


def test_password_prints_only_a_hash_and_touches_no_data(tmp_path: Path) -> None:
    done = run(tmp_path, "password", text="correct horse battery\n")
    assert PasswordHash.parse(done.stdout.strip()).matches("correct horse battery")
    assert len(done.stdout.splitlines()) == 1
    assert "correct horse" not in done.stdout + done.stderr
    assert not (tmp_path / "data").exists()


def test_a_short_password_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "password", text="short\n")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "short" not in done.stderr


def test_openapi_prints_the_schema(tmp_path: Path) -> None:
    done = run(tmp_path, "openapi")
    assert done.returncode == 0, done.stderr
    schema = json.loads(done.stdout)
    assert schema["openapi"].startswith("3.")
    assert "/connect/token" in schema["paths"]
    assert any(path.startswith("/v1/functions") for path in schema["paths"])
