"""The commands for keys, the password and the schema, as real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from detector.storage import keys
from detector.web.password import PasswordHash
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
    made = json.loads(run(tmp_path, "keys", "create", "--name", "Nightly import", "--json").stdout)
    assert set(made) == {"clientId", "clientSecret", "name"}
    assert made["name"] == "Nightly import"
    assert keys.check_secret(ws.db, made["clientId"], made["clientSecret"]) is not None

    listed = run(tmp_path, "keys", "list")
    assert made["clientId"] in listed.stdout
    assert "active" in listed.stdout
    assert made["clientSecret"] not in listed.stdout

    assert run(tmp_path, "keys", "revoke", made["clientId"]).returncode == 0
    assert keys.check_secret(ws.db, made["clientId"], made["clientSecret"]) is None
    (row,) = json.loads(run(tmp_path, "keys", "list", "--json").stdout)
    assert row["revokedAt"] is not None
    ws.close()


def test_the_words_for_people_hold_id_and_secret_too(tmp_path: Path) -> None:
    done = run(tmp_path, "keys", "create", "--name", "Laptop")
    client_id, secret = (line.split()[-1] for line in done.stdout.splitlines())
    ws = workspace(tmp_path / "data")
    assert keys.check_secret(ws.db, client_id, secret) is not None
    ws.close()


def test_a_key_that_is_not_there_and_one_without_a_name_end_with_a_sentence(tmp_path: Path) -> None:
    for arguments in (("revoke", "unknown"), ("create", "--name", " ")):
        done = run(tmp_path, "keys", *arguments)
        assert done.returncode == 1
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1


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
