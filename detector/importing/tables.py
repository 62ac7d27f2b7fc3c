"""A table of labels beside the images: CSV in any common dialect, or JSON lines, read into columns of text.

What a column means is found in :mod:`detector.importing.table_columns`, which file a row names in
:mod:`detector.importing.table_files`. Tables come from strangers: every bound stands at the top of this file, and
whatever is wrong with one is an ``InvalidInput`` that names the file and the line.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, NoReturn

from detector.errors import InvalidInput
from detector.imaging.formats import IMAGE_ENDINGS

#: What a table of labels is called like.
TABLE_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson")
#: Any other JSON beside images is as likely to be the notes on one picture or a program's settings.
TABLE_NAMES = ("labels.json", "metadata.json", "annotations.json")

MAX_TABLE_BYTES = 200_000_000
MAX_ROWS = 2_000_000
MAX_COLUMNS = 200
#: A table within the other bounds could still be hundreds of times larger in memory.
MAX_CELLS = 20_000_000
# A short text can be a large object: "[]," takes 64 bytes in memory.
_MAX_ROW_CHARACTERS = 4_000_000
_MAX_MAPPED_BYTES = 30_000_000
_MAX_DEPTH = 8

_JSON_ENDINGS = (".jsonl", ".ndjson", ".json")
_HUGGING_FACE_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
# The rarer a character is in the names of files, the surer it stands between cells.
_DELIMITERS = ("\t", ";", "|", ",")
_DELIMITER_ROWS = 100
_DELIMITER_CHARACTERS = 500_000
_HEADER_ROWS = 1_000
#: What a column is called where it has no name.
UNNAMED = "column"
_HEADER_WORDS = {
    "annotation", "category", "class", "file", "filename", "fold", "generator", "id", "image", "index", "label",
    "labels", "model", "name", "partition", "path", "set", "source", "split", "subset", "target", "url", "usage",
}  # fmt: skip
# Cells that many rows share are kept once.
_MOST_SHARED_CELLS = 100_000
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    # The mark of UTF-32 begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SURROGATES = re.compile("[\ud800-\udfff]")
_SPACE = re.compile(r"[ \t\r\n]*")
_SPACE_AND_COMMA = re.compile(r"[ \t\r\n]*,?[ \t\r\n]*")


@dataclass(frozen=True)
class LabelTable:
    """A table of texts.

    Attributes
    ----------
    name : str
        The file's name, as people know it.
    columns : tuple of str
        Each name once; those without one are ``column 1``, ``column 2`` and so on.
    rows : tuple of tuple of str
        Each with one cell a column, without space around it; what was absent is an empty text.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...] = field(repr=False)

    def index(self, column: str) -> int:
        """Where a column stands.

        Raises
        ------
        InvalidInput
            The table has no such column.
        """
        if column not in self.columns:
            raise InvalidInput(
                f"{self.name} has no column {column!r}. Choose one of its columns: {', '.join(self.columns)}."
            )
        return self.columns.index(column)


def looks_like_table(path: str) -> bool:
    """Whether a file is a table of labels by its name; parquet files are not meant."""
    name = re.split(r"[/\\]", path)[-1].lower()
    return name.endswith(TABLE_ENDINGS) or name in TABLE_NAMES


def is_hugging_face_metadata(path: str) -> bool:
    """Whether a file is called as Hugging Face's ``imagefolder`` expects it of the table beside the images."""
    return re.split(r"[/\\]", path)[-1].lower() in _HUGGING_FACE_NAMES


def ends_like_image(name: str) -> bool:
    """Whether a file's name ends like one of the formats that are read."""
    return name.lower().endswith(IMAGE_ENDINGS)


def read_table(data: bytes, name: str) -> LabelTable:
    """Read a table.

    CSV may be separated by commas, semicolons, tabs or bars, with or without quotation marks and a line of column
    names, in UTF-8, UTF-16 or UTF-32 with a byte order mark, else UTF-8, else Windows-1252. JSON may be one object a
    line, an array of objects, or an object whose keys are names of files. Which of the two it is, is told by the
    file's name, and for other names by the first character.

    Parameters
    ----------
    data : bytes
        The whole file.
    name : str
        Of the file, for its kind and for the error.

    Returns
    -------
    LabelTable
        Objects within objects become columns such as ``image.path``; ``true``, ``1`` and ``1.0`` become the texts
        ``true``, ``1`` and ``1``, null becomes an empty one, a list its JSON.

    Raises
    ------
    InvalidInput
        The file is empty, no such table, or beyond a bound of this module.
    """
    if len(data) > MAX_TABLE_BYTES:
        raise table_too_large(name, len(data))
    encoding = _encoding(data)
    head = data[:4096].decode(encoding, "replace").lstrip()
    if not head and not data.decode(encoding, "replace").strip():
        raise InvalidInput(f"{name} is empty. Choose a table with a row for each image.")
    # In UTF-16 and UTF-32 every other byte may be zero.
    if b"\0" in data and (encoding in ("utf-8", "cp1252") or "\0" in data.decode(encoding, "replace")):
        raise InvalidInput(f"{name} is not a table of text. Save it as CSV in UTF-8.")
    ending = name.lower()
    if ending.endswith(_JSON_ENDINGS) or (head.startswith(("{", "[")) and not ending.endswith((".csv", ".tsv"))):
        return _read_json(data, encoding, head, name)
    return _read_csv(data, encoding, name)


