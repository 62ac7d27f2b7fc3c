"""Samples: the gallery's queries, annotations, and what training reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    true,
    update,
)

from detector.errors import NotFound
from detector.storage.database import Database
from detector.storage.revisions import next_revision
from detector.storage.sample_counts import sample_counts
from detector.storage.schema import images, samples, thumbnails
from detector.storage.stored_names import TEST

#: How many ids one statement may name; SQLite's own limit is 32,766.
_CHUNK = 5000


@dataclass(frozen=True)
class Sample:
    id: str
    sequence: int
    function_id: str
    image_hash: str
    file_name: str
    external_id: str | None
    source: str | None
    split: str
    created_at: float
    label_id: str | None
    annotated_at: float | None
    annotated_by: str | None
    predicted_label_id: str | None
    confidence: float | None
    agrees: bool | None
    out_of_fold: bool | None
    predicted_by: str | None
    sample_sets: list[str] | None = None


@dataclass(frozen=True)
class Position:
    """Where a page ended: the sorted value and the sequence of its last sample."""

    value: float | None
    sequence: int


class Sort(StrEnum):
    """Orders of the gallery; each ends in the import order, so that pages never overlap."""

    NEWEST = "newest"
    OLDEST = "oldest"
    ANNOTATED_LAST = "annotated-last"
    ANNOTATED_FIRST = "annotated-first"
    LEAST_CONFIDENT = "least-confident"
    MOST_CONFIDENT = "most-confident"


@dataclass(frozen=True)
class SampleFilter:
    """What the gallery shows; None everywhere means everything.

    Attributes
    ----------
    predicted, annotated : label id, "any" or "none"
    agrees : True where prediction and annotation agree, False where they differ
    source, external_id : exact values
    """

    predicted: str | None = None
    annotated: str | None = None
    agrees: bool | None = None
    source: str | None = None
    external_id: str | None = None


@dataclass(frozen=True)
class SampleCounts:
    """Counts of one function's samples, for the filters and the Functions page."""

    total: int
    annotated: int
    predicted: int
    agree: int
    differ: int
    by_label: dict[str, int]
    by_prediction: dict[str, int]


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """What training needs to know of one sample."""

    sample_id: str
    image_hash: str
    label_id: str | None
    source: str | None
    split: str
    group_key: str | None
    perceptual_hash: str
    #: Where it lies in the order of import.
    sequence: int = 0


def get_sample(db: Database, sample_id: str) -> Sample:
    """The sample of that id. Raises NotFound."""
    with db.read() as connection:
        row = connection.execute(
            _SELECT_SAMPLE.where(samples.c.id == sample_id, samples.c.deleted_at.is_(None))
        ).one_or_none()
    if row is None:
        raise NotFound("sample", sample_id)
    return Sample(**row._mapping)


def get_samples(db: Database, sample_ids: Sequence[str]) -> list[Sample]:
    """The samples of these ids, in this order; those that are gone are left out."""
    found: dict[str, Sample] = {}
    with db.read() as connection:
        for start in range(0, len(sample_ids), _CHUNK):
            rows = connection.execute(_SELECT_SAMPLE.where(samples.c.id.in_(sample_ids[start : start + _CHUNK])))
            found.update({row.id: Sample(**row._mapping) for row in rows})
    return [found[sample_id] for sample_id in sample_ids if sample_id in found]


def find_samples(
    db: Database,
    function_id: str,
    where: SampleFilter | None = None,
    sort: Sort = Sort.NEWEST,
    limit: int | None = 60,
    offset: int = 0,
) -> list[Sample]:
    """One page of a function's samples; without a limit, all."""
    statement = _where(_SELECT_SAMPLE, function_id, where or SampleFilter())
    with db.read() as connection:
        rows = connection.execute(statement.order_by(*_order(sort)).limit(limit).offset(offset))
        return [Sample(**row._mapping) for row in rows]


