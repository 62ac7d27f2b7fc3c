"""A server on this machine that speaks as much of S3 as reading takes, and fails as it is told to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class S3Answers:
    """``objects`` by path; ``failing`` is (status, code) for all, ``failing_keys`` the same for some; ``asked`` counts.

    With ``good_for``, everything fails after so many answers.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.failing: tuple[int, str] | None = None
        self.failing_keys: dict[str, tuple[int, str]] = {}
        self.good_for: int | None = None
        self.asked = 0
        self.port = 0


@contextmanager
def s3_answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Answers]:
    """A started server, to which the standard variables lead."""
    import s3fs

    state = S3Answers()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(head=True)

        def do_GET(self) -> None:
            self._answer(head=False)

        def _answer(self, head: bool) -> None:
            state.asked += 1
            path = self.path.partition("?")[0]
            gone = state.good_for is not None and state.asked > state.good_for
            failing = (503, "SlowDown") if gone else state.failing or state.failing_keys.get(path)
            data = state.objects.get(path)
            if failing is None and data is None:
                failing = (404, "NoSuchKey")
            if failing is not None:
                status, code = failing
                said = f"<Error><Code>{code}</Code><Message>account 123456789012 at {self.path}</Message></Error>"
                data = b"" if head else said.encode()
            else:
                status = 200
            self.send_response(status)
            self.send_header("Content-Length", str(len(data or b"")))
            self.send_header("ETag", '"0123"')
            self.send_header("Last-Modified", "Thu, 26 Nov 2026 10:00:00 GMT")
            self.end_headers()
            if not head:
                self.wfile.write(data or b"")

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{state.port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        s3fs.S3FileSystem.clear_instance_cache()
