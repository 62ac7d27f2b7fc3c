"""Models: immutable results of training, with versions. The coefficients lie in the blob store."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, select, update

from detector.errors import NotFound
from detector.storage.blobs import Blobs
from detector.storage.database import Database, new_id, now
from detector.storage.revisions import next_revision
from detector.storage.schema import functions, models, samples

#: How many ids one statement may name; SQLite's own limit is 32,766.
_CHUNK = 5000


@dataclass(frozen=True)
class ModelRow:
    """One version.

    ``cross_validation``, ``sweep``, ``thresholds`` and ``holdout_score`` are JSON forms of what training and evaluation
    found; the latter two are added to a version after its training. ``labels_read_at``, in seconds since the epoch,
    moves on when a later reading of the labels finds the same ones. Everything else never changes.
    """

    id: str
    function_id: str
    version: int
    backbone_id: str
    backbone_key: str
    precision: str
    label_ids: list[str]
    label_names: list[str]
    sample_count: int
    training_fingerprint: str
    hyperparameters: dict[str, Any]
    sweep: list[dict[str, Any]]
    cross_validation: dict[str, Any] | None
    note: str
    seconds: float
    labels_read_at: float
    created_at: float
    thresholds: dict[str, Any] | None
    normalise: str | None
    holdout_score: dict[str, Any] | None
    hardening: dict[str, Any] | None = None
    coverage: dict[str, Any] | None = None
    recentring: dict[str, Any] | None = None


def add_model(
    db: Database,
    blobs: Blobs,
    function_id: str,
    model_file: bytes,
    out_of_fold_file: bytes | None,
    **facts: Any,
) -> ModelRow:
    """Store a model as the function's next version and make it live.

    Parameters
    ----------
    model_file : bytes
        The safetensors file of the model.
    out_of_fold_file : bytes, optional
        Its out-of-fold probabilities, kept so that putting this version back restores them.
    facts
        The remaining columns of ModelRow.

    Raises
    ------
    NotFound
        The function was deleted while its model was trained.
    """
    model_id = new_id()
    # Bytes before rows: a crash in between leaves a file that nothing names.
    try:
        blobs.put(_model_path(model_id), model_file)
        if out_of_fold_file is not None:
            blobs.put(_out_of_fold_path(model_id), out_of_fold_file)
        _add_row(db, function_id, model_id, facts)
    except Exception:
        _remove_unnamed(db, blobs, model_id)
        raise
    return get_model(db, model_id)


def _add_row(db: Database, function_id: str, model_id: str, facts: dict[str, Any]) -> None:
    with db.write([function_id]) as connection:
        if connection.scalar(select(functions.c.id).where(functions.c.id == function_id)) is None:
            raise NotFound("function", function_id)
        version = (
            connection.scalar(select(func.max(models.c.version)).where(models.c.function_id == function_id)) or 0
        ) + 1
        connection.execute(
            insert(models).values(id=model_id, function_id=function_id, version=version, created_at=now(), **facts)
        )
        connection.execute(
            update(functions).where(functions.c.id == function_id).values(live_model_id=model_id, training_note="")
        )


def _remove_unnamed(db: Database, blobs: Blobs, model_id: str) -> None:
    """Take the files of a model away that did not come to be: each attempt on a full disk would leave some."""
    with contextlib.suppress(Exception):
        # A commit that was answered with an error may have come through all the same.
        with db.read() as connection:
            there = connection.scalar(select(models.c.id).where(models.c.id == model_id)) is not None
        if not there:
            delete_model_files(blobs, model_id)


def delete_model_files(blobs: Blobs, model_id: str) -> None:
    """Remove what a model that is no longer in the table has left in the blob store; nothing happens without."""
    blobs.delete(_model_path(model_id))
    blobs.delete(_out_of_fold_path(model_id))
    blobs.delete(_unseen_path(model_id))
    blobs.delete(_likeness_path(model_id))


def get_model(db: Database, model_id: str) -> ModelRow:
    """The model of that id. Raises NotFound."""
    with db.read() as connection:
        row = connection.execute(_SELECT.where(models.c.id == model_id)).one_or_none()
    if row is None:
        raise NotFound("model", model_id)
    return ModelRow(**row._mapping)


def list_models(db: Database, function_id: str) -> list[ModelRow]:
    """All versions, newest first."""
    with db.read() as connection:
        rows = connection.execute(_SELECT.where(models.c.function_id == function_id).order_by(models.c.version.desc()))
        return [ModelRow(**row._mapping) for row in rows]


def set_labels_read_at(db: Database, model_id: str, moment: float) -> None:
    """Note that a version still fits the labels as they were at a moment."""
    with db.write([]) as connection:
        connection.execute(update(models).where(models.c.id == model_id).values(labels_read_at=moment))


def set_thresholds(db: Database, model_id: str, thresholds: dict[str, Any] | None) -> None:
    """Store a version's thresholds, as ``Thresholds.to_json`` gives them."""
    with db.write([]) as connection:
        connection.execute(update(models).where(models.c.id == model_id).values(thresholds=thresholds))


