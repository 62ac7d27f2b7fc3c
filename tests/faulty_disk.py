"""A disk that is full, or refuses once: a small file system where one may be mounted, else a library that plays it."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_suffix(".c")


def library(folder: Path) -> Path:
    """The compiled ``faulty_disk.c``; skips the test where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    made = folder / "faulty_disk.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, SOURCE, "-ldl"], check=True)
    return made


class Disk:
    """A folder on a disk that can be filled; ``environment`` is for the processes that are to meet it."""

    def __init__(self, folder: Path, environment: dict[str, str], flag: Path | None = None) -> None:
        self.folder, self.environment, self._flag = folder, environment, flag
        self._ballast = folder / "ballast"

    def fill(self, left: int = 0) -> None:
        """Take all room but about ``left`` bytes of it; a disk that is only played has none."""
        if self._flag is not None:
            self._flag.touch()
            return
        with self._ballast.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
            if left:
                file.truncate(max(file.tell() - left, 0))

    def make_room(self) -> None:
        """Give back what was taken."""
        (self._flag or self._ballast).unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Disk]:
    """A disk of so many megabytes."""
    disk = folder / "disk"
    disk.mkdir(parents=True)
    # All of it is less than is kept free by default.
    no_guard = {"DETECTOR_MIN_FREE_MB": "0"}
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", disk], capture_output=True, check=False
    ).returncode
    if mounted != 0:
        flag = folder / "the disk is full"
        played = {"LD_PRELOAD": str(library(folder)), "FAULT_PATH": str(disk), "FAULT_ERRNO": str(errno.ENOSPC)}
        yield Disk(disk, {**no_guard, **played, "FAULT_FLAG": str(flag)}, flag)
        return
    try:
        yield Disk(disk, no_guard)
    finally:
        # Lazily: a process that was killed may still hold a file.
        subprocess.run(["umount", "-l", disk], check=True)


def left_over(blobs: Path) -> list[str]:
    """Files that were not finished."""
    return [os.fspath(path) for path in blobs.rglob("*.tmp")]


def image_files(blobs: Path) -> set[str]:
    """The hashes of the images whose bytes are stored."""
    return {path.name for path in (blobs / "images").rglob("*") if path.is_file()}
