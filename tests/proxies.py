"""nginx and Caddy on loopback, with the configurations of the README word for word."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from tests.app_server import CHECKOUT, end

START_SECONDS = 120


def readme_example(language: str, changes: Mapping[str, str]) -> str:
    """A block of the README; each of the changes must find what it changes."""
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    [block] = re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    for old, new in changes.items():
        assert old in block, old
        block = block.replace(old, new)
    return block


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost, signed by itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


class Proxy:
    """A proxy's process, and the ports on which it was told to listen."""

    def __init__(self, command: Iterable[str], ports: Iterable[int], folder: Path) -> None:
        self._log = folder / "proxy.log"
        with self._log.open("wb") as log:
            home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
            self._process = subprocess.Popen(
                list(command), stdout=log, stderr=subprocess.STDOUT, env=dict(os.environ) | home
            )
        deadline = time.monotonic() + START_SECONDS
        for port in ports:
            while True:
                with socket.socket() as asked:
                    if asked.connect_ex(("127.0.0.1", port)) == 0:
                        break
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise TimeoutError(f"The proxy did not start.\n{self.log}")
                time.sleep(0.05)

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        end(self._process)


def require(program: str) -> str:
    """Where a proxy's program lies; the test is skipped where it is not installed."""
    # Debian puts nginx where only administrators look.
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin")
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"Tests behind a proxy must run in CI, but {program} is not installed.")
        pytest.skip(f"{program} is not installed")
    return path


def start_nginx(folder: Path, http: str, ports: Iterable[int]) -> Proxy:
    """nginx with these blocks of the http context, all its files in a folder of its own."""
    program = require("nginx")
    folder.mkdir()
    paths = "".join(
        f"    {name}_temp_path {folder / name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"{user}daemon off;\npid {folder / 'nginx.pid'};\nerror_log stderr;\nworker_processes 1;\nevents {{}}\n"
        f"http {{\n    access_log off;\n{paths}{http}\n}}\n",
        encoding="utf-8",
    )
    return Proxy([program, "-p", str(folder), "-e", "stderr", "-c", str(configuration)], ports, folder)


def start_caddy(folder: Path, sites: str, ports: Iterable[int]) -> Proxy:
    """Caddy with these sites, on loopback only."""
    program = require("caddy")
    folder.mkdir()
    configuration = folder / "Caddyfile"
    configuration.write_text(f"{{\n    admin off\n    default_bind 127.0.0.1\n}}\n{sites}", encoding="utf-8")
    return Proxy([program, "run", "--adapter", "caddyfile", "--config", str(configuration)], ports, folder)


def nginx_of_the_readme(port: int, server_port: int, cert: Path, key: Path) -> str:
    """The README's nginx block on a port of loopback; nothing else of it is changed."""
    return readme_example(
        "nginx",
        {
            "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
            "/etc/ssl/detector.pem": str(cert),
            "/etc/ssl/detector.key": str(key),
            "localhost:8501": f"localhost:{server_port}",
        },
    )


def caddy_of_the_readme(port: int, server_port: int) -> str:
    """The README's site on a port of loopback, without TLS: its certificate would have to come from elsewhere."""
    return readme_example(
        "caddy", {"detector.example.org {": f"http://localhost:{port} {{", "localhost:8501": f"localhost:{server_port}"}
    )
