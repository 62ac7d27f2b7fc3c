"""The orders of the gallery over all samples of a function: made once, then only mended where values have changed."""

from __future__ import annotations

import bisect
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.arrays import Floats, Ints
from detector.gallery.columns import Columns
from detector.gallery.filters import Order

Rows = NDArray[np.integer[Any]]

#: The column that an order goes by, and whether the largest come first.
SORTED_BY: dict[Order, tuple[str, bool]] = {
    Order.LEAST_CONFIDENT: ("confidence", False),
    Order.MOST_CONFIDENT: ("confidence", True),
    Order.SMALLEST_MARGIN: ("margin", False),
    Order.MISLABELLED: ("label_quality", False),
    Order.USEFUL: ("usefulness", True),
    Order.ANNOTATED_LAST: ("annotated_at", True),
    Order.ANNOTATED_FIRST: ("annotated_at", False),
}

#: Up to so many changed values are put into their places one by one; sorting all anew is quicker above.
_MENDED = 5000


def all_rows(columns: Columns, order: Order) -> Rows:
    """All rows in an order that goes by a column: those without a value last, equal ones from the newest on."""
    name, descending = SORTED_BY[order]
    values, key = columns.numbers[name], ("order", order)
    known = columns.derived.get(key)
    if known is not None and (known[0][0] is not values or known[0][1] is not columns.sequence):
        changed = _changed(known[0][0], known[0][1], values, columns.sequence)
        if changed is not None:
            made = _mended(known[1], values, changed, descending)
            mended: Rows = columns.derive(key, lambda: made, values, columns.sequence)
            return mended
    found: Rows = columns.derive(key, lambda: _sorted(values, descending), values, columns.sequence)
    return found


def _sorted(values: Floats, descending: bool) -> Rows:
    n = len(values)
    there = np.flatnonzero(~np.isnan(values))
    keys = -values[there] if descending else values[there]
    # Not stable, which takes half the time; then equal values, which stand together, are put from the newest on.
    order = np.argsort(keys)
    keys = keys[order]
    place = np.zeros(len(keys), np.int64)
    np.cumsum(keys[1:] != keys[:-1], out=place[1:])
    place *= n
    place += n - 1 - there[order]
    place.sort()
    without = np.flatnonzero(np.isnan(values))[::-1]
    return np.concatenate([n - 1 - place % max(n, 1), without]).astype(np.int32)


def _changed(before: Floats, known: Ints, values: Floats, sequence: Ints) -> Ints | None:
    """The rows whose values changed or came since; None where there are too many, or rows got other numbers."""
    old = len(known)
    if known is not sequence and (old > len(sequence) or not np.array_equal(known, sequence[:old])):
        return None
    same = (before == values[:old]) | (np.isnan(before) & np.isnan(values[:old]))
    changed = np.concatenate([np.flatnonzero(~same), np.arange(old, len(values))])
    return changed if len(changed) <= _MENDED else None


def _mended(known: Rows, values: Floats, changed: Ints, descending: bool) -> Rows:
    moved = np.zeros(len(values), bool)
    moved[changed] = True
    kept = known[~moved[known]]

    def key(row: Any) -> tuple[bool, float, int]:
        value = float(values[row])
        return (True, 0.0, -int(row)) if value != value else (False, -value if descending else value, -int(row))

    rows = sorted(changed.tolist(), key=key)
    places = [bisect.bisect_left(kept, key(row), key=key) for row in rows]
    return np.insert(kept, places, np.array(rows, np.int32)).astype(np.int32, copy=False)
