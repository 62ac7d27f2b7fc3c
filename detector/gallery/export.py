"""Samples to take away: a table as CSV, or the images themselves in label folders as a ZIP, both as streams."""

from __future__ import annotations

import csv
import io
import tempfile
import zipfile
from collections.abc import Generator, Sequence
from datetime import UTC, datetime
from itertools import tee
from typing import Any

from detector.errors import StoredFileDamaged, StoredFileMissing
from detector.formatting import BYTE_ORDER_MARK, safe_cell
from detector.importing.file_names import NameTaker, image_name, safe_name
from detector.importing.labelling import NO_LABEL
from detector.storage import functions
from detector.storage.sample_records import SampleRecord, read_records
from detector.workspace import Workspace

#: The table inside a ZIP.
TABLE = "samples.csv"

_COLUMNS = (
    *("sample", "file", "sha256", "label", "prediction", "confidence", "out_of_fold", "source", "external_id"),
    *("split", "annotated_at", "annotated_by", "import", "near_duplicate_group", "label_quality"),
)
_ZIP_COLUMNS = ("path", "problem")

# Handed on in pieces of about this size: each costs a change of threads and a write to the network.
_PIECE = 256 * 1024


def export_csv(ws: Workspace, function_id: str, sample_ids: Sequence[str]) -> Generator[bytes, None, None]:
    """A table of samples with their labels and predictions by name, in the order of ``sample_ids``.

    The confidences of all labels stand in columns ``confidence: <label>``; times are ISO 8601 in UTC. Text that a
    spreadsheet would run as a formula has an apostrophe before it. Whatever the number of samples, only a few are in
    memory at a time.

    Parameters
    ----------
    sample_ids : sequence of str
        Of samples inside or outside the bin; ids that are not there are passed over.

    Yields
    ------
    bytes
        UTF-8 with a byte order mark.

    Raises
    ------
    NotFound
        There is no such function.
    """
    table = _Table(ws, function_id)
    for record in read_records(ws.db, function_id, sample_ids):
        table.add(record)
        if table.size >= _PIECE:
            yield table.taken()
    yield table.taken()


def export_zip(ws: Workspace, function_id: str, sample_ids: Sequence[str]) -> Generator[bytes, None, None]:
    """The original files of samples in a folder for each label, and the table of ``export_csv`` beside them.

    The table says for each sample under which path it lies, or why it is not there. Imported again with labels from
    folders, the archive gives the same labels, as long as their names can be those of folders. What grows with the
    number of samples is only the list of names that every ZIP ends with.

    Parameters, pieces and errors are those of ``export_csv``.
    """
    sink = _Sink()
    names = _PathsInZip([label.name for label in functions.list_labels(ws.db, function_id)])
    table = _Table(ws, function_id, _ZIP_COLUMNS)
    # On disk: it is known only at the end which images were there, and the table must say so.
    with tempfile.TemporaryFile() as rows, zipfile.ZipFile(sink, "w") as archive:
        records, ahead = tee(read_records(ws.db, function_id, sample_ids))
        images = ws.blobs.readers(record.image_hash for record in ahead)
        for record, (_, read) in zip(records, images, strict=True):
            path, problem = "", ""
            try:
                data = read()
            except (StoredFileMissing, StoredFileDamaged) as error:
                problem = str(error)
            except OSError as error:
                problem = f"The image file cannot be read ({error.strerror or 'the disk reports an error'})."
            else:
                path = names.path_of(record)
                archive.writestr(_entry(path, record.created_at), data)
            table.add(record, path, problem)
            rows.write(table.taken())
            if sink.size >= _PIECE:
                yield sink.taken()
        rows.write(table.taken())
        rows.seek(0)
        info = _entry(TABLE, datetime.now(UTC).timestamp(), zipfile.ZIP_DEFLATED)
        # A table of millions of samples may pass 4 GB, and the entry's header must say so before it is written.
        with archive.open(info, "w", force_zip64=True) as entry:
            while piece := rows.read(_PIECE):
                entry.write(piece)
                if sink.size >= _PIECE:
                    yield sink.taken()
    yield sink.taken()


class _Table:
    """Rows of CSV, collected until they are taken."""

    def __init__(self, ws: Workspace, function_id: str, more_columns: Sequence[str] = ()) -> None:
        functions.get_function(ws.db, function_id)
        self._labels = [label.name for label in functions.list_labels(ws.db, function_id)]
        self._text = io.StringIO(BYTE_ORDER_MARK, newline="")
        self._text.seek(0, io.SEEK_END)
        self._writer = csv.writer(self._text)
        self._writer.writerow([*_COLUMNS, *more_columns, *(f"confidence: {name}" for name in self._labels)])

    @property
    def size(self) -> int:
        return self._text.tell()

    def add(self, record: SampleRecord, *more: str) -> None:
        confidences = dict(record.confidences)
        row = [*_cells(record), *more, *(confidences.get(name) for name in self._labels)]
        self._writer.writerow([safe_cell(value) for value in row])

    def taken(self) -> bytes:
        """What was written since the last time."""
        data = self._text.getvalue().encode()
        self._text.seek(0)
        self._text.truncate()
        return data


def _cells(record: SampleRecord) -> tuple[Any, ...]:
    """The cells of ``_COLUMNS``."""
    return (
        *(record.id, record.file_name, record.image_hash, record.label, record.prediction, record.confidence),
        *(record.out_of_fold, record.source, record.external_id, record.split, _iso(record.annotated_at)),
        *(record.annotated_by, record.batch, record.near_duplicate_group, record.label_quality),
    )


def _iso(moment: float | None) -> str | None:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}" if moment is not None else None


class _PathsInZip:
    """Where each image lies: one folder a label, and no name twice in it."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._root = NameTaker([NO_LABEL, TABLE])
        self._folders: dict[str | None, str] = {None: NO_LABEL}
        self._files: dict[str, NameTaker] = {}
        for label in labels:
            self._folder(label)

    def path_of(self, record: SampleRecord) -> str:
        folder = self._folder(record.label)
        name = self._files.setdefault(folder, NameTaker()).take(image_name(record.file_name, record.format))
        return f"{folder}/{name}"

    def _folder(self, label: str | None) -> str:
        if label not in self._folders:
            self._folders[label] = self._root.take(safe_name(label or ""), has_ending=False)
        return self._folders[label]


def _entry(path: str, moment: float, compression: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    # Images are compressed already; trying again costs time and saves nothing.
    at = datetime.fromtimestamp(moment, UTC)
    info = zipfile.ZipInfo(path, (at.year, at.month, at.day, at.hour, at.minute, at.second))
    info.compress_type = compression
    info.external_attr = 0o644 << 16
    return info


class _Sink(io.RawIOBase):
    """What ``zipfile`` writes to: it cannot go back, so what it has is finished and may be sent."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self.size += len(piece)
        return len(piece)

    def taken(self) -> bytes:
        """What was written since the last time."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        self.size = 0
        return data