def table_too_large(name: str, size: int) -> InvalidInput:
    """The error for a file of more than `MAX_TABLE_BYTES`."""
    return InvalidInput(
        f"{name} has {size / 1e6:,.0f} MB; a table of at most {MAX_TABLE_BYTES / 1e6:,.0f} MB is read. "
        "Leave out columns that are not needed, or split it."
    )


def unique_names(names: Iterable[str]) -> tuple[str, ...]:
    """Names of columns made fit to show and to choose by: printable, not empty, each once."""
    taken: set[str] = set()
    found: list[str] = []
    for number, name in enumerate(names, 1):
        shown = "".join(character if character.isprintable() else " " for character in name)
        shown = " ".join(shown.split()) or f"{UNNAMED} {number}"
        candidate, again = shown, 2
        while candidate in taken:
            candidate = f"{shown} ({again})"
            again += 1
        taken.add(candidate)
        found.append(candidate)
    return tuple(found)


def cell_text(value: object) -> str:
    """A value of JSON or of a typed column as the text that a person would have written for it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", str(value)).strip()


class _Rows:
    """Gathers rows within the bounds; cells that many rows share are kept once."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._shared: dict[str, str] = {}
        self._cells = 0
        self.rows: list[tuple[str, ...]] = []

    def add(self, cells: Iterable[str]) -> None:
        share = self._shared.setdefault if len(self._shared) < _MOST_SHARED_CELLS else self._shared.get
        row = tuple([share(cell, cell) for cell in cells])
        self._cells += len(row)
        if len(self.rows) >= MAX_ROWS:
            raise InvalidInput(f"{self._name} has more than {MAX_ROWS:,} rows. Split it.")
        if self._cells > MAX_CELLS:
            raise InvalidInput(
                f"{self._name} has more than {MAX_CELLS:,} cells. Leave out columns that are not needed, or split it."
            )
        self.rows.append(row)


def require_columns(count: int, name: str) -> None:
    """Raises InvalidInput where a table has more columns than are read."""
    if count > MAX_COLUMNS:
        raise InvalidInput(
            f"{name} has more than {MAX_COLUMNS} columns. Leave only those with the file's name, the label and so on."
        )


def _encoding(data: bytes) -> str:
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return encoding
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _lines(data: bytes, encoding: str, newline: str | None) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(data), encoding, "replace", newline)


# --- CSV ---


def _read_csv(data: bytes, encoding: str, name: str) -> LabelTable:
    # Excel's own way to say what separates the cells.
    told = re.match(r"sep=([^\w \r\n\"])\r?\n", data[:64].decode(encoding, "ignore"), re.IGNORECASE)
    skip = 1 if told else 0
    delimiter = told[1] if told else _delimiter(data, encoding)
    try:
        return _table(_quoted_rows(data, encoding, delimiter, skip, name), name)
    except _QuotesInTheWay as error:
        rows = list(islice(_unquoted_rows(data, encoding, delimiter, skip), MAX_ROWS + 2))
        counts = {len(row) for row in rows}
        quoted = any(len(cell) > 1 and cell[0] == cell[-1] == '"' for row in rows for cell in row)
        if len(counts) != 1 or quoted:
            raise InvalidInput(str(error)) from error
        return _table(iter(rows), name)


class _QuotesInTheWay(Exception):
    """Quotation marks that do not stand around cells, or not at both ends."""


