"""Functions with a million samples, written past the program: what is measured is how they are looked at.

Rows as a program that imported, labelled, trained and audited them leaves them: labels, sources, groups, predictions,
orders of Review, captures, a bin, a locked test set, thumbnails of a few hundred bytes, and a history of labels.
"""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any

import numpy as np
from PIL import Image
from sqlalchemy import Connection, Index, Table, inspect, text, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.schema import CreateIndex

from detector.serving.coverage import coverage_of
from detector.storage.captured import REASONS
from detector.storage.functions import Function
from detector.storage.models import get_model
from detector.storage.schema import annotation_history, functions, images, models, sample_flips, samples, thumbnails
from detector.training.metrics import cross_validation_metrics
from detector.training.model_file import write_model
from detector.training.out_of_fold import OutOfFold
from detector.training.thresholds import find_thresholds
from detector.training.train import train
from detector.workspace import Workspace
from tests.made_samples import LABELS, SOURCES, made_function
from tests.training.factories import training_data

_CHUNK = 20_000
_THUMBNAILS = 200
_FACTS = json.dumps({"format": "JPEG", "mode": "RGB", "width": 256, "height": 256, "extra": {"jpeg_quality": 90}})
#: When the live model's labels were read: what was labelled later is not in it.
_READ_AT = 1e9


def made_many(ws: Workspace, n: int, seed: int = 0) -> Function:
    """A function with ``n`` samples and a live model, in a minute or two a million.

    The workspace must be new: nothing else may lie in its database, and nobody else may have it open.
    """
    # The batches, the model and the first samples, as everywhere in the tests.
    function = made_function(ws, min(n, 10))
    with ws.db.write() as connection:
        connection.execute(update(models).values(labels_read_at=_READ_AT, sample_count=n))
        first = connection.execute(samples.select()).mappings().all()
        batches = [row[0] for row in connection.exec_driver_sql("SELECT id FROM import_batches")]
        labels = [row[0] for row in connection.exec_driver_sql("SELECT id FROM labels ORDER BY position")]
    rows = _Rows(function.id, first[0]["predicted_by"], labels, batches, len(first), n, np.random.default_rng(seed))
    tables = [images, thumbnails, samples, annotation_history, sample_flips]
    if ws.db.engine.dialect.name == "sqlite":
        _fill_sqlite(ws, tables, rows)
    else:
        _fill_server(ws, tables, rows)
    with ws.db.write() as connection:
        connection.execute(update(functions).values(sample_revision=2))
    _validate(ws, rows)
    return function


def _validate(ws: Workspace, rows: _Rows) -> None:
    """Give the model its file of out-of-fold probabilities, its figures and its thresholds, as a training does."""
    hashes, p, says, given, groups = (np.concatenate(part) for part in zip(*rows.labelled, strict=True))
    probabilities = np.where(says[:, None] == np.arange(2), p[:, None], 1 - p[:, None])
    # Which settings were tried, and the file of the model: of a small training.
    small = train(training_data())
    whole = OutOfFold(hashes.tolist(), probabilities, given, groups)
    validation = cross_validation_metrics(probabilities, given, LABELS, 5, groups=groups.tolist())
    thresholds = find_thresholds(probabilities, given, LABELS, groups=groups.tolist())
    ws.blobs.put(f"models/{rows.model_id}.safetensors", write_model(small.model))
    with ws.db.write() as connection:
        connection.execute(
            update(models).values(
                cross_validation=validation.to_json(),
                thresholds=thresholds.to_json(),
                hyperparameters=small.hyperparameters,
                sweep=[asdict(item) for item in small.sweep_results],
                sample_count=len(given),
            )
        )
    # What the files are like is told by a few of them here: they are all alike.
    path, few = f"models/{rows.model_id}.out-of-fold.safetensors", slice(0, 1000)
    some = OutOfFold(whole.hashes[few], whole.probabilities[few], whole.labels[few], whole.groups[few])
    ws.blobs.put(path, some.to_bytes())
    coverage_of(ws, get_model(ws.db, rows.model_id))
    ws.blobs.put(path, whole.to_bytes())


