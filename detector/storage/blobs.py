"""Bytes by name, written whole or not at all. Behind fsspec paths, so that object storage can follow."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
import time
from pathlib import Path, PurePosixPath

import fsspec

from detector.errors import NotFound, StoredFileDamaged, StoredFileMissing

#: What may be wrong with one file while the others are well: a sector that cannot be read, its rights, a folder or a
#: loop of links in its place. Whatever else the system says is about all of them.
_OF_ONE_FILE = frozenset({errno.EIO, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ELOOP})

#: How long after its bytes an image's row may come.
WANTED_SECONDS = 3600.0

_HASH = re.compile(r"[0-9a-f]{64}")


class Blobs:
    """A small blob store.

    Parameters
    ----------
    root : str
        An fsspec URL or a local folder.
    """

    def __init__(self, root: str) -> None:
        self._fs, self._root = fsspec.core.url_to_fs(root)
        protocol = self._fs.protocol
        self._local = protocol == "file" or (not isinstance(protocol, str) and "file" in protocol)
        self._made: set[str] = set()

    def has_image(self, image_hash: str, byte_count: int) -> bool:
        """Whether an image's bytes are there, all of them."""
        path = self._image_path(image_hash)
        if not self._local:
            return bool(self._fs.exists(path) and self._fs.size(path) == byte_count)
        try:
            status = Path(path).stat()
        except OSError:
            return False
        return stat.S_ISREG(status.st_mode) and status.st_size == byte_count

    def put_image(self, image_hash: str, data: bytes) -> None:
        """Store an image's bytes verbatim under their SHA-256; whatever else lies there is replaced by them.

        What is there already is read and compared: importing a picture again mends its stored file.
        """
        path = self._image_path(image_hash)
        if not (self.has_image(image_hash, len(data)) and self._holds(path, data) and self._note_wanted(path)):
            self._write(path, data)

    def image(self, image_hash: str) -> bytes:
        """The bytes of an image, as they were stored. Raises StoredFileMissing, StoredFileDamaged."""
        path = self._image_path(image_hash)
        try:
            data = self._read(path, "image", image_hash)
        except NotFound as error:
            raise StoredFileMissing(image_hash) from error
        except OSError as error:
            if error.errno not in _OF_ONE_FILE:
                raise
            raise StoredFileDamaged(image_hash, error.strerror or "the disk reports an error") from error
        # A few hundredths of what decoding takes, and a flipped bit would else be trained on, shown and exported.
        if hashlib.sha256(data).hexdigest() != image_hash:
            raise StoredFileDamaged(image_hash)
        return data

    def put(self, name: str, data: bytes) -> None:
        """Store ``data`` under a name of our own making, such as ``models/ab12.safetensors``."""
        self._write(self._named_path(name), data)

    def get(self, name: str) -> bytes:
        """The bytes stored under ``name``. Raises NotFound."""
        return self._read(self._named_path(name), "file", name)

    def version(self, name: str) -> str:
        """Other text after every ``put`` of this name, without reading the bytes. Raises NotFound."""
        path = self._named_path(name)
        try:
            return str(self._fs.ukey(path))
        except FileNotFoundError as error:
            raise NotFound("file", name) from error

    def delete(self, name: str) -> None:
        path = self._named_path(name)
        if self._fs.exists(path):
            self._fs.rm(path)

    def delete_image(self, image_hash: str) -> None:
        path = self._image_path(image_hash)
        if self._fs.exists(path):
            self._fs.rm(path)

    def discard_image(self, image_hash: str, used_until: float) -> bool:
        """Remove the bytes of an image that no row needs any more; returns whether they are gone.

        They stay where somebody has brought the same bytes anew after ``used_until``, in seconds since the epoch, and
        within `WANTED_SECONDS`: that import has found them done, and its row is about to come.
        """
        path = self._image_path(image_hash)
        if not self._local:
            self.delete_image(image_hash)
            return True
        aside = Path(f"{path}.{secrets.token_hex(4)}.tmp")
        try:
            if _is_wanted(Path(path), used_until):
                return False
            # Whoever wants it from here on finds it gone and writes it anew; who was a moment earlier is seen below.
            Path(path).rename(aside)
        except FileNotFoundError:
            return True
        if _is_wanted(aside, used_until):
            aside.replace(path)
            return False
        aside.unlink()
        return True

    def _holds(self, path: str, data: bytes) -> bool:
        try:
            with self._fs.open(path, "rb") as file:
                return bool(file.read() == data)
        except OSError:
            # Gone in between, or lost by the disk: then it is written anew.
            return False

    def _note_wanted(self, path: str) -> bool:
        """Say that the file is wanted, by its time: see :meth:`discard_image`. False where it is gone."""
        if not self._local:
            return True
        try:
            moment = max(time.time(), Path(path).stat().st_mtime)
            os.utime(path, (moment, moment))
        except FileNotFoundError:
            return False
        except OSError:
            # Not ours to touch, but to read.
            return True
        return True

    def _image_path(self, image_hash: str) -> str:
        if not _HASH.fullmatch(image_hash):
            raise NotFound("image", image_hash)
        return f"{self._root}/images/{image_hash[:2]}/{image_hash[2:4]}/{image_hash}"

    def _named_path(self, name: str) -> str:
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts:
            raise NotFound("file", name)
        return f"{self._root}/{name}"

    def _read(self, path: str, noun: str, key: str) -> bytes:
        try:
            with self._fs.open(path, "rb") as file:
                return bytes(file.read())
        except FileNotFoundError as error:
            raise NotFound(noun, key) from error

    def _write(self, path: str, data: bytes) -> None:
        if self._local:
            _write_file(Path(path), data)
            return
        folder = path.rsplit("/", 1)[0]
        if folder not in self._made:
            self._fs.makedirs(folder, exist_ok=True)
            self._made.add(folder)
        self._fs.pipe_file(path, data)


def _is_wanted(path: Path, used_until: float) -> bool:
    brought = path.stat().st_mtime
    return brought > used_until and brought > time.time() - WANTED_SECONDS


def _write_file(path: Path, data: bytes) -> None:
    """Write a file of this machine whole or not at all.

    With the system's own calls: those of fsspec cost more than the disk does, and an import writes file after file.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            file = temporary.open("xb")
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = temporary.open("xb")
        with file:
            file.write(data)
            file.flush()
            # Else a power cut after the rename can leave an empty file under a name that promises its content.
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
