"""Stand-in until the real module is merged: all samples of a function, whatever the filter."""

from __future__ import annotations

from detector.gallery.filters import ANY, NONE, GalleryFilter, Order
from detector.storage import samples
from detector.storage.samples import SampleFilter
from detector.workspace import Workspace


def matching_ids(ws: Workspace, function_id: str, where: GalleryFilter, order: Order) -> list[str]:
    """The ids of all samples that match, in order."""
    label = {ANY: "any", NONE: "none"}.get(where.label or "", where.label)
    found = samples.matching_ids(ws.db, function_id, SampleFilter(annotated=label, text=where.text))
    return found if order is Order.OLDEST else found[::-1]
