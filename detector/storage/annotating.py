"""Annotations: giving labels, taking them away, undoing that, and the history of each sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, case, exists, func, insert, select, update

from detector.errors import InvalidInput, NotFound
from detector.storage.acting import actor_now
from detector.storage.database import Database, new_id, now
from detector.storage.revisions import next_revision
from detector.storage.schema import annotation_history, functions, labels, models, samples

#: How many ids one statement may name; SQLite's own limit is 32,766.
_CHUNK = 5000

PERSON = "person"
#: Two labels were made one: a change of many samples that no undo can take back, as one of the labels is gone.
MERGE = "merge"

#: Between two changes while the clock is behind, in seconds: no two of them are one moment.
_STEP = 1e-3


@dataclass(frozen=True)
class Undone:
    """What an undo took back: ``changed`` samples have again the label that they had before ``label_id`` was given."""

    changed: int
    label_id: str | None


@dataclass(frozen=True)
class HistoryEntry:
    """One annotation of a sample: which label or none, given when and by whom (import, person, api, merge); ``who``:
    the user's or the key's name, None where nobody signed in; ``undone_who``: as ``who``, of whoever took it back."""

    label_id: str | None
    previous_label_id: str | None
    at: float
    by: str
    undone_at: float | None
    who: str | None = None
    undone_who: str | None = None


def annotate(db: Database, sample_ids: Sequence[str], label_id: str | None, by: str = PERSON) -> int:
    """Give samples a label, or take it away with None; returns how many changed.

    Raises
    ------
    InvalidInput
        The label belongs to another function than a sample.
    NotFound
        There is no such label.
    """
    operation = new_id()
    changed = 0
    actor = actor_now()
    who = actor.shown if actor is not None else None
    with db.write(_owners(db, sample_ids, label_id)) as connection:
        moment, ordered = now(), moment_of_change(connection)
        owner = None
        if label_id is not None:
            owner = connection.scalar(select(labels.c.function_id).where(labels.c.id == label_id))
            if owner is None:
                raise NotFound("label", label_id)
        revisions: dict[str, int] = {}
        for start in range(0, len(sample_ids), _CHUNK):
            rows = connection.execute(
                select(
                    samples.c.id,
                    samples.c.function_id,
                    samples.c.label_id,
                    samples.c.annotated_at,
                    samples.c.annotated_by,
                ).where(samples.c.id.in_(sample_ids[start : start + _CHUNK]), samples.c.deleted_at.is_(None))
            ).all()
            if owner is not None and any(row.function_id != owner for row in rows):
                raise InvalidInput("The label belongs to another function. Choose one of this function's labels.")
            moving = [row for row in rows if row.label_id != label_id]
            for function_id in {row.function_id for row in moving}:
                if function_id not in revisions:
                    revisions[function_id] = next_revision(connection, function_id)
                connection.execute(
                    update(samples)
                    .where(samples.c.id.in_([row.id for row in moving if row.function_id == function_id]))
                    .values(
                        label_id=label_id,
                        annotated_at=moment if label_id else None,
                        annotated_by=by if label_id else None,
                        agrees=_agrees(label_id),
                        revision=revisions[function_id],
                    )
                )
            if moving:
                given = {"label_id": label_id, "at": ordered, "by": by, "who": who, "operation": operation}
                connection.execute(insert(annotation_history), [{**given, **_before(row)} for row in moving])
            changed += len(moving)
    return changed


def _owners(db: Database, sample_ids: Sequence[str], label_id: str | None) -> set[str]:
    """The functions of which labels are about to be changed; a sample stays with its function for ever."""
    with db.read() as connection:
        if label_id is not None:
            # A sample of another function is refused.
            return set(connection.scalars(select(labels.c.function_id).where(labels.c.id == label_id)))
        return {
            function_id
            for start in range(0, len(sample_ids), _CHUNK)
            for function_id in connection.scalars(
                select(samples.c.function_id).where(samples.c.id.in_(sample_ids[start : start + _CHUNK])).distinct()
            )
        }


def undo_last(db: Database, function_id: str) -> Undone | None:
    """Take back the newest change of labels by a person that still stands; None when there is none.

    Samples whose label was changed again by somebody else since, or that were deleted, keep what they have.
    """
    actor = actor_now()
    who = actor.shown if actor is not None else None
    with db.write([function_id]) as connection:
        operation = connection.scalar(_latest(function_id))
        if operation is None:
            return None
        return _undo(connection, function_id, operation, who)


def moment_between(db: Database, function_id: str | None = None) -> float:
    """A moment at which no label is being changed, of a function or of all: who reads now has all changes up to it.

    Every change takes its time inside its transaction, and so does this, so that none is under way with an earlier one.
    """
    with db.write(None if function_id is None else [function_id]) as connection:
        return _later_than(now(), _last_change(connection), 0.0)


def moment_of_change(connection: Connection) -> float:
    """When a change of labels happens, for the history: later than all changes and readings of labels before it.

    That is now, unless the clock was set back since: then it is a little after the last of them. What is newer than a
    model goes by this order, and must not take all labels for newer for as long as the clock was wrong.
    """
    live = select(functions.c.live_model_id).where(functions.c.live_model_id.is_not(None))
    read = connection.scalar(select(func.max(models.c.labels_read_at)).where(models.c.id.in_(live)))
    return _later_than(now(), max(_last_change(connection), read or 0.0), _STEP)


def _last_change(connection: Connection) -> float:
    given = connection.scalar(select(func.max(annotation_history.c.at)))
    undone = connection.scalar(
        select(func.max(annotation_history.c.undone_at)).where(annotation_history.c.undone_at.is_not(None))
    )
    return max(given or 0.0, undone or 0.0)


def _later_than(moment: float, last: float, step: float) -> float:
    return moment if moment > last else last + step


def changed_since(db: Database, moment: float) -> list[int]:
    """The sequences of all samples whose label was given, taken away or brought back by undo after a moment.

    What was done and undone after it is no change; what was done before it and undone after it is one. Samples of every
    function, in the bin or outside: asked for one function only, SQLite would go through all samples of it.
    """
    at, undone_at = annotation_history.c.at, annotation_history.c.undone_at
    # Two looks into two indexes: a single one with "or" would read the whole history.
    done = select(annotation_history.c.sample_id).where(at > moment, undone_at.is_(None))
    undone = select(annotation_history.c.sample_id).where(undone_at > moment, at <= moment)
    with db.read() as connection:
        return list(connection.scalars(select(samples.c.sequence).where(samples.c.id.in_(done.union(undone)))))


def can_undo(db: Database, function_id: str) -> bool:
    """Whether there is a change of labels by a person that `undo_last` would take back."""
    with db.read() as connection:
        return connection.scalar(_latest(function_id)) is not None


def history(db: Database, sample_id: str) -> list[HistoryEntry]:
    """The annotations of a sample, newest first."""
    with db.read() as connection:
        rows = connection.execute(
            select(*(annotation_history.c[name] for name in HistoryEntry.__dataclass_fields__))
            .where(annotation_history.c.sample_id == sample_id)
            .order_by(annotation_history.c.sequence.desc())
        )
        return [HistoryEntry(**row._mapping) for row in rows]


def _undo(connection: Connection, function_id: str, operation: str, who: str | None) -> Undone:
    moment = moment_of_change(connection)
    given: ColumnElement[bool] = samples.c.label_id.is_not_distinct_from(annotation_history.c.label_id)
    rows = connection.execute(
        select(
            annotation_history.c.sample_id,
            annotation_history.c.label_id,
            annotation_history.c.previous_label_id,
            annotation_history.c.previous_at,
            annotation_history.c.previous_by,
        )
        .join(samples, samples.c.id == annotation_history.c.sample_id)
        .where(annotation_history.c.operation == operation, samples.c.deleted_at.is_(None), given)
    ).all()
    connection.execute(
        update(annotation_history)
        .where(annotation_history.c.operation == operation)
        .values(undone_at=moment, undone_who=who)
    )
    alive = set(connection.scalars(select(labels.c.id).where(labels.c.function_id == function_id)))
    # A label that was deleted since cannot come back.
    back = [row for row in rows if row.previous_label_id is None or row.previous_label_id in alive]
    if back:
        revision = next_revision(connection, function_id)
        connection.execute(
            update(samples)
            .where(samples.c.id == bindparam("sample"))
            .values(
                label_id=bindparam("label"),
                annotated_at=bindparam("at"),
                annotated_by=bindparam("who"),
                revision=revision,
                agrees=case(
                    (samples.c.predicted_label_id.is_(None), None),
                    (bindparam("label").is_(None), None),
                    else_=samples.c.predicted_label_id == bindparam("label"),
                ),
            ),
            [
                {
                    "sample": row.sample_id,
                    "label": row.previous_label_id,
                    "at": row.previous_at,
                    "who": row.previous_by,
                }
                for row in back
            ],
        )
    most = Counter(row.label_id for row in rows).most_common(1)
    return Undone(len(back), most[0][0] if most else None)


def _agrees(label_id: str | None) -> ColumnElement[bool] | None:
    if label_id is None:
        return None
    return case((samples.c.predicted_label_id.is_(None), None), else_=samples.c.predicted_label_id == label_id)


def _before(row: Any) -> dict[str, Any]:
    return {
        "sample_id": row.id,
        "previous_label_id": row.label_id,
        "previous_at": row.annotated_at,
        "previous_by": row.annotated_by,
    }


def _latest(function_id: str) -> Select[Any]:
    """The newest operation of a person on a function that stands."""
    mine = exists().where(samples.c.id == annotation_history.c.sample_id, samples.c.function_id == function_id)
    return (
        select(annotation_history.c.operation)
        .where(
            annotation_history.c.by == PERSON,
            annotation_history.c.operation.is_not(None),
            annotation_history.c.undone_at.is_(None),
            mine,
        )
        .order_by(annotation_history.c.sequence.desc())
        .limit(1)
    )
