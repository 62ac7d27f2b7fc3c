"""The real server process: where it refuses to start, and under which names it answers."""

from __future__ import annotations

import http.client
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from detector.web.password import PasswordHash
from tests.app_server import START_SECONDS, end, start_app, wait_until_it_answers
from tests.ports import free_port

pytestmark = pytest.mark.slow


def start(folder: Path, port: int, address: str, **settings: str) -> subprocess.Popen[bytes]:
    settings = {"DETECTOR_DATA_DIR": str(folder / "data"), **settings}
    return start_app(port, settings, "--server.address", address, stderr=subprocess.PIPE)


def refusal(process: subprocess.Popen[bytes]) -> str:
    """What a server that does not start says."""
    said = process.communicate(timeout=START_SECONDS)[1].decode()
    assert process.returncode != 0
    return said


def status(port: int, host: str, path: str = "/_stcore/health", method: str = "GET") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, headers={"Host": host})
        return connection.getresponse().status
    finally:
        connection.close()


@contextmanager
def running(folder: Path, address: str, **settings: str) -> Iterator[int]:
    """The port of a server that answers."""
    port = free_port()
    process = start(folder, port, address, **settings)
    try:
        base = settings.get("STREAMLIT_SERVER_BASE_URL_PATH", "").strip("/")
        wait_until_it_answers(f"http://localhost:{port}/{base}".rstrip("/"), process)
        yield port
    finally:
        end(process)


@pytest.mark.parametrize("address", ["0.0.0.0", ""])
def test_on_every_address_without_protection_it_refuses_and_says_why_in_one_sentence(
    tmp_path: Path, address: str
) -> None:
    said = refusal(start(tmp_path, free_port(), address))
    sentence = said.strip().splitlines()[-1]
    assert sentence.startswith("The server does not start because")
    assert "DETECTOR_PASSWORD_HASH" in sentence
    assert "DETECTOR_OPEN=true" in sentence
    assert "Traceback" not in said
    assert not (tmp_path / "data").exists()


def test_a_hash_that_is_none_is_refused_in_one_sentence(tmp_path: Path) -> None:
    said = refusal(start(tmp_path, free_port(), "localhost", DETECTOR_PASSWORD_HASH="my password"))
    assert said.strip().splitlines()[-1].startswith("DETECTOR_PASSWORD_HASH is not a password hash.")
    assert "my password" not in said
    assert "Traceback" not in said


def test_a_proxy_that_has_no_address_is_refused_in_one_sentence(tmp_path: Path) -> None:
    said = refusal(start(tmp_path, free_port(), "localhost", DETECTOR_TRUSTED_PROXIES="127.0.0.1, *"))
    assert said.strip().splitlines()[-1].startswith("DETECTOR_TRUSTED_PROXIES names '*'; expected addresses")
    assert "Traceback" not in said
    assert not (tmp_path / "data").exists()


def test_on_every_address_with_a_password_it_starts_and_answers_only_to_its_names(tmp_path: Path) -> None:
    stored = str(PasswordHash.make("correct horse battery"))
    settings = {"DETECTOR_PASSWORD_HASH": stored, "DETECTOR_ALLOWED_HOSTS": "detector.example.org, [2001:DB8::1]:80"}
    with running(tmp_path, "0.0.0.0", **settings) as port:
        for host in (
            f"localhost:{port}",
            f"127.0.0.1:{port}",
            f"[::1]:{port}",
            "detector.example.org",
            "[2001:db8::1]",
        ):
            assert status(port, host) == 200, host
        for host in (
            "attacker.example",
            f"localhost.attacker.example:{port}",
            "example.org",
            "10.0.3.7",
            "[fd00::7]:80",
        ):
            # Tells nothing, and whoever watches over a container asks by the container's own address.
            assert status(port, host) == 200, host
            assert status(port, host, "/") == 400, host
            assert status(port, host, "/_stcore/metrics") == 400, host
            assert status(port, host, "/v1/functions") == 400, host
            assert status(port, host, "/pictures/thumbnail/0") == 400, host


def test_on_every_address_it_starts_when_it_is_told_to_be_open(tmp_path: Path) -> None:
    with running(tmp_path, "0.0.0.0", DETECTOR_OPEN="true") as port:
        assert status(port, "localhost") == 200
        # Streamlit shows its default page at "/" only; a bookmark of its name must not end in "Page not found".
        assert status(port, "localhost", "/functions?function=ab") == 307


@pytest.mark.parametrize("base", ["/a/b/", "a/b"])
def test_below_a_nested_path_everything_of_ours_answers_where_streamlit_answers(tmp_path: Path, base: str) -> None:
    """Kind: routes of ours that stayed at the root when the dashboard went below a path."""
    with running(tmp_path, "localhost", STREAMLIT_SERVER_BASE_URL_PATH=base) as port:
        host = f"localhost:{port}"
        for before in ("/a/b", ""):
            assert status(port, host, f"{before}/pictures/thumbnail/0") == 403
            assert status(port, host, f"{before}/exports/0") == 403
            assert status(port, host, f"{before}/uploads/0", "PUT") == 403
            assert status(port, host, f"{before}/v1/functions") == 401
            assert status(port, host, f"{before}/v1/docs/assets/swagger-ui.css") == 200
            assert status(port, host, f"{before}/functions") == 307
            assert status(port, "10.0.3.7", f"{before}/_stcore/health") == 200
            assert status(port, "10.0.3.7", f"{before}/v1/docs") == 400
        assert status(port, host, "/a/b") == 307
        assert status(port, host, "/a/b/review") == 200
