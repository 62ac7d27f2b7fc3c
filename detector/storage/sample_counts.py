"""How many samples of a function are of which split, source and label: counted once for each change of them.

Pages ask at every run. Counting a million rows takes a database most of a second.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, case, func, select

from detector.storage.database import Database
from detector.storage.schema import functions, import_batches, samples


@dataclass(frozen=True)
class SampleCount:
    """Samples that are alike: ``guessed`` of them got their source from a folder's name, ``holdout_uses`` is theirs."""

    split: str
    source: str | None
    label_id: str | None
    holdout_uses: int
    samples: int
    guessed: int


#: By database and function: (revision, counts).
_counted: dict[tuple[str, str], tuple[int, tuple[SampleCount, ...]]] = {}


def sample_counts(db: Database, function_id: str) -> tuple[SampleCount, ...]:
    """Of all samples outside the bin, as they are now, in no order. None for a function that is not there."""
    key = (str(db.engine.url), function_id)
    kinds = (samples.c.split, samples.c.source, samples.c.label_id, samples.c.holdout_uses)
    guessed = func.sum(case((samples.c.source_guessed, 1), else_=0))
    with db.read() as connection:
        revision = connection.scalar(select(functions.c.sample_revision).where(functions.c.id == function_id))
        known = _counted.get(key)
        if revision is None or (known is not None and known[0] == revision):
            return known[1] if known is not None and revision is not None else ()
        rows = connection.execute(
            select(*kinds, func.count(), guessed)
            .where(samples.c.function_id == function_id, samples.c.deleted_at.is_(None))
            .group_by(*kinds)
        )
        counts = tuple(SampleCount(row[0], row[1], row[2], row[3], row[4], int(row[5])) for row in rows)
    _counted[key] = (revision, counts)
    return counts


#: By database and batch: (revision, samples).
_imported: dict[tuple[str, str], tuple[int, int]] = {}


def count_of_batch(connection: Connection, batch_id: str) -> int:
    """The samples that came with an import and are there still, in the bin or outside."""
    key = (str(connection.engine.url), batch_id)
    revision = connection.scalar(
        select(functions.c.sample_revision)
        .join(import_batches, import_batches.c.function_id == functions.c.id)
        .where(import_batches.c.id == batch_id)
    )
    known = _imported.get(key)
    if known is not None and known[0] == revision:
        return known[1]
    n = connection.scalar(select(func.count()).select_from(samples).where(samples.c.import_batch_id == batch_id)) or 0
    if revision is not None:
        _imported[key] = (revision, n)
    return n
