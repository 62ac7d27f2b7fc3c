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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, Self

from detector.errors import ArchiveError, EntryUnreadable, ImageTooManyBytes, NotFound
from detector.importing.archive_names import archive_names
from detector.importing.clutter import clutter_in

_CHUNK = 256 * 1024
_ENCRYPTED = 0x1
_UTF8_NAME = 0x800
_UNNAMED = "unnamed"
# Pictures hardly compress, but an empty white BMP does, a thousandfold: below this size the ratio is not looked at.
_RATIO_FREE_BYTES = 4_000_000
# What the list of an archive's files may take for each of them, long names included, and in any case.
_DIRECTORY_ENTRY_BYTES = 512
_DIRECTORY_FREE_BYTES = 16_000_000
# Folders in folders, links followed: deeper than any collection, and the end of every circle that was missed.
_DEEPEST = 64
_MSDOS_FOLDER = 0x10
_WRITTEN_ON_UNIX = 3
# Everything that zipfile and zlib were seen to raise on damaged archives.
_ZIP_DAMAGE = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError, OverflowError,
    IndexError, KeyError, struct.error,
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One file to import. ``path`` is relative, with "/", as shown to people; ``size`` is what the source claims.
    ``place`` is the file itself, links followed, where it is one of this machine that stays.

    ``read`` returns the whole file; it raises an ``ImageError`` when this file cannot be read, an ``ArchiveError`` when
    the archive turns out to be unusable as a whole. It may be called from any thread while the source is open.
    """

    path: str
    size: int | None
    read: Callable[[], bytes]
    place: Path | None = None


class Source(Protocol):
    """What the import job reads from; used in a ``with`` statement.

    ``passed_over`` is filled by ``entries``: the names of what was left out as clutter, see `clutter_in`.
    """

    passed_over: list[str]

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


def printable(name: str) -> str:
    """A file name of this machine as text: bytes that are no UTF-8 become a replacement character."""
    return os.fsencode(name).decode("utf-8", "replace")


def _numbered(entries: Iterable[Entry]) -> list[Entry]:
    """Entries by path, each path once: the second ``a.jpg`` is ``a (2).jpg``, so that each has a line of its own."""
    found = sorted(entries, key=lambda entry: entry.path)
    taken = {entry.path for entry in found}
    seen: set[str] = set()
    numbered = []
    for entry in found:
        path, number = entry.path, 2
        if path in seen:
            stem, dot, ending = path.rpartition(".") if "." in path.rpartition("/")[2] else (path, "", "")
            while path in taken:
                path, number = f"{stem} ({number}){dot}{ending}", number + 1
            taken.add(path)
            entry = replace(entry, path=path)
        seen.add(path)
        numbered.append(entry)
    return sorted(numbered, key=lambda entry: entry.path)


class FolderSource(_Closing):
    """A folder on this machine, with everything below it.

    Parameters
    ----------
    root : Path
    max_entry_bytes : int, optional
        Larger files are refused before they are read.
    follow_links : bool
        Take what symbolic links lead to, wherever that is: for people who could read it anyway, in their own shell.
        Otherwise only what lies inside ``root``: the folder that a page may read must not be a door to the rest of the
        disk.

    Raises
    ------
    NotFound
        There is no such folder.
    """

    def __init__(self, root: Path, max_entry_bytes: int | None = None, follow_links: bool = False) -> None:
        if not root.is_dir():
            raise NotFound("folder", printable(str(root)))
        self._root = root.resolve()
        self._max_entry_bytes = max_entry_bytes
        self._follow_links = follow_links
        self.passed_over: list[str] = []

    def entries(self) -> list[Entry]:
        """All files, sorted by path. What may not be read or followed is listed, and fails with the reason."""
        self.passed_over = []
        return _numbered(self._walk(self._root, "", (self._root,)))

    def _walk(self, folder: Path, prefix: str, ancestors: tuple[Path, ...]) -> Iterator[Entry]:
        try:
            with os.scandir(folder) as scan:
                children = list(scan)
        except OSError as error:
            why = f"this folder may not be read ({error.strerror or 'the disk reports an error'})"
            yield Entry(prefix or "/", None, partial(_unreadable, prefix or "/", why))
            return
        for child in children:
            name = printable(child.name)
            path = f"{prefix}{shown_path(name) or _UNNAMED}"
            if (clutter := clutter_in(name)) is not None:
                self.passed_over.append(clutter)
                continue
            target = Path(child.path)
            try:
                if child.is_symlink():
                    target = target.resolve(strict=True)
                    if not self._follow_links and not target.is_relative_to(self._root):
                        yield Entry(path, None, partial(_unreadable, path, "it is a link that leads out of the folder"))
                        continue
                mode = target.stat().st_mode
                size = target.stat().st_size
            except (OSError, RuntimeError) as error:  # broken links, links in a circle, what may not be asked about
                why = "it is a link to something that is not there" if child.is_symlink() else _reason(error)
                yield Entry(path, None, partial(_unreadable, path, why))
                continue
            if stat.S_ISDIR(mode):
                if target in ancestors:
                    continue  # a link back up: everything there is listed already
                if len(ancestors) >= _DEEPEST:
                    why = f"it lies more than {_DEEPEST} folders deep"
                    yield Entry(f"{path}/", None, partial(_unreadable, f"{path}/", why))
                    continue
                yield from self._walk(target, f"{path}/", (*ancestors, target))
            elif stat.S_ISREG(mode):
                yield Entry(path, size, partial(self._read, path, target), target)
            else:
                yield Entry(path, None, partial(_unreadable, path, "it is a pipe, socket or device and not a file"))

    def _read(self, path: str, target: Path) -> bytes:
        # What was a file when it was listed may be a link by now.
        return read_file(target, path, self._max_entry_bytes, may_be_link=False)


def read_file(target: Path, name: str, max_bytes: int | None, may_be_link: bool = True) -> bytes:
    """A whole file of this machine; its size is asked before it is read.

    Parameters
    ----------
    target : Path
    name : str
        What people call it.
    max_bytes : int or None
    may_be_link : bool
        Follow it if it is a symbolic link.

    Raises
    ------
    EntryUnreadable, ImageTooManyBytes
    """
    # O_NONBLOCK: a pipe would wait for ever.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if not may_be_link:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    try:
        handle = os.open(target, flags)
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise EntryUnreadable(name, "it is a folder, pipe or device and not a file")
            if max_bytes is not None and status.st_size > max_bytes:
                raise ImageTooManyBytes(name, status.st_size, max_bytes)
            data = file.read(status.st_size + 1)
            # It may grow while it is read, and what a system makes up as it is read says that it has no size.
            while len(data) > status.st_size and (more := file.read(_CHUNK)):
                data += more
                if max_bytes is not None and len(data) > max_bytes:
                    raise ImageTooManyBytes(name, len(data), max_bytes)
            return data
    except OSError as error:
        raise EntryUnreadable(name, error.strerror or "the disk reports an error") from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or "the disk reports an error"


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

    Entries lie one behind the other, with gaps where a program left some. An archive in which two of them share bytes
    is refused as a whole: nobody makes one, except to have a small file unpacked to a thousand times its size.

    Parameters
    ----------
    zip_path : Path
    limits : ZipLimits
    name : str, optional
        What people call the archive, for the error; by default the file's name, which says nothing in a spool.
    encoding : str, optional
        How names are written that do not say it themselves, see `archive_names`; None: guessed.

    Attributes
    ----------
    names : ArchiveNames
        As they were read, and whether that is a guess.

    Raises
    ------
    ArchiveError
        The file is no ZIP archive, is damaged, has too many entries, or entries that overlap.
    """

    def __init__(self, zip_path: Path, limits: ZipLimits, name: str = "", encoding: str | None = None) -> None:
        self._name = name or printable(zip_path.name)
        self.passed_over: list[str] = []
        self._limits = limits
        self._lock = threading.Lock()
        self._unpacked: dict[int, int] = {}
        self._total = 0
        try:
            with zip_path.open("rb") as file:
                _check_entry_count(file, self._name, limits.max_entries)
            self._zip = zipfile.ZipFile(zip_path)
            # A second one: the archive's own is moved by whoever reads an entry.
            self._file = zip_path.open("rb")
            ends = _ends(self._zip)
        except _ZIP_DAMAGE as error:
            raise ArchiveError(
                f"{self._name} is not a ZIP archive that can be read, or it was not transferred to its end. "
                "Make the archive again and upload it once more."
            ) from error
        if ends is None:
            self.close()
            raise ArchiveError(
                f"{self._name} holds files that share the same bytes of the archive, as no program makes them unless a "
                "disk is to be filled. Nothing of it was imported; make the archive again from the files."
            )
        self._ends = ends
        self.names = archive_names(self._zip.infolist(), encoding)

    def close(self) -> None:
        self._zip.close()
        self._file.close()

    def entries(self) -> list[Entry]:
        """All files, sorted by path; entries that cannot be read are listed, and fail with the reason when read."""
        self.passed_over = []
        infos = self._zip.infolist()
        # Some Windows programs write folders with a backslash; a slash anywhere says that it is none of them.
        foreign = not any("/" in name for name in self.names.names)
        found = []
        for number, (info, name) in enumerate(zip(infos, self.names.names, strict=True)):
            if _is_folder(info, name, foreign):
                continue
            if (clutter := clutter_in(name.replace("\\", "/"))) is not None:
                self.passed_over.append(clutter)
                continue
            path = shown_path(name) or _UNNAMED
            found.append(Entry(path, info.file_size, partial(self._read, path, number)))
        return _numbered(found)

    def _read(self, path: str, number: int) -> bytes:
        info = self._zip.infolist()[number]
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
                self._require_own_bytes(path, number, info)
                stream = self._zip.open(info)
            try:
                return self._read_within_limits(stream, path, number, info)
            finally:
                with self._lock:
                    stream.close()
        except _ZIP_DAMAGE as error:
            raise EntryUnreadable(path, "it is damaged inside the archive; make the archive again") from error

    def _read_within_limits(self, stream: IO[bytes], path: str, number: int, info: zipfile.ZipInfo) -> bytes:
        data = bytearray()
        ratio_limit = max(_RATIO_FREE_BYTES, self._limits.max_ratio * info.compress_size)
        while chunk := stream.read(_CHUNK):
            data += chunk
            if len(data) > self._limits.max_entry_bytes:
                raise ImageTooManyBytes(path, len(data), self._limits.max_entry_bytes)
            if len(data) > ratio_limit:
                why = f"it unpacks to more than {self._limits.max_ratio:,.0f} times its packed size"
                raise EntryUnreadable(path, why)
            self._count(number, len(data))
        return bytes(data)

    def _require_own_bytes(self, path: str, number: int, info: zipfile.ZipInfo) -> None:
        """What `_ends` could not know: how long the entry's own header is. Raises EntryUnreadable."""
        self._file.seek(info.header_offset)
        lengths = struct.unpack("<HH", self._file.read(30)[26:30])
        if info.header_offset + 30 + sum(lengths) + info.compress_size > self._ends[number]:
            raise EntryUnreadable(path, "it runs into the next file of the archive; make the archive again")

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


