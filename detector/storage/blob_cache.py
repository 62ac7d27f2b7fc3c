"""A bounded folder of this machine with what was read from an object store lately; several processes share it."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

#: Each process looks at the whole folder after it has added this share of the bound at least, and where there is room
#: this share of it: so many processes together stay within it.
_LOOK_AFTER, _OF_THE_ROOM = 0.01, 1 / 8
#: Above the first share of the bound the files that were longest not read go, down to the second. What is left up to
#: the bound is for what several processes add between two looks.
_HIGH, _LOW = 0.9, 0.75
#: A file larger than this share of the bound would push out too many others.
_LARGEST = 0.1
#: The time of a file says when it was read last, as exactly as this.
_TOUCH_SECONDS = 60.0
#: Half a file of a process that was killed.
_LEFT_SECONDS = 3600.0
#: What nobody has read for so long goes even where there is room: it may have been deleted from the store.
KEPT_SECONDS = 7 * 24 * 3600.0

_DIGEST_BYTES = 32


@dataclass(frozen=True)
class _Kept:
    path: str
    byte_count: int
    read_at: float


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []


class BlobCache:
    """Copies of files by key. Losing any of them loses nothing: what goes wrong here is passed over.

    Each file begins with the SHA-256 of what follows, so that a damaged one is noticed, removed, and never served.

    Parameters
    ----------
    folder : Path
        Made with the first file.
    limit_bytes : int
        How much the files may take together; 0: nothing is kept.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder, self._limit = folder, limit_bytes
        self._lock = threading.Lock()
        # The first file leads to a look: another process, or the one before, may have filled the folder.
        self._added, self._may_add = 0.0, 0.0
        self._looking: threading.Thread | None = None

    def get(self, key: str) -> bytes | None:
        """What is kept under a key; None where nothing is, or where it is damaged.

        Parameters
        ----------
        key : str
            64 hexadecimal digits.
        """
        path = self._path(key)
        try:
            with path.open("rb") as file:
                digest, data = file.read(_DIGEST_BYTES), file.read()
                read_at = os.fstat(file.fileno()).st_mtime
        except OSError:
            return None
        if hashlib.sha256(data).digest() != digest:
            log.warning("a damaged file of the cache is fetched again: %s", path.name)
            self.forget(key)
            return None
        if time.time() - read_at > _TOUCH_SECONDS:
            with contextlib.suppress(OSError):
                os.utime(path)
        return data

    def put(self, key: str, data: bytes) -> None:
        """Keep a copy, whole or not at all.

        Who puts does not wait for a look at the folder, which may take seconds. A copy that does not fit into what may
        be added until then is not kept.
        """
        size = len(data) + _DIGEST_BYTES
        if size > self._limit * _LARGEST or not self._take_room(size):
            return
        path = self._path(key)
        partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not flushed to the disk: after a power cut the digest tells what is whole.
            with partial.open("xb") as file:
                file.write(hashlib.sha256(data).digest())
                file.write(data)
            partial.replace(path)
        except OSError as error:
            log.info("a file could not be kept in the cache: %s", error.strerror)
            with contextlib.suppress(OSError):
                partial.unlink()
        with self._lock:
            if self._added > self._may_add and self._looking is None:
                self._looking = threading.Thread(target=self._look, name="cache-look", daemon=True)
                self._looking.start()

    def wait(self) -> None:
        """Until the look at the folder that is on its way has ended."""
        looking = self._looking
        if looking is not None:
            looking.join()

    def _take_room(self, size: int) -> bool:
        with self._lock:
            # Beyond what leads to a look, so that something is kept while it lasts; one file always.
            room = max(self._may_add, self._limit * _LOOK_AFTER) + self._limit * _LOOK_AFTER
            if self._added and self._added + size > room:
                return False
            self._added += size
            return True

    def _look(self) -> None:
        with self._lock:
            before = self._added
        try:
            self.trim()
        finally:
            with self._lock:
                # What came meanwhile may not have been seen.
                self._added -= before
                self._looking = None

    def forget(self, key: str) -> None:
        """Remove the copy of a key; nothing happens without."""
        with contextlib.suppress(OSError):
            self._path(key).unlink()

    def trim(self) -> int:
        """Remove what was longest not read where there is too much, and what is left of killed processes.

        Returns how many files.
        """
        with self._alone() as alone:
            if not alone:
                return 0
            moment = time.time()
            kept: list[_Kept] = []
            gone: list[_Kept] = []
            for item in self._files():
                half = item.path.endswith(".tmp") and item.read_at < moment - _LEFT_SECONDS
                (gone if half or item.read_at < moment - KEPT_SECONDS else kept).append(item)
            total = sum(item.byte_count for item in kept)
            if total > self._limit * _HIGH:
                for item in sorted(kept, key=lambda item: item.read_at):
                    if total <= self._limit * _LOW:
                        break
                    gone.append(item)
                    total -= item.byte_count
            with self._lock:
                self._may_add = max(_LOOK_AFTER * self._limit, _OF_THE_ROOM * (_HIGH * self._limit - total))
            for item in gone:
                with contextlib.suppress(OSError):
                    os.unlink(item.path)  # noqa: PTH108 - as text: making paths of 100,000 takes longer than the rest
            return len(gone)

    def _files(self) -> Iterator[_Kept]:
        for folder in _entries(str(self._folder)):
            if not folder.is_dir(follow_symlinks=False):
                continue
            for file in _entries(folder.path):
                with contextlib.suppress(OSError):
                    if file.is_file(follow_symlinks=False):
                        status = file.stat(follow_symlinks=False)
                        yield _Kept(file.path, status.st_size, status.st_mtime)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        """No other thread or process is trimming while this lasts; False where the folder cannot be used."""
        if fcntl is None:
            yield True
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = (self._folder / "trimming").open("ab")
        except OSError:
            yield False
            return
        with file:
            try:
                # Waited for: who adds while another removes must not add without end.
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError:
                yield False
                return
            yield True

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / key[2:]
