"""Functions and their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from detector.errors import Conflict, InvalidInput, NotFound
from detector.storage.audit_log import note_with
from detector.storage.database import Database, new_id, now
from detector.storage.evaluations import SHORTCUT
from detector.storage.known_labels import (
    KnownLabels,
    hold_labels,
    known_labels,
    stored_spelling,
    without_controls,
)
from detector.storage.label_names import is_blank, is_taken_by_verdict, label_key, visible_form
from detector.storage.leavings import note_leavings
from detector.storage.predictions import NO_PREDICTION
from detector.storage.revisions import next_revision
from detector.storage.schema import evaluations, functions, jobs, labels, models, samples
from detector.storage.stored_names import NO_TRAINING

MAX_NAME = 120
#: A label is a class of a classifier, not a file name: thousands of them are always a mistake in choosing folders.
MAX_LABELS = 100


@dataclass(frozen=True)
class Function:
    id: str
    name: str
    input: str
    output: str
    backbone_id: str
    backbone_reason: str
    precision: str | None
    sweep_settings: dict[str, Any]
    live_model_id: str | None
    training_note: str
    is_simulation: bool
    created_at: float
    false_accusation_limit: float
    normalise: str | None
    copies: int | None
    judge_unlike: bool
    inner_features: bool
    keep_records: bool = False
    keep_days: int | None = None
    capture: dict[str, Any] | None = None


@dataclass(frozen=True)
class Label:
    id: str
    function_id: str
    name: str
    description: str | None
    metadata: dict[str, Any] | None
    position: int


@dataclass(frozen=True)
class FunctionSummary:
    """One line of the list of functions.

    ``shown`` is the function's name as people see it: numbered where an older one has the same. ``accuracy`` is
    cross-validated, None without folds or model; ``shortcut`` where the live model's audit found that the files alone
    give the labels away, so that the accuracy says little; ``normalised`` where that model's files are alike, so that
    what tells the labels apart is in the pictures. ``interval`` is that of the accuracy.
    """

    function: Function
    shown: str
    sample_count: int
    annotated_count: int
    model_version: int | None
    accuracy: float | None
    accuracy_n: int
    interval: tuple[float, float] | None
    busy: bool
    shortcut: bool
    normalised: bool


def clean_name(name: str, noun: str) -> str:
    """``name`` trimmed, control characters as spaces. Raises InvalidInput when nothing or too much is left."""
    name = without_controls(name)
    if is_blank(name):
        raise InvalidInput(f"The {noun} has no name. Give it one of 1 to {MAX_NAME} characters.")
    if len(name) > MAX_NAME:
        raise InvalidInput(f"The {noun}'s name has {len(name)} characters, more than {MAX_NAME}. Shorten it.")
    return name


def clean_label_name(name: str) -> str:
    """``name`` as a new label is stored under it: `clean_name`, and accents in one form (NFC). Raises InvalidInput."""
    name = clean_name(stored_spelling(name), "label")
    if is_taken_by_verdict(name):
        raise InvalidInput(
            f"No label can be called {name!r}: it is what a function says where it is not sure of any. Give the label "
            "another name."
        )
    return name


def create_function(
    db: Database,
    name: str,
    *,
    backbone_id: str,
    backbone_reason: str = "",
    label_names: Sequence[str] = ("real", "synthetic"),
    is_simulation: bool = False,
    false_accusation_limit: float | None = None,
    function_id: str | None = None,
) -> Function:
    """Create a function with its labels; ``false_accusation_limit`` is the usual one where None.

    Parameters
    ----------
    function_id : str, optional
        A new id (`new_id`) that was chosen before. Where there is a function of that id already it is the one that was
        asked for twice, and stays as it is.

    Raises
    ------
    InvalidInput
        An empty name, too many labels, or the same label twice, in whatever case or Unicode form.
    """
    name = clean_name(name, "function")
    names = [clean_label_name(label) for label in label_names]
    if len(names) > MAX_LABELS:
        raise InvalidInput(f"These are {len(names):,} labels; at most {MAX_LABELS} are possible.")
    first: dict[str, str] = {}
    for label in names:
        if (other := first.get(label_key(label))) is not None:
            raise InvalidInput(f"{_same_name(other, label)} Give each label a name of its own.")
        first[label_key(label)] = label
    function_id = function_id or new_id()
    with db.write([function_id]) as connection:
        if connection.scalar(select(functions.c.id).where(functions.c.id == function_id)) is not None:
            return _function(connection, function_id)
        connection.execute(
            insert(functions).values(
                id=function_id,
                name=name,
                input="Image",
                output="Classification",
                backbone_id=backbone_id,
                backbone_reason=backbone_reason,
                sweep_settings={},
                is_simulation=is_simulation,
                created_at=now(),
                **({} if false_accusation_limit is None else {"false_accusation_limit": false_accusation_limit}),
            )
        )
        for label in names:
            _insert_label(connection, function_id, label, None, None)
    return get_function(db, function_id)


def get_function(db: Database, function_id: str) -> Function:
    """The function of that id. Raises NotFound."""
    with db.read() as connection:
        return _function(connection, function_id)


def _function(connection: Connection, function_id: str) -> Function:
    row = connection.execute(_SELECT_FUNCTION.where(functions.c.id == function_id)).one_or_none()
    if row is None:
        raise NotFound("function", function_id)
    return Function(**row._mapping)


def find_function(db: Database, id_or_name: str) -> Function:
    """The function of that id or, when none has it, the one of that name.

    A numbered name ("Cats (2)") is understood as pages show it, where no function was given it.

    Raises
    ------
    InvalidInput
        Several functions have that name.
    NotFound
        None has it.
    """
    with db.read() as connection:
        rows = connection.execute(_SELECT_FUNCTION.order_by(functions.c.created_at, functions.c.id)).all()
    shown = number_names([(row.id, row.name) for row in rows])
    found = [row for row in rows if row.id == id_or_name] or [row for row in rows if row.name == id_or_name]
    found = found or [row for row in rows if shown[row.id] == id_or_name]
    if not found:
        raise NotFound("function", id_or_name)
    if len(found) > 1:
        ids = ", ".join(f"{row.id} ({shown[row.id]})" for row in found)
        raise InvalidInput(f"{len(found)} functions are called {id_or_name!r}. Name the one you mean by its id: {ids}.")
    return Function(**found[0]._mapping)


def number_names(named: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Names as people see them, by id: of several that look the same all but the first get a number.

    Parameters
    ----------
    named : sequence of (id, name)
        The oldest first.

    Returns
    -------
    dict of str to str
        No two values look the same: "Cats", "Cats (2)", and "Cats (3)" where another one was given the name "Cats (2)".
    """
    taken = {visible_form(name) for _, name in named}
    last: dict[str, int] = {}
    shown = {}
    for function_id, name in named:
        key, numbered = visible_form(name), name
        if key in last:
            number = last[key] + 1
            while visible_form(numbered := f"{name} ({number})") in taken:
                number += 1
            last[key] = number
        else:
            last[key] = 1
        taken.add(visible_form(numbered))
        shown[function_id] = numbered
    return shown


