"""Backups in a folder, each of which adds only what is new: pieces by their hash, and what each backup consists of.

``pieces/ab/abcd...`` hold bytes under their SHA-256; ``backups/2026-11-03T040000Z.json`` are sealed manifests. The
database is cut into pieces of one size: what has not changed in it since the last backup is there already.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from detector.errors import BackupDamaged, BackupUnusable
from detector.upkeep.archive_file import settle
from detector.upkeep.manifest import Manifest, Member
from detector.upkeep.sealed import SEAL_BYTES, seal

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_PIECE = 4_000_000
_NAME = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{6}Z)(-\d{1,3})?\.json")
_PIECE_NAME = re.compile(r"[0-9a-f]{64}")


class FolderWriter:
    """A backup being written into a folder; it counts when its manifest is there."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self.members: dict[str, Member] = {}
        self.new_bytes = 0
        self._touched: set[Path] = set()

    def __enter__(self) -> Self:
        for part in ("pieces", "backups"):
            (self.path / part).mkdir(parents=True, exist_ok=True)
        self._alone = contextlib.ExitStack()
        if not self._alone.enter_context(_alone(self.path)):
            self._alone.close()
            raise BackupUnusable(
                f"Another backup is being written into {self.path}. Nothing was written. Wait until it has ended."
            )
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        self._alone.close()

    def add(self, name: str, data: bytes) -> None:
        """Write a file whose bytes are at hand."""
        sha256 = hashlib.sha256(data).hexdigest()
        pieces = [data] if len(data) <= _PIECE else [data[at : at + _PIECE] for at in range(0, len(data), _PIECE)]
        self.members[name] = Member(len(data), sha256, tuple(map(self._put, pieces)))

    def add_file(self, name: str, path: Path) -> None:
        """Write a file of this machine."""
        found, size, pieces = hashlib.sha256(), 0, []
        with path.open("rb") as source:
            while data := source.read(_PIECE):
                found.update(data)
                size += len(data)
                pieces.append(self._put(data))
        self.members[name] = Member(size, found.hexdigest(), tuple(pieces))

    def finish(self, manifest: Manifest) -> None:
        """Write what the backup says of itself, under a name that is not seen as a backup yet."""
        stem = datetime.fromtimestamp(manifest.created, UTC).strftime("%Y-%m-%dT%H%M%SZ")
        self._part = self.path / "backups" / f"{stem}.{secrets.token_hex(4)}.part"
        self._stem = stem
        # Or a power cut could leave the manifest of pieces whose names are lost.
        for folder in (*sorted(self._touched), self.path / "pieces"):
            settle(folder)
        _write(self._part, seal(manifest.to_bytes()))

    @contextlib.contextmanager
    def written(self) -> Iterator[FolderReader]:
        """What was just written, to be read back."""
        with FolderReader(self.path, manifest=self._part) as reader:
            try:
                yield reader
            except BaseException:
                self._part.unlink(missing_ok=True)
                raise

    def keep(self) -> int:
        """Let the backup count; returns how many bytes were new."""
        for number in ("", *(f"-{number}" for number in range(2, 1000))):
            name = self.path / "backups" / f"{self._stem}{number}.json"
            if not name.exists():
                self._part.replace(name)
                settle(name.parent)
                break
        return self.new_bytes

    def _put(self, data: bytes) -> str:
        name = hashlib.sha256(data).hexdigest()
        path = _piece_path(self.path, name)
        # Also what is there: a piece that went bad would be in all backups to come.
        if not _holds(path, data):
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, data)
            self.new_bytes += len(data)
            self._touched.add(path.parent)
        return name


