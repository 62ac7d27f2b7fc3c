"""What Review shows and in which order: the widgets, each choice with its count, kept in the address."""

from __future__ import annotations

from dataclasses import dataclass, replace

import streamlit as st

from detector.evaluation.results import FORMER_STRESSES, STRESSES
from detector.formatting import count
from detector.gallery.filters import ANY, NONE, UNSURE, GalleryFilter, Order
from detector.gallery.selection import Facets, Gallery
from detector.storage import imports
from detector.storage.captured import ASKED, DISPUTED, LOW_GRADE, RANDOM, UNLIKE
from detector.storage.functions import Label, number_names
from detector.storage.stored_names import TEST, TRAIN
from pages._confidence_range import confidence_range
from pages._gallery import TileSize
from pages._state import workspace

ORDERS = {
    Order.LEAST_CONFIDENT: "least confident first",
    Order.MOST_CONFIDENT: "most confident first",
    Order.MISLABELLED: "most likely mislabelled",
    Order.USEFUL: "most useful to label",
    Order.SMALLEST_MARGIN: "smallest margin first",
    Order.NEWEST: "newest import first",
    Order.OLDEST: "oldest import first",
    Order.ANNOTATED_LAST: "newest label first",
    Order.ANNOTATED_FIRST: "oldest label first",
}
_SIZES: tuple[TileSize, ...] = ("S", "M", "L")
#: Four beside each other on a wide screen, two on a phone.
_WIDTH = 184
_CAPTURED = {
    ANY: "for any reason",
    LOW_GRADE: "got can't tell",
    UNLIKE: "unlike the samples",
    RANDOM: "drawn at random",
    ASKED: "asked for",
    DISPUTED: "called wrong",
}
#: The conditions behind "More filters".
_MORE = ("verdict", "source", "flips", "split", "batch", "low", "high", "duplicates", "captured", "bin", "text")


@dataclass(frozen=True)
class ReviewState:
    """All that the address says of the gallery."""

    where: GalleryFilter
    order: Order = Order.LEAST_CONFIDENT
    size: TileSize = "M"
    stacked: bool = True

    def to_query(self) -> dict[str, str]:
        """What differs from the default."""
        query = self.where.to_query()
        if self.order is not Order.LEAST_CONFIDENT:
            query["sort"] = self.order.value
        if self.size != "M":
            query["size"] = self.size
        if not self.stacked:
            query["stacks"] = "no"
        return query

    @classmethod
    def from_query(cls, query: dict[str, str]) -> ReviewState:
        """Read an address; what cannot be is left out."""
        order = query.get("sort", "")
        size = query.get("size", "M")
        return cls(
            GalleryFilter.from_query(query),
            Order(order) if order in set(Order) else Order.LEAST_CONFIDENT,
            size if size in _SIZES else "M",
            query.get("stacks") != "no",
        )


def from_address() -> ReviewState:
    """The view that the address names."""
    return ReviewState.from_query(st.query_params.to_dict())


def reset_widgets() -> None:
    """Have the widgets take their values from the address again, after the page itself changed it."""
    st.session_state["filters-round"] = round_of_widgets() + 1


def round_of_widgets() -> int:
    """Part of the widgets' keys: with another one they take their values from the address."""
    found: int = st.session_state.get("filters-round", 0)
    return found


def filters(gallery: Gallery, view: ReviewState, labels: list[Label], function_id: str) -> ReviewState:
    """Draw the widgets; returns the view that they say."""
    facets = gallery.facets(view.where)
    keys = f"{function_id}-{round_of_widgets()}"
    names = {label.id: label.name for label in labels}
    where = view.where
    with st.container(horizontal=True, vertical_alignment="bottom"):
        says = _choice("Says", where.says, _counted(names | {NONE: "nothing yet"}, facets.says), f"says-{keys}")
        label = _choice(
            "Label", where.label, _counted(names | {NONE: "no label", ANY: "any label"}, facets.label), f"label-{keys}"
        )
        agreement = _choice(
            "Says and label",
            where.agreement,
            _counted({"differs": "differ", "agrees": "agree"}, facets.agreement, keep=True),
            f"agreement-{keys}",
        )
        order = st.selectbox(
            "Order",
            list(ORDERS),
            index=list(ORDERS).index(view.order),
            format_func=ORDERS.__getitem__,
            key=f"sort-{keys}",
            width=_WIDTH,
        )
        set_more = len(where.to_query().keys() & set(_MORE))
        with st.popover(f"More filters ({set_more})" if set_more else "More filters"):
            more = _more(where, facets, names, function_id, keys)
            st.divider()
            size = st.segmented_control("Tiles", _SIZES, default=view.size, required=True, key=f"size-{keys}")
            stacked = st.toggle("Near-duplicates as one stack", view.stacked, key=f"stacks-{keys}")
    chosen = replace(more, says=says, label=label, agreement=agreement)
    return ReviewState(chosen, order, size or "M", stacked)


