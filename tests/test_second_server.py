"""A second server starts in the same data folder: what the first one is at stays, what nobody is at goes."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from detector.importing.spool import KEPT_SECONDS, sweep_spool
from detector.web.signing import upload_token
from detector.worker.runner import JobRunner
from tests.api.server import Server

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    yield running
    running.stop()


def _aged(path: Path) -> None:
    moment = time.time() - 2 * KEPT_SECONDS
    os.utime(path, (moment, moment))


def _until_there(folder: Path) -> Path:
    deadline = time.monotonic() + 300
    while not (found := list(folder.glob("*.part"))):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found[0]


def test_an_upload_that_runs_elsewhere_is_left_and_one_of_a_dead_process_is_swept(server: Server) -> None:
    """Kind: a second server that started removed the running upload of the first, and .tmp files were never swept."""
    ws = server.workspace
    where = urlsplit(server.address)
    assert where.hostname is not None
    blobs = ws.settings.data_dir / "blobs"
    folder = blobs / "images" / "ab" / "cd"
    folder.mkdir(parents=True)
    (blobs / "models").mkdir(exist_ok=True)
    old, fresh, model = folder / "ab.0123abcd.tmp", folder / "ab.89abcdef.tmp", blobs / "models" / "m.01ab23cd.tmp"
    kept = folder / "notes.tmp"
    for path in (old, fresh, model, kept):
        path.write_bytes(b"half")
    for path in (old, model, kept):
        _aged(path)
    data = os.urandom(1_000_000)
    with socket.create_connection((where.hostname, where.port or 80)) as upload:
        head = f"PUT /uploads/{upload_token(ws.db)} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
        upload.sendall(head.encode() + data[:1000])
        part = _until_there(ws.spool)
        # However slow it is.
        _aged(part)
        second = JobRunner(ws)
        second.start()
        try:
            deadline = time.monotonic() + 300
            while old.exists() or model.exists():
                assert time.monotonic() < deadline
                time.sleep(0.05)
        finally:
            second.stop()
        assert part.exists()
        assert fresh.exists()
        assert kept.exists(), "not a name of ours"
        upload.sendall(data[1000:])
        assert b" 200 " in upload.recv(4096).split(b"\r\n")[0]
        assert [path.suffix for path in ws.spool.iterdir()] == [".zip"]
        assert next(ws.spool.iterdir()).read_bytes() == data

    with socket.create_connection((where.hostname, where.port or 80)) as upload:
        head = f"PUT /uploads/{upload_token(ws.db)} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
        upload.sendall(head.encode() + data[:1000])
        part = _until_there(ws.spool)
        server.kill()
    _aged(part)
    assert sweep_spool(ws) == 1
    assert not part.exists()
