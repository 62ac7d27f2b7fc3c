"""Samples that come one by one over HTTP: many posts, one transaction, and each gets its own answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from detector.errors import CaptureBoundReached, Conflict, DetectorError, NotFound
from detector.storage.annotating import moment_of_change
from detector.storage.captured import ORIGIN, count_captured, month_start
from detector.storage.database import Database, new_id, now
from detector.storage.imports import ImageRow, insert_images
from detector.storage.known_labels import known_labels, no_label
from detector.storage.revisions import next_revision
from detector.storage.schema import annotation_history, functions, images, import_batches, samples
from detector.storage.stored_names import TRAIN

BATCH_TITLE = "Over the HTTP API"
#: By origin: the one import batch of a function for everything that came in that way.
_TITLES = {"api": BATCH_TITLE, ORIGIN: "Captured from invokes"}


@dataclass(frozen=True)
class PostedSample:
    """One inspected image for one function; ``label_name`` is looked up when it is written.

    ``captured`` is the reason of an invoke that brought it, one of `detector.storage.captured.REASONS`; with
    ``a_month`` it is refused once so many have come by themselves this month. ``who`` labels it: a user or a key.
    """

    function_id: str
    image: ImageRow
    file_name: str
    label_name: str | None = None
    external_id: str | None = None
    sample_sets: tuple[str, ...] = ()
    captured: str | None = None
    a_month: int | None = None
    origin: str = "api"
    who: str | None = None


def find_sample_id(db: Database, function_id: str, image_hash: str) -> str | None:
    """The id of the function's sample with exactly these bytes; None when there is none."""
    with db.read() as connection:
        return connection.scalar(
            select(samples.c.id).where(
                samples.c.function_id == function_id,
                samples.c.image_hash == image_hash,
                samples.c.deleted_at.is_(None),
            )
        )


def already_there(sample_id: str) -> Conflict:
    """The refusal of bytes that the function has."""
    return Conflict("The same image is already a sample of this function. It was left as it is.", sample_id)


def add_posted(db: Database, posts: Sequence[PostedSample]) -> list[str | DetectorError]:
    """Write posted samples, in one transaction.

    The image bytes must lie in the blob store already. Bytes that a function has are refused and nothing about the
    sample is changed; of two equal posts in one call the first wins. Bytes of a deleted sample make a new sample.

    Returns
    -------
    list, aligned with ``posts``
        The new sample's id, or the error to answer with: Conflict (the same bytes are there), InvalidInput (no such
        label), NotFound (no such function) or CaptureBoundReached.
    """
    with db.write({post.function_id for post in posts}) as connection:
        moment, ordered = now(), moment_of_change(connection)
        known = _Known(connection, posts)
        answers: list[str | DetectorError] = []
        new_images, new_samples, history, binned = [], [], [], []
        for post in posts:
            image, place = post.image, (post.function_id, post.image.image_hash)
            # Also where the post is refused: its bytes lie there, and what has no row is never cleared away.
            if image.image_hash not in known.images:
                known.images.add(image.image_hash)
                new_images.append(image)
            if post.function_id not in known.functions:
                answers.append(NotFound("function", post.function_id))
                continue
            label_id = None
            if post.label_name is not None:
                label_id = known.labels[post.function_id].find(post.label_name)
                if label_id is None:
                    answers.append(no_label(post.label_name))
                    continue
            if place in known.samples:
                answers.append(already_there(known.samples[place]))
                continue
            if post.a_month is not None and not known.may_capture(connection, post, moment):
                answers.append(CaptureBoundReached(post.a_month))
                continue
            if place in known.binned:
                binned.append(known.binned.pop(place))
            sample_id = known.samples[place] = new_id()
            new_samples.append(
                {
                    "id": sample_id,
                    "function_id": post.function_id,
                    "image_hash": image.image_hash,
                    "file_name": post.file_name,
                    "external_id": post.external_id,
                    "sample_sets": list(post.sample_sets) or None,
                    "import_batch_id": known.batch(connection, post, moment),
                    "created_at": moment,
                    "split": TRAIN,
                    "label_id": label_id,
                    "annotated_at": moment if label_id else None,
                    "annotated_by": "api" if label_id else None,
                    "captured": post.captured,
                }
            )
            if label_id:
                given = {"sample_id": sample_id, "label_id": label_id, "at": ordered, "by": "api", "who": post.who}
                history.append(given)
            answers.append(sample_id)
        revisions = {function_id: next_revision(connection, function_id) for function_id in known.functions}
        for row in new_samples:
            row["revision"] = revisions[row["function_id"]]
        if binned:
            connection.execute(delete(samples).where(samples.c.id.in_(binned)))
            for function_id, revision in revisions.items():
                connection.execute(
                    update(functions).where(functions.c.id == function_id).values(purge_revision=revision)
                )
        insert_images(connection, new_images, moment)
        if new_samples:
            connection.execute(insert(samples), new_samples)
        if history:
            connection.execute(insert(annotation_history), history)
    return answers


class _Known:
    """What the database has of the things that a number of posts name."""

    def __init__(self, connection: Connection, posts: Sequence[PostedSample]) -> None:
        wanted = {post.function_id for post in posts}
        hashes = {post.image.image_hash for post in posts}
        self.functions = set(connection.scalars(select(functions.c.id).where(functions.c.id.in_(wanted))))
        self.images = set(connection.scalars(select(images.c.hash).where(images.c.hash.in_(hashes))))
        self.labels = {function_id: known_labels(connection, function_id) for function_id in self.functions}
        self.samples: dict[tuple[str, str], str] = {}
        self.binned: dict[tuple[str, str], str] = {}
        for row in connection.execute(
            select(samples.c.id, samples.c.function_id, samples.c.image_hash, samples.c.deleted_at).where(
                samples.c.function_id.in_(wanted), samples.c.image_hash.in_(hashes)
            )
        ):
            found = self.samples if row.deleted_at is None else self.binned
            found[(row.function_id, row.image_hash)] = row.id
        self._batches: dict[tuple[str, str], str] = {
            (row.function_id, row.origin): row.id
            for row in connection.execute(
                select(import_batches.c.id, import_batches.c.function_id, import_batches.c.origin).where(
                    import_batches.c.function_id.in_(wanted), import_batches.c.origin.in_(_TITLES)
                )
            )
        }
        self._captured: dict[str, int] = {}

    def batch(self, connection: Connection, post: PostedSample, moment: float) -> str:
        """The function's one import batch for everything that came in this way: it tells where a sample is from."""
        key = (post.function_id, post.origin)
        if key not in self._batches:
            values: dict[str, Any] = {"title": _TITLES[post.origin], "state": "done", "created_at": moment}
            batch_id = self._batches[key] = new_id()
            connection.execute(
                insert(import_batches).values(id=batch_id, function_id=post.function_id, origin=post.origin, **values)
            )
        return self._batches[key]

    def may_capture(self, connection: Connection, post: PostedSample, moment: float) -> bool:
        """Whether the month's bound lets this one in; counted in the transaction that writes it, so it is exact."""
        if post.function_id not in self._captured:
            self._captured[post.function_id] = count_captured(connection, post.function_id, month_start(moment))
        if post.a_month is None or self._captured[post.function_id] >= post.a_month:
            return False
        self._captured[post.function_id] += 1
        return True
