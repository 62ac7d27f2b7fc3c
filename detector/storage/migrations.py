"""The versions of the tables: what each step from one to the next changes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sqlalchemy import Connection, inspect
from sqlalchemy.schema import CreateColumn

# What is read from there are the tables of people and of upkeep, which are made with all others.
from detector.storage import people_schema  # noqa: F401
from detector.storage.schema import ORDERS_ON_A_SERVER, metadata

SCHEMA_VERSION = 12


def _add_columns(connection: Connection, columns: dict[str, tuple[str, ...]]) -> None:
    for table, names in columns.items():
        # A table that came with a later version was just made with all that it has today.
        there = {column["name"] for column in inspect(connection).get_columns(table)}
        for name in names:
            if name in there:
                continue
            # By the stored name; in the code a column may have a better one.
            found = next(column for column in metadata.tables[table].columns if column.name == name)
            column = CreateColumn(found).compile(dialect=connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {column}")


def _add_indexes(connection: Connection, indexes: dict[str, tuple[str, ...]]) -> None:
    for table, names in indexes.items():
        for name in names:
            next(index for index in metadata.tables[table].indexes if index.name == name).create(
                connection, checkfirst=True
            )


def _for_the_gallery(connection: Connection) -> None:
    _add_columns(
        connection,
        {
            "functions": ("sample_revision", "purge_revision"),
            "samples": ("label_quality", "usefulness", "revision"),
            "annotation_history": ("operation", "previous_at", "previous_by", "undone_at"),
        },
    )
    for name in ("ix_samples_label", "ix_samples_predicted", "ix_samples_agrees"):
        connection.exec_driver_sql(f"DROP INDEX IF EXISTS {name}")
    _add_indexes(
        connection,
        {
            "samples": ("ix_samples_label", "ix_samples_revision"),
            "annotation_history": ("ix_annotation_history_operation", "ix_annotation_history_by"),
        },
    )


def _for_labels_newer_than_a_model(connection: Connection) -> None:
    _add_columns(connection, {"models": ("labels_read_at",)})
    # Nobody wrote it down: it was just before the training began.
    connection.exec_driver_sql("UPDATE models SET labels_read_at = created_at - seconds")
    _add_indexes(connection, {"annotation_history": ("ix_annotation_history_at", "ix_annotation_history_undone")})
    # And two hashes of a picture instead of one; older ones keep theirs. SQLite does not look at the length.
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql("ALTER TABLE images ALTER COLUMN perceptual_hash TYPE VARCHAR(32)")


def _for_the_gallery_on_a_server(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        return
    ours = [str(index.name) for index in ORDERS_ON_A_SERVER]
    for name in ("ix_samples_created", "ix_samples_annotated", "ix_samples_confidence", "ix_samples_label", *ours):
        connection.exec_driver_sql(f"DROP INDEX IF EXISTS {name}")
    _add_indexes(connection, {"samples": tuple(ours)})


#: ``MIGRATIONS[n]`` takes a database of version n to n + 1, and makes the tables that are new. A table that is missing
#: without a step is damage.
MIGRATIONS: dict[int, Callable[[Connection], None]] = {
    1: partial(_add_columns, columns={"samples": ("sample_sets",)}),
    2: partial(
        _add_columns,
        columns={
            "functions": ("tolerated", "normalise"),
            "samples": ("test_looks",),
            "models": ("thresholds", "normalise", "locked_test"),
        },
    ),
    3: _for_the_gallery,
    4: _for_labels_newer_than_a_model,
    5: partial(_add_columns, columns={"samples": ("source_guessed",)}),
    6: partial(_add_columns, columns={"jobs": ("lease", "crashes")}),
    7: partial(
        _add_columns,
        columns={
            "functions": ("copies", "judge_unlike", "inner_features"),
            "models": ("hardening", "coverage", "recentring"),
        },
    ),
    8: partial(
        _add_columns,
        columns={"functions": ("keep_records", "keep_days", "capture"), "samples": ("captured",)},
    ),
    9: _for_the_gallery_on_a_server,
    10: partial(_add_indexes, indexes={"samples": ("ix_samples_counts",)}),
    11: partial(
        _add_columns,
        columns={
            "annotation_history": ("who", "undone_who"),
            "api_keys": ("role", "expires_at", "calls_per_minute"),
            "records": ("kept_by",),
            "embeddings": ("checksum",),
        },
    ),
}
