"""Embeddings of a large set in a temporary file: read a few rows at a time, they need no memory."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np

from detector.storage.database import Database
from detector.storage.embeddings import as_stored, read_embeddings
from detector.storage.stored_names import DETAIL, WHOLE

_CHUNK = 4096


class EmbeddingFile:
    """An (n, d) matrix in a file, indexed like an array of float32.

    The file has no name: it goes with the last reference to it, and with the process however that ends. It is read, not
    mapped into memory, so that its pages never count as the process's own.

    Parameters
    ----------
    file : the numbers row by row
    dtype : theirs
    dimension : d
    order : (n,) int array, optional
        Which of the file's rows these are; all of them, if not given.
    alone : threading.Lock, optional
        Of whoever moves the file's one position; all that read the same file share it.
    """

    def __init__(
        self,
        file: IO[bytes],
        dtype: np.dtype[Any],
        dimension: int,
        order: np.ndarray | None = None,
        alone: threading.Lock | None = None,
    ) -> None:
        self._alone = alone or threading.Lock()
        self._file, self._dtype, self._dimension = file, dtype, dimension
        self._row_bytes = dimension * dtype.itemsize
        self._order = np.arange(os.fstat(file.fileno()).st_size // self._row_bytes) if order is None else order

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)"""
        return len(self._order), self._dimension

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, key: Any) -> Any:
        """A slice of rows, or a pair of it and columns: an array. An array of rows: those, still in the file."""
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        if not isinstance(rows, slice):
            return EmbeddingFile(self._file, self._dtype, self._dimension, self._order[rows], self._alone)
        wanted = self._order[rows]
        result = np.empty((len(wanted), self._dimension), self._dtype)
        # Rows that follow one another in the file come with one read.
        borders = [0, *(np.flatnonzero(np.diff(wanted) != 1) + 1).tolist(), len(wanted)]
        for start, stop in pairwise(borders):
            if start < stop:
                self._read(result[start:stop], int(wanted[start]) * self._row_bytes)
        return result[:, columns].astype(np.float32)

    def _read(self, into: np.ndarray, offset: int) -> None:
        left = memoryview(into.reshape(-1).view(np.uint8).data)
        while left:
            count = self._read_some(left, offset)
            if not count:
                raise OSError("The temporary file of embeddings is shorter than it was.")
            left, offset = left[count:], offset + count

    def _read_some(self, into: memoryview, offset: int) -> int:
        """At most as many bytes as ``into`` has room for; returns how many."""
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), [into], offset)
        # Windows has no reading from a place of its own for each thread. Where Python offers one there, this can go.
        with self._alone:
            self._file.seek(offset)
            return self._file.readinto(into)  # type: ignore[attr-defined]


def write_embedding_files(
    db: Database, backbone_key: str, hashes: Sequence[str], folder: Path
) -> dict[str, EmbeddingFile]:
    """What ``read_embeddings`` gives, in files of ``folder``.

    Raises
    ------
    LookupError
        Some images have no embedding.
    """
    found = _write(db, backbone_key, hashes, folder, np.dtype(np.float16))
    # Where some numbers are too large for float16, all are kept wider.
    return found if found is not None else _write(db, backbone_key, hashes, folder, np.dtype(np.float32)) or {}


def _write(
    db: Database, backbone_key: str, hashes: Sequence[str], folder: Path, dtype: np.dtype[Any]
) -> dict[str, EmbeddingFile] | None:
    """None where ``dtype`` cannot hold the numbers."""
    files: dict[str, IO[bytes]] = {}
    dimension = 0
    for start in range(0, len(hashes), _CHUNK):
        views = read_embeddings(db, backbone_key, hashes[start : start + _CHUNK])
        dimension = views[WHOLE].shape[1]
        if DETAIL in views and DETAIL not in files:
            files[DETAIL] = _temporary(folder)
            if WHOLE in files:
                files[WHOLE].seek(0)
                shutil.copyfileobj(files[WHOLE], files[DETAIL])
        if WHOLE not in files:
            files[WHOLE] = _temporary(folder)
        for view, file in files.items():
            numbers = views.get(view, views[WHOLE])
            if dtype == np.float16:
                numbers = as_stored(numbers)
                if numbers.dtype != dtype:
                    return None
            file.write(numbers.tobytes())
    for file in files.values():
        file.flush()
    return {view: EmbeddingFile(files[view], dtype, dimension) for view in (WHOLE, DETAIL) if view in files}


def _temporary(folder: Path) -> IO[bytes]:
    # Closed with the last EmbeddingFile that reads it.
    return tempfile.TemporaryFile(dir=folder)
