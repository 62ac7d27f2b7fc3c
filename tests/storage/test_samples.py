"""The gallery's queries against a plain Python reading of the same rows, annotations, and what training reads."""

from __future__ import annotations

import dataclasses
import itertools
import random
from pathlib import Path

import pytest
from sqlalchemy import update

from detector.errors import InvalidInput, NotFound
from detector.storage import annotating, imports, predictions, samples, trash
from detector.storage.functions import Function
from detector.storage.imports import ImageRow, NewSample
from detector.storage.predictions import PredictionRow
from detector.storage.samples import Sample, SampleFilter, Sort
from detector.storage.schema import samples as table
from detector.workspace import Workspace
from tests.factories import empty_function, label_ids, workspace

NAMES = ("holiday.JPG", "100%_real.png", "under_score.png", "Holiday copy.png")


def _row(number: int, label_id: str | None, source: str | None = None, external_id: str | None = None) -> NewSample:
    """A sample whose picture nobody looks at."""
    return NewSample(
        file_name=f"{number}-{NAMES[number % len(NAMES)]}",
        image=ImageRow(
            image_hash=f"{number * 7919 % 10007:064x}",
            byte_count=1,
            format="PNG",
            width=1,
            height=1,
            facts={},
            perceptual_hash="0" * 16,
            thumbnail=b"",
        ),
        label_id=label_id,
        source=source,
        external_id=external_id,
    )


@dataclasses.dataclass(frozen=True)
class Gallery:
    ws: Workspace
    function: Function
    labels: dict[str, str]
    batches: list[str]


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    """Sixty samples of two imports, annotated or not, predicted or not, with ties in confidence and time."""
    ws = workspace(tmp_path_factory.mktemp("gallery"))
    function = empty_function(ws)
    ids = label_ids(ws, function)
    chance = random.Random(5)
    both = [*ids.values()]
    batches = [imports.create_batch(ws.db, function.id, "upload", "Test") for _ in range(2)]
    for number in range(60):
        item = _row(
            number,
            chance.choice([*both, None]),
            chance.choice(["camera", "generator", None]),
            chance.choice([None, "external"]),
        )
        batch = batches[number % 2]
        imports.add_samples(ws.db, function.id, batch, [item])
    rows = samples.find_samples(ws.db, function.id, limit=100)
    predicted = [
        PredictionRow(row.id, chance.choice(both), chance.choice([0.55, 0.7, 0.7, 0.9]), 0.1, True, b"")
        for row in rows
        if chance.random() < 0.8
    ]
    predictions.write_predictions(ws.db, function.id, "model", predicted)
    with ws.db.write() as connection:
        for row in rows:
            if row.label_id is not None:
                moment = float(chance.randrange(5))
                connection.execute(update(table).where(table.c.id == row.id).values(annotated_at=moment))
    trash.delete_samples(ws.db, function.id, [rows[7].id])
    stranger = empty_function(ws, "Other")
    imports.add_samples(ws.db, stranger.id, None, [_row(3, None, "camera")])
    return Gallery(ws, function, ids, batches)


def _matches(gallery: Gallery, row: Sample, where: SampleFilter) -> bool:
    annotated = {
        None: True,
        "any": row.label_id is not None,
        "none": row.label_id is None,
    }.get(where.annotated, row.label_id == where.annotated)
    agrees = None
    if row.label_id is not None and row.predicted_label_id is not None:
        agrees = row.label_id == row.predicted_label_id
    return (
        annotated
        and (where.predicted is None or row.predicted_label_id == where.predicted)
        and (where.agrees is None or agrees is where.agrees)
        and (where.source is None or row.source == where.source)
        and (where.external_id is None or row.external_id == where.external_id)
    )


