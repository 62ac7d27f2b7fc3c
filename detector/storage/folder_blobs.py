"""Blobs in a folder of this machine: the default."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from detector.errors import NotFound, StoredFileDamaged, StoredFileMissing
from detector.storage.blobs import SET_ASIDE, WANTED_SECONDS, Blobs, StoredFile, image_name, own_name

#: What may be wrong with one file while the others are well: a sector that cannot be read, its rights, a folder or a
#: loop of links in its place. Whatever else the system says is about all of them.
_OF_ONE_FILE = frozenset({errno.EIO, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ELOOP})

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)

#: What `_write_file` has not finished.
_TEMPORARY = re.compile(r"\.[0-9a-f]{8}\.tmp$")


class FolderBlobs(Blobs):
    """Blobs as files below a folder.

    Parameters
    ----------
    root : Path or str
        Made with the first file.
    """

    def __init__(self, root: Path | str) -> None:
        self._root = Path(root)
        self.place = str(self._root)

    def has_image(self, image_hash: str, byte_count: int) -> bool:
        try:
            # By its name: making a path of it costs as much as asking, and an import asks twice for each file.
            status = os.stat(f"{self._root}/{image_name(image_hash)}")  # noqa: PTH116
        except OSError:
            return False
        return stat.S_ISREG(status.st_mode) and status.st_size == byte_count

    def put_image(self, image_hash: str, data: bytes) -> None:
        path = self._image_path(image_hash)
        if not (self.has_image(image_hash, len(data)) and _holds(path, data) and _note_wanted(path)):
            _write_file(path, data)

    def image(self, image_hash: str) -> bytes:
        path = self._image_path(image_hash)
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
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
        _write_file(self._named_path(name), data)

    def get(self, name: str) -> bytes:
        try:
            return self._named_path(name).read_bytes()
        except FileNotFoundError as error:
            raise NotFound("file", name) from error

    def version(self, name: str) -> str:
        try:
            status = self._named_path(name).stat()
        except FileNotFoundError as error:
            raise NotFound("file", name) from error
        return f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"

    def delete(self, name: str) -> None:
        self._named_path(name).unlink(missing_ok=True)

    def delete_image(self, image_hash: str) -> None:
        self._image_path(image_hash).unlink(missing_ok=True)

    def discard_image(self, image_hash: str, used_until: float) -> bool:
        path = self._image_path(image_hash)
        aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            if _is_wanted(path, used_until):
                return False
            # Whoever wants it from here on finds it gone and writes it anew; who was a moment earlier is seen below.
            path.rename(aside)
        except FileNotFoundError:
            return True
        if _is_wanted(aside, used_until):
            aside.replace(path)
            return False
        aside.unlink()
        return True

    def kinds(self) -> str | None:
        for folder, kinds in (("images", "pictures"), ("models", "models")):
            for _, _, files in os.walk(self._root / folder):
                if any(not name.endswith(".tmp") for name in files):
                    return kinds
        return None

    def sweep(self, before: float) -> int:
        # Such a file is written within moments, so one of yesterday is nobody's.
        left = self.half_done(before)
        for name in left:
            (self._root / name).unlink(missing_ok=True)
        return len(left)

    def half_done(self, before: float) -> list[str]:
        found = (Path(folder, name) for folder, _, names in os.walk(self._root) for name in names)
        return [
            path.relative_to(self._root).as_posix()
            for path in found
            if _TEMPORARY.search(path.name) and _older(path, before)
        ]

    def files(self, folder: str) -> Iterator[StoredFile]:
        try:
            with os.scandir(self._root / own_name(folder)) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in entries:
            name = f"{folder}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from self.files(name)
            elif not _TEMPORARY.search(entry.name):
                with contextlib.suppress(OSError):
                    status = entry.stat()
                    yield StoredFile(name, status.st_mtime, status.st_size)

    def stored_image(self, image_hash: str) -> bytes:
        return self.image(image_hash)

    def set_image_aside(self, image_hash: str, used_until: float | None) -> str | None:
        path = self._image_path(image_hash)
        aside = self._place_aside(image_name(image_hash))
        try:
            if used_until is not None and _is_wanted(path, used_until):
                return None
            # As when it is discarded: whoever wants it from here on writes it anew, who was earlier is seen below.
            path.rename(aside)
        except OSError:
            return None
        stays = _is_wanted(aside, used_until) if used_until is not None else _has_hash(aside, image_hash)
        if stays:
            aside.replace(path)
            return None
        return aside.relative_to(self._root).as_posix()

    def set_aside(self, name: str) -> str | None:
        aside = self._place_aside(name)
        try:
            self._named_path(name).rename(aside)
        except OSError:
            return None
        return aside.relative_to(self._root).as_posix()

    def _place_aside(self, name: str) -> Path:
        # In one folder, so that a person sees all there is; twice the same name must not replace what is there.
        place = self._root / SET_ASIDE / name.rpartition("/")[2]
        place.parent.mkdir(parents=True, exist_ok=True)
        return place.with_name(f"{place.name}.{secrets.token_hex(4)}") if place.exists() else place

    def check(self) -> None:
        # Whoever opens the data folder makes it, and finds out.
        return

    def _image_path(self, image_hash: str) -> Path:
        return self._root / image_name(image_hash)

    def _named_path(self, name: str) -> Path:
        return self._root / own_name(name)


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except OSError:
        # Gone in between, or lost by the disk: then it is written anew.
        return False


def _note_wanted(path: Path) -> bool:
    """Say that the file is wanted, by its time: see :meth:`Blobs.discard_image`. False where it is gone."""
    try:
        moment = max(time.time(), path.stat().st_mtime)
        os.utime(path, (moment, moment))
    except FileNotFoundError:
        return False
    except OSError:
        # Not ours to touch, but to read.
        return True
    return True


def _is_wanted(path: Path, used_until: float) -> bool:
    brought = path.stat().st_mtime
    return brought > used_until and brought > time.time() - WANTED_SECONDS


def _has_hash(path: Path, image_hash: str) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == image_hash
    except OSError:
        return False


def _older(path: Path, moment: float) -> bool:
    try:
        return path.stat().st_mtime < moment
    except FileNotFoundError:
        return False


def _write_file(path: Path, data: bytes) -> None:
    """Write a file of this machine whole or not at all."""
    temporary = f"{path}.{secrets.token_hex(4)}.tmp"
    try:
        try:
            handle = os.open(temporary, _NEW_FILE, 0o666)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(temporary, _NEW_FILE, 0o666)
        with os.fdopen(handle, "wb", buffering=0) as file:
            left = memoryview(data)
            while left:
                left = left[file.write(left) :]
            # Else a power cut after the rename can leave an empty file under a name that promises its content.
            os.fsync(handle)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
