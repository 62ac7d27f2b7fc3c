"""Embeddings by (image, backbone key, view): an image in two functions is embedded once."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from sqlalchemy import delete, exists, func, or_, select

from detector.errors import StoredEmbeddingsDamaged
from detector.storage.database import Database, holdable, insert_missing
from detector.storage.schema import embedding_failures, embeddings, images, samples
from detector.storage.stored_names import DETAIL, WHOLE

_CHUNK = 2000
_LARGEST_FLOAT16 = 6e4
_DTYPES: dict[str, np.dtype[Any]] = {"float16": np.dtype(np.float16), "float32": np.dtype(np.float32)}


def neighbours_file(function_id: str) -> str:
    """Name in the blob store of the index by which a function's most similar samples are found."""
    return f"neighbours/{function_id}.safetensors"


def as_stored(values: np.ndarray) -> np.ndarray:
    """``values`` as the store will give them back.

    Stored numbers are float16 where they fit; an invoke rounds the same way, so that the same image gets the same
    verdict whether it is a sample or a new upload.
    """
    if values.size and float(np.abs(values).max()) > _LARGEST_FLOAT16:
        return values.astype(np.float32)
    return values.astype(np.float16)


def checksum_of(data: bytes) -> int:
    """What is stored beside an embedding to notice a flipped bit: four bytes, as a number that any database takes."""
    return int.from_bytes(zlib.crc32(data).to_bytes(4, "big"), "big", signed=True)


def missing_images(db: Database, function_id: str, backbone_key: str) -> list[str]:
    """Hashes of a function's images that have no embedding under this key and have not failed, in hash order."""
    have = exists().where(
        embeddings.c.image_hash == samples.c.image_hash,
        embeddings.c.backbone_key == backbone_key,
        embeddings.c.view == WHOLE,
    )
    failed = exists().where(
        embedding_failures.c.image_hash == samples.c.image_hash, embedding_failures.c.backbone_key == backbone_key
    )
    with db.read() as connection:
        return list(
            connection.scalars(
                select(samples.c.image_hash)
                .where(samples.c.function_id == function_id, samples.c.deleted_at.is_(None), ~have, ~failed)
                .order_by(samples.c.image_hash)
            )
        )


def without_embedding(db: Database, hashes: Sequence[str], backbone_key: str) -> list[str]:
    """Those of some images that have no embedding under a key and have not failed under it, in the order given."""
    there: set[str] = set()
    with db.read() as connection:
        for start in range(0, len(hashes), _CHUNK):
            some = hashes[start : start + _CHUNK]
            there.update(
                connection.scalars(
                    select(embeddings.c.image_hash).where(
                        embeddings.c.backbone_key == backbone_key,
                        embeddings.c.view == WHOLE,
                        embeddings.c.image_hash.in_(some),
                    )
                )
            )
            there.update(
                connection.scalars(
                    select(embedding_failures.c.image_hash).where(
                        embedding_failures.c.backbone_key == backbone_key, embedding_failures.c.image_hash.in_(some)
                    )
                )
            )
    return [image_hash for image_hash in hashes if image_hash not in there]


def write_embeddings(
    db: Database,
    backbone_key: str,
    rows: Sequence[tuple[str, dict[str, np.ndarray]]],
    failures: Iterable[tuple[str, str]] = (),
) -> None:
    """Store embeddings given as (image hash, {view: (dimension,) float32}), and failures as (image hash, reason).

    Images that were removed for good in the meantime are passed over.
    """
    failures = list(failures)
    with db.write([]) as connection:
        asked = [image_hash for image_hash, _ in (*rows, *failures)]
        there = set(connection.scalars(select(images.c.hash).where(images.c.hash.in_(asked))))
        rows = [row for row in rows if row[0] in there]
        failures = [row for row in failures if row[0] in there]
        # Two processes may embed the same image at once; the numbers are the same, so the first row stays.
        have = set(
            connection.scalars(
                select(embeddings.c.image_hash).where(
                    embeddings.c.backbone_key == backbone_key,
                    embeddings.c.view == WHOLE,
                    embeddings.c.image_hash.in_([image_hash for image_hash, _ in rows]),
                )
            )
        )
        values = []
        for image_hash, views in rows:
            if image_hash in have:
                continue
            for view, numbers in views.items():
                stored = as_stored(numbers)
                data = stored.tobytes()
                values.append(
                    {
                        "image_hash": image_hash,
                        "backbone_key": backbone_key,
                        "view": view,
                        "dtype": stored.dtype.name,
                        "data": data,
                        "checksum": checksum_of(data),
                    }
                )
        if values:
            values.sort(key=lambda row: (row["image_hash"], row["view"]))
            connection.execute(insert_missing(connection, embeddings), values)
        if failures:
            known = set(
                connection.scalars(
                    select(embedding_failures.c.image_hash).where(embedding_failures.c.backbone_key == backbone_key)
                )
            )
            fresh = [
                {"image_hash": image_hash, "backbone_key": backbone_key, "reason": holdable(reason)}
                for image_hash, reason in failures
                if image_hash not in known
            ]
            if fresh:
                fresh.sort(key=lambda row: row["image_hash"])
                connection.execute(insert_missing(connection, embedding_failures), fresh)