def _sorted(rows: list[Sample], sort: Sort) -> list[Sample]:
    rows = sorted(rows, key=lambda row: row.sequence, reverse=sort is not Sort.OLDEST)
    if sort in (Sort.NEWEST, Sort.OLDEST):
        return rows
    name = "annotated_at" if "annotated" in sort else "confidence"
    downwards = sort in (Sort.ANNOTATED_LAST, Sort.MOST_CONFIDENT)
    having = [row for row in rows if getattr(row, name) is not None]
    lacking = [row for row in rows if getattr(row, name) is None]
    return sorted(having, key=lambda row: getattr(row, name) * (-1 if downwards else 1)) + lacking


def _filters(gallery: Gallery) -> list[SampleFilter]:
    real, synthetic = gallery.labels["real"], gallery.labels["synthetic"]
    combined = [
        SampleFilter(predicted=predicted, annotated=annotated, agrees=agrees)
        for predicted, annotated, agrees in itertools.product(
            (None, real, synthetic), (None, "any", "none", real), (None, True, False)
        )
    ]
    return [
        *combined,
        SampleFilter(source="camera"),
        SampleFilter(source="camera", external_id="external", annotated=real),
        SampleFilter(source="nothing like it"),
    ]


def _all(gallery: Gallery) -> list[Sample]:
    return samples.find_samples(gallery.ws.db, gallery.function.id, limit=1000)


def test_the_set_has_what_the_filters_tell_apart(gallery: Gallery) -> None:
    rows = _all(gallery)
    assert len(rows) == 59
    assert {row.agrees for row in rows} == {True, False, None}
    assert len({row.confidence for row in rows}) == 4
    empty = [where for where in _filters(gallery) if not any(_matches(gallery, row, where) for row in rows)]
    # Without an annotation there is nothing to agree with.
    assert all(where.annotated == "none" or where.source or where.predicted for where in empty)


@pytest.mark.parametrize("sort", list(Sort))
def test_every_filter_and_order_gives_what_a_plain_reading_gives(gallery: Gallery, sort: Sort) -> None:
    rows = _all(gallery)
    for where in _filters(gallery):
        wanted = [row.id for row in _sorted([row for row in rows if _matches(gallery, row, where)], sort)]
        found = samples.find_samples(gallery.ws.db, gallery.function.id, where, sort, limit=1000)
        assert [row.id for row in found] == wanted, (where, sort)


def test_counts_follow_the_same_filters(gallery: Gallery) -> None:
    rows = _all(gallery)
    for where in _filters(gallery):
        wanted = sum(_matches(gallery, row, where) for row in rows)
        assert samples.count_samples(gallery.ws.db, gallery.function.id, where) == wanted


@pytest.mark.parametrize("sort", list(Sort))
def test_pages_neither_overlap_nor_leave_gaps(gallery: Gallery, sort: Sort) -> None:
    pages = [
        samples.find_samples(gallery.ws.db, gallery.function.id, None, sort, 7, offset) for offset in range(0, 63, 7)
    ]
    found = [row.id for page in pages for row in page]
    assert found == [row.id for row in _sorted(_all(gallery), sort)]


def test_the_counts_of_a_function_are_those_of_its_rows(gallery: Gallery) -> None:
    rows = _all(gallery)
    counts = samples.count_by(gallery.ws.db, gallery.function.id)
    assert counts.total == len(rows)
    assert counts.annotated == sum(row.label_id is not None for row in rows)
    assert counts.predicted == sum(row.predicted_label_id is not None for row in rows)
    assert counts.agree == sum(row.agrees is True for row in rows)
    assert counts.differ == sum(row.agrees is False for row in rows)
    for label_id in gallery.labels.values():
        assert counts.by_label[label_id] == sum(row.label_id == label_id for row in rows)
        assert counts.by_prediction[label_id] == sum(row.predicted_label_id == label_id for row in rows)


def test_training_sees_samples_in_hash_order_without_deleted_ones(gallery: Gallery) -> None:
    rows = samples.training_rows(gallery.ws.db, gallery.function.id)
    hashes = [row.image_hash for row in rows]
    assert hashes == sorted(hashes)
    assert {row.sample_id for row in rows} == {row.id for row in _all(gallery)}


# What follows changes rows, each in a data folder of its own.


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


