"""A database of an older version is brought up to date when it is opened, with what it holds."""

from __future__ import annotations

from pathlib import Path

from detector.storage import functions, samples
from detector.storage.database import SCHEMA_VERSION, Database
from detector.storage.imports import add_samples
from detector.storage.schema import meta
from tests.factories import empty_function, make_image, new_sample, workspace


def test_version_1_gains_the_columns_and_tables_that_came_later(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = empty_function(ws)
    [added] = add_samples(ws.db, function.id, None, [new_sample(ws, make_image(1))])
    with ws.db.write() as connection:
        for index in ("ix_samples_revision", "ix_annotation_history_operation", "ix_annotation_history_by"):
            connection.exec_driver_sql(f"DROP INDEX {index}")
        for table, column in (
            ("samples", "sample_sets"),
            ("samples", "test_looks"),
            ("functions", "tolerated"),
            ("functions", "normalise"),
            ("models", "thresholds"),
            ("models", "normalise"),
            ("models", "locked_test"),
            ("functions", "sample_revision"),
            ("functions", "purge_revision"),
            ("samples", "label_quality"),
            ("samples", "usefulness"),
            ("samples", "revision"),
            ("annotation_history", "operation"),
            ("annotation_history", "previous_at"),
            ("annotation_history", "previous_by"),
            ("annotation_history", "undone_at"),
        ):
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN {column}")
        for table in ("api_calls", "api_keys", "evaluations", "sample_flips"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
        connection.execute(meta.update().where(meta.c.key == "schema_version").values(value="1"))
    ws.close()
    database = Database(ws.settings.url)
    assert samples.get_sample(database, added.sample_id).sample_sets is None
    assert functions.get_function(database, function.id) == function
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM api_keys").scalar() == 0
        version = connection.exec_driver_sql("SELECT value FROM meta WHERE key = 'schema_version'").scalar()
    assert version == str(SCHEMA_VERSION)
    database.close()
