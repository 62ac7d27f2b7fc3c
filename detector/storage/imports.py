"""Import batches: new samples from files, and the report of what became of each file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from detector.errors import NotFound
from detector.storage.acting import actor_now
from detector.storage.annotating import moment_of_change
from detector.storage.database import Database, holdable, insert_missing, new_id, now
from detector.storage.places import Place, write_places
from detector.storage.revisions import next_revision
from detector.storage.sample_counts import count_of_batch
from detector.storage.schema import (
    annotation_history,
    functions,
    images,
    import_batches,
    import_rows,
    labels,
    samples,
    thumbnails,
)
from detector.storage.stored_names import TRAIN

#: In bytes.
_LONGEST_LINE_NAME = 2000


@dataclass(frozen=True)
class ImportBatch:
    id: str
    function_id: str
    origin: str
    title: str
    state: str
    total: int
    note: str
    created_at: float
    finished_at: float | None


@dataclass(frozen=True)
class ImportCounts:
    """Files of one batch by what became of them.

    ``conflict``: already there under another label, which was kept; ``relabelled``: the same, but the new label was
    wanted and taken.
    """

    imported: int = 0
    present: int = 0
    conflict: int = 0
    rejected: int = 0
    relabelled: int = 0

    @property
    def found(self) -> int:
        """All of them: what was found, and what became of it, always add up."""
        return self.imported + self.present + self.conflict + self.rejected + self.relabelled


@dataclass(frozen=True)
class ImportRow:
    file: str
    outcome: str
    reason: str


@dataclass(frozen=True)
class ImageRow:
    """What is stored of one content; ``thumbnail`` is empty where the image is in the table already."""

    image_hash: str
    byte_count: int
    format: str
    width: int
    height: int
    facts: dict[str, Any]
    perceptual_hash: str
    thumbnail: bytes = b""


@dataclass(frozen=True)
class NewSample:
    """One inspected file, ready to become a sample. ``place``: where it stays, of one that is imported in place."""

    file_name: str
    image: ImageRow
    label_id: str | None = None
    source: str | None = None
    external_id: str | None = None
    group_key: str | None = None
    split: str = TRAIN
    source_guessed: bool = False
    place: Place | None = None


@dataclass(frozen=True)
class AddedSample:
    """What became of one NewSample, in the row ``sample_id``: imported, present, conflict or relabelled."""

    sample_id: str
    outcome: str
    reason: str = ""


def create_batch(db: Database, function_id: str, origin: str, title: str) -> str:
    """Open a batch; returns its id. Raises NotFound when the function was deleted."""
    batch_id = new_id()
    with db.write([function_id]) as connection:
        if connection.scalar(select(functions.c.id).where(functions.c.id == function_id)) is None:
            raise NotFound("function", function_id)
        connection.execute(
            insert(import_batches).values(
                id=batch_id,
                function_id=function_id,
                origin=origin,
                title=holdable(title),
                state="running",
                created_at=now(),
            )
        )
    return batch_id


def finish_batch(db: Database, batch_id: str, state: str, total: int, note: str = "") -> None:
    with db.write([]) as connection:
        connection.execute(
            update(import_batches)
            .where(import_batches.c.id == batch_id)
            .values(state=state, total=total, note=holdable(note), finished_at=now())
        )


def forget_rejected(db: Database, batch_id: str) -> None:
    """Remove the lines of rejected files from a batch's report: its files are about to be looked at again."""
    with db.write([batch_id]) as connection:
        connection.execute(
            delete(import_rows).where(import_rows.c.batch_id == batch_id, import_rows.c.outcome == "rejected")
        )


def list_batches(db: Database, function_id: str, limit: int = 20) -> list[ImportBatch]:
    """The latest batches of a function, newest first."""
    with db.read() as connection:
        rows = connection.execute(
            _SELECT_BATCH.where(import_batches.c.function_id == function_id)
            .order_by(import_batches.c.created_at.desc())
            .limit(limit)
        )
        return [ImportBatch(**row._mapping) for row in rows]


def batch_counts(db: Database, batch_id: str) -> ImportCounts:
    """How many files of a batch ended how."""
    with db.read() as connection:
        imported = count_of_batch(connection, batch_id)
        ended = connection.execute(
            select(import_rows.c.outcome, func.count().label("files"))
            .where(import_rows.c.batch_id == batch_id)
            .group_by(import_rows.c.outcome)
        )
        others: dict[str, int] = {row.outcome: row.files for row in ended}
        batch = connection.execute(
            select(import_batches.c.state, import_batches.c.total).where(import_batches.c.id == batch_id)
        ).one_or_none()
    if batch is not None and batch.state == "done":
        # What was imported stays imported, whatever was deleted, or taken over by a later import, since.
        # A batch of posts grows without a total.
        return ImportCounts(max(batch.total - sum(others.values()), imported), **others)
    return ImportCounts(imported, **others)


