"""The database itself: its file, rows that point at rows, and what is written down twice."""

from __future__ import annotations

from sqlalchemy import Column, Table, and_, case, delete, exists, func, or_, select, update
from sqlalchemy.sql.elements import ColumnElement

from detector.errors import ImageError, NotFound, StorageDamaged
from detector.formatting import count
from detector.importing.storing import describe_image
from detector.jobs import request_build
from detector.progress import Pace
from detector.storage.database import now
from detector.storage.imports import insert_images
from detector.storage.predictions import NO_PREDICTION
from detector.storage.revisions import next_revision
from detector.storage.schema import functions, images, metadata, models, samples
from detector.upkeep.findings import COUNTS, DATABASE, REFERENCES, Check, run_repair, shown

#: What can be made again, or says nothing once the row is gone that it points at: removed as the database itself would.
_MADE_AGAIN = frozenset(
    {
        *("thumbnails", "embeddings", "embedding_failures", "sample_flips", "evaluations", "tasks", "jobs"),
        *("import_rows", "invoke_run_pictures", "places"),
    }
)
#: Columns that say where something came from, and nothing of what it is.
_MAY_BE_EMPTY = frozenset({("samples", "import_batch_id"), ("samples", "predicted_label_id")})

_FEW = 20
_CHUNK = 200


def check_database(check: Check) -> None:
    """Whether SQLite finds its file whole; a server sees to that itself."""
    ws = check.ws
    if ws.db.engine.dialect.name == "sqlite":
        check.report("database", 0, 0, "Checking the database file", None)
        with ws.db.read() as connection:
            pragma = "quick_check" if check.quick else "integrity_check"
            lines = [str(line) for line in connection.exec_driver_sql(f"PRAGMA {pragma}({_FEW})").scalars()]
        for line in [line for line in lines if line != "ok"]:
            mended = check.repair and "index" in line and _indexes_are_whole_again(check)
            advice = "Its indexes were written again." if mended else check.from_backup()
            check.found(DATABASE, f"SQLite says of the database: {line}. {advice}", mended)
    _check_references(check)


def _indexes_are_whole_again(check: Check) -> bool:
    """Write the indexes again from the rows: nothing of the rows is changed."""
    try:
        with check.ws.db.write() as connection:
            connection.exec_driver_sql("REINDEX")
        with check.ws.db.read() as connection:
            return connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar() == "ok"
    except StorageDamaged:
        return False


def _check_references(check: Check) -> None:
    pointing = [
        (table, column, key.column)
        for table in metadata.sorted_tables
        for column in table.c
        for key in column.foreign_keys
    ]
    pace = Pace(check.report, "references", len(pointing), "Checking that rows point at rows that are there")
    for number, (table, column, target) in enumerate(pointing, 1):
        lost = and_(column.is_not(None), ~exists().where(target == column))
        with check.ws.db.read() as connection:
            rows = int(connection.scalar(select(func.count()).select_from(table).where(lost)) or 0)
        if rows:
            _name_dangling(check, table, column, target, lost, rows)
        pace.at(number)


def _name_dangling(
    check: Check, table: Table, column: Column[object], target: Column[object], lost: ColumnElement[bool], rows: int
) -> None:
    what = (
        f"{count(rows, 'row')} of the table {table.name} {'points' if rows == 1 else 'point'} at a row of "
        f"{target.table.name} that is not there."
    )
    if not check.repair:
        safe = _is_safe(table, column) or target.table is images
        check.found(REFERENCES, f"{what} {run_repair() if safe else check.from_backup()}")
        return
    if target.table is images and table is samples:
        left = rows - _describe_again(check, lost)
        if left:
            what = f"{what} {count(left, 'of them', 'of them')} have no readable picture either."
        check.found(REFERENCES, what if not left else f"{what} It was made again from the stored picture.", not left)
    elif (table.name, column.name) in _MAY_BE_EMPTY:
        _clear(check, column, lost)
        check.found(REFERENCES, f"{what} They say so now.", True)
    elif table.name in _MADE_AGAIN:
        with check.ws.db.write() as connection:
            connection.execute(delete(table).where(lost))
        check.found(REFERENCES, f"{what} What pointed nowhere was removed; nothing else used it.", True)
    else:
        check.found(REFERENCES, f"{what} {check.from_backup()}")


def _is_safe(table: Table, column: Column[object]) -> bool:
    return table.name in _MADE_AGAIN or (table.name, column.name) in _MAY_BE_EMPTY


def _clear(check: Check, column: Column[object], lost: ColumnElement[bool]) -> None:
    with check.ws.db.write() as connection:
        for function_id in connection.scalars(select(samples.c.function_id).where(lost).distinct()).all():
            emptied = {**NO_PREDICTION} if column.name == "predicted_label_id" else {column.name: None}
            connection.execute(
                update(samples)
                .where(samples.c.function_id == function_id, lost)
                .values(**emptied, revision=next_revision(connection, function_id))
            )