@pytest.fixture
def function(ws: Workspace) -> Function:
    return empty_function(ws)


def _add(ws: Workspace, function: Function, number: int, label_id: str | None = None) -> str:
    return imports.add_samples(ws.db, function.id, None, [_row(number, label_id)])[0].sample_id


def test_annotating_sets_agreement_time_and_author_and_counts_changes(ws: Workspace, function: Function) -> None:
    ids = label_ids(ws, function)
    one, two, three = (_add(ws, function, number) for number in range(3))
    predictions.write_predictions(
        ws.db,
        function.id,
        "model",
        [
            PredictionRow(one, ids["real"], 0.9, 0.8, True, b""),
            PredictionRow(two, ids["synthetic"], 0.9, 0.8, True, b""),
        ],
    )
    assert samples.get_sample(ws.db, one).agrees is None
    assert annotating.annotate(ws.db, [one, two, three], ids["real"]) == 3
    assert annotating.annotate(ws.db, [one, two, three], ids["real"]) == 0
    assert [samples.get_sample(ws.db, item).agrees for item in (one, two, three)] == [True, False, None]
    assert samples.get_sample(ws.db, one).annotated_by == "person"
    assert annotating.annotate(ws.db, [one], None) == 1
    bare = samples.get_sample(ws.db, one)
    assert (bare.label_id, bare.annotated_at, bare.annotated_by, bare.agrees) == (None, None, None, None)
    assert bare.confidence == 0.9


def test_a_label_of_another_function_changes_nothing(ws: Workspace, function: Function) -> None:
    other = label_ids(ws, empty_function(ws, "Other"))["real"]
    sample = _add(ws, function, 1)
    with pytest.raises(InvalidInput):
        annotating.annotate(ws.db, [sample], other)
    with pytest.raises(NotFound):
        annotating.annotate(ws.db, [sample], "none")
    assert samples.get_sample(ws.db, sample).label_id is None


@pytest.mark.slow
def test_more_ids_than_one_statement_takes_are_annotated(ws: Workspace, function: Function) -> None:
    items = [_row(number, None) for number in range(5100)]
    added = imports.add_samples(ws.db, function.id, None, items)
    ids = [item.sample_id for item in added]
    assert annotating.annotate(ws.db, ids, label_ids(ws, function)["real"]) == 5100
    assert trash.delete_samples(ws.db, function.id, ids) == 5100
    assert samples.count_samples(ws.db, function.id) == 0


def test_deleted_samples_are_gone_from_everywhere_and_cannot_be_annotated(ws: Workspace, function: Function) -> None:
    ids = label_ids(ws, function)
    sample = _add(ws, function, 1, ids["real"])
    assert trash.delete_samples(ws.db, function.id, [sample, "none"]) == 1
    assert trash.delete_samples(ws.db, function.id, [sample]) == 0
    with pytest.raises(NotFound):
        samples.get_sample(ws.db, sample)
    assert annotating.annotate(ws.db, [sample], ids["synthetic"]) == 0
    assert samples.count_by(ws.db, function.id).total == 0
    assert samples.training_rows(ws.db, function.id) == []


def test_predictions_can_be_taken_away_from_one_function(ws: Workspace, function: Function) -> None:
    other = empty_function(ws, "Other")
    for owner in (function, other):
        ids = label_ids(ws, owner)
        sample = _add(ws, owner, 1, ids["real"])
        predictions.write_predictions(
            ws.db, function.id, "model", [PredictionRow(sample, ids["real"], 0.9, 0.8, True, b"")]
        )
    predictions.clear_predictions(ws.db, function.id)
    assert samples.count_by(ws.db, function.id).predicted == 0
    assert samples.count_by(ws.db, function.id).agree == 0
    assert samples.count_by(ws.db, other.id).agree == 1


def test_unknown_pictures_are_not_found(ws: Workspace) -> None:
    with pytest.raises(NotFound):
        samples.thumbnail(ws.db, "0" * 64)
    with pytest.raises(NotFound):
        samples.image_format(ws.db, "0" * 64)
