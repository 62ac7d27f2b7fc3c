"""A real S3 server on the loopback, for as long as a test needs it, and a gate in front of it that can be shut.

The server is moto's: of those that come as a package it is the one that keeps the promise of If-None-Match, which
s3rver breaks silently; MinIO, versitygw and Garage come as no package. It keeps everything in memory.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port

BUCKET = "pictures"
KEY, SECRET = "AKIATESTKEYOFTESTS", "secret-of-the-tests"
_START_SECONDS = 240


class S3Server:
    """The process, and what it was asked.

    Parameters
    ----------
    folder : Path
        For its log.
    free_actions : int
        After so many requests it asks who calls; 0: it never does.
    """

    def __init__(self, folder: Path, free_actions: int = 0) -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._log = folder / "s3.log"
        asks = {"INITIAL_NO_AUTH_ACTION_COUNT": str(free_actions)} if free_actions else {}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
                env={**os.environ, **asks},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.address}/moto-api/", timeout=5).close()
                return
            time.sleep(0.1)
        self.stop()
        raise TimeoutError(self._log.read_text(encoding="utf-8", errors="replace"))

    def environment(self, address: str = "", key: str = KEY, secret: str = SECRET) -> dict[str, str]:
        """The variables by which a program reaches the store, here or through a gate."""
        return {
            "AWS_ENDPOINT_URL": address or self.address,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            # Nothing of the machine's own, and no question to a cloud that is not there.
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def client(self, service: str = "s3", **keys: str) -> Any:
        """Amazon's own client, as a look from outside."""
        import boto3

        keys = keys or {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET}
        return boto3.client(service, endpoint_url=self.address, region_name="us-east-1", **keys)

    def keys(self, prefix: str = "") -> list[str]:
        """What lies in the bucket."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    def asked(self, method: str, part: str) -> int:
        """How many requests of a kind there were, with this in their path."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return sum(f'"{method} ' in line and part in line for line in lines)

    def pause(self) -> None:
        """Let it take connections and answer none of them."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """A server with the bucket `BUCKET`. Skips where it is not installed."""
    pytest.importorskip("moto.server", reason="moto[server] is not installed; it is in requirements-dev.txt")
    pytest.importorskip("s3fs", reason="s3fs is not installed; it is in requirements-dev.txt")
    server = S3Server(folder)
    try:
        server.client().create_bucket(Bucket=BUCKET)
        yield server
    finally:
        server.stop()


def prefix_of(tmp_path: Path) -> str:
    """Below which the keys of a test lie: its own part of the bucket."""
    return f"tests/{tmp_path.name}"


class Gate:
    """An address that leads to a server, and refuses everybody while it is shut."""

    def __init__(self, port: int) -> None:
        self._to, self.port = port, free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._open_connections: list[socket.socket] = []
        self.passed = 0  # Requests to put something.
        #: Shut in the middle of the request to put something that comes after so many.
        self.shut_after: int | None = None
        self.open()

    def open(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def shut(self) -> None:
        """Refuse connections, and cut those that are there."""
        with contextlib.suppress(OSError):
            # A listener that another thread waits on is not closed by closing it alone.
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._open_connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._open_connections.clear()

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                inside, _ = listening.accept()
                outside = socket.create_connection(("127.0.0.1", self._to))
                self._open_connections += [inside, outside]
                for source, target in ((inside, outside), (outside, inside)):
                    threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if data.startswith(b"PUT /"):
                    self.passed += 1
                    if self.shut_after is not None and self.passed > self.shut_after:
                        self.shut_after = None
                        self.shut()
                        return
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def without_conditions(server: S3Server) -> Iterator[str]:
    """The address of the same server as one that knows no If-None-Match, and says so; a signature is not looked at."""

    class Forward(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if "if-none-match" in self.headers:
                said = b"<Error><Code>NotImplemented</Code><Message>A header is not known.</Message></Error>"
                self._answer(501, [("content-type", "application/xml")], said)
                return
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            self._answer(answer.status, answer.getheaders(), answer.read())
            connection.close()

        do_GET = do_PUT = do_HEAD = do_DELETE = _forward

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in ("connection", "transfer-encoding", "date", "server", "content-length"):
                    self.send_header(name, value)
            size = next((value for name, value in headers if name.lower() == "content-length"), str(len(body)))
            self.send_header("content-length", size if self.command == "HEAD" else str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    forwarding = ThreadingHTTPServer(("127.0.0.1", free_port()), Forward)
    threading.Thread(target=forwarding.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{forwarding.server_port}"
    finally:
        forwarding.shutdown()
        forwarding.server_close()
