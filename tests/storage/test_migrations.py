"""A database of an older version is brought up to date when it is opened, with what it holds."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import insert, inspect

from detector.storage import functions, samples
from detector.storage.database import SCHEMA_VERSION, Database
from detector.storage.imports import add_samples
from detector.storage.models import list_models
from detector.storage.schema import annotation_history, meta, models
from tests.factories import empty_function, make_image, new_sample, workspace
from tests.storage.test_models import FACTS


def test_version_1_gains_the_columns_and_tables_that_came_later(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = empty_function(ws)
    [added] = add_samples(ws.db, function.id, None, [new_sample(ws, make_image(1))])
    with ws.db.write() as connection:
        connection.execute(insert(models).values(function_id=function.id, version=1, created_at=500.0, id="m", **FACTS))
        for index in (
            "ix_samples_revision",
            "ix_samples_counts",
            "ix_annotation_history_operation",
            "ix_annotation_history_by",
            "ix_annotation_history_at",
            "ix_annotation_history_undone",
        ):
            connection.exec_driver_sql(f"DROP INDEX {index}")
        for table, column in (
            ("samples", "sample_sets"),
            ("samples", "test_looks"),
            ("samples", "source_guessed"),
            ("functions", "tolerated"),
            ("functions", "normalise"),
            ("models", "thresholds"),
            ("models", "normalise"),
            ("models", "locked_test"),
            ("models", "labels_read_at"),
            ("functions", "sample_revision"),
            ("functions", "purge_revision"),
            ("samples", "label_quality"),
            ("samples", "usefulness"),
            ("samples", "revision"),
            ("annotation_history", "operation"),
            ("annotation_history", "previous_at"),
            ("annotation_history", "previous_by"),
            ("annotation_history", "undone_at"),
            ("jobs", "lease"),
            ("jobs", "crashes"),
            ("functions", "copies"),
            ("functions", "judge_unlike"),
            ("functions", "inner_features"),
            ("models", "hardening"),
            ("models", "coverage"),
            ("models", "recentring"),
            ("functions", "keep_records"),
            ("functions", "keep_days"),
            ("functions", "capture"),
            ("samples", "captured"),
            ("annotation_history", "who"),
        ):
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN {column}")
        newer = (
            *("api_calls", "api_keys", "evaluations", "sample_flips"),
            *("invoke_run_pictures", "invoke_runs", "invoke_days", "records"),
            *("users", "audit_log", "upkeep_runs"),
        )
        for table in newer:
            connection.exec_driver_sql(f"DROP TABLE {table}")
        connection.execute(meta.update().where(meta.c.key == "schema_version").values(value="1"))
    ws.close()
    database = Database(ws.settings.url)
    assert samples.get_sample(database, added.sample_id).sample_sets is None
    assert functions.get_function(database, function.id) == function
    # 1.5 s of training before it was stored.
    assert [row.labels_read_at for row in list_models(database, function.id)] == [498.5]
    indexes = inspect(database.engine).get_indexes("annotation_history")
    assert {index["name"] for index in indexes} == {index.name for index in annotation_history.indexes}
    assert "ix_samples_counts" in {index["name"] for index in inspect(database.engine).get_indexes("samples")}
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM api_keys").scalar() == 0
        version = connection.exec_driver_sql("SELECT value FROM meta WHERE key = 'schema_version'").scalar()
    assert version == str(SCHEMA_VERSION)
    database.close()
