"""Pictures by address: what is on the open internet is fetched, and nothing else can be reached through this server."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from detector.errors import AddressRefused
from detector.web.remote_pictures import Address, fetch_picture, is_public
from tests.factories import make_image

PICTURE = make_image(1)
MOST = 1_000_000


class Site(ThreadingHTTPServer):
    """A site of https on this machine, and how often it was asked."""

    daemon_threads = True
    asked = 0


class _Pages(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        self.server.asked += 1
        path = self.path.partition("?")[0]
        if path == "/on":
            self._send(302, b"", Location=self.path.partition("?")[2])
        elif path == "/loop":
            self._send(302, b"", Location="/loop")
        elif path == "/announced":
            self._send(200, b"", length=MOST + 1)
        elif path == "/endless":
            self.send_response(200)
            self.end_headers()
            while True:
                self.wfile.write(bytes(65_536))
        elif path == "/drip":
            self.send_response(200)
            self.end_headers()
            while True:
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.1)
        elif path == "/missing":
            self._send(404, b"no")
        else:
            self._send(200, PICTURE)

    def _send(self, status: int, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def site(certificate: Path) -> Iterator[Site]:
    running = Site(("127.0.0.1", 0), _Pages)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    running.socket = context.wrap_socket(running.socket, server_side=True)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.shutdown()


def fetch(site: Site, certificate: Path, path: str, host: str = "localhost", seconds: float = 10.0) -> bytes:
    """What is fetched from a site of this machine, where only it is allowed besides the open internet."""

    def allowed(address: Address) -> bool:
        return address == ipaddress.IPv4Address("127.0.0.1") or is_public(address)

    port = site.server_address[1]
    context = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
    url = f"https://{host}:{port}{path}"
    return fetch_picture(url, MOST, seconds=seconds, allowed=allowed, port=port, context=context).data


def test_a_picture_comes_whole_and_with_its_name(site: Site, certificate: Path) -> None:
    # "localhost" may stand for ::1 as well, which is not allowed here: then its numbers do.
    port = site.server_address[1]
    context = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
    url = f"https://127.0.0.1:{port}/a%20b/ph%C3%B6to.png?x=1#y"
    found = fetch_picture(url, MOST, allowed=lambda _: True, port=port, context=context)
    assert found.data == PICTURE
    assert found.name == "phöto.png"


def test_a_redirection_on_the_same_site_is_followed(site: Site, certificate: Path) -> None:
    assert fetch(site, certificate, "/on?/picture.png", "127.0.0.1") == PICTURE


@pytest.mark.parametrize(
    "to",
    [
        "http://example.org/x.png",
        "file:///etc/passwd",
        "https://10.0.0.1:{port}/x.png",
        "https://169.254.169.254:{port}/latest/meta-data",
        "https://[::ffff:10.0.0.1]:{port}/x",
        "https://2130706433:{port}/x",
        "//192.168.0.1:{port}/x",
        "https://[x",
        "",
    ],
)
def test_a_redirection_is_looked_at_like_any_address(site: Site, certificate: Path, to: str) -> None:
    with pytest.raises(AddressRefused):
        fetch(site, certificate, f"/on?{to.format(port=site.server_address[1])}", "127.0.0.1")


@pytest.mark.parametrize(
    ("path", "words"),
    [("/loop", "too often"), ("/announced", "larger than"), ("/endless", "larger than"), ("/missing", "404")],
)
def test_what_is_too_much_or_not_there_is_refused_with_a_reason(
    site: Site, certificate: Path, path: str, words: str
) -> None:
    with pytest.raises(AddressRefused, match=words):
        fetch(site, certificate, path, "127.0.0.1")


@pytest.mark.slow
def test_what_comes_byte_by_byte_is_cut_off(site: Site, certificate: Path) -> None:
    start = time.monotonic()
    with pytest.raises(AddressRefused, match="too long"):
        fetch(site, certificate, "/drip", "127.0.0.1", seconds=1.0)
    assert time.monotonic() - start < 30


@pytest.mark.slow
def test_a_handshake_that_never_ends_is_cut_off() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(AddressRefused, match="too long"):
            fetch_picture(f"https://127.0.0.1:{port}/", MOST, seconds=1.0, allowed=lambda _: True, port=port)


def test_a_site_that_cannot_prove_who_it_is_is_refused(site: Site) -> None:
    port = site.server_address[1]
    with pytest.raises(AddressRefused, match="prove"):
        fetch_picture(f"https://127.0.0.1:{port}/", MOST, allowed=lambda _: True, port=port)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/x.png", "ftp://example.org/x", "file:///etc/passwd", "data:image/png;base64,AA==", "https:///x",
        "https://user:secret@example.org/x", "https://example.org:8443/x", "https://example.org:99999/x", "x",
        "https://127.0.0.1/x", "https://localhost/x", "https://[::1]/x", "https://10.1.2.3/x", "https://172.16.0.1/x",
        "https://192.168.1.1/x", "https://169.254.169.254/latest/meta-data/", "https://100.64.0.1/x", "https://0.0.0.0/x",
        "https://[::ffff:127.0.0.1]/x", "https://[::ffff:a9fe:a9fe]/x", "https://[64:ff9b::7f00:1]/x",
        "https://[2002:7f00:1::]/x", "https://[fe80::1%25eth0]/x", "https://[fd00::1]/x", "https://[ff02::1]/x",
        "https://2130706433/x", "https://0x7f000001/x", "https://0177.0.0.1/x", "https://127.1/x", "https://0/x",
        "https://127.0.0.1./x", "https://255.255.255.255/x", "https://exam ple.org/x",
        "https://example.org/\r\nHost: x",
        "https://" + "a" * 3000, "https://a\u00a0b.com/", "https://exa\u3000mple.com/x", "https://exa\uff0fmple.com/x",
        "https://[fec0::1]/x", "https://192.0.0.8/x", "https://[3fff::1]/x", "https://[x", "https://.../",
    ],
)  # fmt: skip
def test_what_is_not_on_the_open_internet_is_refused_before_anybody_is_asked(url: str) -> None:
    with pytest.raises(AddressRefused) as refused:
        fetch_picture(url, MOST)
    assert str(refused.value).endswith(".")


def test_nobody_is_asked_at_an_address_that_is_refused(site: Site, certificate: Path) -> None:
    before = site.asked
    port = site.server_address[1]
    context = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
    with pytest.raises(AddressRefused, match="open internet"):
        fetch_picture(f"https://127.0.0.1:{port}/", MOST, port=port, context=context)
    assert site.asked == before


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"])
def test_the_open_internet_is_open(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))