def read_embeddings(db: Database, backbone_key: str, hashes: Sequence[str]) -> dict[str, np.ndarray]:
    """Embeddings of images as one matrix a view.

    Parameters
    ----------
    hashes : sequence of str, length n
        Every one must be embedded.

    Returns
    -------
    dict of str to (n, dimension) float32
        Rows follow ``hashes``. "detail" is there only when at least one image has that view; the others, too small for
        it, stand in it with their whole view.

    Raises
    ------
    LookupError
        Some have none.
    StoredEmbeddingsDamaged
        Some are of another length than the others; see `remove_damaged`.
    """
    whole: np.ndarray | None = None
    detail: np.ndarray | None = None
    filled = np.zeros(len(hashes), bool)
    detailed = np.zeros(len(hashes), bool)
    damaged: set[str] = set()
    index = {image_hash: position for position, image_hash in enumerate(hashes)}
    with db.read() as connection:
        for start in range(0, len(hashes), _CHUNK):
            rows = connection.execute(
                select(embeddings.c.image_hash, embeddings.c.view, embeddings.c.dtype, embeddings.c.data).where(
                    embeddings.c.backbone_key == backbone_key,
                    embeddings.c.image_hash.in_(hashes[start : start + _CHUNK]),
                )
            )
            for image_hash, view, dtype, data in rows.all():
                numbers = _numbers(data, dtype)
                if whole is None:
                    whole = np.zeros((len(hashes), numbers.size), np.float32)
                if numbers.size != whole.shape[1]:
                    damaged.add(image_hash)
                    continue
                position = index[image_hash]
                if view == WHOLE:
                    whole[position] = numbers
                    filled[position] = True
                else:
                    if detail is None:
                        detail = np.zeros_like(whole)
                    detail[position] = numbers
                    detailed[position] = True
    if damaged or (whole is not None and not whole.shape[1]):
        raise StoredEmbeddingsDamaged(len(damaged) or len(hashes))
    if whole is None or not filled.all():
        lacking = [image_hash for image_hash, there in zip(hashes, filled, strict=True) if not there]
        raise LookupError(f"{len(lacking)} images have no embedding under {backbone_key}")
    views = {WHOLE: whole}
    if detail is not None:
        detail[~detailed] = whole[~detailed]
        views[DETAIL] = detail
    return views


def _numbers(data: bytes, dtype: str) -> np.ndarray:
    try:
        return np.frombuffer(data, dtype=_DTYPES[dtype])
    except (KeyError, ValueError, TypeError):
        return np.empty(0, np.float32)


def remove_damaged(db: Database, backbone_key: str, dimension: int) -> int:
    """Remove all embeddings of images of which one is not ``dimension`` numbers, to be made anew; returns how many."""
    whole = [
        (embeddings.c.dtype == name) & (func.length(embeddings.c.data) == dimension * kind.itemsize)
        for name, kind in _DTYPES.items()
    ]
    with db.write() as connection:
        hashes = connection.scalars(
            select(embeddings.c.image_hash).where(embeddings.c.backbone_key == backbone_key, ~or_(*whole)).distinct()
        ).all()
        for start in range(0, len(hashes), _CHUNK):
            connection.execute(
                delete(embeddings).where(
                    embeddings.c.backbone_key == backbone_key,
                    embeddings.c.image_hash.in_(hashes[start : start + _CHUNK]),
                )
            )
    return len(hashes)


def embedded_hashes(db: Database, function_id: str, backbone_key: str) -> set[str]:
    """Hashes of a function's images that have embeddings under this key."""
    with db.read() as connection:
        return set(
            connection.scalars(
                select(samples.c.image_hash)
                .join(
                    embeddings,
                    (embeddings.c.image_hash == samples.c.image_hash)
                    & (embeddings.c.backbone_key == backbone_key)
                    & (embeddings.c.view == WHOLE),
                )
                .where(samples.c.function_id == function_id, samples.c.deleted_at.is_(None))
            )
        )


def failed_hashes(db: Database, function_id: str, backbone_key: str) -> set[str]:
    """Hashes of a function's images that could not be embedded under this key."""
    statement = (
        select(samples.c.image_hash)
        .join(embedding_failures, embedding_failures.c.image_hash == samples.c.image_hash)
        .where(
            samples.c.function_id == function_id,
            samples.c.deleted_at.is_(None),
            embedding_failures.c.backbone_key == backbone_key,
        )
    )
    with db.read() as connection:
        return set(connection.scalars(statement))


def failure(db: Database, image_hash: str, backbone_key: str) -> str | None:
    """Why an image could not be embedded under a key, or under any that begins so; None where it did not fail."""
    statement = select(embedding_failures.c.reason).where(
        embedding_failures.c.image_hash == image_hash,
        embedding_failures.c.backbone_key.startswith(backbone_key, autoescape=True),
    )
    with db.read() as connection:
        return connection.scalar(statement.limit(1))
