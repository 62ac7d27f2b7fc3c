"""Lists of pictures to score: text with one a line, tables, parquet; read as they come, whoever has made them.

A list may name millions, so one bad line is a row that says so, not the end.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

from detector.errors import DetectorError, PlaceUnusable
from detector.pipeline.score_stores import LONGEST, scheme_of, shown, why_of

#: What a list of pictures is called.
_TABLES, _TEXTS, _PARQUET = (".csv", ".tsv"), (".txt", ".list", ".lst"), (".parquet",)
LIST_ENDINGS = (*_TABLES, *_TEXTS, *_PARQUET)
#: The column of a table that names the pictures.
_COLUMNS = ("path", "file", "file_name", "filename", "image", "url", "address", "uri", "key")
#: Of a line of a table, whose other columns may be long. What is beyond is passed over.
_LONGEST_LINE = 1_000_000
_ROWS_AT_A_TIME = 1024
#: Of the names of one group of rows of a parquet file: that much is held at once.
_MOST_GROUP_BYTES = 512_000_000


def listed(opened: Callable[[], IO[bytes]], name: str, folder: str) -> Iterator[str]:
    """The places that a list names."""
    lowered, shown_name = name.lower(), shown(name)
    try:
        with opened() as file:
            if lowered.endswith(_PARQUET):
                found = _rows_of_parquet(file, shown_name)
            elif lowered.endswith(_TABLES):
                found = _rows_of_table(file, shown_name, "\t" if lowered.endswith(".tsv") else ",")
            else:
                found = _lines(file)
            for place in found:
                place = place.strip("\r\n")
                # One that is too long stays too long, so that its row says so.
                place = place[: LONGEST + 1]
                if place:
                    yield place if scheme_of(place) or place.startswith("/") else _joined(folder, place)
    except DetectorError:
        raise
    except csv.Error as error:
        raise PlaceUnusable(shown_name, f"it is not a table that can be read ({error})") from error
    except Exception as error:  # each store has errors of its own
        if not scheme_of(folder) and not isinstance(error, OSError):
            raise
        raise PlaceUnusable(shown_name, _why_unread(error, folder)) from error


def _why_unread(error: Exception, folder: str) -> str:
    if scheme_of(folder):
        return why_of(error, scheme_of(folder))
    return (isinstance(error, OSError) and error.strerror) or "it cannot be read"


def _joined(folder: str, place: str) -> str:
    return f"{folder}/{place}" if scheme_of(folder) else os.path.join(folder, place)  # noqa: PTH118 - text, of millions


def _lines(file: IO[bytes], most: int = LONGEST + 1) -> Iterator[str]:
    """Lines, each cut to so many characters: a file without line breaks must not be read as one of gigabytes."""
    text = _as_text(file)
    while line := text.readline(most):
        yield line
        while len(line) == most and not line.endswith("\n"):
            line = text.readline(most)


def _as_text(file: IO[bytes]) -> io.TextIOWrapper:
    """UTF-8 in which bytes that are none stay what they are; UTF-16 where its mark says so, as PowerShell writes it."""
    mark = file.read(2)
    file.seek(0)
    if mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return io.TextIOWrapper(file, "utf-16", "replace", newline="\n")
    return io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="\n")


def _rows_of_table(file: IO[bytes], name: str, delimiter: str) -> Iterator[str]:
    rows = _csv_rows(file, delimiter)
    header = next(rows, None)
    if header is None:
        return
    column = _column(header)
    if column is None and len(header) > 1:
        raise PlaceUnusable(name, f"none of its columns is called {' or '.join(_COLUMNS[:3])}")
    if column is None:
        # One column without a name: a list.
        yield header[0] if header else ""
    for row in rows:
        if isinstance(row, _Bad):
            yield row[0]
        else:
            yield row[column or 0] if len(row) > (column or 0) else ""


def _csv_rows(file: IO[bytes], delimiter: str) -> Iterator[list[str]]:
    lines = ""

    def kept() -> Iterator[str]:
        nonlocal lines
        for line in _lines(file, _LONGEST_LINE):
            lines = line
            yield line

    reader = csv.reader(kept(), delimiter=delimiter)
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error:
            # A field that is longer than any name. The reader goes on with the next line.
            yield _Bad([lines])


class _Bad(list[str]):
    """The line of a row that could not be taken apart."""


def _column(names: Iterable[str]) -> int | None:
    lowered = [name.strip().lower() for name in names]
    return next((lowered.index(name) for name in _COLUMNS if name in lowered), None)


def _rows_of_parquet(file: IO[bytes], name: str) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            names = table.schema_arrow.names
            column = _column(names)
            if column is None or not _is_text(table.schema_arrow.field(column).type):
                raise PlaceUnusable(name, f"none of its columns of text is called {' or '.join(_COLUMNS[:3])}")
            _require_small_groups(table.metadata, names[column], name)
        file.seek(0)
        # As what is there once, and numbers: a name that is said a million times is otherwise a million names.
        with pq.ParquetFile(file, read_dictionary=[names[column]]) as table:
            for batch in table.iter_batches(_ROWS_AT_A_TIME, columns=[names[column]]):
                yield from _texts(batch.column(0))
    except pa.ArrowException as error:
        raise PlaceUnusable(name, "it is damaged, or no parquet file") from error


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _require_small_groups(metadata: Any, wanted: str, name: str) -> None:
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group)
        size = sum(
            rows.column(number).total_uncompressed_size
            for number in range(rows.num_columns)
            if rows.column(number).path_in_schema == wanted
        )
        if size > _MOST_GROUP_BYTES:
            raise PlaceUnusable(
                name,
                f"the names of one of its row groups take {size / 1e6:,.0f} MB, and at most "
                f"{_MOST_GROUP_BYTES / 1e6:,.0f} MB are read at once (write it with smaller row groups)",
            )


def _texts(column: Any) -> Iterator[str]:
    """The values, each cut to what a name may have at most and one character more."""
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        yield from (_cut(value) for value in column)
        return
    # Only those that are named by these rows: there may be as many as in the whole file.
    known: dict[int | None, str] = {None: ""}
    for at in column.indices.to_pylist():
        if at not in known:
            known[at] = _cut(column.dictionary[at])
        yield known[at]


def _cut(value: Any) -> str:
    return (value.as_py() or "")[: LONGEST + 1]
