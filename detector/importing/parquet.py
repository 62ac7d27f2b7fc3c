"""Parquet files with pictures in them, such as Hugging Face's, as a source of an import; and tables of labels in them.

The bytes of a picture stand in a column of ``{bytes, path}`` or of bytes alone.
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_right
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from detector.errors import ArchiveError, EntryUnreadable, ImageTooManyBytes, InvalidInput
from detector.imaging.formats import sniff_format
from detector.importing.entries import Entry, ZipLimits
from detector.importing.file_names import NameTaker, safe_name
from detector.importing.labelling import NO_LABEL
from detector.importing.parquet_layout import DAMAGE, ParquetColumns, ParquetLayout, PictureGroup, is_parquet
from detector.importing.splits import split_word
from detector.importing.table_columns import Row
from detector.importing.tables import MAX_CELLS, MAX_ROWS, LabelTable, require_columns, unique_names

__all__ = [
    "CACHE_BYTES", "NO_SPLIT", "ParquetColumns", "ParquetSource", "guess_parquet_columns", "is_parquet",
    "parquet_column_names", "read_parquet_table", "split_of",
]  # fmt: skip

#: Unpacked row groups that are kept, in bytes; the last two are kept whatever their size.
CACHE_BYTES = 400_000_000
#: The part of a path for rows that say no split, where others do.
NO_SPLIT = "no split"

_ENDINGS = {
    "JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tif", "AVIF": ".avif",
    "HEIF": ".heic",
}  # fmt: skip
# What a program calls one of many files, whatever is in it.
_SHARD_WORDS = {"part", "data", "shard", "chunk", "file", "images", "dataset", "default"}


def parquet_column_names(path: Path, name: str = "") -> tuple[str, ...]:
    """The columns of a file, to choose from; errors as for :func:`guess_parquet_columns`."""
    return tuple(ParquetLayout.read(path, name or path.name).kinds)


def guess_parquet_columns(path: Path, name: str = "") -> ParquetColumns:
    """Guess what the columns of a file mean.

    What Hugging Face's library wrote into the file goes before the columns' names and what is in them.

    Parameters
    ----------
    path : Path
    name : str, optional
        What people call the file, for the error; by default the file's name.

    Returns
    -------
    ParquetColumns
        ``image`` is None where no column holds pictures: the file may still be a table of labels.

    Raises
    ------
    ArchiveError
        The file is no parquet file, or is damaged.
    """
    return ParquetLayout.read(path, name or path.name).guess()


def read_parquet_table(path: Path, name: str = "") -> LabelTable:
    """Read a table of labels, such as ``metadata.parquet``: its columns of texts, numbers and truth values.

    Parameters
    ----------
    path : Path
    name : str, optional
        What people call the file; by default the file's name.

    Raises
    ------
    ArchiveError
        The file is no parquet file, or is damaged.
    InvalidInput
        It has no such columns, or more rows or columns than are read.
    """
    layout = ParquetLayout.read(path, name or path.name)
    columns = layout.text_columns()
    if not columns:
        raise InvalidInput(f"{layout.name} has no columns of text or numbers. Choose a table with the files' names.")
    require_columns(len(columns), layout.name)
    if layout.rows > MAX_ROWS or layout.rows * len(columns) > MAX_CELLS:
        raise InvalidInput(f"{layout.name} has more than {MAX_ROWS:,} rows or {MAX_CELLS:,} cells. Split it.")
    rows: list[tuple[str, ...]] = []
    for cells in layout.texts(columns):
        rows.extend(zip(*([cell or "" for cell in cells[column]] for column in columns), strict=True))
    if not rows:
        raise InvalidInput(f"{layout.name} is empty. Choose a table with a row for each image.")
    return LabelTable(layout.name, unique_names(columns), tuple(rows))


def split_of(name: str) -> str | None:
    """The split that a file's name says: ``data/train-00000-of-00002.parquet``, ``default/test/0000.parquet``."""
    *folders, base = re.split(r"[/\\]", name)
    stem = re.sub(r"\.parquet$", "", base, flags=re.IGNORECASE)
    sharded = re.fullmatch(r"(.+?)-\d+-of-\d+(-[0-9a-f]+)?", stem)
    if sharded and sharded[1].lower() not in _SHARD_WORDS:
        return sharded[1]
    for part in (stem, *reversed(folders)):
        words = re.findall(r"[^\W_\d]+", part)
        found = [word for word in words if split_word(word.casefold()) is not None]
        if len(found) == 1:
            return found[0]
    return None


