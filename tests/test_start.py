"""The real server process: where it refuses to start, and under which names it answers."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from detector.password import PasswordHash
from tests.ports import free_port

CHECKOUT = Path(__file__).resolve().parents[1]
START_SECONDS = 60


def start(folder: Path, port: int, address: str, **settings: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DETECTOR_")}
    arguments = ["--server.headless", "true", "--server.port", str(port), "--server.address", address]
    return subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", "streamlit_app.py", *arguments],
        cwd=CHECKOUT,
        env=environment | {"DETECTOR_DATA_DIR": str(folder / "data"), **settings},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def status(port: int, host: str, path: str = "/_stcore/health") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers={"Host": host})
        return connection.getresponse().status
    finally:
        connection.close()


@contextmanager
def running(folder: Path, address: str, **settings: str) -> Iterator[int]:
    """The port of a server that answers."""
    port = free_port()
    process = start(folder, port, address, **settings)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                status(port, f"localhost:{port}")
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    pytest.fail(f"The server did not answer: {process.communicate()[1]}")
                time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=20)


@pytest.mark.parametrize("address", ["0.0.0.0", ""])
def test_on_every_address_without_protection_it_refuses_and_says_why_in_one_sentence(
    tmp_path: Path, address: str
) -> None:
    process = start(tmp_path, free_port(), address)
    said = process.communicate(timeout=START_SECONDS)[1]
    assert process.returncode != 0
    sentence = said.strip().splitlines()[-1]
    assert sentence.startswith("The server does not start because")
    assert "DETECTOR_PASSWORD_HASH" in sentence
    assert "DETECTOR_OPEN=true" in sentence
    assert "Traceback" not in said
    assert not (tmp_path / "data").exists()


def test_a_hash_that_is_none_is_refused_in_one_sentence(tmp_path: Path) -> None:
    process = start(tmp_path, free_port(), "localhost", DETECTOR_PASSWORD_HASH="my password")
    said = process.communicate(timeout=START_SECONDS)[1]
    assert process.returncode != 0
    assert said.strip().splitlines()[-1].startswith("DETECTOR_PASSWORD_HASH is not a password hash.")
    assert "my password" not in said
    assert "Traceback" not in said


def test_on_every_address_with_a_password_it_starts_and_answers_only_to_its_names(tmp_path: Path) -> None:
    stored = str(PasswordHash.make("correct horse battery"))
    settings = {"DETECTOR_PASSWORD_HASH": stored, "DETECTOR_ALLOWED_HOSTS": "detector.example.org"}
    with running(tmp_path, "0.0.0.0", **settings) as port:
        for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", "detector.example.org"):
            assert status(port, host) == 200, host
        for host in ("attacker.example", f"localhost.attacker.example:{port}", "example.org"):
            assert status(port, host) == 400, host
            assert status(port, host, "/v1/functions") == 400, host
            assert status(port, host, "/pictures/thumbnail/0") == 400, host


def test_on_every_address_it_starts_when_it_is_told_to_be_open(tmp_path: Path) -> None:
    with running(tmp_path, "0.0.0.0", DETECTOR_OPEN="true") as port:
        assert status(port, "localhost") == 200
        # Streamlit shows its default page at "/" only; a bookmark of its name must not end in "Page not found".
        assert status(port, "localhost", "/functions?function=ab") == 307