class _Rows:
    """The rows of each table, chunk by chunk."""

    def __init__(
        self,
        function_id: str,
        model_id: str,
        labels: Sequence[str],
        batches: Sequence[str],
        first: int,
        n: int,
        rng: np.random.Generator,
    ) -> None:
        self._function_id, self.model_id, self._labels, self._batches = function_id, model_id, labels, batches
        self._first, self._n, self._rng = first, n, rng
        #: By chunk: hash, confidence, what the model says, label, group, of those that it was trained on.
        self.labelled: list[tuple[Any, ...]] = []
        self._pictures = [_thumbnail(rng) for _ in range(_THUMBNAILS)]

    def chunks(self) -> Iterator[dict[str, tuple[Sequence[str], list[tuple[Any, ...]]]]]:
        """Columns and rows by table."""
        group = ""
        for start in range(self._first, self._n, _CHUNK):
            size, rng = min(_CHUNK, self._n - start), self._rng
            hashes, ids = _hexes(rng, size, 32), _hexes(rng, size, 8)
            p = np.round(1 - 0.5 * rng.beta(1, 4, size), 6)
            says, chance = rng.integers(0, 2, size), rng.random((size, 6))
            given = np.where(chance[:, 0] < 0.06, 1 - says, says)
            probabilities = np.where(says[:, None] == np.arange(2), p[:, None], 1 - p[:, None]).astype(np.float32)
            found: list[tuple[Any, ...]] = []
            history: list[tuple[Any, ...]] = []
            flips: list[tuple[Any, ...]] = []
            for i in range(size):
                number, score, a, b = start + i, float(p[i]), int(says[i]), int(given[i])
                annotated = chance[i, 1] < 0.8
                group = group if chance[i, 2] < 0.05 and group else hashes[i]
                captured = REASONS[number % len(REASONS)] if chance[i, 3] < 0.01 else None
                found.append(
                    (
                        number + 1,
                        ids[i],
                        self._function_id,
                        hashes[i],
                        f"IMG_{number:07d}_{hashes[i][:5]}.jpg",
                        SOURCES[number % len(SOURCES)],
                        False,
                        self._batches[number * len(self._batches) // self._n],
                        2000.0 + number,
                        3e9 if chance[i, 4] < 0.005 else None,
                        "test" if chance[i, 5] < 0.1 else "train",
                        group,
                        0,
                        self._labels[b] if annotated else None,
                        2000.0 + number // 3 if annotated else None,
                        "import" if annotated else None,
                        self._labels[a],
                        score,
                        2 * score - 1,
                        a == b if annotated else None,
                        True,
                        self.model_id,
                        probabilities[i].tobytes(),
                        (score if a == b else 1 - score) if annotated else None,
                        None if annotated else 2 - 2 * score,
                        captured,
                        2,
                    )
                )
                if number % 20 == 0 and annotated:
                    at = _READ_AT + number if number % 1000 == 0 else 2000.0 + number
                    history.append((ids[i], self._labels[b], None, at, "person", None))
                if number % 30 == 0:
                    flips.append((self.model_id, ("webp", "messenger")[number % 2], ids[i], self._labels[1 - a]))
            trained = np.flatnonzero((chance[:, 1] < 0.8) & (chance[:, 5] >= 0.1))
            alone = np.maximum.accumulate(np.where(chance[:, 2] < 0.05, 0, start + np.arange(size)))
            names = np.array(hashes)[trained]
            self.labelled.append((names, p[trained], says[trained], given[trained], alone[trained]))
            yield {
                images.name: (
                    ("hash", "byte_count", "format", "width", "height", "facts", "perceptual_hash", "created_at"),
                    [(key, 20_000 + i, "JPEG", 256, 256, _FACTS, key[:16], 1000.0) for i, key in enumerate(hashes)],
                ),
                thumbnails.name: (
                    ("image_hash", "data"),
                    [(key, self._pictures[i % _THUMBNAILS]) for i, key in enumerate(hashes)],
                ),
                samples.name: (_SAMPLE_COLUMNS, found),
                annotation_history.name: (
                    ("sample_id", "label_id", "previous_label_id", "at", "by", "operation"),
                    history,
                ),
                sample_flips.name: (("model_id", "stress", "sample_id", "label_id"), flips),
            }


_SAMPLE_COLUMNS = (
    *("sequence", "id", "function_id", "image_hash", "file_name", "source", "source_guessed", "import_batch_id"),
    *("created_at", "deleted_at", "split", "near_duplicate_group", "holdout_uses", "label_id", "annotated_at"),
    *("annotated_by", "predicted_label_id", "confidence", "margin", "agrees", "out_of_fold", "predicted_by"),
    *("probabilities", "label_quality", "usefulness", "captured", "revision"),
)


def _fill_sqlite(ws: Workspace, tables: Sequence[Table], rows: _Rows) -> None:
    path = str(make_url(ws.settings.url).database)
    with ws.db.read() as connection:
        indexes = _indexes(connection, tables)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        # Whoever pulls the plug here starts again.
        for pragma in ("synchronous=OFF", "foreign_keys=OFF", "cache_size=-400000"):
            database.execute(f"PRAGMA {pragma}")
        for index in indexes:
            database.execute(f"DROP INDEX {index.name}")
        for chunk in rows.chunks():
            database.execute("BEGIN")
            for name, (columns, found) in chunk.items():
                marks = ", ".join("?" * len(columns))
                database.executemany(f"INSERT INTO {name} ({_listed(name, columns)}) VALUES ({marks})", found)
            database.execute("COMMIT")
        for index in indexes:
            database.execute(str(CreateIndex(index).compile(dialect=sqlite.dialect())))
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _fill_server(ws: Workspace, tables: Sequence[Table], rows: _Rows) -> None:
    with ws.db.engine.connect() as connection:
        indexes = _indexes(connection, tables)
        for index in indexes:
            index.drop(connection)
        for chunk in rows.chunks():
            for name, (columns, found) in chunk.items():
                _copy(connection, name, columns, found)
        for index in indexes:
            index.create(connection)
        connection.execute(
            text("SELECT setval(pg_get_serial_sequence('samples', 'sequence'), max(sequence)) FROM samples")
        )
        connection.commit()
    with ws.db.engine.connect() as connection:
        # As the server does by itself, within a minute.
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("ANALYZE")


def _indexes(connection: Connection, tables: Sequence[Table]) -> list[Index]:
    """Those that are there: some tables have other ones on a server."""
    there = {index["name"] for table in tables for index in inspect(connection).get_indexes(table.name)}
    return [index for table in tables for index in table.indexes if index.name in there]


def _copy(connection: Connection, name: str, columns: Sequence[str], found: list[tuple[Any, ...]]) -> None:
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY {name} ({_listed(name, columns)}) FROM STDIN") as copy:
        for row in found:
            copy.write_row(row)


def _listed(name: str, columns: Sequence[str]) -> str:
    """Columns by their names in the database, quoted."""
    table = samples.metadata.tables[name]
    return ", ".join(f'"{table.c[column].name}"' for column in columns)


def _hexes(rng: np.random.Generator, n: int, size: int) -> list[str]:
    whole = rng.bytes(n * size).hex()
    return [whole[i : i + 2 * size] for i in range(0, len(whole), 2 * size)]


def _thumbnail(rng: np.random.Generator) -> bytes:
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    file = io.BytesIO()
    coarse.resize((48, 48), Image.Resampling.BICUBIC).save(file, "WEBP", method=0, quality=30)
    return file.getvalue()
