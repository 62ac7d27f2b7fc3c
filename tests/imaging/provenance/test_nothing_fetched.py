"""Nobody is asked about a picture: no manifest, certificate status or identity is fetched, whatever a file names."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import c2pa
import pytest

from detector.imaging.provenance import read_provenance
from detector.imaging.provenance.content_credentials import SETTINGS
from tests.app_server import CHECKOUT
from tests.imaging.pictures import encode, picture
from tests.imaging.provenance.signing import chain, signed


class _Listening:
    """A server on this machine that counts who asks it."""

    def __init__(self) -> None:
        asked = self.asked = []

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                asked.append(self.path)
                self.send_response(404)
                self.end_headers()

            do_GET = do_POST = do_HEAD = _answer

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}/manifest.c2pa"


@pytest.fixture
def listening() -> Iterator[_Listening]:
    found = _Listening()
    yield found
    found.server.shutdown()
    found.server.server_close()


def test_a_manifest_that_lies_elsewhere_is_named_and_not_fetched(listening: _Listening) -> None:
    made = signed(encode(picture(), "JPEG"), elsewhere=listening.address, embedded=False)
    provenance = read_provenance(made)
    assert listening.asked == []
    named = next(item for item in provenance.statements if item.kind == "remote-credentials")
    assert named.value == listening.address
    assert "not fetched" in named.proves
    assert provenance.in_tier("signed") == ()
    # The library itself would ask: this test could fail.
    with pytest.raises(c2pa.C2paError):
        c2pa.Reader("image/jpeg", io.BytesIO(made), context=c2pa.Context.from_dict({}))
    assert listening.asked


def test_the_library_refuses_to_fetch_even_where_it_is_called_for_such_a_file(listening: _Listening) -> None:
    """A file can have both: an address, and a broken manifest for which the library is called."""
    made = signed(encode(picture(), "JPEG"), elsewhere=listening.address, embedded=False)
    block = b"JP\x02\x11" + bytes(4) + b"\x00\x00\x00\x10jumb" + b"c2pa" + bytes(4)
    both = made[:2] + b"\xff\xeb" + (len(block) + 2).to_bytes(2, "big") + block + made[2:]
    assert read_provenance(both).in_tier("signed")
    for settings in (SETTINGS, {"core": SETTINGS["core"]}, {"verify": SETTINGS["verify"]}):
        with pytest.raises(c2pa.C2paError):
            c2pa.Reader("image/jpeg", io.BytesIO(made), context=c2pa.Context.from_dict(settings))
    assert listening.asked == []


def test_nobody_is_asked_whether_a_certificate_was_withdrawn(listening: _Listening) -> None:
    made = signed(encode(picture(), "JPEG"), by=chain("Asked about", listening.address))
    said = {item.kind: item.value for item in read_provenance(made).statements}
    assert said["integrity"].startswith("valid")
    assert said["revocation"] == "not checked"
    assert listening.asked == []
    # The library itself would ask: this test could fail.
    c2pa.Reader("image/jpeg", io.BytesIO(made), context=c2pa.Context.from_dict({"verify": {"ocsp_fetch": True}}))
    assert listening.asked


_WITHOUT_NETWORK = """
import ctypes, pathlib, sys
from detector.imaging.provenance import read_provenance
data = pathlib.Path(sys.argv[1]).read_bytes()
# A filter of the kernel, below every library: each new socket kills the process.
import struct
libc = ctypes.CDLL(None, use_errno=True)
SOCKET = {"x86_64": 41, "aarch64": 198}[__import__("platform").machine()]
rules = struct.pack("HBBI", 0x20, 0, 0, 0) + struct.pack("HBBI", 0x15, 0, 1, SOCKET)
rules += struct.pack("HBBI", 0x06, 0, 0, 0x80000000) + struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)
buffer = ctypes.create_string_buffer(rules)
program = struct.pack("HxxxxxxP", len(rules) // 8, ctypes.addressof(buffer))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.c_char_p(program), 0, 0) == 0
if len(sys.argv) > 2:
    import socket
    socket.socket()
print(read_provenance(data).headline)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the filter is one of Linux")
def test_a_file_is_read_in_a_process_that_may_open_no_socket(tmp_path: Path) -> None:
    """The kernel kills the process at the first socket of any library, and with no socket all is answered."""
    by = chain("Asked about", "http://127.0.0.1:9/status")
    (tmp_path / "a.jpg").write_bytes(signed(encode(picture(), "JPEG"), by=by, elsewhere="http://127.0.0.1:9/m.c2pa"))
    command = [sys.executable, "-c", _WITHOUT_NETWORK, str(tmp_path / "a.jpg")]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert "signature of Asked about" in done.stdout, done.stderr
    assert subprocess.run([*command, "socket"], cwd=CHECKOUT, capture_output=True).returncode < 0
