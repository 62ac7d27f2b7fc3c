"""What can be imported from: a folder on this machine, a ZIP archive, or files dropped on a page.

Each source lists its entries first and reads one when asked. Names inside an archive are labels and file names to show;
they are never used as paths to write to. Files that are no images are listed too: the import reports them as rejected.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, Self

from detector.errors import ArchiveError, EntryUnreadable, ImageTooManyBytes, NotFound

_CLUTTER = {"__macosx", "thumbs.db", "desktop.ini"}
_CHUNK = 256 * 1024
_ENCRYPTED = 0x1
# Pictures hardly compress, but an empty white BMP does, a thousandfold: below this size the ratio is not looked at.
_RATIO_FREE_BYTES = 4_000_000
# Everything that zipfile and zlib were seen to raise on damaged archives.
_ZIP_DAMAGE = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError, OverflowError,
    IndexError, KeyError, struct.error,
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One file to import. ``path`` is relative, with "/", as shown to people; ``size`` is what the source claims.

    ``read`` returns the whole file; it raises an ``ImageError`` when this file cannot be read, an ``ArchiveError`` when
    the archive turns out to be unusable as a whole. It may be called from any thread while the source is open.
    """

    path: str
    size: int | None
    read: Callable[[], bytes]


class Source(Protocol):
    """What the import job reads from; used in a ``with`` statement."""

    def entries(self) -> list[Entry]: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class _Closing:
    def close(self) -> None:
        """Let go of open files; entries cannot be read any more."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def shown_path(name: str) -> str:
    """A foreign file name as a relative path to show: no "..", no backslashes, no control characters."""
    cleaned = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name)
    return "/".join(part for part in re.split(r"[/\\]", cleaned) if part not in ("", ".", ".."))


def is_clutter(path: str) -> bool:
    """Whether a path is hidden or one of the files that operating systems leave behind."""
    return any(part.startswith(".") or part.lower() in _CLUTTER for part in path.split("/"))


class UploadSource(_Closing):
    """Files that are in memory already.

    Parameters
    ----------
    files : list of (name, bytes)
        Names may hold folders.
    """

    def __init__(self, files: list[tuple[str, bytes]]) -> None:
        self._files = files

    def entries(self) -> list[Entry]:
        """All files, sorted by path."""
        named = [(shown_path(name), data) for name, data in self._files]
        found = [Entry(path, len(data), partial(bytes, data)) for path, data in named if path and not is_clutter(path)]
        return sorted(found, key=lambda entry: entry.path)


class FolderSource(_Closing):
    """A folder on this machine, with everything below it.

    Parameters
    ----------
    root : Path
    max_entry_bytes : int, optional
        Larger files are refused before they are read.

    Raises
    ------
    NotFound
        There is no such folder.

    Notes
    -----
    Symbolic links are followed only where they lead to something inside ``root``: the folder that a page may read must
    not be a door to the rest of the disk.
    """

    def __init__(self, root: Path, max_entry_bytes: int | None = None) -> None:
        if not root.is_dir():
            raise NotFound("folder", str(root))
        self._root = root.resolve()
        self._max_entry_bytes = max_entry_bytes

    def entries(self) -> list[Entry]:
        """All files, sorted by path. Links that lead outside are listed, and fail with the reason when read."""
        return sorted(self._walk(self._root, "", (self._root,)), key=lambda entry: entry.path)

    def _walk(self, folder: Path, prefix: str, ancestors: tuple[Path, ...]) -> Iterator[Entry]:
        try:
            with os.scandir(folder) as scan:
                children = list(scan)
        except OSError:
            return  # not ours to read; its files are as absent as if it did not exist
        for child in children:
            path = f"{prefix}{shown_path(os.fsencode(child.name).decode('utf-8', 'replace'))}"
            if is_clutter(path):
                continue
            target = Path(child.path)
            if child.is_symlink():
                try:
                    target = target.resolve(strict=True)
                except (OSError, RuntimeError):  # broken link, or links in a circle
                    yield Entry(path, None, partial(_unreadable, path, "it is a link to something that is not there"))
                    continue
                if not target.is_relative_to(self._root):
                    yield Entry(path, None, partial(_unreadable, path, "it is a link that leads out of the folder"))
                    continue
            if target.is_dir():
                if target not in ancestors:
                    yield from self._walk(target, f"{path}/", (*ancestors, target))
            elif target.is_file():
                yield Entry(path, target.stat().st_size, partial(self._read, path, target))

    def _read(self, path: str, target: Path) -> bytes:
        try:
            # O_NOFOLLOW: what was a file when listed may be a link by now. O_NONBLOCK: or a pipe that never ends.
            handle = os.open(target, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
            with os.fdopen(handle, "rb") as file:
                status = os.fstat(handle)
                if not stat.S_ISREG(status.st_mode):
                    raise EntryUnreadable(path, "it is not a file any more")
                if self._max_entry_bytes is not None and status.st_size > self._max_entry_bytes:
                    raise ImageTooManyBytes(path, status.st_size, self._max_entry_bytes)
                return file.read()
        except OSError as error:
            raise EntryUnreadable(path, error.strerror or "the disk reports an error") from error


def _unreadable(path: str, why: str) -> bytes:
    raise EntryUnreadable(path, why)


@dataclass(frozen=True)
class ZipLimits:
    """What is accepted at most from one archive.

    ``max_entries`` counts files and folders; ``max_entry_bytes`` and ``max_total_bytes`` count what was unpacked,
    whatever the headers claim; ``max_ratio`` is unpacked to packed bytes of one entry.
    """

    max_entries: int
    max_entry_bytes: int
    max_total_bytes: int
    max_ratio: float = 200.0


class ZipSource(_Closing):
    """A ZIP archive, read entry by entry; nothing of it is written to disk.

    Parameters
    ----------
    zip_path : Path
    limits : ZipLimits
    name : str, optional
        What people call the archive, for the error; by default the file's name, which says nothing in a spool.

    Raises
    ------
    ArchiveError
        The file is no ZIP archive, is damaged, or has too many entries.
    """

    def __init__(self, zip_path: Path, limits: ZipLimits, name: str = "") -> None:
        self._name = name or zip_path.name
        self._limits = limits
        self._lock = threading.Lock()
        self._unpacked: dict[int, int] = {}
        self._total = 0
        try:
            with zip_path.open("rb") as file:
                _check_entry_count(file, self._name, limits.max_entries)
            self._zip = zipfile.ZipFile(zip_path)
        except _ZIP_DAMAGE as error:
            raise ArchiveError(
                f"{self._name} is not a ZIP archive that can be read, or it was not transferred to its end. "
                "Make the archive again and upload it once more."
            ) from error

    def close(self) -> None:
        self._zip.close()

    def entries(self) -> list[Entry]:
        """All files, sorted by path; entries that cannot be read are listed, and fail with the reason when read."""
        found = []
        for info in self._zip.infolist():
            path = shown_path(info.filename)
            if path and not info.is_dir() and not is_clutter(path):
                found.append(Entry(path, info.file_size, partial(self._read, path, info)))
        return sorted(found, key=lambda entry: entry.path)

    def _read(self, path: str, info: zipfile.ZipInfo) -> bytes:
        if info.flag_bits & _ENCRYPTED:
            raise EntryUnreadable(path, "it is protected by a password; make the archive again without one")
        # bzip2 and LZMA can grow a few kilobytes to hundreds of megabytes in one step, before any limit is looked at.
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise EntryUnreadable(path, "its compression method is not supported; make the archive with Deflate")
        if info.file_size > self._limits.max_entry_bytes:
            raise ImageTooManyBytes(path, info.file_size, self._limits.max_entry_bytes)
        try:
            # zipfile counts its open entries without a lock; reading itself is locked inside.
            with self._lock:
                stream = self._zip.open(info)
            try:
                return self._read_within_limits(stream, path, info)
            finally:
                with self._lock:
                    stream.close()
        except _ZIP_DAMAGE as error:
            raise EntryUnreadable(path, "it is damaged inside the archive; make the archive again") from error

    def _read_within_limits(self, stream: IO[bytes], path: str, info: zipfile.ZipInfo) -> bytes:
        data = bytearray()
        ratio_limit = max(_RATIO_FREE_BYTES, self._limits.max_ratio * info.compress_size)
        while chunk := stream.read(_CHUNK):
            data += chunk
            if len(data) > self._limits.max_entry_bytes:
                raise ImageTooManyBytes(path, len(data), self._limits.max_entry_bytes)
            if len(data) > ratio_limit:
                why = f"it unpacks to more than {self._limits.max_ratio:,.0f} times its packed size"
                raise EntryUnreadable(path, why)
            self._count(info.header_offset, len(data))
        return bytes(data)

    def _count(self, entry: int, unpacked: int) -> None:
        """Add to the total; an entry that is read twice counts once."""
        with self._lock:
            before = self._unpacked.get(entry, 0)
            if unpacked <= before:
                return
            self._unpacked[entry] = unpacked
            self._total += unpacked - before
            if self._total > self._limits.max_total_bytes:
                raise ArchiveError(
                    f"{self._name} unpacks to more than the {self._limits.max_total_bytes / 1e9:,.1f} GB that are "
                    "accepted. Split it into several archives, or raise DETECTOR_MAX_ZIP_GB."
                )


def _check_entry_count(file: IO[bytes], name: str, limit: int) -> None:
    """Count the entries of the central directory before ``zipfile`` makes an object of each of them.

    The count in the archive's last record may lie, so the directory is walked, as ``zipfile`` will walk it. Where
    anything is not as it should be nothing is raised here: ``zipfile`` refuses the archive itself.
    """
    directory = _central_directory(file)
    if directory is None:
        return
    start, size = directory
    file.seek(start)
    count = read = 0
    while read < size:
        header = file.read(46)
        if len(header) < 46 or header[:4] != b"PK\x01\x02":
            return
        variable = sum(struct.unpack("<HHH", header[28:34]))
        file.seek(variable, os.SEEK_CUR)
        read += 46 + variable
        count += 1
        if count > limit:
            raise ArchiveError(
                f"{name} holds more than {limit:,} files. Split it into several archives, or raise "
                "DETECTOR_MAX_ZIP_ENTRIES."
            )


def _central_directory(file: IO[bytes]) -> tuple[int, int] | None:
    """Where the central directory starts and how long it is; see sections 4.3.14 to 4.3.16 of PKWARE's APPNOTE."""
    file_size = file.seek(0, os.SEEK_END)
    tail_start = max(0, file_size - 65_536 - 22)
    file.seek(tail_start)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        return None
    end = tail_start + at
    size = int.from_bytes(tail[at + 12 : at + 16], "little")
    locator = end - 20
    if locator >= 56:
        file.seek(locator)
        if file.read(4) == b"PK\x06\x07":
            end = locator - 56
            file.seek(end)
            record = file.read(56)
            if record[:4] == b"PK\x06\x06":
                size = int.from_bytes(record[40:48], "little")
            else:
                return None
    return (end - size, size) if end >= size else None