def _more(where: GalleryFilter, facets: Facets, names: dict[str, str], function_id: str, keys: str) -> GalleryFilter:
    low, high = confidence_range(facets.confidence, where.low or 0.0, where.high or 1.0, f"range-{keys}")
    left, right = st.columns(2)
    with left:
        verdict = _choice(
            "Verdict", where.verdict, _counted(names | {UNSURE: "can't tell"}, facets.verdict), f"verdict-{keys}", None
        )
        flips = _choice(
            "Verdict changes after",
            where.flips,
            _counted({ANY: "any change"} | _changes(facets), facets.flips),
            f"flips-{keys}",
            None,
        )
        batch = _choice("Import", where.batch, _batches(function_id, facets), f"batch-{keys}", None)
        captured = _choice(
            "Captured from invokes", where.captured, _counted(_CAPTURED, facets.captured), f"captured-{keys}", None
        )
    with right:
        known = {source: source for source in sorted(facets.source) if source != NONE}
        source = _choice(
            "Source", where.source, _counted(known | {NONE: "no source"}, facets.source), f"source-{keys}", None
        )
        split = _choice(
            "Set",
            where.split,
            _counted({TRAIN: "training", TEST: "locked test set"}, facets.split),
            f"split-{keys}",
            None,
        )
        text = st.text_input("File name has", where.text or "", key=f"text-{keys}", max_chars=100)
        duplicates = st.checkbox(
            f"Has a near-duplicate ({facets.duplicates:,})", where.duplicates, key=f"duplicates-{keys}"
        )
        binned = st.checkbox(f"In the bin ({facets.binned:,})", where.bin, key=f"bin-{keys}")
    return replace(
        where,
        verdict=verdict,
        flips=flips,
        batch=batch,
        source=source,
        split=split,
        duplicates=duplicates,
        captured=captured,
        bin=binned,
        text=text.strip() or None,
        low=low if low > 0 else None,
        high=high if high < 1 else None,
    )


def _batches(function_id: str, facets: Facets) -> dict[str, str]:
    batches = imports.list_batches(workspace().db, function_id, limit=200)
    numbered = number_names([(batch.id, batch.title) for batch in reversed(batches)])
    titles = {batch.id: numbered[batch.id] for batch in batches}
    return _counted(titles | {NONE: "no import"}, facets.batch)


def _counted(names: dict[str, str], counts: dict[str, int], keep: bool = False) -> dict[str, str]:
    """Choices with their counts; those that no sample has are left out unless they are to ``keep``.

    No two read the same (a source may be called "no source"): the browser tells the chosen one by its text.
    """
    names = number_names(list(names.items()))
    return {value: f"{name} ({counts.get(value, 0):,})" for value, name in names.items() if keep or counts.get(value)}


def _choice(label: str, value: str | None, options: dict[str, str], key: str, width: int | None = _WIDTH) -> str | None:
    """A select box whose first option, any, is None; a value that no sample has any more can still be chosen away."""
    known = {"": "any", **options}
    if value is not None and value not in known:
        known[value] = f"{value} (0)"
    chosen = st.selectbox(
        label,
        list(known),
        index=list(known).index(value or ""),
        # A choice may have left the options since it was made.
        format_func=lambda option: known.get(option, option),
        key=key,
        width=width or "stretch",
    )
    return chosen or None


def not_there(gallery: Gallery, function_id: str, where: GalleryFilter, labels: list[Label]) -> dict[str, str]:
    """Conditions of the address that name what is not there (any more): a word for each, by the condition's name."""
    ids = {label.id for label in labels}
    found = {
        name: "label"
        for name, value, others in (
            ("says", where.says, (NONE,)),
            ("label", where.label, (NONE, ANY)),
            ("verdict", where.verdict, (UNSURE,)),
        )
        if value is not None and value not in ids and value not in others
    }
    if where.batch not in (None, NONE) and gallery.count(GalleryFilter(batch=where.batch, bin=where.bin)) == 0:
        known = {batch.id for batch in imports.list_batches(workspace().db, function_id, limit=200)}
        if where.batch not in known:
            found["batch"] = "import"
    if where.group is not None and gallery.count(GalleryFilter(group=where.group, bin=where.bin)) == 0:
        found["group"] = "stack"
    if where.flips not in (None, ANY, *STRESSES, *FORMER_STRESSES):
        found["flips"] = "change"
    return found


def _changes(facets: Facets) -> dict[str, str]:
    """The changes of pictures that verdicts were tried on; those of versions before only where one changed then."""
    return STRESSES | {name: title for name, title in FORMER_STRESSES.items() if name in facets.flips}


def sentence(matching: int, total: int, view: ReviewState, said_by: str, unlabelled: int) -> str:
    """What one looks at; ``unlabelled`` of what matches have no label."""
    if view.where.bin:
        return f"{count(matching, 'sample')} in the bin"
    order = ORDERS[view.order]
    if view.order is Order.USEFUL and matching and not unlabelled:
        order = f"all have a label, so {ORDERS[Order.NEWEST]}"
    return f"{matching:,} of {count(total, 'sample')} · {order}{said_by}"