def _quoted_rows(data: bytes, encoding: str, delimiter: str, skip: int, name: str) -> Iterator[list[str]]:
    lines = _lines(data, encoding, "")
    for _ in range(skip):
        lines.readline()
    # Strict: else a quotation mark that is never closed swallows all rows below it, and nobody hears of it.
    size = 0

    def bounded() -> Iterator[str]:
        nonlocal size
        for text in lines:
            size += len(text)
            if size > _MAX_ROW_CHARACTERS:
                raise InvalidInput(
                    f"{name} cannot be read: the row that begins in line {line + 1:,} is longer than "
                    f"{_MAX_ROW_CHARACTERS:,} characters. Shorten it, or close its quotation marks."
                )
            yield text

    reader = csv.reader(bounded(), delimiter=delimiter, skipinitialspace=True, strict=True)
    line = skip
    while True:
        size = 0
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "field larger" in str(error):
                why = f"a cell is longer than {csv.field_size_limit():,} characters; shorten it, or close its quotation"
            else:
                why = "its quotation marks do not stand around cells; write one inside a cell twice"
            raise _QuotesInTheWay(f"{name} cannot be read from line {line + 1:,} on: {why}.") from error
        line = skip + reader.line_num
        yield row[: MAX_COLUMNS + 1]


def _unquoted_rows(data: bytes, encoding: str, delimiter: str, skip: int) -> Iterator[list[str]]:
    for line in islice(_lines(data, encoding, None), skip, None):
        if line.strip():
            yield line.rstrip("\n").split(delimiter, MAX_COLUMNS)


def _delimiter(data: bytes, encoding: str) -> str:
    """What separates the cells: the character by which the first rows come out most alike.

    ``csv.Sniffer`` decides by how often characters occur, and takes letters of file names for delimiters.
    """
    sample = data[: 4 * _DELIMITER_CHARACTERS].decode(encoding, "ignore")[:_DELIMITER_CHARACTERS]
    best: tuple[float, float, int] = (0, 0, 0)
    found = next((character for character in _DELIMITERS if character not in sample), ",")
    for rank, delimiter in enumerate(_DELIMITERS):
        reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter, skipinitialspace=True)
        rows: list[list[str]] = []
        # What came before the error tells enough; the reading itself says what is wrong.
        with contextlib.suppress(csv.Error):
            rows.extend(islice((row for row in reader if row), _DELIMITER_ROWS))
        if not rows:
            continue
        width, alike = Counter(map(len, rows)).most_common(1)[0]
        if width < 2:
            continue
        surer = _DELIMITERS[:rank]
        named = sum(any(ends_like_image(cell.strip()) and not _has(cell, surer) for cell in row) for row in rows)
        score = (named / len(rows), alike / len(rows), width)
        if score > best:
            best, found = score, delimiter
    return found


def _has(cell: str, characters: Iterable[str]) -> bool:
    return any(character in cell for character in characters)


def _table(cells: Iterator[list[str]], name: str) -> LabelTable:
    rows = (row for row in ([cell.strip() for cell in line] for line in cells) if any(row))
    first = list(islice(rows, _HEADER_ROWS))
    if not first:
        raise InvalidInput(f"{name} is empty. Choose a table with a row for each image.")
    header = first[0] if _is_header(first) else None
    body = first[1:] if header is not None else first
    usual = Counter(len(row) for row in body).most_common(1)[0][0] if body else 0
    width = usual
    if header is not None:
        if usual == len(header) + 1 and any(row[-1] for row in body if len(row) == usual):
            # R's write.table() gives the names of its rows no name of their own.
            header = ["", *header]
        width = max(len(header), usual)
    require_columns(width, name)
    # A delimiter at the end of each line makes no column.
    while width > 1 and not any("".join(row[width - 1 :]) for row in first):
        width -= 1
    found = _Rows(name)
    for row in chain(body, rows):
        # Tables that were put together from several keep the line with the names of each.
        if row != header:
            found.add((row + [""] * (width - len(row)))[:width])
    names = (header or []) + [""] * (width - len(header or []))
    return LabelTable(name, unique_names(names[:width]), tuple(found.rows))


