"""Results of a scoring on disk: a folder of parquet files, each written whole or not at all, and what they belong to.

``results.parquet/part-000000.parquet`` and so on; pandas, pyarrow, Polars, DuckDB and Spark read such a folder as one
table and pass over the files whose names begin with ``_``: the list of places as it was read, and what it was begun
with. A part that is there and whole is never made a second time; one that was stopped half-way has the rows up to
there, and is completed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from detector.errors import InvalidInput, ScoredOtherwise
from detector.importing.clutter import is_clutter
from detector.importing.entries import printable

#: Rows of a part: what a ``kill -9`` costs at most.
PART_ROWS = 4096
_BEGUN, _LIST = "_begun.json", "_list.jsonl"
_PART = "part-"

START_OVER = "Give --start-over to score everything again, or another folder with --out."


@dataclass(frozen=True)
class Begun:
    """What a scoring was begun with: the facts that every part carries, and the list that it works through.

    Attributes
    ----------
    function, model_id, model_version, backbone_key, program_version : of what judges
    labels : names of the labels, in the order of their columns
    limit : float or None
        Share of false accusations that the thresholds keep to; None where nothing was validated.
    judged_by : str
        A name for everything that decides on a verdict: model, labels, thresholds, what its samples cover.
    place : str
        As it was given.
    pictures : int
    list_digest : str
    rows : int
        Of a part.
    """

    function: str
    model_id: str
    model_version: int
    backbone_key: str
    program_version: str
    labels: tuple[str, ...]
    limit: float | None
    judged_by: str
    place: str = ""
    pictures: int = 0
    list_digest: str = ""
    rows: int = PART_ROWS

    @property
    def parts(self) -> int:
        return -(-self.pictures // self.rows)

    def rows_of(self, part: int) -> int:
        """How many rows a part has once it is whole."""
        return min(self.rows, self.pictures - part * self.rows)

    def schema(self) -> pa.Schema:
        """The columns of the results, with what they belong to in the metadata."""
        columns = [
            ("path", pa.string()),
            ("sha256", pa.string()),
            ("label", pa.string()),
            ("verdict", pa.string()),
            ("grade", pa.string()),
            ("confidence", pa.float64()),
            *((probability_column(label), pa.float64()) for label in self.labels),
            ("reason", pa.string()),
            ("unlike", pa.string()),
            ("error", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("format", pa.string()),
        ]
        facts = {name: value for name, value in asdict(self).items() if name not in ("place", "pictures", "rows")}
        return pa.schema(columns, {name: _text(value) for name, value in facts.items()})


@dataclass(frozen=True)
class NewRows:
    """How many rows, how often each verdict among them, and how many of files that could not be used."""

    rows: int
    verdicts: dict[str, int]
    errors: int


def probability_column(label: str) -> str:
    """The column of one label's probability."""
    return f"probability_{label}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class Results:
    """The folder that a scoring writes to.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    InvalidInput
        There is something else at that place.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = printable(str(folder))
        if folder.exists() and not folder.is_dir():
            raise InvalidInput(f"{self.name} is a file; results are written as a folder. Give another name with --out.")
        strange = next((item.name for item in self._entries() if not _may_lie_there(item.name)), None)
        if strange is not None:
            raise InvalidInput(
                f"{self.name} holds something else ({printable(strange)}), and nothing of it is touched. Give another "
                "name with --out."
            )
        if not (folder / _BEGUN).exists() and any(folder.glob(f"{_PART}*.parquet")):
            # What is begun says so before its first part is written, and until its last one is removed.
            raise InvalidInput(
                f"{self.name} holds parquet files of something else, and nothing of it is touched. Give another name "
                "with --out."
            )

    def begun(self) -> Begun | None:
        """What the results that are there were begun with; None where nothing is there, or it cannot be understood."""
        try:
            known = json.loads((self.folder / _BEGUN).read_text(encoding="utf-8"))
            return Begun(**{**known, "labels": tuple(known["labels"])})
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise ScoredOtherwise(self.name, f"{_BEGUN} in it cannot be read", START_OVER) from error

    def clear(self) -> None:
        """Remove what an earlier scoring wrote."""
        # What says whose they are goes after the parts: a kill in between must not leave some that belong to nothing.
        # The list goes last of all: as long as something is begun, there is a list of it.
        for item in sorted(self._entries(), key=lambda item: (item.name == _LIST, item.name == _BEGUN)):
            if _is_ours(item.name):
                item.unlink(missing_ok=True)

    def begin(self, begun: Begun) -> None:
        """Note what all parts belong to; the list must be there."""
        self._write(_BEGUN, json.dumps(asdict(begun), ensure_ascii=False, indent=1).encode())

    def write_list(self, places: Iterable[str]) -> tuple[int, str]:
        """Write the list down; returns how many there are, and a digest.

        One JSON text a line: names of files may hold line breaks, and bytes that are no text.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self._temporary()
        try:
            with temporary.open("xb") as file:
                number, digest = _digested(places, file.write)
            temporary.replace(self.folder / _LIST)
        finally:
            temporary.unlink(missing_ok=True)
        return number, digest

    def has_list(self) -> bool:
        return (self.folder / _LIST).is_file()

    def parts_of_list(self, rows: int) -> Iterator[tuple[int, list[str]]]:
        """The list, part by part: (number, places)."""
        with (self.folder / _LIST).open("rb") as file:
            number = 0
            while lines := list(islice(file, rows)):
                yield number, [json.loads(line) for line in lines]
                number += 1

    def part_of_list(self, rows: int, number: int) -> list[str]:
        """The places of one part of the list."""
        with (self.folder / _LIST).open("rb") as file:
            return [json.loads(line) for line in islice(file, number * rows, (number + 1) * rows)]

    def part_file(self, number: int) -> Path:
        return self.folder / f"{_PART}{number:06d}.parquet"

    def rows_there(self, begun: Begun, number: int) -> int:
        """How many rows of a part are there already; 0 where it belongs to something else or cannot be read."""
        try:
            with pq.ParquetFile(self.part_file(number)) as part:
                facts = part.schema_arrow.metadata or {}
                there = int(part.metadata.num_rows)
        except (OSError, pa.ArrowException):
            return 0
        same = all(
            facts.get(name.encode()) == value.encode()
            for name, value in (("judged_by", begun.judged_by), ("list_digest", begun.list_digest))
        )
        return there if same and there <= begun.rows_of(number) else 0

    def new_rows(self, begun: Begun, before: Sequence[int]) -> NewRows:
        """What has come since there were so many rows of each part."""
        rows, errors, verdicts = 0, 0, Counter[str]()
        for number, there in enumerate(before):
            now = self.rows_there(begun, number)
            if now <= there:
                continue
            with pq.ParquetFile(self.part_file(number)) as part:
                new = part.read(["verdict", "error"]).slice(there)
            rows += len(new)
            errors += len(new) - new["error"].null_count
            verdicts.update(verdict for verdict in new["verdict"].to_pylist() if verdict is not None)
        return NewRows(rows, dict(verdicts), errors)

    def read_part(self, number: int) -> pa.Table:
        """The rows of a part."""
        with pq.ParquetFile(self.part_file(number)) as part:
            return part.read()

    def write_part(self, number: int, table: pa.Table) -> None:
        """Write a part, whole or not at all, in place of the one that may be there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self._temporary()
        try:
            with temporary.open("xb") as file:
                pq.write_table(table, file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.part_file(number))
        finally:
            temporary.unlink(missing_ok=True)

    def _write(self, name: str, data: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self._temporary()
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.folder / name)
        finally:
            temporary.unlink(missing_ok=True)

    def _temporary(self) -> Path:
        return self.folder / f".{secrets.token_hex(8)}.part"

    def _entries(self) -> list[Path]:
        with contextlib.suppress(FileNotFoundError):
            return list(self.folder.iterdir())
        return []


def digest_of(places: Iterable[str]) -> tuple[int, str]:
    """How many there are, and what `Results.write_list` would say of them."""
    return _digested(places, lambda _line: 0)


def _digested(places: Iterable[str], write: Any) -> tuple[int, str]:
    digest, number = hashlib.sha256(), 0
    for place in places:
        line = json.dumps(place).encode() + b"\n"
        digest.update(line)
        write(line)
        number += 1
    return number, digest.hexdigest()


def _may_lie_there(name: str) -> bool:
    """Ours, or what a system leaves in every folder that somebody looks at."""
    return _is_ours(name) or is_clutter(printable(name))


def _is_ours(name: str) -> bool:
    whole = name.startswith(_PART) and name.endswith(".parquet")
    return whole or name in (_BEGUN, _LIST) or (name.startswith(".") and name.endswith(".part"))


def table_of(begun: Begun, rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Rows as a table of the results' columns."""
    return pa.Table.from_pylist(list(rows), schema=begun.schema())