def shown_names(db: Database) -> dict[str, str]:
    """The names of all functions as people see them (`number_names`), by id."""
    with db.read() as connection:
        rows = connection.execute(
            select(functions.c.id, functions.c.name).order_by(functions.c.created_at, functions.c.id)
        )
        return number_names([(row.id, row.name) for row in rows])


def find_live(db: Database, function_id: str) -> tuple[str | None, str] | None:
    """(live model id, training note) of a function, None when it is gone; cheap enough to be asked every second."""
    with db.read() as connection:
        row = connection.execute(
            select(functions.c.live_model_id, functions.c.training_note).where(functions.c.id == function_id)
        ).one_or_none()
    return (row.live_model_id, row.training_note) if row is not None else None


def list_functions(db: Database) -> list[FunctionSummary]:
    """All functions, newest first, with what a list shows of them."""
    # An audit and a run of invokes change neither samples nor models, and while copies are made nobody waits.
    busy = (
        select(jobs.c.function_id)
        .where(jobs.c.state.in_(("queued", "running")), jobs.c.kind.not_in(NO_TRAINING))
        .distinct()
    )
    with db.read() as connection:
        rows = connection.execute(_SELECT_FUNCTION.order_by(functions.c.created_at.desc(), functions.c.id.desc())).all()
        by_function = _count_samples(connection)
        live = {
            row.id: row
            for row in connection.execute(
                select(models.c.id, models.c.version, models.c.cross_validation, models.c.normalise).where(
                    models.c.id.in_(select(functions.c.live_model_id))
                )
            )
        }
        running = set(connection.scalars(busy))
        audits = select(evaluations.c.model_id, evaluations.c.result).where(
            evaluations.c.part == SHORTCUT, evaluations.c.model_id.in_(select(functions.c.live_model_id))
        )
        # None where there are too few samples to ask.
        warned = {row.model_id for row in connection.execute(audits) if (row.result["shortcut"] or {}).get("warning")}
    shown = number_names([(row.id, row.name) for row in reversed(rows)])
    found = []
    for row in rows:
        function = Function(**row._mapping)
        count = by_function[function.id]
        model = live.get(function.live_model_id)
        scores = model.cross_validation if model is not None else None
        found.append(
            FunctionSummary(
                function,
                shown[function.id],
                count[0],
                count[1],
                model.version if model is not None else None,
                scores["accuracy"] if scores else None,
                scores["n"] if scores else 0,
                tuple(scores["interval"]) if scores else None,
                function.id in running,
                function.live_model_id in warned,
                model is not None and model.normalise is not None,
            )
        )
    return found


