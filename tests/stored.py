"""Looks into a data folder from outside, as nothing of the app does: plain SQL, read-only."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

from tests.databases import database_url


def query(data_dir: Path, sql: str) -> list[tuple[Any, ...]]:
    """Rows of a statement; none while the database or its tables are not made yet."""
    if url := database_url(data_dir):
        engine = create_engine(url)
        with engine.connect() as connection:
            rows = connection.execute(text(sql)).all()
        engine.dispose()
        # As SQLite holds it.
        return [tuple(json.dumps(value) if isinstance(value, dict | list) else value for value in row) for row in rows]
    try:
        with closing(sqlite3.connect(f"file:{data_dir / 'detector.sqlite'}?mode=ro", uri=True, timeout=5)) as database:
            return database.execute(sql).fetchall()
    except sqlite3.OperationalError:
        return []


def number(data_dir: Path, sql: str) -> int:
    """The one number that a statement asks for; 0 while there is no database."""
    rows = query(data_dir, sql)
    return int(rows[0][0]) if rows else 0


def row_counts(data_dir: Path) -> dict[str, int]:
    """How many rows the tables have that hold finished work."""
    tables = ("images", "samples", "annotation_history", "thumbnails", "embeddings", "models")
    return {table: number(data_dir, f"SELECT COUNT(*) FROM {table}") for table in tables}


def outcome(data_dir: Path) -> dict[str, Any]:
    """What a training left behind, without what is random by design (ids) or the clock's (times).

    Floating-point numbers are kept whole: two outcomes are equal only if they are so to the last digit.
    """
    samples = query(
        data_dir,
        """SELECT s.image_hash, s.file_name, s.source, s.near_duplicate_group, l.name, p.name,
                  s.confidence, s.margin, s.out_of_fold, s.probabilities, s.label_quality, s.usefulness
           FROM samples s LEFT JOIN labels l ON l.id = s.label_id LEFT JOIN labels p ON p.id = s.predicted_label_id
           ORDER BY s.image_hash""",
    )
    models = query(
        data_dir,
        "SELECT version, note, label_names, hyperparameters, sweep, cross_validation FROM models ORDER BY version",
    )
    embeddings = query(data_dir, "SELECT image_hash, backbone_key, view, data FROM embeddings ORDER BY 1, 2, 3")
    return {
        "samples": samples,
        "models": [
            (version, note, *(json.loads(part) if part else None for part in parts)) for version, note, *parts in models
        ],
        "embeddings": embeddings,
    }