def _is_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row holds the names of the columns and not the first image."""
    first = rows[0]
    if any(ends_like_image(cell) for cell in first):
        return False
    if any(re.sub(r"[\W_]+", "", cell.casefold()) in _HEADER_WORDS for cell in first):
        return True
    numbers = [cell for cell in first if _is_number(cell)]
    # pandas numbers columns that have no name.
    if numbers and numbers != [str(number) for number in range(len(numbers))]:
        return False
    if numbers and len(numbers) < len([cell for cell in first if cell]):
        return False
    # A value comes again further below, or others like it ("img_001", "img_002"); a name does not.
    below = [row for row in rows[1:] if row != first]
    for at, cell in enumerate(first):
        values = {row[at] for row in below if at < len(row)}
        if cell and (cell in values or (re.search(r"\d", cell) and _shape(cell) in map(_shape, values))):
            return False
    return True


def _shape(cell: str) -> str:
    return re.sub(r"\d+", "0", cell)


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"[-+]?\d+([.,]\d+)?([eE][-+]?\d+)?", cell) is not None


# --- JSON ---


def _read_json(data: bytes, encoding: str, head: str, name: str) -> LabelTable:
    if head.startswith("["):
        return _objects_table(_array(data.decode(encoding, "replace"), name), name)
    try:
        return _objects_table(_json_lines(data, encoding, name), name)
    except InvalidInput:
        if len(data) > _MAX_MAPPED_BYTES or not (mapped := _mapped(data.decode(encoding, "replace"), name)):
            raise
    return _objects_table(iter(mapped), name)


def _json_lines(data: bytes, encoding: str, name: str) -> Iterator[Mapping[str, Any]]:
    found: Mapping[str, Any] | None = None
    count = 0
    for number, line in enumerate(_lines(data, encoding, None), 1):
        if not line.strip():
            continue
        if len(line) > _MAX_ROW_CHARACTERS:
            _refuse(name, f"line {number:,} is longer than {_MAX_ROW_CHARACTERS:,} characters")
        found = _object(json.loads, line, name, f"line {number:,}")
        count += 1
        # One line may be a whole table: {"a.jpg": "real", "b.jpg": "fake"}.
        if number == 1 and any(map(ends_like_image, found)):
            _refuse(name, "line 1 holds names of files where those of columns are expected")
        yield found


def _array(text: str, name: str) -> Iterator[Mapping[str, Any]]:
    """The objects of an array one by one: all at once they may take a hundred times the memory of their text."""
    decode = json.JSONDecoder().raw_decode
    at = text.index("[") + 1
    window, start, row = "", at, 0
    while True:
        at = _matched_end(_SPACE_AND_COMMA if row else _SPACE, text, at)
        if at >= len(text):
            _refuse(name, f"its list is not closed after object {row:,}")
        if text[at] == "]":
            return
        row += 1
        what = f"object {row:,}"
        if text[at] != "{":
            _refuse(name, f"{what} of its list is not a JSON object")
        try:
            found, end = decode(window, at - start)
        except (ValueError, RecursionError):
            # Perhaps the window ended inside of it.
            window, start = text[at : at + 2 * _MAX_ROW_CHARACTERS], at
            found, end = _object(lambda window: decode(window, 0), window, name, what)
        yield found
        at = start + end


def _matched_end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _object(decode: Callable[[str], Any], text: str, name: str, what: str) -> Any:
    try:
        found = decode(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found[0] if isinstance(found, tuple) else found, dict):
        _refuse(name, f"{what} is not a JSON object")
    return found


def _mapped(text: str, name: str) -> list[Mapping[str, Any]]:
    """``{"a.jpg": "real"}`` or ``{"a.jpg": {"label": "real"}}`` as rows; nothing where the keys are no files."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return []
    if not isinstance(found, dict) or not found or not all(map(ends_like_image, found)):
        return []
    return [
        {
            "file": key,
            **({k: v for k, v in value.items() if k != "file"} if isinstance(value, dict) else {"label": value}),
        }
        for key, value in found.items()
    ]


def _refuse(name: str, why: str) -> NoReturn:
    raise InvalidInput(
        f'{name} cannot be read: {why}. Write one object per line, such as {{"file": "a.jpg", "label": "real"}}.'
    )


def _objects_table(objects: Iterator[Mapping[str, Any]], name: str) -> LabelTable:
    columns: dict[str, int] = {}
    found = _Rows(name)
    for item in objects:
        cells: dict[str, str] = {}
        _flatten(item, "", 0, cells)
        for column in cells:
            columns.setdefault(column, len(columns))
        require_columns(len(columns), name)
        if any(cells.values()):
            row = [""] * len(columns)
            for column, cell in cells.items():
                row[columns[column]] = cell
            found.add(row)
    if not found.rows:
        raise InvalidInput(f"{name} is empty. Choose a table with a row for each image.")
    width = len(columns)
    rows = tuple(row if len(row) == width else row + ("",) * (width - len(row)) for row in found.rows)
    names = (_SURROGATES.sub("\N{REPLACEMENT CHARACTER}", column) for column in columns)
    return LabelTable(name, unique_names(names), rows)


def _flatten(item: Mapping[str, Any], prefix: str, depth: int, cells: dict[str, str]) -> None:
    for key, value in item.items():
        if isinstance(value, dict) and value and depth < _MAX_DEPTH:
            _flatten(value, f"{prefix}{key}.", depth + 1, cells)
        elif isinstance(value, (dict, list)):
            cells[f"{prefix}{key}"] = _json_text(value)
        else:
            cells[f"{prefix}{key}"] = cell_text(value)


def _json_text(value: Any) -> str:
    try:
        return cell_text(json.dumps(value, ensure_ascii=False)) if value else ""
    except RecursionError:
        return ""