class ParquetSource:
    """The pictures of parquet files, with folders made of what the columns say: ``<split>/<label>/<file>``.

    Parameters
    ----------
    files : list of (Path, str)
        Where each file is, and what people call it, which may hold folders and say the split.
    limits : ZipLimits
        ``max_ratio`` is not looked at: pictures are read a few rows at a time.
    columns : ParquetColumns, optional
        By default each file's own are guessed.
    cache_bytes : int, optional
        Unpacked row groups that are kept.

    Attributes
    ----------
    rows : dict of str to Row
        Path of an entry -> its label, source and split, as the columns have them; filled by :meth:`entries`.

    Raises
    ------
    ArchiveError
        A file is no parquet file, is damaged, or there are more pictures than allowed.
    InvalidInput
        A file has no column with pictures, or not the columns that were chosen.

    Notes
    -----
    Reading a picture unpacks its row group. Entries come in the order of the rows, and are best read in it.
    """

    def __init__(
        self,
        files: Sequence[tuple[Path, str]],
        limits: ZipLimits,
        columns: ParquetColumns | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._limits = limits
        self._files = [ParquetLayout.read(path, name) for path, name in files]
        self._columns = [columns or layout.guess() for layout in self._files]
        if sum(layout.rows for layout in self._files) > limits.max_entries:
            raise ArchiveError(
                f"{self._files[0].name} holds more than {limits.max_entries:,} pictures. Import some of its files "
                "only, or raise DETECTOR_MAX_ZIP_ENTRIES."
                if len(self._files) == 1
                else f"The {len(self._files):,} parquet files hold more than {limits.max_entries:,} pictures. Import "
                "fewer of them, or raise DETECTOR_MAX_ZIP_ENTRIES."
            )
        self._pictures = [
            layout.picture_column(chosen.image) for layout, chosen in zip(self._files, self._columns, strict=True)
        ]
        for layout, chosen in zip(self._files, self._columns, strict=True):
            layout.require_texts([chosen.label, chosen.source, chosen.split])
        self._entries: list[Entry] | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._groups: OrderedDict[tuple[int, int], PictureGroup] = OrderedDict()
        self._cache_bytes = cache_bytes
        self._counted = [bytearray(layout.rows) for layout in self._files]
        self._total = 0
        self.rows: dict[str, Row] = {}
        # Nobody puts a thumbnail of a system into a parquet file.
        self.passed_over: list[str] = []

    def close(self) -> None:
        """Let go of what was unpacked; entries cannot be read any more."""
        with self._lock:
            self._closed = True
            self._groups.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def entries(self) -> list[Entry]:
        """All pictures in the order of the rows; those that cannot be read are listed, and fail when read.

        Raises
        ------
        ArchiveError
            A file is damaged where it says labels and names.
        """
        if self._entries is None:
            self._entries = list(self._listed())
        return list(self._entries)

    def _listed(self) -> Iterator[Entry]:
        splits = [
            None if chosen.split else split_of(layout.name)
            for layout, chosen in zip(self._files, self._columns, strict=True)
        ]
        with_split = any(splits) or any(chosen.split for chosen in self._columns)
        with_label = any(chosen.label for chosen in self._columns)
        takers: dict[str, NameTaker] = defaultdict(NameTaker)
        digits = max(6, len(str(sum(layout.rows for layout in self._files))))
        number = 0
        for at, split in enumerate(splits):
            ending: str | None = None
            for row, (label, source, told_split, name) in enumerate(self._said(at)):
                told_split = told_split or split
                folders = [_folder(told_split or NO_SPLIT)] if with_split else []
                folders += [_folder(label or NO_LABEL)] if with_label else []
                folder = "".join(f"{part}/" for part in folders)
                base = re.split(r"[/\\]", name)[-1] if name else ""
                if not base:
                    if ending is None:
                        ending = self._ending(at)
                    base = f"{number:0{digits}d}{ending}"
                path = f"{folder}{takers[folder].take(safe_name(base))}"
                self.rows[path] = Row(label or None, source or None, told_split or None)
                yield Entry(path, None, partial(self._read, path, at, row, bool(name)))
                number += 1

    def _said(self, at: int) -> Iterator[tuple[str | None, str | None, str | None, str | None]]:
        """What each row of a file says: label, source, split, and the picture's own path."""
        layout, chosen, picture = self._files[at], self._columns[at], self._pictures[at]
        wanted = [chosen.label, chosen.source, chosen.split, picture.path_leaf]
        leaves = list(dict.fromkeys(leaf for leaf in wanted if leaf is not None))
        if not leaves:
            yield from [(None, None, None, None)] * layout.rows
            return
        for cells in layout.texts(leaves):
            count = len(cells[leaves[0]])
            label, source, split, name = ([None] * count if leaf is None else cells[leaf] for leaf in wanted)
            yield from zip(label, source, split, name, strict=True)

    def _ending(self, at: int) -> str:
        """How the pictures of a file end, by the first of them: going through all takes as long as reading them."""
        layout = self._files[at]
        kinds = (sniff_format(data) for data in layout.first_pictures(self._pictures[at]))
        return _ENDINGS.get(next(filter(None, kinds), ""), "")

    def _read(self, path: str, at: int, row: int, has_path: bool) -> bytes:
        layout = self._files[at]
        number = bisect_right(layout.starts, row) - 1
        group = self._group(path, at, number)
        try:
            cell = group.cell(row - layout.starts[number])
            # No copy yet: a cell may be larger than a picture may be.
            data = None if cell is None or not cell.is_valid else cell.as_buffer()
            if data is not None and data.size <= self._limits.max_entry_bytes:
                self._count(at, row, data.size)
                return bytes(data.to_pybytes())
        except DAMAGE as error:
            raise EntryUnreadable(path, "its row is damaged; download the file again") from error
        if data is not None:
            raise ImageTooManyBytes(path, data.size, self._limits.max_entry_bytes)
        if cell is None:
            raise EntryUnreadable(path, group.failure or "its row is damaged; download the file again")
        if has_path:
            why = "its row holds a path, not the picture's bytes; import the folder with the pictures"
            raise EntryUnreadable(path, why)
        raise EntryUnreadable(path, "its row holds no picture")

    def _group(self, path: str, at: int, number: int) -> PictureGroup:
        with self._lock:
            if self._closed:
                raise EntryUnreadable(path, "its file was closed")
            group = self._groups.get((at, number))
            if group is None:
                group = self._files[at].pictures(self._pictures[at], number)
                self._groups[at, number] = group
                # Two, because threads that read in order are in two of them where one ends.
                while len(self._groups) > 2 and sum(kept.size for kept in self._groups.values()) > self._cache_bytes:
                    self._groups.popitem(last=False)
            else:
                self._groups.move_to_end((at, number))
            return group

    def _count(self, at: int, row: int, size: int) -> None:
        """Add to the total; a picture that is read twice counts once."""
        with self._lock:
            if self._counted[at][row]:
                return
            self._counted[at][row] = 1
            self._total += size
            if self._total > self._limits.max_total_bytes:
                raise ArchiveError(
                    f"{self._files[at].name} holds more than the {self._limits.max_total_bytes / 1e9:,.1f} GB of "
                    "pictures that are accepted. Import fewer files at once, or raise DETECTOR_MAX_ZIP_GB."
                )


def _folder(name: str) -> str:
    """A label or split as one folder of a path."""
    shown = "".join(character if character.isprintable() else "_" for character in name)
    shown = re.sub(r"[/\\]", "_", shown).strip()
    # What begins with a dot is hidden, and a folder "." is none.
    return re.sub(r"^\.", "_", shown) or "_"