def _ends(archive: zipfile.ZipFile) -> list[int] | None:
    """Where each entry must end, because the next one begins there or the directory does; None where some overlap.

    An entry takes at least its header, its name and its bytes. What else its header holds is not known before it is
    read, which for half a million of them would take longer than all else that is done before an import.
    """
    infos = archive.infolist()
    ends = [archive.start_dir] * len(infos)
    following = archive.start_dir
    for number in sorted(range(len(infos)), key=lambda index: infos[index].header_offset, reverse=True):
        info = infos[number]
        name = info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8_NAME else "cp437")
        if info.header_offset + 30 + len(name) + info.compress_size > following:
            return None
        ends[number] = following
        following = info.header_offset
    return ends


def _is_folder(info: zipfile.ZipInfo, name: str, backslashes: bool) -> bool:
    """Whether an entry is a folder: by its name, or by what the system that made the archive says of it.

    A name that ends like one but has content is a file: nothing may vanish.
    """
    if info.file_size:
        return False
    if name.endswith("/") or (backslashes and name.endswith("\\")):
        return True
    if info.create_system == _WRITTEN_ON_UNIX and stat.S_IFMT(info.external_attr >> 16):
        return stat.S_ISDIR(info.external_attr >> 16)
    return bool(info.external_attr & _MSDOS_FOLDER)


def _check_entry_count(file: IO[bytes], name: str, limit: int) -> None:
    """Count the entries of the central directory before ``zipfile`` makes an object of each of them.

    The count in the archive's last record may lie, so the directory is walked, as ``zipfile`` will walk it. Where
    anything is not as it should be nothing is raised here: ``zipfile`` refuses the archive itself.
    """
    directory = _central_directory(file)
    if directory is None:
        return
    start, size = directory
    # zipfile reads it whole, and only then looks at it.
    if size > max(_DIRECTORY_FREE_BYTES, limit * _DIRECTORY_ENTRY_BYTES):
        raise ArchiveError(
            f"{name} has a list of its files of {size / 1e6:,.0f} MB, more than {limit:,} files need. Make the archive "
            "again, or split it into several."
        )
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
    # zipfile looks at the very end first; the mark may stand in one of the fields there as well.
    at = len(tail) - 22
    if not (tail[at:].startswith(b"PK\x05\x06") and tail.endswith(b"\0\0")):
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