def samples_after(
    db: Database,
    function_id: str,
    where: SampleFilter,
    sort: Sort,
    limit: int,
    after: Position | None = None,
) -> tuple[list[Sample], Position | None]:
    """One page of a function's samples from a position on, so that page 1,000 costs no more than the first.

    Returns
    -------
    (samples, position)
        The position of the last sample; None when there are no more.
    """
    statement = _where(_SELECT_SAMPLE, function_id, where).order_by(*_order(sort))
    with db.read() as connection:
        rows: list[Row[Any]] = []
        for part in [statement] if after is None else [statement.where(some) for some in _behind(sort, after)]:
            if len(rows) <= limit:
                rows += connection.execute(part.limit(limit + 1 - len(rows))).all()
    page = [Sample(**row._mapping) for row in rows[:limit]]
    if len(rows) <= limit:
        return page, None
    column = _SORTED_BY[sort]
    return page, Position(getattr(page[-1], column) if column else None, page[-1].sequence)


def count_samples(db: Database, function_id: str, where: SampleFilter | None = None) -> int:
    """How many samples match."""
    statement = _where(select(func.count()).select_from(samples), function_id, where or SampleFilter())
    with db.read() as connection:
        return connection.scalar(statement) or 0


def count_by(db: Database, function_id: str) -> SampleCounts:
    """Counts over all samples of a function, in one pass."""
    statement = _where(
        select(samples.c.label_id, samples.c.predicted_label_id, samples.c.agrees, func.count()),
        function_id,
        SampleFilter(),
    ).group_by(samples.c.label_id, samples.c.predicted_label_id, samples.c.agrees)
    total = annotated = predicted = agree = differ = 0
    by_label: dict[str, int] = {}
    by_prediction: dict[str, int] = {}
    with db.read() as connection:
        for label_id, predicted_id, agrees, n in connection.execute(statement):
            total += n
            if label_id is not None:
                annotated += n
                by_label[label_id] = by_label.get(label_id, 0) + n
            if predicted_id is not None:
                predicted += n
                by_prediction[predicted_id] = by_prediction.get(predicted_id, 0) + n
            if agrees is not None:
                agree, differ = agree + n * bool(agrees), differ + n * (not agrees)
    return SampleCounts(total, annotated, predicted, agree, differ, by_label, by_prediction)


def training_rows(db: Database, function_id: str) -> list[TrainingRow]:
    """All samples of a function as training sees them, ordered by image hash: the order of import must not matter."""
    statement = (
        select(
            samples.c.id.label("sample_id"),
            samples.c.image_hash,
            samples.c.label_id,
            samples.c.source,
            samples.c.split,
            samples.c.group_key,
            images.c.perceptual_hash,
            samples.c.sequence,
        )
        .join(images, images.c.hash == samples.c.image_hash)
        .where(samples.c.function_id == function_id, samples.c.deleted_at.is_(None))
        .order_by(samples.c.image_hash)
    )
    # Few different ones, which every row else brings anew: 20 MB of 100,000.
    known: dict[str, str] = {}

    def one(text: str | None) -> str | None:
        return None if text is None else known.setdefault(text, text)

    with db.read() as connection:
        return [
            TrainingRow(
                row.sample_id,
                row.image_hash,
                one(row.label_id),
                one(row.source),
                known.setdefault(row.split, row.split),
                one(row.group_key),
                row.perceptual_hash,
                row.sequence,
            )
            for row in connection.execute(statement)
        ]