def batch_rows(db: Database, batch_id: str, outcomes: Sequence[str], limit: int | None = 1000) -> list[ImportRow]:
    """The report's lines of files that did not become new samples as asked, the rejected ones first.

    At most ``limit`` of them, for display; None: all. How many there are says ``batch_counts``, never this list.
    """
    with db.read() as connection:
        rows = connection.execute(
            select(import_rows.c.file, import_rows.c.outcome, import_rows.c.reason)
            .where(import_rows.c.batch_id == batch_id, import_rows.c.outcome.in_(outcomes))
            .order_by(import_rows.c.outcome.desc(), import_rows.c.file)
            .limit(limit)
        )
        return [ImportRow(**row._mapping) for row in rows]


def conflicts(db: Database, function_id: str, limit: int) -> list[ImportRow]:
    """Files of all batches whose very image was there already under another label, which was kept; the newest first."""
    statement = (
        select(import_rows.c.file, import_rows.c.outcome, import_rows.c.reason)
        .join(import_batches, import_batches.c.id == import_rows.c.batch_id)
        .where(import_batches.c.function_id == function_id, import_rows.c.outcome == "conflict")
        # The same folder imported twice is one finding.
        .group_by(import_rows.c.file, import_rows.c.outcome, import_rows.c.reason)
        .order_by(func.max(import_batches.c.created_at).desc(), import_rows.c.file)
        .limit(limit)
    )
    with db.read() as connection:
        return [ImportRow(**row._mapping) for row in connection.execute(statement)]


def find_image(db: Database, image_hash: str) -> ImageRow | None:
    """What is stored of an image, without its thumbnail; None when it is new."""
    with db.read() as connection:
        row = connection.execute(
            select(
                images.c.hash.label("image_hash"),
                images.c.byte_count,
                images.c.format,
                images.c.width,
                images.c.height,
                images.c.facts,
                images.c.perceptual_hash,
            ).where(images.c.hash == image_hash)
        ).one_or_none()
    return ImageRow(**row._mapping) if row is not None else None


def insert_images(connection: Connection, found: Sequence[ImageRow], moment: float) -> None:
    """Write images that are new, with their thumbnails; other writers may write the same for another function."""
    if not found:
        return
    found = sorted(found, key=lambda image: image.image_hash)
    connection.execute(
        insert_missing(connection, images),
        [
            {
                "hash": image.image_hash,
                "byte_count": image.byte_count,
                "format": image.format,
                "width": image.width,
                "height": image.height,
                "facts": image.facts,
                "perceptual_hash": image.perceptual_hash,
                "created_at": moment,
            }
            for image in found
        ],
    )
    connection.execute(
        insert_missing(connection, thumbnails),
        [{"image_hash": image.image_hash, "data": image.thumbnail} for image in found],
    )


