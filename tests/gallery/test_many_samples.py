"""What Review computes for a million samples is what plain counting row by row gives, after every kind of change."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Row, select, update

from detector.gallery import columns as columns_module
from detector.gallery.columns import columns_of
from detector.gallery.counts import BINS, by_confidence
from detector.gallery.filters import ANY, NONE, UNSURE, GalleryFilter, Order
from detector.gallery.names import Names
from detector.gallery.selection import Facets, Gallery
from detector.storage import annotating, predictions
from detector.storage import samples as stored
from detector.storage.evaluations import Flip, write_part
from detector.storage.functions import Function
from detector.storage.predictions import PredictionRow, ReviewScore
from detector.storage.schema import samples
from detector.storage.trash import delete_samples, empty_bin, restore_samples
from detector.workspace import Workspace
from tests.databases import names_database, postgresql_url
from tests.factories import add_images, label_ids, make_image, workspace
from tests.made_samples import made_function

pytestmark = names_database("each test that has one is run on SQLite, and on PostgreSQL with -m postgresql")

N = 150
_SIZE = 61
_ABOVE = {"real": 0.9, "synthetic": 0.8}
_SORTED_BY = {
    Order.LEAST_CONFIDENT: ("confidence", 1),
    Order.MOST_CONFIDENT: ("confidence", -1),
    Order.SMALLEST_MARGIN: ("margin", 1),
    Order.MISLABELLED: ("label_quality", 1),
    Order.USEFUL: ("usefulness", -1),
    Order.NEWEST: ("sequence", -1),
    Order.OLDEST: ("sequence", 1),
    Order.ANNOTATED_LAST: ("annotated_at", -1),
    Order.ANNOTATED_FIRST: ("annotated_at", 1),
}


class Plain:
    """The same answers, one row after the other."""

    def __init__(self, ws: Workspace, function: Function, flips: dict[str, set[str]]) -> None:
        self.labels = label_ids(ws, function)
        self.flips = flips
        self._limits = {self.labels[name]: limit for name, limit in _ABOVE.items()}
        with ws.db.read() as connection:
            found = connection.execute(
                select(samples).where(samples.c.function_id == function.id).order_by(samples.c.sequence.desc())
            )
            self.rows: list[Row[Any]] = list(found.all())
        groups = Counter(row.near_duplicate_group for row in self.rows if row.deleted_at is None)
        self._twins = {group for group, n in groups.items() if group is not None and n > 1}

    def verdict(self, row: Row[Any]) -> str | None:
        if row.predicted_label_id is None:
            return None
        limit = self._limits.get(row.predicted_label_id, 2.0)
        return row.predicted_label_id if row.confidence is not None and row.confidence > limit else UNSURE

    def holds(self, row: Row[Any], where: GalleryFilter) -> bool:
        def same(value: object, wanted: str | None) -> bool:
            if wanted is None:
                return True
            return value is None if wanted == NONE else value is not None if wanted == ANY else value == wanted

        ranged = where.low is not None or where.high is not None
        flipped = {name for name, ids in self.flips.items() if row.id in ids}
        return (
            (row.deleted_at is not None) == where.bin
            and same(row.predicted_label_id, where.says)
            and same(row.label_id, where.label)
            and same(row.source, where.source)
            and same(row.import_batch_id, where.batch)
            and same(row.near_duplicate_group, where.group)
            and same(row.captured, where.captured)
            and (where.agreement is None or row.agrees is (where.agreement == "agrees"))
            and (where.verdict is None or self.verdict(row) == where.verdict)
            and (where.flips is None or (bool(flipped) and where.flips in (ANY, *flipped)))
            and (where.split is None or row.split == where.split)
            and (not where.duplicates or row.near_duplicate_group in self._twins)
            and (not where.text or where.text.lower() in row.file_name.lower())
            and (
                not ranged
                or (
                    row.confidence is not None
                    and (where.low or 0.0) <= row.confidence <= (1.0 if where.high is None else where.high)
                )
            )
        )

    def tiles(self, where: GalleryFilter, order: Order, stacked: bool) -> list[tuple[str, int]]:
        name, sign = _SORTED_BY[order]
        rows = [row for row in self.rows if self.holds(row, where)]
        # Stable: equal ones stay newest first.
        rows.sort(key=lambda row: (getattr(row, name) is None, sign * (getattr(row, name) or 0.0)))
        if not stacked or where.group is not None:
            return [(row.id, 1) for row in rows]
        keys = [row.near_duplicate_group or row.id for row in rows]
        sizes = Counter(keys)
        first = {key: row.id for key, row in reversed(list(zip(keys, rows, strict=True)))}
        return [(row.id, sizes[key]) for key, row in zip(keys, rows, strict=True) if first[key] == row.id]

    def facets(self, where: GalleryFilter) -> Facets:
        def rows(*names: str) -> list[Row[Any]]:
            return [row for row in self.rows if self.holds(row, where.without(*names))]

        def each(name: str, column: str) -> dict[str, int]:
            return dict(Counter(NONE if getattr(row, column) is None else getattr(row, column) for row in rows(name)))

        label, captured = each("label", "label_id"), each("captured", "captured")
        for found in (label, captured):
            found[ANY] = sum(n for key, n in found.items() if key != NONE)
        agrees = [row.agrees for row in rows("agreement")]
        verdicts = Counter(self.verdict(row) for row in rows("verdict"))
        flipped = {row.id for row in rows("flips")}
        flips = {name: len(ids & flipped) for name, ids in self.flips.items()}
        flips[ANY] = len(set().union(*self.flips.values()) & flipped) if self.flips else 0
        splits = Counter(row.split for row in rows("split"))
        bins = [row.confidence for row in rows("low", "high") if row.confidence is not None]
        return Facets(
            says=each("says", "predicted_label_id"),
            label=label,
            agreement={"differs": agrees.count(False), "agrees": agrees.count(True)},
            source=each("source", "source"),
            verdict={key: n for key, n in verdicts.items() if key is not None} | {UNSURE: verdicts[UNSURE]},
            flips=flips,
            split={"test": splits["test"], "train": splits["train"]},
            batch=each("batch", "import_batch_id"),
            duplicates=sum(row.near_duplicate_group in self._twins for row in rows("duplicates", "group")),
            captured=captured,
            confidence=tuple(np.histogram(bins, bins=BINS, range=(0.0, 1.0))[0].tolist()),
            binned=sum(row.deleted_at is not None for row in self.rows),
        )


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Workspace, Function]]:
    url = postgresql_url(tmp_path) if request.param == "postgresql" else ""
    ws = workspace(tmp_path, database_url=url)
    function = made_function(ws, N)
    ids = [row.id for row in stored.find_samples(ws.db, function.id, limit=N)]
    delete_samples(ws.db, function.id, ids[::17])
    stored.set_split(ws.db, function.id, ids[::11], "test")
    with ws.db.write() as connection:

        def put(some: list[str], **values: Any) -> None:
            connection.execute(update(samples).where(samples.c.id.in_(some)).values(**values))

        put(ids[1::5], captured="low grade")
        # Ties, the ends of bars, and samples without any value.
        for number, confidence in enumerate((0.5, 0.525, 0.575, 0.825, 0.8, 0.9, 1.0, 0.0)):
            put(ids[number::23], confidence=confidence, margin=0.25)
        put(ids[9::31], confidence=None, margin=None, predicted_label_id=None, agrees=None)
        put(ids[3::29], file_name="Köln \U0001f5bc\ufe0f 7.PNG")
        put(ids[4::37], near_duplicate_group=None)
    yield ws, function
    ws.close()


def filters(ws: Workspace, plain: Plain) -> list[GalleryFilter]:
    real, synthetic = plain.labels["real"], plain.labels["synthetic"]
    group = next(row.near_duplicate_group for row in plain.rows if row.near_duplicate_group in plain._twins)
    return [
        GalleryFilter(),
        GalleryFilter(bin=True),
        GalleryFilter(says=real, label=ANY),
        GalleryFilter(says=NONE),
        GalleryFilter(label=NONE, captured=ANY),
        GalleryFilter(label=synthetic, agreement="differs", source="sdxl"),
        GalleryFilter(source="a new source", batch=plain.rows[0].import_batch_id),
        GalleryFilter(source=NONE, low=0.525, high=0.825),
        GalleryFilter(verdict=UNSURE, text="7"),
        GalleryFilter(verdict=real, high=0.9),
        GalleryFilter(text="köln"),
        GalleryFilter(text="IMG_0001"),
        GalleryFilter(text=".jpgimg"),
        GalleryFilter(flips="webp", split="train"),
        GalleryFilter(flips=ANY, split="test"),
        GalleryFilter(duplicates=True),
        GalleryFilter(group=group),
    ]


def compare(ws: Workspace, function: Function, flips: dict[str, set[str]], part: int | None = None) -> None:
    """All filters with all orders, or, to save time, with every fifth of them from ``part`` on."""
    plain = Plain(ws, function, flips)
    gallery = Gallery(ws, function.id)
    assert gallery.total == sum(row.deleted_at is None for row in plain.rows)
    for number, where in enumerate(filters(ws, plain)):
        facets, expected = gallery.facets(where), plain.facets(where)
        for name, counts in vars(expected).items():
            assert getattr(facets, name) == counts, (where, name)
        combinations = list(itertools.product(Order, (False, True)))
        for order, stacked in combinations if part is None else combinations[(part + number) % 5 :: 5]:
            tiles = plain.tiles(where, order, stacked)
            found: list[tuple[str, int]] = []
            for page_number in range(1, len(tiles) // _SIZE + 3):
                page = gallery.page(where, order, page_number, _SIZE, stacked)
                found += zip((item.id for item in page.samples), page.stack_sizes, strict=True)
                assert page.tiles == len(tiles)
                assert page.matching == gallery.count(where)
            assert found == tiles, (where, order, stacked)
            if not stacked:
                assert gallery.ids(where, order) == [key for key, _ in tiles]


@pytest.mark.slow
def test_every_answer_is_that_of_plain_counting_before_and_after_each_change(made: tuple[Workspace, Function]) -> None:
    ws, function = made
    compare(ws, function, {})
    real, synthetic = (label_ids(ws, function)[name] for name in ("real", "synthetic"))
    ids = [row.id for row in stored.find_samples(ws.db, function.id, limit=N)]
    assert function.live_model_id is not None
    model = function.live_model_id
    flips = {"webp": {ids[3], ids[8], ids[30]}, "messenger": {ids[8], ids[40]}}

    def audited(found: dict[str, set[str]]) -> None:
        for name, those in found.items():
            write_part(ws.db, model, name, {}, 1.0, [Flip(name, key, real) for key in those])

    changes: list[Callable[[], object]] = [
        lambda: annotating.annotate(ws.db, ids[:25], synthetic),
        lambda: annotating.annotate(ws.db, ids[20:40], None),
        lambda: annotating.undo_last(ws.db, function.id),
        lambda: delete_samples(ws.db, function.id, ids[40:60]),
        lambda: restore_samples(ws.db, function.id, ids[45:50]),
        lambda: stored.set_source(ws.db, function.id, ids[60:70], "a new source"),
        lambda: stored.write_groups(ws.db, function.id, [(ids[70], "g"), (ids[71], "g"), (ids[72], "h")]),
        lambda: predictions.write_predictions(
            ws.db, function.id, model, [PredictionRow(ids[3], real, 0.525, 0.05, True, b"")]
        ),
        lambda: predictions.write_review_scores(ws.db, function.id, [ReviewScore(ids[80], 0.5, 0.25)]),
        lambda: add_images(ws, function, [("Köln.png", make_image(1), "real"), ("newer.png", make_image(2), None)]),
        lambda: audited(flips),
        lambda: stored.set_split(ws.db, function.id, ids[100:130], "test"),
        lambda: empty_bin(ws.db, function.id),
    ]
    known: dict[str, set[str]] = {}
    for place, change in enumerate(changes):
        change()
        if place == 10:
            known = flips
        compare(ws, function, known, place)


def test_a_label_given_leaves_every_other_column_and_what_was_made_of_it_as_they_are(
    made: tuple[Workspace, Function],
) -> None:
    """Kind: all orders were sorted and all columns copied anew for each label, half a second at 1,000,000 samples."""
    ws, function = made
    where = GalleryFilter(text="img")
    for order in Order:
        Gallery(ws, function.id).page(where, order, 1, 96, stacked=True)
    before = columns_of(ws, function.id)
    some = next(iter(stored.find_samples(ws.db, function.id, limit=1)))
    other = next(key for key in label_ids(ws, function).values() if key != some.label_id)
    annotating.annotate(ws.db, [some.id], other)
    now = columns_of(ws, function.id)
    assert now.coded["label_id"].codes is not before.coded["label_id"].codes
    for name in ("source", "import_batch_id", "near_duplicate_group", "predicted_label_id"):
        assert now.coded[name] is before.coded[name]
    assert now.names is before.names
    assert now.numbers["confidence"] is before.numbers["confidence"]
    key = ("order", Order.LEAST_CONFIDENT)
    Gallery(ws, function.id).page(where, Order.LEAST_CONFIDENT, 1, 96)
    assert now.derived[key][1] is before.derived[key][1]


def test_samples_are_read_in_parts_and_each_part_goes_on_with_the_codes_of_those_before(
    made: tuple[Workspace, Function], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kind: a million rows at once took a gigabyte more than what was kept of them."""
    ws, function = made
    whole = columns_of(ws, function.id)
    monkeypatch.setattr("detector.storage.gallery_rows._PART", 7)
    columns_module._cache.clear()
    parts = columns_of(ws, function.id)
    assert parts is not whole
    assert parts.sequence.tolist() == whole.sequence.tolist()
    assert parts.names.tolist() == whole.names.tolist()
    for name, column in whole.coded.items():
        assert parts.coded[name].values == column.values
        assert parts.coded[name].codes.tolist() == column.codes.tolist()


