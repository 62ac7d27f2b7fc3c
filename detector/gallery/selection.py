"""From a filter and an order to the samples that the gallery shows, and how many each filter would leave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.arrays import Ints
from detector.gallery import counts, orders
from detector.gallery.columns import Bools, Columns, columns_of
from detector.gallery.counts import BINS, Division, Tables
from detector.gallery.filters import ANY, NONE, UNSURE, GalleryFilter, Order
from detector.gallery.orders import Rows
from detector.storage import annotating, gallery_rows
from detector.storage.samples import Sample
from detector.storage.stored_names import TEST, TRAIN
from detector.workspace import Workspace

__all__ = ["BINS", "Facets", "Gallery", "Page", "Verdicts", "matching_ids"]


@dataclass(frozen=True)
class Verdicts:
    """What the live model's thresholds and its audit say of samples, as far as the gallery filters by it.

    Attributes
    ----------
    model_id, version : of the live model; None where there is none
    limits : dict of label id to float
        The confidence above which a label is said.
    flips : dict of str to rows of Columns, by the change that makes the verdict flip
    key : changes with the flips
    """

    model_id: str | None
    version: int | None
    limits: dict[str, float]
    flips: dict[str, Ints]
    key: tuple[str | None, int]


@dataclass(frozen=True)
class Facets:
    """How many samples each choice of a filter would leave, all other filters being as they are.

    The dicts are keyed by what `GalleryFilter` calls the choices. ``confidence`` counts ``BINS`` equal bins over 0..1;
    a confidence of 1 is in the last.
    """

    says: dict[str, int]
    label: dict[str, int]
    agreement: dict[str, int]
    source: dict[str, int]
    verdict: dict[str, int]
    flips: dict[str, int]
    split: dict[str, int]
    batch: dict[str, int]
    duplicates: int
    captured: dict[str, int]
    confidence: tuple[int, ...]
    binned: int


@dataclass(frozen=True)
class Page:
    """One page of the gallery.

    Attributes
    ----------
    samples : tuple of Sample, in order
    stack_sizes : tuple of int
        How many matching samples each one stands for; 1 outside of stacks.
    matching : int
        Samples that match, stacks counted by their members.
    tiles : int
        Tiles over all pages: as ``matching``, but a stack counts once.
    """

    samples: tuple[Sample, ...]
    stack_sizes: tuple[int, ...]
    matching: int
    tiles: int


class Gallery:
    """A function's samples at this moment, ready to be filtered. Cheap to make: call it anew for every look.

    Parameters
    ----------
    ws : Workspace
    function_id : str
    """

    def __init__(self, ws: Workspace, function_id: str) -> None:
        self._ws, self._function_id = ws, function_id
        self.columns: Columns = columns_of(ws, function_id)
        self.verdicts = _verdicts(ws, function_id, self.columns)
        # What else than the columns an answer depends on.
        self._key = (self.verdicts.key, tuple(sorted(self.verdicts.limits.items())))

    @property
    def total(self) -> int:
        """All samples outside the bin."""
        return int(len(self.columns) - self._binned)

    @property
    def _binned(self) -> int:
        deleted = self.columns.deleted
        found: int = self.columns.derive("binned", lambda: int(deleted.sum()), deleted)
        return found

    @property
    def changed_since(self) -> int:
        """Samples whose label was given, taken away or brought back after the live model's labels were read."""
        if self.verdicts.model_id is None:
            return 0
        moment = gallery_rows.labels_read_at(self._ws.db, self.verdicts.model_id)

        def make() -> int:
            rows = self.columns.rows_of(annotating.changed_since(self._ws.db, moment))
            return int((~self.columns.deleted[rows]).sum())

        found: int = self.columns.derive(("changed since", moment), make)
        return found

    def page(self, where: GalleryFilter, order: Order, number: int, size: int, stacked: bool = False) -> Page:
        """The ``number``-th page, from 1 on, of ``size`` tiles."""
        rows, sizes, matching = self._tiles(where, order, stacked)
        start = (number - 1) * size
        shown = rows[start : start + size]
        found = gallery_rows.samples_by_sequence(self._ws.db, self.columns.sequence[shown].tolist())
        counts = dict(zip(self.columns.sequence[shown].tolist(), sizes[start : start + size].tolist(), strict=True))
        return Page(tuple(found), tuple(counts[item.sequence] for item in found), matching, len(rows))

    def ids(self, where: GalleryFilter, order: Order = Order.NEWEST) -> list[str]:
        """The ids of all samples that match, in order."""
        rows = self._arranged(where, order)
        return [value.decode() for value in self.columns.ids[rows].tolist()]

    def count(self, where: GalleryFilter) -> int:
        """How many samples match."""
        return int(self._mask(where).sum())

    def facets(self, where: GalleryFilter) -> Facets:
        """How many samples each choice of each filter would leave."""
        found: Facets = self.columns.cached(("facets", self._key, where), lambda: self._count(where))
        return found

    def _count(self, where: GalleryFilter) -> Facets:
        columns, masks, tables = self.columns, self._masks(where), self._tables()
        base = self._base(where)
        every = base
        for mask in masks.values():
            every = every & mask
        together = tables.count(every)

        def others(*names: str) -> Bools:
            if not any(name in masks for name in names):
                return every
            result = base
            for name, mask in masks.items():
                if name not in names:
                    result = result & mask
            return result

        def counted(name: str, *also: str) -> list[int]:
            # Most filters are not set: their choices were counted together.
            among = others(name, *also)
            found: list[int] = (together[name] if among is every else tables.count_one(name, among)).tolist()
            return found

        def by_code(name: str, column: str) -> dict[str, int]:
            none, *each = counted(name)
            found = {value: n for value, n in zip(columns.coded[column].values, each, strict=True) if n}
            return found | ({NONE: none} if none else {})

        label, captured = by_code("label", "label_id"), by_code("captured", "captured")
        for found in (label, captured):
            found[ANY] = sum(n for value, n in found.items() if value != NONE)
        _, differs, agrees = counted("agreement")
        train, test = counted("split")
        _, unsure, *says = counted("verdict")
        verdict = {value: n for value, n in zip(columns.coded["predicted_label_id"].values, says, strict=True) if n} | {
            UNSURE: unsure
        }
        flipped = others("flips")
        return Facets(
            says=by_code("says", "predicted_label_id"),
            label=label,
            agreement={"differs": differs, "agrees": agrees},
            source=by_code("source", "source"),
            verdict=verdict,
            flips={name: int(flipped[rows].sum()) for name, rows in self.verdicts.flips.items()}
            | {ANY: int((flipped & self._flipped(ANY)).sum())},
            split={TEST: test, TRAIN: train},
            batch=by_code("batch", "import_batch_id"),
            duplicates=counted("duplicates", "group")[1],
            captured=captured,
            confidence=tuple(counted("confidence")[:BINS]),
            binned=self._binned,
        )

    def _tables(self) -> Tables:
        """All ways to divide the samples that are counted."""
        columns = self.columns
        coded, confidence = columns.coded, columns.numbers["confidence"]
        predicted = coded["predicted_label_id"]

        def division(name: str, make: Callable[[], Division], *of: Any) -> Division:
            found: Division = columns.derive(("division", name), make, *of)
            return found

        def of_codes(name: str, column: str) -> Division:
            return division(name, lambda: counts.by_code(coded[column]), coded[column])

        divisions = {
            "says": of_codes("says", "predicted_label_id"),
            "label": of_codes("label", "label_id"),
            "source": of_codes("source", "source"),
            "batch": of_codes("batch", "import_batch_id"),
            "captured": of_codes("captured", "captured"),
            "agreement": division("agreement", lambda: counts.by_agreement(columns.agrees), columns.agrees),
            "split": division("split", lambda: counts.by_flag(columns.test), columns.test),
            "duplicates": division("duplicates", lambda: counts.by_flag(twins), (twins := self._has_twin())),
            "verdict": columns.derive(
                ("verdicts", self._key[1]), lambda: counts.by_verdict(predicted, self._sure()), predicted, confidence
            ),
            "confidence": division("confidence", lambda: counts.by_confidence(confidence), confidence),
        }
        found: Tables = columns.derive("tables", lambda: Tables(divisions), *divisions.values())
        return found

    def _tiles(self, where: GalleryFilter, order: Order, stacked: bool) -> tuple[Rows, Rows, int]:
        """(rows, members of each tile, matching)."""
        key = ("tiles", self._key, where, order, stacked)
        found: tuple[Rows, Rows, int] = self.columns.cached(key, lambda: self._make_tiles(where, order, stacked))
        return found

    def _make_tiles(self, where: GalleryFilter, order: Order, stacked: bool) -> tuple[Rows, Rows, int]:
        rows = self._arranged(where, order)
        if not stacked or where.group is not None:
            return rows, np.broadcast_to(np.int64(1), len(rows)), len(rows)
        # Samples that no build has looked at yet belong to no group: each is one of its own, as is whoever is alone.
        places = np.flatnonzero(self._may_stack()[rows])
        groups = self.columns.coded["near_duplicate_group"].codes[rows[places]]
        _, first, sizes = np.unique(groups, return_index=True, return_counts=True)
        shown = np.ones(len(rows), bool)
        shown[places] = False
        shown[places[first]] = True
        members = np.ones(len(rows), np.int32)
        members[places[first]] = sizes
        return rows[shown], members[shown], len(rows)

    def _arranged(self, where: GalleryFilter, order: Order) -> Rows:
        mask = self._mask(where)
        if order in (Order.NEWEST, Order.OLDEST):
            rows = np.flatnonzero(mask)
            return rows[::-1] if order is Order.NEWEST else rows
        arranged = orders.all_rows(self.columns, order)
        return arranged[mask[arranged]]

    def _base(self, where: GalleryFilter) -> Bools:
        return self.columns.deleted if where.bin else ~self.columns.deleted

    def _mask(self, where: GalleryFilter) -> Bools:
        result = self._base(where)
        for mask in self._masks(where).values():
            result = result & mask
        return result

    def _masks(self, where: GalleryFilter) -> dict[str, Bools]:
        """One mask for each condition that is set."""
        columns, masks = self.columns, dict[str, Bools]()
        for name, column, wanted in (
            ("says", "predicted_label_id", where.says),
            ("label", "label_id", where.label),
            ("source", "source", where.source),
            ("batch", "import_batch_id", where.batch),
            ("group", "near_duplicate_group", where.group),
            ("captured", "captured", where.captured),
        ):
            if wanted is not None:
                masks[name] = _is(columns.coded[column].codes, columns.coded[column].code(wanted), wanted)
        if where.agreement is not None:
            masks["agreement"] = columns.agrees == (1 if where.agreement == "agrees" else 0)
        if where.verdict is not None:
            masks["verdict"] = self._says(where.verdict)
        if where.flips is not None:
            masks["flips"] = self._flipped(where.flips)
        if where.split is not None:
            masks["split"] = columns.test if where.split == TEST else ~columns.test
        if where.low is not None or where.high is not None:
            confidence = columns.numbers["confidence"]
            low = 0.0 if where.low is None else where.low
            masks["confidence"] = (confidence >= low) & (confidence <= (1.0 if where.high is None else where.high))
        if where.duplicates:
            masks["duplicates"] = self._has_twin()
        if where.text:
            masks["text"] = columns.names.holding(where.text.lower())
        return masks

    def _sure(self) -> Bools:
        predicted = self.columns.coded["predicted_label_id"]
        limits = np.array([self.verdicts.limits.get(value, np.inf) for value in predicted.values] + [np.inf])
        return self.columns.numbers["confidence"] > limits[predicted.codes]

    def _says(self, verdict: str) -> Bools:
        predicted = self.columns.coded["predicted_label_id"]
        if verdict == UNSURE:
            return ~self._sure() & (predicted.codes >= 0)
        return self._sure() & (predicted.codes == predicted.code(verdict))

    def _flipped(self, change: str) -> Bools:
        result = np.zeros(len(self.columns), bool)
        for name, rows in self.verdicts.flips.items():
            if change in (ANY, name):
                result[rows] = True
        return result

    def _has_twin(self) -> Bools:
        """Whether another sample outside the bin belongs to the same near-duplicate group."""
        codes, deleted = self.columns.coded["near_duplicate_group"].codes, self.columns.deleted

        def make() -> Bools:
            counts = np.bincount(codes[~deleted & (codes >= 0)], minlength=1)
            twins: Bools = (codes >= 0) & (counts[np.minimum(codes, len(counts) - 1)] > 1)
            return twins

        result: Bools = self.columns.derive("twins", make, codes, deleted)
        return result

    def _may_stack(self) -> Bools:
        """Whether any other sample, in the bin or outside, belongs to the same near-duplicate group."""
        codes = self.columns.coded["near_duplicate_group"].codes

        def make() -> Bools:
            counts = np.bincount(codes + 1, minlength=2)
            counts[0] = 0
            several: Bools = counts[codes + 1] > 1
            return several

        result: Bools = self.columns.derive("may stack", make, codes)
        return result


def matching_ids(ws: Workspace, function_id: str, where: GalleryFilter, order: Order = Order.NEWEST) -> list[str]:
    """The ids of all samples that match, in order."""
    return Gallery(ws, function_id).ids(where, order)


def _is(codes: NDArray[Any], code: int, wanted: str) -> Bools:
    if wanted == NONE:
        return codes < 0
    if wanted == ANY:
        return codes >= 0
    return codes == code


def _verdicts(ws: Workspace, function_id: str, columns: Columns) -> Verdicts:
    model_id, version, limits = gallery_rows.live_verdicts(ws.db, function_id)
    if model_id is None:
        return Verdicts(None, None, {}, {}, (None, 0))
    # The flips of a model change only while it is being audited.
    key = (model_id, gallery_rows.audit_parts(ws.db, model_id))
    flips = columns.derive(
        key,
        lambda: {
            name: columns.rows_of(found) for name, found in gallery_rows.flipped_sequences(ws.db, model_id).items()
        },
        columns.sequence,
    )
    return Verdicts(model_id, version, limits, flips, key)
