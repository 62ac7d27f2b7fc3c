"""The orders of the API's pages are read from indexes on PostgreSQL too, and databases of before gain these."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, inspect

from detector.storage.database import Database
from detector.storage.functions import Function
from detector.storage.samples import Position, SampleFilter, Sort, find_samples, samples_after
from detector.storage.schema import ORDERS_ON_A_SERVER, meta, samples
from detector.workspace import Workspace
from tests.databases import postgresql_url
from tests.factories import workspace
from tests.made_samples import made_function

pytestmark = [pytest.mark.postgresql, pytest.mark.slow]

N = 20_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, Function]]:
    folder = tmp_path_factory.mktemp("orders")
    ws = workspace(folder, database_url=postgresql_url(folder))
    function = made_function(ws, N)
    with ws.db.engine.connect() as connection:
        # As the server does by itself, within a minute.
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("ANALYZE")
    yield ws, function
    ws.close()


def plans(ws: Workspace, function: Function, sort: Sort, after: Position | None) -> list[str]:
    """How the server finds a page: of each statement, what it goes through."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: Connection, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        asked.append((statement, values))

    event.listen(ws.db.engine, "before_cursor_execute", note)
    try:
        samples_after(ws.db, function.id, SampleFilter(), sort, 100, after)
    finally:
        event.remove(ws.db.engine, "before_cursor_execute", note)
    with ws.db.engine.connect() as connection:
        return [
            "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN (ANALYZE) {statement}", values))
            for statement, values in asked
        ]


@pytest.mark.parametrize("sort", Sort)
def test_every_order_is_read_from_an_index_from_the_place_where_the_page_begins(
    made: tuple[Workspace, Function], sort: Sort
) -> None:
    """Kind: SQLite's indexes serve no order there, and each page went through all samples."""
    ws, function = made
    [first] = plans(ws, function, sort, None)
    assert "Index Scan" in first
    assert "Sort" not in first
    [sample] = find_samples(ws.db, function.id, sort=sort, limit=1, offset=N // 2)
    value = {Sort.NEWEST: None, Sort.OLDEST: None}.get(sort, sample.confidence)
    value = sample.annotated_at if "annotated" in sort else value
    [deep] = plans(ws, function, sort, Position(value, sample.sequence))
    assert "Sort" not in deep
    gone_through = [int(line.split(":")[1]) for line in deep.splitlines() if "Rows Removed" in line]
    assert sum(gone_through) < 100


@pytest.mark.parametrize("sort", Sort)
def test_pages_follow_one_another_through_all_samples(made: tuple[Workspace, Function], sort: Sort) -> None:
    """Those without the value too, which come last in both directions."""
    ws, function = made
    wanted = [sample.id for sample in find_samples(ws.db, function.id, sort=sort, limit=None)]
    found: list[str] = []
    page, position = samples_after(ws.db, function.id, SampleFilter(), sort, 1999)
    while True:
        found += [sample.id for sample in page]
        if position is None:
            break
        page, position = samples_after(ws.db, function.id, SampleFilter(), sort, 1999, position)
    assert found == wanted


def test_a_database_of_version_9_gains_the_indexes_and_loses_those_that_served_nothing(tmp_path: Path) -> None:
    url = postgresql_url(tmp_path)
    db = Database(url)
    with db.write() as connection:
        for index in ORDERS_ON_A_SERVER:
            connection.exec_driver_sql(f"DROP INDEX {index.name}")
        connection.exec_driver_sql("CREATE INDEX ix_samples_created ON samples (function_id, deleted_at, sequence)")
        connection.execute(meta.update().where(meta.c.key == "schema_version").values(value="9"))
    db.close()
    db = Database(url)
    names = {str(index["name"]) for index in inspect(db.engine).get_indexes(samples.name)}
    assert {str(index.name) for index in ORDERS_ON_A_SERVER} <= names
    assert "ix_samples_created" not in names
    db.close()
