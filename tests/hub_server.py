"""A model hub on loopback: routes, headers and redirects that huggingface_hub meets at the real one, and its faults.

Large files live at a second address, as on the real hub: the first answer carries the facts and forwards there. There
is no Xet here, so that the client comes by plain HTTP. Faults are attributes of `Faults`, to be set while it runs.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_BLOCK = 64 * 1024


@dataclass
class Faults:
    """What goes wrong from now on; all of the content address unless said otherwise.

    Attributes
    ----------
    cut_after : int
        Close the connection after so many bytes of a body; 0 never.
    cuts : int
        How many connections are cut; then the line is good. -1 for all.
    wrong : bool
        Send other bytes than were announced.
    too_long : bool
        Send more bytes than were announced.
    bytes_per_second : float
        Send slowly; 0 as fast as can be.
    hang : bool
        Send the headers and then nothing until `release`.
    no_range : bool
        Answer a Range with the whole file.
    refuses_range : bool
        Answer every Range with 416, as if nothing lay behind what has come.
    no_length : bool
        Never say how large anything is.
    error : (int, str)
        Status and X-Error-Code of every answer about a repository or file, at the hub's own address.
    content_error : int
        Status of every answer of the content address.
    failures : int
        How many answers are such an error; -1 for all.
    """

    cut_after: int = 0
    cuts: int = -1
    wrong: bool = False
    too_long: bool = False
    bytes_per_second: float = 0
    hang: bool = False
    no_range: bool = False
    refuses_range: bool = False
    no_length: bool = False
    error: tuple[int, str] = (0, "")
    content_error: int = 0
    failures: int = -1


@dataclass(frozen=True)
class Asked:
    """One request: method, path, and those headers that the hub looks at."""

    method: str
    path: str
    range: str
    authorization: str
    at_content: bool


@dataclass
class Hub:
    """The running hub. Add repositories with `add`."""

    address: str = ""
    content: str = ""
    faults: Faults = field(default_factory=Faults)
    asked: list[Asked] = field(default_factory=list)
    sent: int = 0
    release: threading.Event = field(default_factory=threading.Event)
    repositories: dict[str, dict[str, bytes | Path]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)

    def add(self, repo: str, files: dict[str, bytes | Path], repo_type: str = "model") -> None:
        self.repositories[f"{repo_type}s/{repo}"] = files

    def ranges(self) -> list[str]:
        """The Range headers of the downloads, in order; empty where the whole file was asked for."""
        return [asked.range for asked in self.asked if asked.method == "GET" and asked.at_content]

    def commit(self, key: str) -> str:
        facts = [(name, sha256(data)) for name, data in sorted(self.repositories[key].items())]
        return hashlib.sha1(repr(facts).encode()).hexdigest()


_hashes: dict[Path, str] = {}


def sha256(data: bytes | Path) -> str:
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest()
    if data not in _hashes:
        with data.open("rb") as file:
            _hashes[data] = hashlib.file_digest(file, "sha256").hexdigest()
    return _hashes[data]


def _size(data: bytes | Path) -> int:
    return len(data) if isinstance(data, bytes) else data.stat().st_size


@contextmanager
def hub_server(gated_token: str = "token of the tests") -> Iterator[Hub]:
    """Serve a hub until the end of the block."""
    hub = Hub()
    servers = [
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub, at_content, gated_token))
        for at_content in (False, True)
    ]
    hub.address, hub.content = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    for server in servers:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield hub
    finally:
        hub.release.set()
        for server in servers:
            server.shutdown()
            server.server_close()


def _handler(hub: Hub, at_content: bool, token: str) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self) -> None:
            headers = self.headers
            hub.asked.append(
                Asked(self.command, self.path, headers.get("Range", ""), headers.get("Authorization", ""), at_content)
            )
            try:
                if at_content:
                    self._content()
                else:
                    self._hub()
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def _hub(self) -> None:
            path = unquote(urlsplit(self.path).path).strip("/")
            if not path:
                self._empty(200)
                return
            status, code = hub.faults.error
            if status and self._fails():
                self._empty(status, **({"X-Error-Code": code} if code else {}))
                return
            pieces = path.split("/")
            if pieces[0] == "api":
                self._about("/".join(pieces[1:4]), pieces[4:])
                return
            kind = "models"
            if pieces[0] == "datasets":
                kind, pieces = "datasets", pieces[1:]
            if len(pieces) < 5 or pieces[2] != "resolve":
                self._empty(404)
                return
            self._resolve("/".join((kind, *pieces[:2])), pieces[3], "/".join(pieces[4:]))

        def _known(self, key: str, revision: str) -> bool:
            """Whether the repository can be seen; if not, the answer was given."""
            allowed = self.headers.get("Authorization") == f"Bearer {token}"
            if key not in hub.repositories:
                # As the real hub: who is not signed in does not learn whether it exists.
                self._empty(404 if allowed else 401, **{"X-Error-Code": "RepoNotFound"})
            elif key in hub.gated and not allowed:
                self._empty(401, **{"X-Error-Code": "GatedRepo"})
            elif revision not in ("main", hub.commit(key)):
                self._empty(404, **{"X-Error-Code": "RevisionNotFound"})
            else:
                return True
            return False

        def _about(self, key: str, rest: list[str]) -> None:
            if not self._known(key, rest[1] if rest[:1] == ["revision"] else "main"):
                return
            siblings = [
                {
                    "rfilename": name,
                    "size": _size(data),
                    "blobId": hashlib.sha1(name.encode()).hexdigest(),
                    "lfs": {"sha256": sha256(data), "size": _size(data), "pointerSize": 130},
                }
                for name, data in hub.repositories[key].items()
            ]
            facts = {"id": key.split("/", 1)[1], "sha": hub.commit(key), "private": False, "siblings": siblings}
            self._json(facts | {"tags": [], "downloads": 0, "likes": 0, "gated": False, "disabled": False})

        def _resolve(self, key: str, revision: str, name: str) -> None:
            if not self._known(key, revision):
                return
            about = {"X-Repo-Commit": hub.commit(key)}
            data = hub.repositories[key].get(name)
            if data is None:
                self._empty(404, **about, **{"X-Error-Code": "EntryNotFound"})
                return
            about |= {"X-Linked-Etag": f'"{sha256(data)}"', "Accept-Ranges": "bytes"}
            if not hub.faults.no_length:
                about["X-Linked-Size"] = str(_size(data))
            where = f"{hub.content}/{key}/{sha256(data)}?name={name}&expires=soon"
            self._empty(302, Location=where, **about)

        def _content(self) -> None:
            if hub.faults.content_error and self._fails():
                self._empty(hub.faults.content_error)
                return
            digest = urlsplit(self.path).path.rsplit("/", 1)[1]
            data = next(
                data for files in hub.repositories.values() for data in files.values() if sha256(data) == digest
            )
            size, start = _size(data), 0
            asked = self.headers.get("Range", "")
            if asked and not hub.faults.no_range:
                start = int(asked.removeprefix("bytes=").split("-")[0])
                if start >= size or hub.faults.refuses_range:
                    self._empty(416, **{"Content-Range": f"bytes */{size}"})
                    return
            self.send_response(206 if start else 200)
            self.send_header("ETag", f'"{digest}"')
            if start:
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            if hub.faults.no_length or hub.faults.too_long:
                self.close_connection = True
                self.send_header("Connection", "close")
            else:
                self.send_header("Content-Length", str(size - start))
            self.end_headers()
            if self.command == "GET":
                self._send(data, start, size)

        def _send(self, data: bytes | Path, start: int, size: int) -> None:
            self.wfile.flush()
            if hub.faults.hang:
                hub.release.wait(60)
                self.close_connection = True
                return
            end, cut = size, False
            if hub.faults.cut_after and hub.faults.cuts:
                hub.faults.cuts -= 1
                end, cut = min(size, start + hub.faults.cut_after), True
            for block in _blocks(data, start, end, hub.faults):
                # Counted before it goes out: whoever has it all may look at once.
                hub.sent += len(block)
                self.wfile.write(block[::-1] if hub.faults.wrong else block)
            if hub.faults.too_long:
                self.wfile.write(b"more")
            if cut and end < size:
                self.close_connection = True

        def _fails(self) -> bool:
            if hub.faults.failures == 0:
                return False
            hub.faults.failures -= 1
            return True

        def _json(self, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _empty(self, status: int, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

    return Handler


def _blocks(data: bytes | Path, start: int, end: int, faults: Faults) -> Iterator[bytes]:
    """The bytes of a part, at the speed asked for; the speed may change in between."""
    file = data.open("rb") if isinstance(data, Path) else None
    try:
        if file is not None:
            file.seek(start)
        while start < end:
            speed = faults.bytes_per_second
            length = min(end - start, _BLOCK if not speed else max(1, min(_BLOCK, int(speed / 20))))
            if file is None:
                assert isinstance(data, bytes)
                yield data[start : start + length]
            else:
                yield file.read(length)
            start += length
            if speed:
                time.sleep(length / speed)
    finally:
        if file is not None:
            file.close()
