"""What can happen to a data folder behind the program's back, done for real: to files, and to rows by plain SQL."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sqlalchemy import delete, insert, select, text, update

from detector.storage.blobs import image_name
from detector.storage.database import new_id, now
from detector.storage.jobs import enqueue
from detector.storage.revisions import next_revision
from detector.storage.schema import (
    embeddings,
    functions,
    images,
    import_batches,
    jobs,
    models,
    samples,
    tasks,
    thumbnails,
)
from detector.upkeep import findings
from detector.workspace import Workspace

HOUR = 3600.0


@dataclass(frozen=True)
class Damage:
    """How it is done, by a random generator, what it is called, and whether ``--repair`` mends it."""

    do: Callable[[Workspace, np.random.Generator], object]
    kind: str
    mended: bool = True


def image_file(ws: Workspace, image_hash: str) -> Path:
    """Where a picture's bytes lie."""
    return ws.settings.data_dir / "blobs" / image_name(image_hash)


def some_hash(ws: Workspace, rng: np.random.Generator) -> str:
    """Of any sample whose picture is whole still."""
    with ws.db.read() as connection:
        known = sorted(connection.scalars(select(samples.c.image_hash).join(images)))
    hashes = [found for found in known if _is_whole(image_file(ws, found), found)]
    return str(hashes[rng.integers(len(hashes))])


def _is_whole(path: Path, image_hash: str) -> bool:
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == image_hash


def flip(path: Path, rng: np.random.Generator) -> None:
    """One bit of a file."""
    data = bytearray(path.read_bytes())
    data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)


