"""Answers are not held back: a kept connection is answered as fast as a new one."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from detector.settings import load_settings
from detector.storage import functions
from detector.system.sockets import disable_nagle
from detector.workspace import Workspace
from tests.api.server import Server

pytestmark = pytest.mark.slow


def test_connections_to_a_socket_without_a_named_protocol_send_at_once() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        assert disable_nagle() >= 1
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server"))
    yield running
    running.stop()


def test_requests_on_a_kept_connection_do_not_wait_for_an_acknowledgement(server: Server) -> None:
    """Kind: a time asserted. They are compared with requests that each have a connection of their own."""
    connection = http.client.HTTPConnection(server.address.removeprefix("http://"), timeout=60)
    took: dict[bool, list[float]] = {True: [], False: []}
    for kept, taken in took.items():
        for _ in range(20):
            if not kept:
                connection.close()
            start = time.perf_counter()
            connection.request("GET", "/_stcore/health")
            assert connection.getresponse().read()
            taken.append(time.perf_counter() - start)
    # A delayed acknowledgement is 40 ms; the first one of a connection is not delayed.
    assert min(took[True][1:]) < min(took[False]) + 0.03, took


def test_what_a_server_wrote_outlives_other_programs_on_its_database_and_a_kill(tmp_path: Path) -> None:
    """Whoever closes any copy of a file gives up the process's locks on it: the next program to leave the database
    then takes itself for the last, and throws away the log that the server goes on writing into."""
    running = Server(tmp_path)
    try:
        running.workspace.close()
        running.caller().create_function("Written since")
        running.kill()
        with closing(Workspace.open(load_settings({"DETECTOR_DATA_DIR": str(running.data)}))) as workspace:
            assert [each.function.name for each in functions.list_functions(workspace.db)] == ["Written since"]
    finally:
        running.kill()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="there is no list of loaded libraries here")
def test_the_server_starts_without_torch_sklearn_and_scipy(server: Server) -> None:
    [process] = [child for child in psutil.Process().children() if "streamlit_app.py" in child.cmdline()]
    loaded = {Path(item.path).as_posix() for item in process.memory_maps()}
    for package in ("torch", "sklearn", "scipy"):
        assert not [path for path in loaded if f"/{package}/" in path]


def test_what_pages_import_brings_neither_torch_nor_sklearn_nor_scipy() -> None:
    """Each page's modules, in a process of their own; the pages themselves need a running server."""
    program = """
import ast, importlib, pathlib, sys
for file in pathlib.Path("pages").glob("*.py"):
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("detector"):
            importlib.import_module(node.module)
print([name for name in ("torch", "sklearn", "scipy", "timm") if name in sys.modules])
"""
    folder = Path(__file__).resolve().parents[2]
    ran = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
