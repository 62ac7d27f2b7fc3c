"""All rows of one database into another, whatever kinds they are, for a backup of a server and a restore into one."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Column, Connection, Integer, String, Table, Text, func, insert, null, select, text

from detector.progress import Pace, Report
from detector.storage import people_schema  # noqa: F401  (its tables are made and copied with all others)
from detector.storage.schema import meta, metadata

_CHUNK = 500


def count_rows(connection: Connection) -> dict[str, int]:
    """Rows by table."""
    return {
        table.name: int(connection.scalar(select(func.count()).select_from(table)) or 0)
        for table in metadata.sorted_tables
    }


def copy_rows(source: Connection, target: Connection, report: Report, message: str) -> dict[str, int]:
    """Copy every row into tables that are empty; returns how many by table.

    Parameters
    ----------
    source : Connection
        In a transaction that sees one state.
    target : Connection
        In a transaction: its caller commits.
    """
    counts = count_rows(source)
    pace, done = Pace(report, "database", sum(counts.values()), message), 0
    # Of a new database these say the version and nothing else.
    target.execute(meta.delete())
    for table in metadata.sorted_tables:
        writers = [_writer(column, target) for column in table.columns]
        names = [column.key for column in table.columns]
        rows = source.execution_options(stream_results=True, yield_per=_CHUNK).execute(select(table))
        for chunk in rows.partitions(_CHUNK):
            target.execute(
                insert(table),
                [
                    {name: write(value) for name, write, value in zip(names, writers, row, strict=True)}
                    for row in map(tuple, chunk)
                ],
            )
            done += len(chunk)
            pace.at(done)
        _count_on(target, table)
    return counts


def _writer(column: Column[Any], target: Connection) -> Any:
    """How a value of a column is given to the target."""
    if isinstance(column.type, JSON):
        # Where there is nothing, nothing: not the word "null", for which a query would have to look too.
        nothing = null() if column.nullable else None
        return lambda value: nothing if value is None else value
    if isinstance(column.type, (String, Text)) and target.dialect.name != "sqlite":
        # SQLite takes what a server has no way to write.
        return lambda value: value if value is None else _holdable(value)
    return lambda value: value


def _holdable(value: str) -> str:
    return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _count_on(target: Connection, table: Table) -> None:
    """Let a server's numbering go on behind the numbers that were copied; SQLite's does by itself."""
    if target.dialect.name == "sqlite":
        return
    for column in table.primary_key.columns:
        if column.autoincrement is True and isinstance(column.type, Integer):
            last = target.scalar(select(func.max(column)))
            if last is not None:
                statement = text("SELECT setval(pg_get_serial_sequence(:table, :column), :last)")
                target.execute(statement, {"table": table.name, "column": column.name, "last": last})