def _count_samples(connection: Connection) -> dict[str, tuple[int, int]]:
    """(samples, annotated ones) by function; only what has changed since the last time is counted again."""
    database = str(connection.engine.url)
    found = {}
    for row in connection.execute(select(functions.c.id, functions.c.sample_revision)):
        key = (database, row.id)
        known = _counted.get(key)
        if known is None or known[0] != row.sample_revision:
            counts = connection.execute(
                select(func.count(), func.count(samples.c.label_id)).where(
                    samples.c.function_id == row.id, samples.c.deleted_at.is_(None)
                )
            ).one()
            known = _counted[key] = (row.sample_revision, counts[0], counts[1])
        found[row.id] = known[1:]
    return found


#: (revision, samples, annotated) by database and function. Every page asks for them, several times a run.
_counted: dict[tuple[str, str], tuple[int, int, int]] = {}


def rename_function(db: Database, function_id: str, name: str) -> None:
    """Give a function another name. Raises InvalidInput, NotFound."""
    _update(db, function_id, name=clean_name(name, "function"))


def set_backbone(db: Database, function_id: str, backbone_id: str, reason: str) -> None:
    """Choose another backbone; its precision is chosen at the next embedding. Raises NotFound."""
    _update(db, function_id, backbone_id=backbone_id, backbone_reason=reason, precision=None)


def set_precision(db: Database, function_id: str, precision: str, reason: str | None = None) -> None:
    """What its embeddings are calculated in; with another sentence about the backbone, if given. Raises NotFound."""
    also = {} if reason is None else {"backbone_reason": reason}
    _update(db, function_id, precision=precision, **also)


def set_sweep_settings(db: Database, function_id: str, settings: dict[str, Any]) -> None:
    """Store the expert settings of the sweep as JSON."""
    _update(db, function_id, sweep_settings=settings)


def set_false_accusation_limit(db: Database, function_id: str, false_accusation_limit: float) -> None:
    _update(db, function_id, false_accusation_limit=false_accusation_limit)


def set_normalise(db: Database, function_id: str, code: str | None) -> None:
    """Have images re-encoded before they are embedded, as ``code`` says; None: as they are."""
    _update(db, function_id, normalise=code)


def set_copies(db: Database, function_id: str, copies: int | None) -> None:
    """How many degraded copies of each labelled sample are trained on; None: as many as suit their number."""
    _update(db, function_id, copies=copies)


def set_judge_unlike(db: Database, function_id: str, judge_unlike: bool) -> None:
    """Whether images get a verdict whose files do not compare with the samples'."""
    _update(db, function_id, judge_unlike=judge_unlike)


