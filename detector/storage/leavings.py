"""What a deleted function leaves outside its rows: written down with the deletion, until it is gone too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, exists, func, insert, select

from detector.storage.blobs import Blobs
from detector.storage.database import Database, new_id
from detector.storage.schema import images, jobs, meta, models, samples

#: How the keys of ``meta`` begin under which they are written down.
LEAVINGS = "deleted function "


@dataclass(frozen=True)
class Leavings:
    """``busy``: a job of the function was still running, and may have written its files once more."""

    key: str
    function_id: str
    model_ids: tuple[str, ...]
    busy: bool


def note_leavings(connection: Connection, function_id: str) -> None:
    """Write down what a function will leave; in the transaction that deletes it."""
    running = select(func.count()).where(jobs.c.function_id == function_id, jobs.c.state == "running")
    value = {
        "function": function_id,
        "models": list(connection.scalars(select(models.c.id).where(models.c.function_id == function_id))),
        "busy": bool(connection.scalar(running)),
    }
    connection.execute(insert(meta).values(key=LEAVINGS + new_id(), value=json.dumps(value)))


def list_leavings(db: Database) -> list[Leavings]:
    """What is still to go."""
    with db.read() as connection:
        rows = connection.execute(select(meta.c.key, meta.c.value).where(meta.c.key.startswith(LEAVINGS))).all()
    found = [(row.key, json.loads(row.value)) for row in rows]
    return [Leavings(key, value["function"], tuple(value["models"]), value["busy"]) for key, value in found]


def forget_leavings(db: Database, key: str) -> None:
    """Say that they are gone."""
    with db.write([]) as connection:
        connection.execute(delete(meta).where(meta.c.key == key))


def last_uses(db: Database, function_id: str, only_bin: bool = False) -> dict[str, float]:
    """When the images of a function became its samples, in seconds since the epoch, by hash."""
    statement = select(samples.c.image_hash, samples.c.created_at).where(samples.c.function_id == function_id)
    if only_bin:
        statement = statement.where(samples.c.deleted_at.is_not(None))
    with db.read() as connection:
        return {row.image_hash: row.created_at for row in connection.execute(statement)}


def unused_images(db: Database) -> list[str]:
    """Hashes of images that are no sample of any function, in or outside a bin."""
    with db.read() as connection:
        return list(connection.scalars(select(images.c.hash).where(_UNUSED)))


def remove_unused(db: Database, blobs: Blobs, hashes: Sequence[str], used: Mapping[str, float]) -> int:
    """Remove those of some images that are no sample any more: bytes, thumbnail, embeddings; returns how many.

    Bytes go before rows: after a crash in between, the row is still there to be found, and a new import of the picture
    writes its bytes again. They go while others write, since a store may take its time: whoever imports the picture at
    this moment says so to the store before anything else, and its sample is seen before the row goes.

    Parameters
    ----------
    used : mapping of hash to float
        When the image last became a sample, as far as that is known; see `Blobs.discard_image`.
    """
    removed = 0
    chunk = blobs.discarded_together
    for start in range(0, len(hashes), chunk):
        asked = images.c.hash.in_(hashes[start : start + chunk])
        with db.read() as connection:
            rows = connection.execute(select(images.c.hash, images.c.created_at).where(asked, _UNUSED)).all()
        if not rows:
            continue
        gone = blobs.discard_images({row.hash: max(row.created_at, used.get(row.hash, 0.0)) for row in rows})
        if gone:
            # Alone, for a moment: no sample of them can be on its way between this question and its answer.
            with db.write() as connection:
                removed += connection.execute(delete(images).where(images.c.hash.in_(gone), _UNUSED)).rowcount
    return removed


_UNUSED = ~exists().where(samples.c.image_hash == images.c.hash)
