"""Bytes by name, written whole or not at all. Behind fsspec paths, so that object storage can follow."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from pathlib import Path, PurePosixPath

import fsspec

from detector.errors import NotFound

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
        """Store an image's bytes verbatim under their SHA-256; nothing happens if they are there already."""
        if not self.has_image(image_hash, len(data)):
            self._write(self._image_path(image_hash), data)

    def image(self, image_hash: str) -> bytes:
        """The bytes of an image. Raises NotFound."""
        return self._read(self._image_path(image_hash), "image", image_hash)

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
