"""A server whose database takes long to open listens meanwhile and says so; one that cannot open it ends."""

from __future__ import annotations

import gzip
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import requests

from detector.storage.database import SCHEMA_VERSION
from tests.app_server import end, start_app
from tests.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.long]

STORED = Path(__file__).resolve().parents[1] / "stored_data"
SECONDS = 60


@contextmanager
def held(file: Path) -> Iterator[sqlite3.Connection]:
    """Somebody else writes to the database: an upgrade has to wait, as if it had much to do."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    file = folder / "detector.sqlite"
    file.write_bytes(gzip.decompress((STORED / "schema_11.sqlite.gz").read_bytes()))
    return file


@contextmanager
def server(file: Path, log: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    port = free_port()
    with log.open("wb") as said:
        process = start_app(port, {"DETECTOR_DATA_DIR": str(file.parent)}, stdout=said, stderr=said)
        try:
            yield f"http://localhost:{port}", process
        finally:
            end(process)


def until(address: str, path: str, status: int, process: subprocess.Popen[bytes]) -> requests.Response:
    deadline = time.monotonic() + SECONDS
    while True:
        assert process.poll() is None
        assert time.monotonic() < deadline
        try:
            answer = requests.get(address + path, timeout=120)
            if answer.status_code == status:
                return answer
        except requests.ConnectionError:
            pass
        time.sleep(0.1)


def test_it_answers_while_its_database_is_upgraded_and_is_ready_afterwards(file: Path, tmp_path: Path) -> None:
    with server(file, tmp_path / "log") as (address, process):
        with held(file):
            assert until(address, "/healthz", 200, process).text == "ok\n"
            for path in ("/readyz", "/metrics", "/", "/v1/functions", "/_stcore/health"):
                answer = requests.get(address + path, timeout=120)
                assert answer.status_code == 503, path
                assert "database is being opened or brought up to date" in answer.text
                assert int(answer.headers["Retry-After"]) > 0
        assert until(address, "/readyz", 200, process).json()["ready"]
        assert requests.get(f"{address}/v1/functions", timeout=120).status_code == 401
        assert requests.get(f"{address}/_stcore/health", timeout=120).status_code == 200
        assert f'schema="{SCHEMA_VERSION}"' in requests.get(f"{address}/metrics", timeout=120).text
    assert process.returncode in (0, -signal.SIGTERM)


def test_one_that_cannot_be_opened_in_the_end_ends_the_server_with_its_sentence(file: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with server(file, log) as (address, process), held(file) as connection:
        until(address, "/healthz", 200, process)
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
        connection.execute("COMMIT")
        assert process.wait(SECONDS) == 1
    assert "written by a newer version of this program" in log.read_text(encoding="utf-8")
    assert not list(file.parent.glob("*.before-*"))


def test_a_server_that_is_told_to_end_while_it_opens_ends_and_leaves_the_database(file: Path, tmp_path: Path) -> None:
    with server(file, tmp_path / "log") as (address, process), held(file):
        until(address, "/healthz", 200, process)
        process.terminate()
        assert process.wait(SECONDS) in (0, -signal.SIGTERM)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone() == ("11",)