def add_samples(
    db: Database,
    function_id: str,
    batch_id: str | None,
    found: Sequence[NewSample],
    rejected: Sequence[tuple[str, str]] = (),
    annotated_by: str = "import",
    relabel: bool = False,
) -> list[AddedSample]:
    """Write inspected files as samples, in one transaction.

    The image bytes must lie in the blob store already, or stay at their place: a crash in between leaves bytes without
    a row, never a row without bytes. A file whose content the function already has stays one sample; its first
    annotation is kept and a differing label reported as a conflict. An image that has no annotation yet takes the new
    one. A deleted sample comes back: importing a picture again is the plainest way to say that one wants it.

    Parameters
    ----------
    found : sequence of NewSample
    rejected : sequence of (file, reason)
        Files that could not be used; they go into the batch's report.
    relabel : bool
        Where the label differs from the stored one, take the new one; not from one that came with this very batch.

    Returns
    -------
    list of AddedSample, aligned with ``found``
    """
    results: list[AddedSample] = []
    actor = actor_now()
    who = actor.shown if actor is not None else None
    with db.write([function_id]) as connection:
        moment = now()
        names = {
            row.id: row.name
            for row in connection.execute(select(labels.c.id, labels.c.name).where(labels.c.function_id == function_id))
        }
        hashes = list({item.image.image_hash for item in found})
        known_images = set(connection.scalars(select(images.c.hash).where(images.c.hash.in_(hashes))))
        existing = {
            row.image_hash: dict(row._mapping)
            for row in connection.execute(
                select(
                    samples.c.image_hash,
                    samples.c.id,
                    samples.c.label_id,
                    samples.c.deleted_at,
                    samples.c.import_batch_id,
                    samples.c.file_name,
                ).where(samples.c.function_id == function_id, samples.c.image_hash.in_(hashes))
            )
        }
        revision = next_revision(connection, function_id)
        new_images, new_samples, history, report = [], [], [], []
        for item in found:
            file_name = holdable(item.file_name)
            if item.image.image_hash not in known_images:
                known_images.add(item.image.image_hash)
                new_images.append(item.image)
            # A label that was deleted while the import ran leaves the sample unlabelled rather than failing the batch.
            label_id = item.label_id if item.label_id in names else None
            row = existing.get(item.image.image_hash)
            if row is None:
                sample_id = new_id()
                new_samples.append(
                    {
                        "id": sample_id,
                        "function_id": function_id,
                        "image_hash": item.image.image_hash,
                        "file_name": file_name,
                        "external_id": item.external_id and holdable(item.external_id),
                        "source": item.source and holdable(item.source),
                        "source_guessed": item.source_guessed and item.source is not None,
                        "import_batch_id": batch_id,
                        "created_at": moment,
                        "split": item.split,
                        "group_key": item.group_key and holdable(item.group_key),
                        "revision": revision,
                        "label_id": label_id,
                        "annotated_at": moment if label_id else None,
                        "annotated_by": annotated_by if label_id else None,
                    }
                )
                if label_id:
                    history.append((sample_id, label_id, None))
                existing[item.image.image_hash] = {
                    "id": sample_id,
                    "label_id": label_id,
                    "deleted_at": None,
                    "import_batch_id": batch_id,
                    "file_name": file_name,
                }
                results.append(AddedSample(sample_id, "imported"))
                continue
            clash = label_id is not None and row["label_id"] not in (None, label_id)
            was_deleted = row["deleted_at"] is not None
            if was_deleted:
                values: dict[str, Any] = {"deleted_at": None, "revision": revision}
                if not clash:
                    values |= {"import_batch_id": batch_id, "file_name": file_name}
                connection.execute(update(samples).where(samples.c.id == row["id"]).values(**values))
                row.update(values)
            if was_deleted and not clash:
                results.append(AddedSample(row["id"], "imported"))
            elif batch_id is not None and row["import_batch_id"] == batch_id and row["file_name"] == file_name:
                # A killed import that runs again meets its own samples: they are its imports, not duplicates.
                results.append(AddedSample(row["id"], "imported"))
                continue
            elif clash and relabel and (batch_id is None or row["import_batch_id"] != batch_id):
                reason = f"It was labelled {names[row['label_id']]} and is {names[label_id]} now."
                results.append(AddedSample(row["id"], "relabelled", reason))
                report.append({"file": file_name, "outcome": "relabelled", "reason": reason})
            elif clash:
                reason = (
                    f"The same image is already labelled {names[row['label_id']]}; it was kept, not changed to "
                    f"{names[label_id]}."
                )
                results.append(AddedSample(row["id"], "conflict", reason))
                report.append({"file": file_name, "outcome": "conflict", "reason": reason})
                continue
            else:
                reason = f"The same image is already here as {row['file_name']}."
                results.append(AddedSample(row["id"], "present", reason))
                report.append({"file": file_name, "outcome": "present", "reason": reason})
            if label_id is not None and (row["label_id"] is None or results[-1].outcome == "relabelled"):
                history.append((row["id"], label_id, row["label_id"]))
                connection.execute(
                    update(samples)
                    .where(samples.c.id == row["id"])
                    .values(
                        label_id=label_id,
                        annotated_at=moment,
                        annotated_by=annotated_by,
                        agrees=samples.c.predicted_label_id == label_id,
                        revision=revision,
                    )
                )
                row["label_id"] = label_id
        ordered = moment_of_change(connection) if history else moment
        report += [{"file": file, "outcome": "rejected", "reason": reason} for file, reason in rejected]
        insert_images(connection, new_images, moment)
        write_places(connection, {item.image.image_hash: item.place for item in found if item.place is not None})
        if new_samples:
            connection.execute(insert(samples), new_samples)
        if history:
            given = {"at": ordered, "by": annotated_by, "who": who}
            connection.execute(
                insert(annotation_history),
                [{"sample_id": s, "label_id": new, "previous_label_id": old, **given} for s, new, old in history],
            )
        if batch_id is not None and report:
            for line in report:
                line["file"], line["reason"] = _line_name(holdable(line["file"])), holdable(line["reason"])
            seen = set(
                connection.scalars(
                    select(import_rows.c.file).where(
                        import_rows.c.batch_id == batch_id, import_rows.c.file.in_([row["file"] for row in report])
                    )
                )
            )
            fresh = {row["file"]: {"batch_id": batch_id, **row} for row in report if row["file"] not in seen}
            if fresh:
                connection.execute(insert(import_rows), list(fresh.values()))
    return results


def _line_name(file: str) -> str:
    """A file's name as the key of its line: an archive's may have 65,535 bytes, of which PostgreSQL indexes 2,704.

    Its middle gives way to a number of its own, so that no two files share a line.
    """
    if len(file.encode(errors="replace")) <= _LONGEST_LINE_NAME:
        return file
    number = hashlib.sha256(file.encode(errors="replace")).hexdigest()[:12]
    return f"{file[:150]}...{number}...{file[-150:]}"


_SELECT_BATCH = select(*(import_batches.c[name] for name in ImportBatch.__dataclass_fields__))