def _describe_again(check: Check, lost: ColumnElement[bool]) -> int:
    """Write rows of images again whose bytes are there; returns of how many samples."""
    ws, made, after = check.ws, 0, ""
    while True:
        with ws.db.read() as connection:
            statement = select(samples.c.image_hash, samples.c.file_name).where(lost, samples.c.image_hash > after)
            rows = connection.execute(statement.order_by(samples.c.image_hash).limit(_CHUNK)).all()
        if not rows:
            return made
        after = rows[-1].image_hash
        found = {}
        for row in rows:
            try:
                found[row.image_hash] = describe_image(ws, ws.blobs.stored_image(row.image_hash), row.file_name)
            except (ImageError, NotFound):
                continue
        with ws.db.write() as connection:
            insert_images(connection, list(found.values()), now())
        made += sum(row.image_hash in found for row in rows)


def check_counts(check: Check) -> None:
    """What is written down twice, for speed, against what it comes from."""
    ws = check.ws
    with ws.db.read() as connection:
        rows = connection.execute(select(functions.c.id, functions.c.name, functions.c.sample_revision)).all()
    pace = Pace(check.report, "counts", len(rows), "Counting again")
    for number, row in enumerate(rows, 1):
        _check_revision(check, row.id, row.name)
        _check_agreement(check, row.id, row.name)
        _check_predictions(check, row.id, row.name)
        pace.at(number)


def _check_revision(check: Check, function_id: str, name: str) -> None:
    with check.ws.db.read() as connection:
        # In one statement: both change with every label.
        row = connection.execute(
            select(
                functions.c.sample_revision,
                functions.c.purge_revision,
                select(func.coalesce(func.max(samples.c.revision), 0))
                .where(samples.c.function_id == functions.c.id)
                .scalar_subquery()
                .label("newest"),
            ).where(functions.c.id == function_id)
        ).one_or_none()
    if row is None or row.sample_revision >= max(row.newest, row.purge_revision):
        return
    what = f"{_the(name)} counts fewer changes of its samples than its samples do, so pages may show old counts."
    if check.repair:
        with check.ws.db.write([function_id]) as connection:
            newest = connection.scalar(select(func.max(samples.c.revision)).where(samples.c.function_id == function_id))
            connection.execute(
                update(functions)
                .where(functions.c.id == function_id)
                # One more than any that somebody can remember.
                .values(sample_revision=max(newest or 0, row.purge_revision) + 1)
            )
    check.found(COUNTS, f"{what} {'It was put right.' if check.repair else run_repair()}", check.repair)


def _check_agreement(check: Check, function_id: str, name: str) -> None:
    should = case(
        (or_(samples.c.label_id.is_(None), samples.c.predicted_label_id.is_(None)), None),
        else_=samples.c.label_id == samples.c.predicted_label_id,
    )
    wrong = and_(samples.c.function_id == function_id, samples.c.agrees.is_distinct_from(should))
    with check.ws.db.read() as connection:
        rows = int(connection.scalar(select(func.count()).select_from(samples).where(wrong)) or 0)
    if not rows:
        return
    if check.repair:
        with check.ws.db.write([function_id]) as connection:
            revision = next_revision(connection, function_id)
            connection.execute(update(samples).where(wrong).values(agrees=should, revision=revision))
    what = f"For {count(rows, 'sample')} of {_the(name)} it is noted wrongly whether prediction and label agree."
    check.found(COUNTS, f"{what} {'They were compared again.' if check.repair else run_repair()}", check.repair)


def _check_predictions(check: Check, function_id: str, name: str) -> None:
    """A prediction has one number for each label of the model that made it, and a confidence of 0 to 1."""
    ws, wrong = check.ws, []
    with ws.db.read() as connection:
        made = connection.execute(select(models.c.id, models.c.label_ids).where(models.c.function_id == function_id))
        labels_of = {row.id: len(row.label_ids) for row in made}
        mine = samples.c.function_id == function_id
        for model_id, labels in labels_of.items():
            length = func.length(samples.c.probabilities)
            bad = and_(
                mine,
                samples.c.predicted_by == model_id,
                or_(
                    # Of a label that was deleted since, there is one number less, never one more.
                    length > 4 * labels,
                    length % 4 != 0,
                    samples.c.probabilities.is_(None),
                    samples.c.confidence.is_(None),
                    ~samples.c.confidence.between(0.0, 1.000001),
                ),
            )
            if rows := int(connection.scalar(select(func.count()).select_from(samples).where(bad)) or 0):
                wrong.append((bad, rows))
        # In one statement: a model may come in at this moment, and its predictions behind it.
        known = select(models.c.id).where(models.c.function_id == function_id)
        unknown = and_(mine, samples.c.predicted_by.is_not(None), samples.c.predicted_by.not_in(known))
        if rows := int(connection.scalar(select(func.count()).select_from(samples).where(unknown)) or 0):
            wrong.append((unknown, rows))
    for bad, rows in wrong:
        if check.repair:
            with ws.db.write([function_id]) as connection:
                revision = next_revision(connection, function_id)
                connection.execute(update(samples).where(bad).values(**NO_PREDICTION, revision=revision))
            request_build(ws, function_id)
        what = f"{count(rows, 'prediction')} of {_the(name)} cannot be what a model of it said."
        done = "They were taken away, and are made again by the next build, which was asked for."
        check.found(COUNTS, f"{what} {done if check.repair else run_repair()}", check.repair)


def _the(name: str) -> str:
    return f"the function {shown(name)}"
