"""A real PostgreSQL server on the loopback, for as long as a test needs it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ports import free_port

#: Where Debian puts the programs of each version; elsewhere they are in PATH.
_DEBIAN = Path("/usr/lib/postgresql")


def _program(name: str) -> str | None:
    newest_first = sorted(_DEBIAN.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]), reverse=True)
    return shutil.which(name) or next(map(str, newest_first), None)


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Start a server with its data below ``folder``; yields the URL of an empty database. Skips where there is none."""
    pytest.importorskip("psycopg", reason="psycopg is not installed; it is in requirements-dev.txt")
    initdb, control = _program("initdb"), _program("pg_ctl")
    if initdb is None or control is None:
        pytest.skip("PostgreSQL is not installed")
    home, prefix = folder / "postgres", []
    home.mkdir()
    if os.geteuid() == 0:
        # The programs refuse to run as root.
        try:
            owner = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("running as root, and there is no user called postgres")
        # Not below ``folder``: pytest's own folders are closed to others.
        home.rmdir()
        home = Path(tempfile.mkdtemp(prefix="postgres-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        os.chown(home, owner.pw_uid, owner.pw_gid)
        prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    port, data = free_port(), str(home / "data")
    options = f"-p {port} -k {home} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=400"

    def run(*command: str) -> None:
        # Not captured: the server inherits the pipe, and whoever reads it waits for the server's end.
        subprocess.run([*prefix, *command], check=True, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    try:
        run(initdb, "-D", data, "-U", "postgres", "-A", "trust", "--encoding=UTF8", "--locale=C")
        run(control, "-w", "-D", data, "-o", options, "-l", str(home / "log"), "start")
        try:
            yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
        finally:
            run(control, "-w", "-m", "immediate", "-D", data, "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)