def cut(path: Path) -> None:
    """Half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def age(path: Path, seconds: float) -> None:
    """As if a file had been written so long ago."""
    moment = time.time() - seconds
    os.utime(path, (moment, moment))


def _flip_picture(ws: Workspace, rng: np.random.Generator) -> None:
    flip(image_file(ws, some_hash(ws, rng)), rng)


def _cut_picture(ws: Workspace, rng: np.random.Generator) -> None:
    cut(image_file(ws, some_hash(ws, rng)))


def _lose_picture(ws: Workspace, rng: np.random.Generator) -> None:
    image_file(ws, some_hash(ws, rng)).unlink()


def _orphan(ws: Workspace, rng: np.random.Generator) -> None:
    path = image_file(ws, rng.bytes(32).hex())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"of an import that was killed")
    age(path, 3 * HOUR)


def _lose_thumbnail(ws: Workspace, rng: np.random.Generator) -> None:
    with ws.db.write() as connection:
        connection.execute(delete(thumbnails).where(thumbnails.c.image_hash == some_hash(ws, rng)))


def _spoil_thumbnail(ws: Workspace, rng: np.random.Generator) -> None:
    with ws.db.write() as connection:
        connection.execute(
            update(thumbnails).where(thumbnails.c.image_hash == some_hash(ws, rng)).values(data=b"RIFF no picture")
        )


def _change_embedding(ws: Workspace, image_hash: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    with ws.db.write() as connection:
        mine = embeddings.c.image_hash == image_hash
        row = connection.execute(select(embeddings).where(mine).limit(1)).one()
        same = mine & (embeddings.c.backbone_key == row.backbone_key) & (embeddings.c.view == row.view)
        data = change(np.frombuffer(row.data, row.dtype).copy()).tobytes()
        connection.execute(update(embeddings).where(same).values(data=data))


def _shorten_embedding(ws: Workspace, rng: np.random.Generator) -> None:
    _change_embedding(ws, some_hash(ws, rng), lambda numbers: numbers[:-3])


def _no_number(ws: Workspace, rng: np.random.Generator) -> None:
    def change(numbers: np.ndarray) -> np.ndarray:
        numbers[int(rng.integers(len(numbers)))] = np.nan
        return numbers

    with ws.db.write() as connection:
        # As in a folder of before there were checksums.
        connection.execute(update(embeddings).values(checksum=None))
    _change_embedding(ws, some_hash(ws, rng), change)


def _flip_embedding(ws: Workspace, rng: np.random.Generator) -> None:
    def change(numbers: np.ndarray) -> np.ndarray:
        raw = numbers.view(np.uint8)
        # The lowest bits: still a number, and almost the same one.
        raw[2 * int(rng.integers(len(numbers)))] ^= 1
        return numbers

    _change_embedding(ws, some_hash(ws, rng), change)


def _unknown_backbone(ws: Workspace, rng: np.random.Generator) -> None:
    with ws.db.write() as connection:
        mine = embeddings.c.image_hash == some_hash(ws, rng)
        connection.execute(update(embeddings).where(mine).values(backbone_key="never-heard-of:1:2:float32"))


def model_file(ws: Workspace, ending: str = "") -> Path:
    """The file of the live model."""
    with ws.db.read() as connection:
        model_id = connection.scalar(select(functions.c.live_model_id))
    return ws.settings.data_dir / "blobs" / "models" / f"{model_id}{ending}.safetensors"


def _other_labels(ws: Workspace, _rng: np.random.Generator) -> None:
    with ws.db.write() as connection:
        connection.execute(update(models).values(label_names=["cats", "dogs"]))


def _unnamed_model(ws: Workspace, _rng: np.random.Generator) -> None:
    path = ws.settings.data_dir / "blobs" / "models" / f"{new_id()}.safetensors"
    path.write_bytes(b"of a training that was killed")
    age(path, 3 * HOUR)


def _lose_live(ws: Workspace, _rng: np.random.Generator) -> None:
    with ws.db.write() as connection:
        connection.execute(update(functions).values(live_model_id=new_id()))


def _wrong_agreement(ws: Workspace, rng: np.random.Generator) -> None:
    with ws.db.write() as connection:
        function_id = str(connection.scalar(select(functions.c.id)))
        connection.execute(
            update(samples)
            .where(samples.c.image_hash == some_hash(ws, rng))
            .values(agrees=~samples.c.agrees, revision=next_revision(connection, function_id))
        )


def _wrong_revision(ws: Workspace, _rng: np.random.Generator) -> None:
    with ws.db.write() as connection:
        connection.execute(update(functions).values(sample_revision=1))
        connection.execute(update(samples).values(revision=7))


def _wrong_confidence(ws: Workspace, rng: np.random.Generator) -> None:
    with ws.db.write() as connection:
        function_id = str(connection.scalar(select(functions.c.id)))
        connection.execute(
            update(samples)
            .where(samples.c.image_hash == some_hash(ws, rng))
            .values(confidence=17.0, revision=next_revision(connection, function_id))
        )


def _without_rules(ws: Workspace, statement: object) -> None:
    """A write that the database would refuse."""
    sqlite = ws.db.engine.dialect.name == "sqlite"
    with ws.db.engine.connect() as connection:
        raw = connection.connection.dbapi_connection
        assert raw is not None
        if sqlite:
            raw.execute("PRAGMA foreign_keys=OFF")
        else:
            connection.execute(text("SET session_replication_role = replica"))
        connection.execute(statement)  # type: ignore[call-overload]
        connection.commit()
        if sqlite:
            raw.execute("PRAGMA foreign_keys=ON")
        else:
            connection.execute(text("SET session_replication_role = DEFAULT"))
            connection.commit()


def _lose_image_row(ws: Workspace, rng: np.random.Generator) -> None:
    _without_rules(ws, delete(images).where(images.c.hash == some_hash(ws, rng)))


def _lose_batch_row(ws: Workspace, _rng: np.random.Generator) -> None:
    _without_rules(ws, delete(import_batches).where(import_batches.c.state == "done"))


def _dead_job(ws: Workspace, _rng: np.random.Generator) -> None:
    with ws.db.read() as connection:
        function_id = str(connection.scalar(select(functions.c.id)))
    job_id = enqueue(ws.db, function_id, "build", {"of": "a process that was killed"})
    with ws.db.write() as connection:
        dead = {"owner": "elsewhere:1:2", "lease": "x", "heartbeat": now() - HOUR}
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(state="running", **dead))


def _lost_import(ws: Workspace, _rng: np.random.Generator) -> None:
    with ws.db.write() as connection:
        function_id = connection.scalar(select(functions.c.id))
        connection.execute(
            insert(import_batches).values(
                id=new_id(),
                function_id=function_id,
                origin="zip",
                title="holiday.zip",
                state="running",
                created_at=now() - HOUR,
            )
        )


def _lost_task(ws: Workspace, _rng: np.random.Generator) -> None:
    with ws.db.write() as connection:
        function_id = connection.scalar(select(functions.c.id))
        job_id = new_id()
        ended = {"state": "done", "payload": {}, "created_at": now(), "kind": "build"}
        connection.execute(insert(jobs).values(id=job_id, function_id=function_id, **ended))
        piece = {"position": 0, "work": "embed", "parameters": {}, "items": [], "state": "queued", "created_at": now()}
        connection.execute(insert(tasks).values(id=new_id(), job_id=job_id, **piece))


def _half_file(ws: Workspace, rng: np.random.Generator) -> None:
    path = image_file(ws, some_hash(ws, rng)).with_name("half.0123abcd.tmp")
    path.write_bytes(b"half")
    age(path, 3 * HOUR)


def _old_upload(ws: Workspace, _rng: np.random.Generator) -> None:
    path = ws.spool / "0123456789ab.zip"
    path.write_bytes(b"nobody imported it")
    age(path, 48 * HOUR)


DAMAGES: dict[str, Damage] = {
    "a bit of a picture flips": Damage(_flip_picture, findings.PICTURES, False),
    "a picture is cut": Damage(_cut_picture, findings.PICTURES, False),
    "a picture is lost": Damage(_lose_picture, findings.LOST, False),
    "bytes without a row": Damage(_orphan, findings.ORPHANS),
    "a thumbnail is lost": Damage(_lose_thumbnail, findings.THUMBNAILS),
    "a thumbnail is no picture": Damage(_spoil_thumbnail, findings.THUMBNAILS),
    "an embedding is shorter": Damage(_shorten_embedding, findings.EMBEDDINGS),
    "an embedding is no number": Damage(_no_number, findings.EMBEDDINGS),
    "a bit of an embedding flips": Damage(_flip_embedding, findings.EMBEDDINGS),
    "an embedding of an unknown backbone": Damage(_unknown_backbone, findings.EMBEDDINGS),
    "a model is lost": Damage(lambda ws, _rng: model_file(ws).unlink(), findings.MODELS),
    "a model is cut": Damage(lambda ws, _rng: cut(model_file(ws)), findings.MODELS),
    "a bit of a model flips": Damage(lambda ws, rng: flip(model_file(ws), rng), findings.MODELS),
    "out-of-fold scores are cut": Damage(lambda ws, _rng: cut(model_file(ws, ".out-of-fold")), findings.MODELS),
    "a model is of other labels": Damage(_other_labels, findings.MODELS),
    "a model file without a row": Damage(_unnamed_model, findings.MODELS),
    "the live model is not there": Damage(_lose_live, findings.MODELS),
    "agreement is wrong": Damage(_wrong_agreement, findings.COUNTS),
    "a count of changes is too low": Damage(_wrong_revision, findings.COUNTS),
    "a confidence is no probability": Damage(_wrong_confidence, findings.COUNTS),
    "a row of an image is lost": Damage(_lose_image_row, findings.REFERENCES),
    "a row of an import is lost": Damage(_lose_batch_row, findings.REFERENCES),
    "a job without life": Damage(_dead_job, findings.JOBS),
    "an import without a job": Damage(_lost_import, findings.IMPORTS),
    "a task without a job": Damage(_lost_task, findings.TASKS),
    "a half-written file": Damage(_half_file, findings.FILES),
    "an upload that nobody imported": Damage(_old_upload, findings.FILES),
}