def test_the_bars_of_confidence_begin_and_end_where_numpy_has_them() -> None:
    edges = np.linspace(0.0, 1.0, BINS + 1)
    around = [edges, np.nextafter(edges, -1), np.nextafter(edges, 2), np.arange(BINS + 1) * (1 / BINS), [np.nan, -1, 2]]
    values = np.concatenate([*around, np.random.default_rng(0).random(5000)])
    found = by_confidence(values)
    there = values[~np.isnan(values)]
    counts = np.bincount(found.places, minlength=found.size)[:BINS]
    assert counts.tolist() == np.histogram(there, bins=BINS, range=(0.0, 1.0))[0].tolist()
    one_by_one = [np.histogram([value], bins=BINS, range=(0.0, 1.0))[0].argmax() for value in edges]
    assert found.places[: BINS + 1].tolist() == one_by_one


@pytest.mark.parametrize("part", ["", "a", "é", "ab", "b\n", "na", "ananas", "x" * 50, "\U0001f5bc", "\ud800", "\xff"])
def test_a_part_of_a_name_is_found_where_it_is_and_never_across_two_names(part: str) -> None:
    names = ["banana", "ana", "nas", "", "a", "b\n", "é", "x\U0001f5bcy", "ÿ", "\udcff", "ab" * 30] * 3
    found = Names.joined([Names.of(names[:10]), Names.of([]), Names.of(names[10:])])
    assert found.tolist() == names
    assert [found[row] for row in range(len(found))] == names
    assert found.holding(part).tolist() == [part in name for name in names]
