"""A backup in one file: a ZIP of stored files with a seal over all of its bytes, encrypted or not.

Anything that opens ZIP files opens one that is not encrypted. The seal stands where ZIP has its comment.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from detector.errors import BackupDamaged, BackupUnusable
from detector.upkeep.manifest import MANIFEST, Manifest, Member
from detector.upkeep.sealed import Decrypting, Encrypting, Sealing, is_encrypted, is_sealed

_READ = 1 << 20
#: A manifest has about 200 bytes for each picture.
_LARGEST_MANIFEST = 2_000_000_000


class FileWriter:
    """A backup being written beside its name, which it gets when it is whole; in a ``with`` statement.

    Parameters
    ----------
    path : Path
        Nothing may lie there.
    passphrase : str, optional
        Encrypt with it.
    """

    def __init__(self, path: Path, passphrase: str | None = None) -> None:
        self.path = path
        self._passphrase = passphrase
        self._part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
        self.members: dict[str, Member] = {}

    def __enter__(self) -> Self:
        handle = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        self._file = os.fdopen(handle, "wb")
        try:
            self._encrypting = Encrypting(self._file, self._passphrase) if self._passphrase is not None else None
            self._sealing = Sealing(self._encrypting or self._file)
            out: Any = self._sealing
            self._zip = zipfile.ZipFile(out, "w", zipfile.ZIP_STORED, allowZip64=True)
            self._zip.comment = Sealing.placeholder
        except BaseException:
            self._drop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        if kind is not None:
            self._drop()

    def add(self, name: str, data: bytes) -> None:
        """Write a file whose bytes are at hand."""
        with self._zip.open(_info(name), "w", force_zip64=len(data) > 1 << 30) as target:
            target.write(data)
        self.members[name] = Member(len(data), hashlib.sha256(data).hexdigest())

    def add_file(self, name: str, path: Path) -> None:
        """Write a file of this machine."""
        found, size = hashlib.sha256(), 0
        with path.open("rb") as source, self._zip.open(_info(name), "w", force_zip64=True) as target:
            while data := source.read(_READ):
                found.update(data)
                target.write(data)
                size += len(data)
        self.members[name] = Member(size, found.hexdigest())

    def finish(self, manifest: Manifest) -> None:
        """Write what the backup says of itself, and the seal; everything is on the disk then."""
        with self._zip.open(_info(MANIFEST), "w", force_zip64=True) as target:
            target.write(manifest.to_bytes())
        self._zip.close()
        self._sealing.finish()
        if self._encrypting is not None:
            self._encrypting.finish()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    @contextlib.contextmanager
    def written(self) -> Iterator[FileReader]:
        """What was just written, to be read back; `keep` gives it its name."""
        with FileReader(self._part, self._passphrase, self.path.name) as reader:
            yield reader

    def keep(self) -> int:
        """Give the file its name; returns its size in bytes. Raises BackupUnusable where one lies there meanwhile."""
        try:
            # A link is refused where the name is taken; renaming would write over it.
            os.link(self._part, self.path)
        except FileExistsError as error:
            self._drop()
            raise BackupUnusable(f"{self.path} is there already. Name another file.") from error
        except OSError:
            # A file system without links: the name is taken first, and given up for the file then.
            try:
                os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            except FileExistsError as error:
                self._drop()
                raise BackupUnusable(f"{self.path} is there already. Name another file.") from error
            try:
                self._part.replace(self.path)
            except OSError:
                self.path.unlink(missing_ok=True)
                raise
        self._part.unlink(missing_ok=True)
        settle(self.path.parent)
        return self.path.stat().st_size

    def _drop(self) -> None:
        with contextlib.suppress(Exception):
            # Or it would write its end into the closed file when it is collected, and say that it cannot.
            self._zip.fp = None
        with contextlib.suppress(Exception):
            self._file.close()
        self._part.unlink(missing_ok=True)


class FileReader:
    """A backup in a file, in a ``with`` statement. Nothing of it is believed before `verify`.

    Raises BackupUnusable, BackupDamaged, BackupLocked.
    """

    def __init__(self, path: Path, passphrase: str | None = None, name: str | None = None) -> None:
        self.name = name or path.name
        self._path, self._passphrase = path, passphrase

    def __enter__(self) -> Self:
        self._raw = self._path.open("rb")
        try:
            self._size = os.fstat(self._raw.fileno()).st_size
            self._plain: IO[bytes] = self._raw
            if is_encrypted(self._path):
                decrypting = Decrypting(self._raw, self._size, self._passphrase, self.name)
                self._size = decrypting.size
                self._plain = io.BufferedReader(decrypting, _READ)
        except BaseException:
            self._raw.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._raw.close()

    def verify(self) -> Manifest:
        """Read every byte and compare it with the seal; returns what the backup says of itself.

        Raises
        ------
        BackupDamaged
            Naming the file in it that is not what was written, where it is one.
        """
        if not is_sealed(self._plain, self._size):
            raise BackupDamaged(self.name, self._damaged())
        try:
            self._zip = zipfile.ZipFile(self._plain)
            manifest = Manifest.from_bytes(self._manifest(), self.name)
        except (*_UNREADABLE, ValueError, OSError) as error:
            raise BackupDamaged(self.name) from error
        self.manifest = manifest
        _require_plain(self._zip, self._size, self.name)
        sizes = {item.filename: item.file_size for item in self._zip.infolist()}
        if odd := sizes.keys() - manifest.members.keys() - {MANIFEST}:
            raise BackupDamaged(self.name, f"a file that the manifest does not name, {min(odd)[:80]!r},")
        for name, member in manifest.members.items():
            # The seal is right, so only whoever made the backup can have got this wrong: before anything is written.
            if sizes.get(name) != member.byte_count or not _is_right(self._zip, name, member):
                raise BackupDamaged(self.name, name)
        return manifest

    def _manifest(self) -> bytes:
        found = self._zip.getinfo(MANIFEST)
        if found.file_size > _LARGEST_MANIFEST or found.compress_type != zipfile.ZIP_STORED:
            raise ValueError("too large a manifest")
        return self._zip.read(MANIFEST)

    def read(self, name: str) -> bytes:
        """A whole file of the backup, compared with its checksum. Raises BackupDamaged."""
        member = self.manifest.members[name]
        try:
            data = self._zip.read(name)
        except (zipfile.BadZipFile, KeyError, NotImplementedError, EOFError, RuntimeError) as error:
            raise BackupDamaged(self.name, name) from error
        if hashlib.sha256(data).hexdigest() != member.sha256:
            raise BackupDamaged(self.name, name)
        return data

    def extract(self, name: str, target: Path) -> None:
        """Write a file of the backup to a new file, compared with its checksum. Raises BackupDamaged."""
        found = hashlib.sha256()
        try:
            with self._zip.open(name) as source, target.open("xb") as file:
                while data := source.read(_READ):
                    found.update(data)
                    file.write(data)
        except (zipfile.BadZipFile, KeyError, NotImplementedError, EOFError, RuntimeError) as error:
            raise BackupDamaged(self.name, name) from error
        if found.hexdigest() != self.manifest.members[name].sha256:
            raise BackupDamaged(self.name, name)

    def _damaged(self) -> str:
        """Which file in the backup is not what was written; empty where that cannot be said."""
        try:
            with zipfile.ZipFile(self._plain) as archive:
                _require_plain(archive, self._size, self.name)
                try:
                    manifest = Manifest.from_bytes(archive.read(MANIFEST), self.name)
                except (*_UNREADABLE, BackupUnusable):
                    return MANIFEST
                wrong = (name for name, member in manifest.members.items() if not _is_right(archive, name, member))
                return next(wrong, "")
        except (*_UNREADABLE, ValueError, OSError, MemoryError, BackupUnusable):
            return ""


#: What a ZIP raises that is none, or no longer one.
_UNREADABLE = (zipfile.BadZipFile, KeyError, EOFError, RuntimeError, struct.error)


def _require_plain(archive: zipfile.ZipFile, size: int, name: str) -> None:
    """Refuse what unpacks to more than is there: we only store, so everything is as large as it says. BackupDamaged."""
    seen: set[str] = set()
    for item in archive.infolist():
        stored = item.compress_type == zipfile.ZIP_STORED and item.file_size == item.compress_size
        if not stored or item.flag_bits & 1 or item.filename in seen:
            raise BackupDamaged(name, ascii(item.filename[:80]))
        seen.add(item.filename)
    if sum(item.file_size for item in archive.infolist()) > size:
        raise BackupDamaged(name)


def _is_right(archive: zipfile.ZipFile, name: str, member: Member) -> bool:
    found = hashlib.sha256()
    try:
        with archive.open(name) as source:
            while data := source.read(_READ):
                found.update(data)
    except _UNREADABLE:
        return False
    return found.hexdigest() == member.sha256


def _info(name: str) -> zipfile.ZipInfo:
    # The same file gives the same bytes, whenever it was written.
    return zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))


def settle(folder: Path) -> None:
    """Have the names of a folder on the disk, where a system lets one."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
