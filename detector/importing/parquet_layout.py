"""What one parquet file holds: its columns, the texts in them and the pictures, read a few rows at a time.

Files come from strangers: what their description may make pyarrow reserve is bounded, long texts that are stored once
and repeated in every row are kept once, and whatever pyarrow raises on a damaged file is an error of
:mod:`detector.errors`.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from detector.errors import ArchiveError, InvalidInput
from detector.imaging.formats import sniff_format
from detector.importing.table_columns import guess_facts
from detector.importing.tables import LabelTable, cell_text

#: Pictures of one row group, unpacked: that much memory is needed to read any of them.
MAX_GROUP_BYTES = 1_000_000_000

_MAGIC = b"PAR1"
# Bounds of what the description of a file may make pyarrow reserve; its own defaults are these.
_MAX_DESCRIPTION_BYTES = 100_000_000
_MAX_DESCRIPTION_ITEMS = 1_000_000
_READ_BYTES = 1 << 20
# A value that is stored once and repeated in every row takes its size a row when it is read.
_PICTURES_AT_ONCE = 16
_TEXTS_AT_ONCE = 1_024
_NESTED_TEXTS_AT_ONCE = 64
_MAX_TEXT_BYTES = 1_000_000_000
_MAX_TEXT_CHARACTERS = 1_000
_SAMPLE_GROUPS = 16
_SAMPLE_ROWS = 1_024
_SNIFFED_ROWS = 64

# Everything that pyarrow was seen to raise on damaged files. ArrowInvalid is a ValueError, ArrowIOError an OSError.
DAMAGE = (
    pa.ArrowException, OSError, ValueError, KeyError, IndexError, OverflowError, MemoryError, RecursionError,
    NotImplementedError,
)  # fmt: skip


@dataclass(frozen=True)
class ParquetColumns:
    """Which column holds the pictures, and which say the label, source and split; None: no column does."""

    image: str | None = None
    label: str | None = None
    source: str | None = None
    split: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The choice as plain JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote.

        Raises
        ------
        InvalidInput
            It is no such choice.
        """
        try:
            columns = cls(**data)
        except TypeError as error:
            raise InvalidInput("The choice of the file's columns cannot be read. Choose them again.") from error
        if not all(value is None or isinstance(value, str) for value in asdict(columns).values()):
            raise InvalidInput("The choice of the file's columns cannot be read. Choose them again.")
        return columns


def is_parquet(file: Path | bytes) -> bool:
    """Whether a file, or what is in one, begins and ends as parquet does."""
    if isinstance(file, bytes):
        return len(file) >= 12 and file.startswith(_MAGIC) and file.endswith(_MAGIC)
    try:
        # A pipe would be waited for.
        if not file.is_file():
            return False
        with file.open("rb") as opened:
            start = opened.read(4)
            size = opened.seek(0, 2)
            opened.seek(max(0, size - 4))
            return size >= 12 and start == _MAGIC and opened.read(4) == _MAGIC
    except OSError:
        return False


@dataclass(frozen=True)
class PictureColumn:
    """Where the pictures are: the leaf with their bytes, and the one with their paths."""

    column: str
    leaf: str
    path_leaf: str | None


@dataclass
class PictureGroup:
    """The pictures of one row group, as far as they could be read; ``failure`` says why not further."""

    starts: list[int] = field(default_factory=lambda: [0])
    arrays: list[Any] = field(default_factory=list)
    size: int = 0
    failure: str = ""

    def add(self, array: Any) -> None:
        self.arrays.append(array)
        self.starts.append(self.starts[-1] + len(array))
        self.size += array.nbytes

    def cell(self, row: int) -> Any:
        """The scalar of a row; None where it was not read."""
        at = bisect_right(self.starts, row) - 1
        return self.arrays[at][row - self.starts[at]] if 0 <= at < len(self.arrays) else None