def set_coverage(db: Database, model_id: str, coverage: dict[str, Any] | None) -> None:
    """Store what the files of a version's samples cover."""
    with db.write([]) as connection:
        connection.execute(update(models).where(models.c.id == model_id).values(coverage=coverage))


def set_recentring(db: Database, model_id: str, recentring: dict[str, Any] | None) -> None:
    """Store how a version is adapted to the place where it is used; None: it is not any more."""
    with db.write([]) as connection:
        connection.execute(update(models).where(models.c.id == model_id).values(recentring=recentring))


def set_holdout_score(db: Database, model_id: str, score: dict[str, Any], sample_ids: Sequence[str]) -> None:
    """Store a version's score on the locked test set, and with it that these samples were looked at once more."""
    with db.write() as connection:
        connection.execute(update(models).where(models.c.id == model_id).values(holdout_score=score))
        for start in range(0, len(sample_ids), _CHUNK):
            connection.execute(
                update(samples)
                .where(samples.c.id.in_(sample_ids[start : start + _CHUNK]))
                .values(holdout_uses=samples.c.holdout_uses + 1)
            )
        function_id = connection.scalar(select(models.c.function_id).where(models.c.id == model_id))
        if function_id is not None:
            # No row is stamped with it: only counts of them change.
            next_revision(connection, function_id)


def model_file(blobs: Blobs, model_id: str) -> bytes:
    """The safetensors file of a model. Raises NotFound."""
    return blobs.get(_model_path(model_id))


def out_of_fold_file(blobs: Blobs, model_id: str) -> bytes | None:
    """The out-of-fold probabilities of a model as safetensors; None when it was trained without folds."""
    try:
        return blobs.get(_out_of_fold_path(model_id))
    except NotFound:
        return None


def put_unseen_file(blobs: Blobs, model_id: str, data: bytes) -> None:
    """Keep what a model would say of sources that it has not seen, beside it."""
    blobs.put(_unseen_path(model_id), data)


def unseen_file(blobs: Blobs, model_id: str) -> bytes | None:
    """What `put_unseen_file` kept; None where nothing is."""
    try:
        return blobs.get(_unseen_path(model_id))
    except NotFound:
        return None


def delete_unseen_file(blobs: Blobs, model_id: str) -> None:
    """Forget it: sources are others now. Nothing happens without."""
    blobs.delete(_unseen_path(model_id))


def put_likeness_file(blobs: Blobs, model_id: str, data: bytes) -> None:
    """Keep what is usual among the samples of a model, beside it."""
    blobs.put(_likeness_path(model_id), data)


def likeness_file(blobs: Blobs, model_id: str) -> bytes | None:
    """What `put_likeness_file` kept; None where nothing is."""
    try:
        return blobs.get(_likeness_path(model_id))
    except NotFound:
        return None


def _model_path(model_id: str) -> str:
    return f"models/{model_id}.safetensors"


def _out_of_fold_path(model_id: str) -> str:
    return f"models/{model_id}.out-of-fold.safetensors"


def _unseen_path(model_id: str) -> str:
    return f"models/{model_id}.unseen.safetensors"


def _likeness_path(model_id: str) -> str:
    return f"models/{model_id}.likeness.safetensors"


_SELECT = select(*(models.c[name].label(name) for name in ModelRow.__dataclass_fields__))


def last_precision(db: Database, function_id: str, backbone_id: str) -> str | None:
    """In which precision a function's newest model of a backbone saw images through it; None without such a model."""
    statement = (
        select(models.c.precision)
        .where(models.c.function_id == function_id, models.c.backbone_id == backbone_id)
        .order_by(models.c.version.desc())
        .limit(1)
    )
    with db.read() as connection:
        return connection.scalar(statement)