class FolderReader:
    """One backup of a folder: the newest, or the newest of a moment or before."""

    def __init__(self, folder: Path, at: str | None = None, manifest: Path | None = None) -> None:
        self._folder = folder
        self._manifest, self._at = manifest or _chosen(folder, at), at
        self._written = manifest is not None
        self.name = self._manifest.name

    def __enter__(self) -> Self:
        # Until this is read nothing of it is removed; the one that is just written is held by whoever writes it.
        self._held: IO[bytes] | None = None
        if fcntl is not None and not self._written:
            with contextlib.suppress(OSError):
                self._held = (self._folder / "lock").open("rb")
                fcntl.flock(self._held, fcntl.LOCK_SH)
                # Who was waited for may have removed it.
                self._manifest = _chosen(self._folder, self._at)
                self.name = self._manifest.name
        return self

    def __exit__(self, *_error: object) -> None:
        if self._held is not None:
            self._held.close()

    def verify(self) -> Manifest:
        """Read every byte of this backup; returns what it says of itself. Raises BackupDamaged, naming the file."""
        try:
            self.manifest = _read_manifest(self._manifest)
        except OSError as error:
            raise BackupDamaged(self.name, error.strerror or "its manifest") from error
        seen: dict[str, int] = {}
        for name, member in self.manifest.members.items():
            whole, size = hashlib.sha256(), 0
            # Of a file in one piece the hash is the same: one that was read for another file is not read again.
            if member.pieces == (member.sha256,) and seen.get(member.sha256) == member.byte_count:
                continue
            for piece in member.pieces:
                data = self._piece(piece, name)
                whole.update(data)
                seen[piece] = len(data)
                size += len(data)
                if size > member.byte_count:
                    break
            if size != member.byte_count or whole.hexdigest() != member.sha256:
                raise BackupDamaged(self.name, name)
        return self.manifest

    def read(self, name: str) -> bytes:
        """A whole file of the backup. Raises BackupDamaged."""
        return b"".join(self._piece(piece, name) for piece in self.manifest.members[name].pieces)

    def extract(self, name: str, target: Path) -> None:
        """Write a file of the backup to a new file. Raises BackupDamaged."""
        with target.open("xb") as file:
            for piece in self.manifest.members[name].pieces:
                file.write(self._piece(piece, name))

    def _piece(self, piece: str, name: str) -> bytes:
        try:
            path = _piece_path(self._folder, piece)
            found = path.stat()
            if not stat.S_ISREG(found.st_mode) or found.st_size > _PIECE:
                raise BackupDamaged(self.name, name)
            data = path.read_bytes()
        except OSError as error:
            raise BackupDamaged(self.name, name) from error
        if hashlib.sha256(data).hexdigest() != piece:
            raise BackupDamaged(self.name, name)
        return data


def _read_manifest(path: Path) -> Manifest:
    """One whose seal is right. Raises BackupDamaged, OSError."""
    data = path.read_bytes()
    if len(data) < SEAL_BYTES or seal(data[:-SEAL_BYTES]) != data:
        raise BackupDamaged(path.name, "the manifest")
    return Manifest.from_bytes(data[:-SEAL_BYTES], path.name)


def list_backups(folder: Path) -> list[Path]:
    """The manifests in a folder, oldest first."""
    try:
        return sorted((path for path in (folder / "backups").iterdir() if _NAME.fullmatch(path.name)), key=_order)
    except OSError:
        return []


def prune(folder: Path, keep: int) -> int:
    """Remove all backups but the newest ``keep``, and what only they used; returns how many backups.

    None while another backup is written there: its pieces are not named by any manifest yet.

    Raises BackupDamaged where a backup that stays cannot be read: what it uses would not be known.
    """
    with _alone(folder) as alone:
        # Where nobody can say so, another one may be on its way.
        return _pruned(folder, keep, 0.0 if alone is _SURELY else _DAY) if alone else 0


def _pruned(folder: Path, keep: int, older: float) -> int:
    before = time.time() - older
    found = list_backups(folder)
    old = found[:-keep] if keep else []
    used: set[str] = set()
    for path in found[len(old) :]:
        for member in _read_manifest(path).members.values():
            used.update(member.pieces)
    for path in old:
        path.unlink(missing_ok=True)
    for below, _, files in os.walk(folder / "pieces"):
        for name in files:
            if name.endswith(".part") or (_PIECE_NAME.fullmatch(name) and name not in used):
                _remove_older(Path(below, name), before)
    for path in (folder / "backups").glob("*.part"):
        _remove_older(path, before)
    return len(old)


def _remove_older(path: Path, moment: float) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_mtime <= moment:
            path.unlink()


#: What `_alone` says; a lock that cannot be had is no lock.
_BUSY, _PROBABLY, _SURELY = 0, 1, 2
_DAY = 86_400.0


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[int]:
    """Whether nobody else writes, reads or removes backups there; the lock ends with the process that holds it."""
    with (folder / "lock").open("ab") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield _BUSY
                return
            except OSError:
                # A network drive that knows no locks.
                yield _PROBABLY
                return
        yield _SURELY if fcntl is not None else _PROBABLY


def _order(path: Path) -> tuple[str, int]:
    found = _NAME.fullmatch(path.name)
    return (found[1], -int(found[2] or 0)) if found else ("", 0)


def _chosen(folder: Path, at: str | None) -> Path:
    found = list_backups(folder)
    if not found:
        raise BackupUnusable(f"There is no backup in {folder}. Name the folder that was given to backup --to.")
    if at is None:
        return found[-1]
    # The names have no colons, which not every disk takes.
    at = at.strip().replace(":", "").replace(" ", "T")
    fitting = [path for path in found if path.name.removesuffix(".json")[: len(at)] <= at]
    if not fitting:
        names = ", ".join(path.name.removesuffix(".json") for path in found[-5:])
        raise BackupUnusable(f"No backup in {folder} is of {at} or before. There are: {names}.")
    return fitting[-1]


def _piece_path(folder: Path, name: str) -> Path:
    return folder / "pieces" / name[:2] / name


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except OSError:
        return False


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