def image_facts(db: Database, hashes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What the files of images say about themselves (``ImageFacts`` as JSON), by image hash."""
    found: dict[str, dict[str, Any]] = {}
    with db.read() as connection:
        for start in range(0, len(hashes), _CHUNK):
            statement = select(images.c.hash, images.c.facts).where(images.c.hash.in_(hashes[start : start + _CHUNK]))
            found.update({row.hash: row.facts for row in connection.execute(statement)})
    return found


def set_split(db: Database, function_id: str, sample_ids: Sequence[str], split: str) -> int:
    """Move samples of a function into the locked test set (`TEST`) or back (`TRAIN`); returns how many moved."""
    return _set(db, function_id, sample_ids, "split", split)


def holdout_uses(db: Database, function_id: str) -> dict[str, int]:
    """How many model versions were scored on each sample of the locked test set, by sample id."""
    statement = select(samples.c.id, samples.c.holdout_uses.label("uses")).where(
        samples.c.function_id == function_id, samples.c.split == TEST, samples.c.deleted_at.is_(None)
    )
    with db.read() as connection:
        return {row.id: row.uses for row in connection.execute(statement)}


def shorter_sides(db: Database, function_id: str) -> list[int]:
    """The shorter side of every image of a function, in pixels."""
    statement = (
        select(images.c.width, images.c.height)
        .join(samples, samples.c.image_hash == images.c.hash)
        .where(samples.c.function_id == function_id, samples.c.deleted_at.is_(None))
    )
    with db.read() as connection:
        return [min(row.width, row.height) for row in connection.execute(statement)]


def file_names(db: Database, sample_ids: Sequence[str]) -> dict[str, str]:
    """The file names of samples, by id."""
    found: dict[str, str] = {}
    with db.read() as connection:
        for start in range(0, len(sample_ids), _CHUNK):
            chunk = sample_ids[start : start + _CHUNK]
            rows = connection.execute(select(samples.c.id, samples.c.file_name).where(samples.c.id.in_(chunk)))
            found.update({row.id: row.file_name for row in rows})
    return found


def write_groups(db: Database, function_id: str, groups: Sequence[tuple[str, str]]) -> None:
    """Store each sample's near-duplicate group, given as (sample id, group), where it is another one than before."""
    statement = update(samples).where(samples.c.id == bindparam("sample"))
    with db.write([function_id]) as connection:
        have = dict(
            connection.execute(
                select(samples.c.id, samples.c.near_duplicate_group).where(samples.c.function_id == function_id)
            ).all()
        )
        changed = [{"sample": sample, "group": group} for sample, group in groups if have.get(sample) != group]
        if changed:
            revision = next_revision(connection, function_id)
            connection.execute(statement.values(near_duplicate_group=bindparam("group"), revision=revision), changed)


@dataclass(frozen=True)
class SourceCount:
    """Samples of one source; ``source`` None: of none. ``guessed`` of them got it from a folder's name."""

    source: str | None
    samples: int
    guessed: int


def count_sources(db: Database, function_id: str) -> list[SourceCount]:
    """How many samples each source of a function has, by name; those without one last."""
    totals: dict[str | None, tuple[int, int]] = {}
    for item in sample_counts(db, function_id):
        n, few = totals.get(item.source, (0, 0))
        totals[item.source] = (n + item.samples, few + item.guessed)
    found = [SourceCount(source, n, few) for source, (n, few) in totals.items()]
    return sorted(found, key=lambda item: (item.source is None, item.source or ""))


def confirm_sources(db: Database, function_id: str, names: Sequence[str] | None = None) -> int:
    """Say that guessed sources are collections or generators, all or those named; returns how many samples changed."""
    with db.write([function_id]) as connection:
        confirmed = connection.execute(
            update(samples)
            .where(
                samples.c.function_id == function_id,
                samples.c.source_guessed,
                samples.c.source.in_(names) if names is not None else true(),
            )
            .values(source_guessed=False)
        )
        # No row is stamped with it: only counts of them change.
        next_revision(connection, function_id)
        return int(confirmed.rowcount)


def set_source(db: Database, function_id: str, sample_ids: Sequence[str], source: str | None) -> int:
    """Give samples of a function a source, or take it away with None; returns how many changed.

    What a person gives is not guessed any more.
    """
    for start in range(0, len(sample_ids), _CHUNK):
        with db.write([function_id]) as connection:
            connection.execute(
                update(samples)
                .where(
                    samples.c.function_id == function_id,
                    samples.c.id.in_(sample_ids[start : start + _CHUNK]),
                    samples.c.source_guessed,
                )
                .values(source_guessed=False)
            )
    return _set(db, function_id, sample_ids, "source", source)


def _set(db: Database, function_id: str, sample_ids: Sequence[str], name: str, value: str | None) -> int:
    """Give one column of samples a value where it has another; returns how many changed."""
    column = samples.c[name]
    changed = 0
    with db.write([function_id]) as connection:
        revision = next_revision(connection, function_id)
        for start in range(0, len(sample_ids), _CHUNK):
            changed += connection.execute(
                update(samples)
                .where(
                    samples.c.id.in_(sample_ids[start : start + _CHUNK]),
                    samples.c.function_id == function_id,
                    column.is_distinct_from(value),
                )
                .values({column: value, samples.c.revision: revision})
            ).rowcount
    return changed


def thumbnail(db: Database, image_hash: str) -> bytes:
    """The thumbnail of an image, JPEG or, from earlier versions, WebP. Raises NotFound."""
    with db.read() as connection:
        data = connection.scalar(select(thumbnails.c.data).where(thumbnails.c.image_hash == image_hash))
    if data is None:
        raise NotFound("thumbnail", image_hash)
    return bytes(data)


def set_thumbnail(db: Database, image_hash: str, data: bytes) -> None:
    """Store the thumbnail of an image in the place of the one it had or had not. Raises NotFound."""
    with db.write([image_hash]) as connection:
        if connection.scalar(select(images.c.hash).where(images.c.hash == image_hash)) is None:
            raise NotFound("image", image_hash)
        connection.execute(delete(thumbnails).where(thumbnails.c.image_hash == image_hash))
        connection.execute(insert(thumbnails).values(image_hash=image_hash, data=data))


def image_format(db: Database, image_hash: str) -> str:
    """The format of a stored image, such as "JPEG". Raises NotFound."""
    with db.read() as connection:
        found = connection.scalar(select(images.c.format).where(images.c.hash == image_hash))
    if found is None:
        raise NotFound("image", image_hash)
    return str(found)


def _where(statement: Select[Any], function_id: str, where: SampleFilter) -> Select[Any]:
    conditions: list[ColumnElement[bool]] = [samples.c.function_id == function_id, samples.c.deleted_at.is_(None)]
    if where.predicted == "none":
        conditions.append(samples.c.predicted_label_id.is_(None))
    elif where.predicted == "any":
        conditions.append(samples.c.predicted_label_id.is_not(None))
    elif where.predicted is not None:
        conditions.append(samples.c.predicted_label_id == where.predicted)
    if where.annotated == "none":
        conditions.append(samples.c.label_id.is_(None))
    elif where.annotated == "any":
        conditions.append(samples.c.label_id.is_not(None))
    elif where.annotated is not None:
        conditions.append(samples.c.label_id == where.annotated)
    if where.agrees is not None:
        conditions.append(samples.c.agrees.is_(where.agrees))
    if where.source is not None:
        conditions.append(samples.c.source == where.source)
    if where.external_id is not None:
        conditions.append(samples.c.external_id == where.external_id)
    return statement.where(and_(*conditions))


def _order(sort: Sort) -> tuple[ColumnElement[Any], ...]:
    # Samples without the value come last in both directions.
    newest = samples.c.sequence.desc()
    return {
        Sort.NEWEST: (newest,),
        Sort.OLDEST: (samples.c.sequence.asc(),),
        Sort.ANNOTATED_LAST: (samples.c.annotated_at.desc().nulls_last(), newest),
        Sort.ANNOTATED_FIRST: (samples.c.annotated_at.asc().nulls_last(), newest),
        Sort.LEAST_CONFIDENT: (samples.c.confidence.asc().nulls_last(), newest),
        Sort.MOST_CONFIDENT: (samples.c.confidence.desc().nulls_last(), newest),
    }[sort]


#: The column that a sort looks at first; None: the import order alone.
_SORTED_BY: dict[Sort, str | None] = {
    Sort.NEWEST: None,
    Sort.OLDEST: None,
    Sort.ANNOTATED_LAST: "annotated_at",
    Sort.ANNOTATED_FIRST: "annotated_at",
    Sort.LEAST_CONFIDENT: "confidence",
    Sort.MOST_CONFIDENT: "confidence",
}


def _behind(sort: Sort, after: Position) -> list[ColumnElement[bool]]:
    """What follows a position, in one or two parts: those without the value come last.

    Asked for with "or", an index would be read from its beginning on.
    """
    name = _SORTED_BY[sort]
    if name is None:
        newest_first = sort is Sort.NEWEST
        return [samples.c.sequence < after.sequence if newest_first else samples.c.sequence > after.sequence]
    column, older = samples.c[name], samples.c.sequence < after.sequence
    if after.value is None:
        return [and_(column.is_(None), older)]
    descending = sort in (Sort.ANNOTATED_LAST, Sort.MOST_CONFIDENT)
    from_there = column <= after.value if descending else column >= after.value
    return [and_(from_there, or_(column != after.value, older)), column.is_(None)]


_SELECT_SAMPLE = select(*(samples.c[name] for name in Sample.__dataclass_fields__))
