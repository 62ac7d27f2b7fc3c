"""Counts of samples are kept for as long as nothing has changed, and made anew whoever changes something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, update

from detector.storage import annotating, functions, models
from detector.storage import samples as stored
from detector.storage.functions import Function
from detector.storage.sample_counts import count_of_batch, sample_counts
from detector.storage.schema import import_batches, samples
from detector.storage.trash import delete_samples, empty_bin, restore_samples
from detector.workspace import Workspace
from tests.factories import add_images, label_ids, make_image, workspace
from tests.made_samples import made_function


def counted(ws: Workspace, function: Function) -> Counter[Any]:
    return Counter(
        {
            (item.split, item.source, item.label_id, item.holdout_uses): (item.samples, item.guessed)
            for item in sample_counts(ws.db, function.id)
        }
    )


def one_by_one(ws: Workspace, function: Function) -> Counter[Any]:
    found: dict[Any, tuple[int, int]] = {}
    with ws.db.read() as connection:
        for row in connection.execute(select(samples).where(samples.c.function_id == function.id)):
            if row.deleted_at is None:
                key = (row.split, row.source, row.label_id, row.holdout_uses)
                n, guessed = found.get(key, (0, 0))
                found[key] = (n + 1, guessed + row.source_guessed)
    return Counter(found)


@pytest.mark.slow
def test_whoever_changes_samples_the_counts_follow(tmp_path: Path) -> None:
    """Another process changes them here: the same folder opened again."""
    ws = workspace(tmp_path)
    function = made_function(ws, 120)
    ids = [row.id for row in stored.find_samples(ws.db, function.id, limit=120)]
    with ws.db.write() as connection:
        connection.execute(update(samples).where(samples.c.id.in_(ids[::2])).values(source_guessed=True))
    real, synthetic = (label_ids(ws, function)[name] for name in ("real", "synthetic"))
    other = Workspace.open(ws.settings)
    model = str(function.live_model_id)
    changes: list[Callable[[], object]] = [
        lambda: None,
        lambda: annotating.annotate(other.db, ids[:9], real),
        lambda: annotating.undo_last(other.db, function.id),
        lambda: delete_samples(other.db, function.id, ids[20:40]),
        lambda: restore_samples(other.db, function.id, ids[25:30]),
        lambda: stored.set_split(other.db, function.id, ids[50:60], "test"),
        lambda: models.set_holdout_score(other.db, model, {}, ids[50:55]),
        lambda: stored.set_source(other.db, function.id, ids[60:70], "a new source"),
        lambda: stored.confirm_sources(other.db, function.id, ["sdxl"]),
        lambda: stored.confirm_sources(other.db, function.id),
        lambda: add_images(other, function, [("new.png", make_image(1), "real")]),
        lambda: empty_bin(other.db, function.id),
        lambda: functions.delete_label(other.db, synthetic),
    ]
    for place, change in enumerate(changes):
        change()
        assert counted(ws, function) == one_by_one(ws, function), place
        with ws.db.read() as connection:
            in_batches = Counter(
                connection.scalars(select(samples.c.import_batch_id).where(samples.c.function_id == function.id))
            )
            batches = list(connection.scalars(select(import_batches.c.id)))
            assert {batch: count_of_batch(connection, batch) for batch in batches} == {
                batch: in_batches[batch] for batch in batches
            }, place


def test_what_has_not_changed_is_not_counted_again(tmp_path: Path) -> None:
    """Kind: the Metrics page counted a million samples at each run, which took it most of a second."""
    ws = workspace(tmp_path)
    function = made_function(ws, 30)
    assert sample_counts(ws.db, function.id)
    asked: list[str] = []
    event.listen(ws.db.engine, "before_cursor_execute", lambda _c, _u, statement, *_: asked.append(statement))
    sample_counts(ws.db, function.id)
    assert not [statement for statement in asked if "FROM samples" in statement]
    assert sample_counts(ws.db, "of no function") == ()