def set_inner_features(db: Database, function_id: str, inner_features: bool) -> None:
    """Whether the backbone's inner blocks are kept as feature sets too."""
    _update(db, function_id, inner_features=inner_features)


def set_keeping(db: Database, function_id: str, keep_records: bool, keep_days: int | None) -> None:
    """Whether each verdict of the Invoke page is kept as a record, and for how many days; None: until deleted."""
    _update(db, function_id, keep_records=keep_records, keep_days=keep_days)


def set_capture(db: Database, function_id: str, capture: dict[str, Any] | None) -> None:
    """Which invoked pictures are put among the samples by themselves; None: none of them."""
    _update(db, function_id, capture=capture)


def set_live_model(db: Database, function_id: str, model_id: str | None) -> None:
    _update(db, function_id, live_model_id=model_id)


def set_training_note(db: Database, function_id: str, note: str) -> None:
    _update(db, function_id, training_note=note)


def delete_function(db: Database, function_id: str) -> None:
    """Delete the rows of a function: itself, its labels, samples, models and jobs. Raises NotFound.

    What is left of it besides, files and images that no other function uses, goes with `detector.operations.deletion`;
    that it is to go is written down here, so that a crash in between forgets nothing.
    """
    with db.write() as connection:
        note_leavings(connection, function_id)
        name = connection.scalar(select(functions.c.name).where(functions.c.id == function_id))
        if not connection.execute(delete(functions).where(functions.c.id == function_id)).rowcount:
            raise NotFound("function", function_id)
        note_with(connection, "function deleted", name or "", {"function": function_id})


def list_labels(db: Database, function_id: str) -> list[Label]:
    """The labels of a function in the order of their making."""
    with db.read() as connection:
        rows = connection.execute(_SELECT_LABEL.where(labels.c.function_id == function_id).order_by(labels.c.position))
        return [Label(**row._mapping) for row in rows]


def get_label(db: Database, label_id: str) -> Label:
    """The label of that id. Raises NotFound."""
    with db.read() as connection:
        row = connection.execute(_SELECT_LABEL.where(labels.c.id == label_id)).one_or_none()
    if row is None:
        raise NotFound("label", label_id)
    return Label(**row._mapping)