@dataclass(frozen=True)
class ParquetLayout:
    """What a parquet file's description says; the file is opened anew for each reading."""

    path: Path
    name: str
    metadata: Any
    kinds: dict[str, pa.DataType]
    features: dict[str, Any]
    starts: list[int]  # first row of each row group, and the number of rows

    @classmethod
    def read(cls, path: Path, name: str) -> Self:
        if not is_parquet(path):
            raise _damaged(name)
        try:
            with _opened(path) as file:
                metadata, schema = file.metadata, file.schema_arrow
                kinds = {column.name: column.type for column in schema}
                starts = [0]
                for number in range(metadata.num_row_groups):
                    rows = metadata.row_group(number).num_rows
                    if rows < 0:
                        raise _damaged(name)
                    starts.append(starts[-1] + rows)
                if starts[-1] != metadata.num_rows or len(kinds) != len(schema):
                    raise _damaged(name)
                return cls(path, name, metadata, kinds, _features(schema.metadata), starts)
        except DAMAGE as error:
            raise _damaged(name) from error

    @property
    def rows(self) -> int:
        return self.starts[-1]

    def guess(self) -> ParquetColumns:
        image = self._image_column()
        columns = [column for column in self.text_columns() if column != image]
        named = [column for column in columns if self._feature(column) == "ClassLabel"]
        sample = self._sample(columns)
        label, source, split = guess_facts(sample, set()) if sample else (None, None, None)
        if named:
            among = guess_facts(sample, set(columns) - set(named))[0] if sample else None
            label = among or next((column for column in named if column not in (source, split)), None)
        return ParquetColumns(image, label, source, split)

    def picture_column(self, column: str | None) -> PictureColumn:
        """Where the pictures of a column are. Raises InvalidInput where there are none."""
        every = ", ".join(self.kinds)
        if column is None:
            raise InvalidInput(
                f"{self.name} has no column with the bytes of pictures. Choose one of its columns: {every}."
            )
        if column not in self.kinds:
            raise InvalidInput(f"{self.name} has no column {column!r}. Choose one of its columns: {every}.")
        kind = self.kinds[column]
        if _is_bytes(kind):
            return PictureColumn(column, column, None)
        fields = _fields(kind)
        if not _is_bytes(fields.get("bytes")):
            raise InvalidInput(
                f"The column {column!r} of {self.name} does not hold the bytes of pictures. Choose another one: "
                f"{every}."
            )
        return PictureColumn(column, f"{column}.bytes", f"{column}.path" if _is_text(fields.get("path")) else None)

    def require_texts(self, columns: Sequence[str | None]) -> None:
        """Raises InvalidInput where columns are not there or hold no single values."""
        for column in columns:
            if column is not None and column not in self.text_columns():
                raise InvalidInput(
                    f"{self.name} has no column {column!r} of texts or numbers. Choose one of its columns: "
                    f"{', '.join(self.text_columns())}."
                )

    def text_columns(self) -> list[str]:
        return [column for column, kind in self.kinds.items() if _is_scalar(kind)]

    def texts(
        self, leaves: Sequence[str], groups: Sequence[int] | None = None
    ) -> Iterator[dict[str, list[str | None]]]:
        """The cells of columns as texts, some rows at a time. Raises ArchiveError where they are damaged."""
        names = {leaf: self._class_names(leaf) for leaf in leaves}
        count = 0
        # As dictionaries: a long text that is stored once and repeated in every row would else take its size a row.
        # pyarrow cannot do that within structs, of which fewer rows are therefore read at once.
        flat = [leaf for leaf in leaves if leaf in self.kinds]
        rows = _TEXTS_AT_ONCE if len(flat) == len(leaves) else _NESTED_TEXTS_AT_ONCE
        batches = self._batches(leaves, groups, rows, flat)
        while True:
            try:
                batch = next(batches, None)
                if batch is None:
                    break
                cells = {leaf: _as_texts(_leaf_array(batch, leaf, self.kinds), names[leaf]) for leaf in leaves}
                count += batch.num_rows
            except DAMAGE as error:
                raise _damaged(self.name) from error
            yield cells
        if groups is None and count != self.rows:
            raise _damaged(self.name)

    def pictures(self, picture: PictureColumn, number: int) -> PictureGroup:
        """The pictures of one row group."""
        group = PictureGroup()
        try:
            # Counted while reading: what the description claims may lie, and pyarrow ends the whole process, with all
            # jobs in it, when asked for a damaged description of a column (metadata.row_group(0).column(0)).
            for batch in self._batches([picture.leaf], [number], _PICTURES_AT_ONCE):
                group.add(_leaf_array(batch, picture.leaf, self.kinds))
                if group.size > MAX_GROUP_BYTES:
                    return PictureGroup(failure=_too_large())
        except DAMAGE:
            group.failure = "its part of the parquet file is damaged; download the file again"
        return group

    def first_pictures(self, picture: PictureColumn) -> Iterator[bytes]:
        """The beginnings of the first pictures, as far as they can be read."""
        left = _SNIFFED_ROWS
        try:
            for batch in self._batches([picture.leaf], None, 1):
                for cell in _leaf_array(batch, picture.leaf, self.kinds):
                    left -= 1
                    if cell.is_valid:
                        yield bytes(cell.as_buffer()[:512].to_pybytes())
                if left <= 0:
                    return
        except DAMAGE:
            return

    def _batches(
        self, leaves: Sequence[str], groups: Sequence[int] | None, rows: int, dictionaries: Sequence[str] = ()
    ) -> Iterator[Any]:
        with _opened(self.path, self.metadata, dictionaries) as file:
            numbers = range(len(self.starts) - 1) if groups is None else groups
            yield from file.iter_batches(rows, row_groups=list(numbers), columns=list(leaves), use_threads=False)

    def _image_column(self) -> str | None:
        fitting = [column for column, kind in self.kinds.items() if _is_bytes(_fields(kind).get("bytes"))]
        plain = [column for column, kind in self.kinds.items() if _is_bytes(kind)]
        told = [column for column in (*fitting, *plain) if self._feature(column) == "Image"]
        if told or fitting:
            return (told or fitting)[0]
        for column in plain:
            if any(map(sniff_format, self.first_pictures(PictureColumn(column, column, None)))):
                return column
        return None

    def _feature(self, column: str) -> str | None:
        feature = self.features.get(column)
        kind = feature.get("_type") if isinstance(feature, dict) else None
        return kind if isinstance(kind, str) else None

    def _class_names(self, column: str) -> list[str] | None:
        """What the numbers of a column mean; None where they mean themselves."""
        if self._feature(column) != "ClassLabel" or not pa.types.is_integer(_plain(self.kinds[column])):
            return None
        names = self.features[column].get("names")
        if isinstance(names, dict):
            names = list(names.values())
        return [cell_text(name) for name in names] if isinstance(names, list) and names else None

    def _sample(self, columns: Sequence[str]) -> LabelTable | None:
        """Some rows from all over the file: its first ones may all be of one label."""
        if not columns or not self.rows:
            return None
        filled = [number for number, (start, end) in enumerate(pairwise(self.starts)) if end > start]
        rows: list[tuple[str, ...]] = []
        for number in filled[:: -(-len(filled) // _SAMPLE_GROUPS)]:
            taken = 0
            for cells in self.texts(columns, [number]):
                found = list(zip(*([cell or "" for cell in cells[column]] for column in columns), strict=True))
                # All over a single row group too: sorted by label, its beginning tells nothing either.
                kept = found[:: max(1, self.rows // _SAMPLE_ROWS)] if len(filled) == 1 else found
                rows.extend(kept)
                taken += len(kept)
                if taken >= _SAMPLE_ROWS and len(filled) > 1:
                    break
        return LabelTable(self.name, tuple(columns), tuple(rows))


def _opened(path: Path, metadata: Any = None, dictionaries: Sequence[str] = ()) -> Any:
    return pq.ParquetFile(
        path,
        metadata=metadata,
        read_dictionary=list(dictionaries),
        buffer_size=_READ_BYTES,
        pre_buffer=False,
        thrift_string_size_limit=_MAX_DESCRIPTION_BYTES,
        thrift_container_size_limit=_MAX_DESCRIPTION_ITEMS,
        page_checksum_verification=True,
    )


def _damaged(name: str) -> ArchiveError:
    return ArchiveError(
        f"{name} is not a parquet file that can be read, or it was not transferred to its end. Download it again."
    )


def _too_large() -> str:
    return (
        f"its row group takes more than {MAX_GROUP_BYTES / 1e9:,.0f} GB unpacked; write the file again with fewer rows "
        "per group"
    )


def _features(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """What Hugging Face's ``datasets`` says of the columns; empty where it did not write the file."""
    try:
        found = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _plain(kind: Any) -> Any:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_bytes(kind: Any) -> bool:
    # binary_view is younger than the oldest pyarrow that is supported.
    return kind is not None and (
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or str(kind) == "binary_view"
    )


def _is_text(kind: Any) -> bool:
    plain = None if kind is None else _plain(kind)
    return plain is not None and (
        pa.types.is_string(plain) or pa.types.is_large_string(plain) or str(plain) == "string_view"
    )


def _is_scalar(kind: Any) -> bool:
    plain = _plain(kind)
    return _is_text(plain) or pa.types.is_integer(plain) or pa.types.is_floating(plain) or pa.types.is_boolean(plain)


def _fields(kind: Any) -> dict[str, Any]:
    return {part.name: part.type for part in kind} if pa.types.is_struct(kind) else {}


def _leaf_array(batch: Any, leaf: str, kinds: Mapping[str, Any]) -> Any:
    if leaf in kinds:
        return batch.column(leaf)
    column, _, part = leaf.rpartition(".")
    return batch.column(column).field(part)


def _as_texts(array: Any, names: Sequence[str] | None) -> list[str | None]:
    if array.nbytes > _MAX_TEXT_BYTES:
        raise OverflowError("texts of that size are no labels")
    if pa.types.is_dictionary(array.type):
        used = array.indices.unique().drop_null()
        said = dict(zip(used.to_pylist(), array.dictionary.take(used).to_pylist(), strict=True))
        texts = {at: None if value is None else cell_text(value)[:_MAX_TEXT_CHARACTERS] for at, value in said.items()}
        return [None if at is None else texts[at] for at in array.indices.to_pylist()]
    values = array.to_pylist()
    if names is not None:
        # -1 is Hugging Face's number for "not known", as in the test sets of competitions.
        return [names[value] if value is not None and 0 <= value < len(names) else None for value in values]
    return [None if value is None else cell_text(value)[:_MAX_TEXT_CHARACTERS] for value in values]
