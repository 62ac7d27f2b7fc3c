"""Objects of a store by key, through fsspec: what S3 and its like can do, and the same on simpler file systems."""

from __future__ import annotations

import contextlib
import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

#: Digits of an MD5, which is what S3 gives as ETag of an object that was sent in one piece and that is not encrypted by
#: a key of its own.
_MD5_DIGITS = 32


@dataclass(frozen=True)
class Found:
    """An object as the store describes it.

    Attributes
    ----------
    byte_count : int
    etag : str
        Other text for other bytes, where the store has such a thing.
    brought_at : float
        When it was put, in seconds since the epoch by the clock of who put it; of the store, where that is not known.
    sha256 : str or None
        Of the bytes, as noted when they were put; None where nobody has.
    """

    byte_count: int
    etag: str
    brought_at: float
    sha256: str | None = None

    @property
    def version(self) -> str:
        """Other text after every put."""
        return f"{self.etag}-{self.brought_at:.6f}"

    def fits(self, data: bytes) -> bool | None:
        """Whether the object has these bytes, as far as the store says it; None where it must be read to know."""
        if self.byte_count != len(data):
            return False
        if len(self.etag) == _MD5_DIGITS and self.etag.isalnum():
            return hashlib.md5(data, usedforsecurity=False).hexdigest() == self.etag or None
        return None


class Objects(ABC):
    """Every method raises StoreUnavailable where the store cannot be reached or refuses."""

    @abstractmethod
    def head(self, key: str) -> Found | None:
        """What lies under a key; None where nothing does."""

    @abstractmethod
    def read(self, key: str) -> tuple[bytes, Found] | None:
        """The bytes too."""

    @abstractmethod
    def create(self, key: str, data: bytes) -> bool:
        """Put an object where none is, the two in one step where the store can do that; False where one is."""

    @abstractmethod
    def write(self, key: str, data: bytes) -> Found:
        """Put an object, whatever lay there."""

    @abstractmethod
    def copy(self, key: str, other: str) -> bool:
        """Copy an object within the store; False where there is none."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; nothing happens without."""

    @abstractmethod
    def names(self, prefix: str, limit: int | None = None) -> Iterator[tuple[str, float]]:
        """Keys below a prefix, which ends with a slash, each with when it was put by the clock of the store."""

    def link(self, key: str, media_type: str, seconds: int) -> str | None:
        """A signed address of the object; None where the store has none."""
        return None

    def check(self) -> None:
        """Whether it can be reached at all."""
        next(self.names("images/", 1), None)


class FsspecObjects(Objects):
    """Objects on any file system of fsspec that is not S3: for quick tests, without a server.

    Parameters
    ----------
    url : str
        Such as ``memory://name`` or ``file:///folder``.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        options = {"auto_mkdir": True} if url.startswith("file:") else {}
        self._fs, root = fsspec.core.url_to_fs(url, **options)
        self._root = root.rstrip("/")

    def head(self, key: str) -> Found | None:
        path = self._path(key)
        try:
            size = int(self._fs.size(path))
            return Found(size, str(self._fs.ukey(path)), _moment(self._fs.modified(path)))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def read(self, key: str) -> tuple[bytes, Found] | None:
        found = self.head(key)
        if found is None:
            return None
        try:
            return bytes(self._fs.cat_file(self._path(key))), found
        except FileNotFoundError:
            return None

    def create(self, key: str, data: bytes) -> bool:
        try:
            self._fs.pipe_file(self._path(key), data, mode="create")
        except FileExistsError:
            return False
        return True

    def write(self, key: str, data: bytes) -> Found:
        self._fs.pipe_file(self._path(key), data)
        return self.head(key) or Found(len(data), "", time.time())

    def copy(self, key: str, other: str) -> bool:
        found = self.read(key)
        if found is not None:
            self.write(other, found[0])
        return found is not None

    def delete(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._path(key))

    def names(self, prefix: str, limit: int | None = None) -> Iterator[tuple[str, float]]:
        root = self._path(prefix).rstrip("/")
        found = self._fs.find(root, detail=True) if self._fs.exists(root) else {}
        for number, path in enumerate(sorted(found)):
            if number == limit:
                return
            yield path[len(self._root) + 1 :], _moment(self._fs.modified(path))

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"


def _moment(moment: datetime | float) -> float:
    return moment.timestamp() if isinstance(moment, datetime) else float(moment)