def create_label(
    db: Database,
    function_id: str,
    name: str,
    description: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> Label:
    """Add a label; its name is trimmed.

    Raises
    ------
    Conflict
        The function has a label of that name, in whatever case or Unicode form.
    InvalidInput
        The name cannot be used, or the function has as many labels as are possible.
    NotFound
        There is no such function.
    """
    name = clean_label_name(name)
    with db.write([function_id]) as connection:
        if not hold_labels(connection, function_id):
            raise NotFound("function", function_id)
        known = known_labels(connection, function_id)
        _refuse_taken(known, name, "Use it, or choose another name.")
        if len(known.ids) >= MAX_LABELS:
            raise InvalidInput(f"The function has {len(known.ids)} labels; no more are possible. Delete one first.")
        label_id = _insert_label(connection, function_id, name, description, metadata)
    return get_label(db, label_id)


def find_label(db: Database, function_id: str, name: str) -> Label | None:
    """The label that a name means: that of the exact spelling, else the oldest of the same name; None without one."""
    found = list_labels(db, function_id)
    label_id = KnownLabels((label.name, label.id) for label in found).find(name)
    return next((label for label in found if label.id == label_id), None)


def ensure_labels(db: Database, function_id: str, names: Sequence[str]) -> dict[str, str]:
    """Make the labels that are missing; returns name -> id for all labels, and for ``names`` as they were given.

    A name that differs from a label's, or from another one of ``names``, only in case or Unicode form means the same
    label; of stored twins that of the exact spelling, else the oldest.
    """
    with db.write([function_id]) as connection:
        hold_labels(connection, function_id)
        known = known_labels(connection, function_id)
        new: dict[str, str] = {}
        for given in names:
            if known.find(given) is None:
                new.setdefault(label_key(clean_label_name(given)), clean_label_name(given))
        if new and len(known.ids) + len(new) > MAX_LABELS:
            raise InvalidInput(
                f"That would make {len(known.ids) + len(new):,} labels; at most {MAX_LABELS} are possible. "
                "Choose the folder level whose names are the labels."
            )
        for name in new.values():
            known.add(name, _insert_label(connection, function_id, name, None, None))
    return known.ids | {given: label_id for given in names if (label_id := known.find(given)) is not None}


def rename_label(
    db: Database,
    label_id: str,
    name: str | None,
    description: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> Label:
    """Change a label's name, description and metadata where given; None leaves each as it is.

    Another spelling of its own name is a new name like any other.

    Raises
    ------
    Conflict
        Another label of the function has that name, in whatever case or Unicode form.
    InvalidInput
        The name cannot be used.
    NotFound
        There is no such label.
    """
    values: dict[str, Any] = {}
    if description is not None:
        values["description"] = description
    if metadata is not None:
        values["metadata"] = metadata
    with db.write() as connection:
        row = connection.execute(
            select(labels.c.function_id, labels.c.name).where(labels.c.id == label_id)
        ).one_or_none()
        if row is None:
            raise NotFound("label", label_id)
        # A stored twin keeps its name, whatever else of it changes.
        if name is not None and row.name not in (without_controls(name), clean_label_name(name)):
            values["name"] = clean_label_name(name)
            hold_labels(connection, row.function_id)
            known = known_labels(connection, row.function_id)
            others = KnownLabels(item for item in known.ids.items() if item[1] != label_id)
            _refuse_taken(others, values["name"], "Choose another name.")
        if values:
            connection.execute(update(labels).where(labels.c.id == label_id).values(**values))
    return get_label(db, label_id)


def delete_label(db: Database, label_id: str) -> None:
    """Delete a label: its samples become unannotated and its predictions go at once. Raises NotFound."""
    with db.write() as connection:
        row = connection.execute(select(labels.c.function_id, labels.c.name).where(labels.c.id == label_id)).first()
        if row is None:
            raise NotFound("label", label_id)
        function_id = row.function_id
        revision = next_revision(connection, function_id)
        without = connection.execute(
            update(samples)
            .where(samples.c.label_id == label_id)
            .values(annotated_at=None, annotated_by=None, agrees=None, label_quality=None, revision=revision)
        ).rowcount
        connection.execute(
            update(samples).where(samples.c.predicted_label_id == label_id).values(**NO_PREDICTION, revision=revision)
        )
        connection.execute(delete(labels).where(labels.c.id == label_id))
        note_with(connection, "label deleted", row.name, {"function": function_id, "samples": without})


def _refuse_taken(known: KnownLabels, name: str, advice: str) -> None:
    taken = known.spelling(name)
    if taken == name:
        raise Conflict(f"There is a label {name!r} already. {advice}", known.ids[taken])
    if taken is not None:
        raise Conflict(f"There is a label {taken!r} already. {_same_name(taken, name)} {advice}", known.ids[taken])


def _same_name(first: str, second: str) -> str:
    if first == second:
        return f"The label {first!r} is there twice."
    return (
        f"{first!r} and {second!r} are one name: neither upper and lower case nor the way in which an accented letter "
        "is stored nor a second space nor a character without ink makes two of it."
    )


def _insert_label(
    connection: Connection, function_id: str, name: str, description: str | None, metadata: dict[str, Any] | None
) -> str:
    label_id = new_id()
    position = connection.scalar(
        select(func.coalesce(func.max(labels.c.position), -1) + 1).where(labels.c.function_id == function_id)
    )
    connection.execute(
        insert(labels).values(
            id=label_id,
            function_id=function_id,
            name=name,
            description=description,
            metadata=metadata,
            position=position,
        )
    )
    return label_id


def _update(db: Database, function_id: str, **values: Any) -> None:
    with db.write([function_id]) as connection:
        if not connection.execute(update(functions).where(functions.c.id == function_id).values(**values)).rowcount:
            raise NotFound("function", function_id)


_SELECT_FUNCTION = select(*(functions.c[name].label(name) for name in Function.__dataclass_fields__))
_SELECT_LABEL = select(*(labels.c[name] for name in Label.__dataclass_fields__))
