"""How much the samples' pictures were enlarged: the one fact of coverage for which they have to be opened."""

from __future__ import annotations

import logging

from detector.errors import ImageError, NotFound
from detector.evaluation.examination import Examination
from detector.imaging import decode_image
from detector.imaging.rescaling import estimate_rescaling
from detector.progress import Pace, Report, silent
from detector.serving.coverage import find_coverage
from detector.storage import models
from detector.system.batches import map_batches
from detector.training.coverage import Coverage

log = logging.getLogger(__name__)

#: Pictures of a label that are opened, the first by their hashes: percentiles of more are the same.
MOST_OF_A_LABEL = 500


def measure_coverage(examination: Examination, report: Report = silent) -> Coverage | None:
    """Look at the samples' pictures, and keep what they cover with the model; None where that cannot be known.

    Of a function that normalises its images nothing is opened: they are all alike to it.
    """
    data, ws = examination.audit_data, examination.ws
    chosen: list[str] = []
    if data.model.normalise is None:
        for label in range(data.k):
            mine = [row.image_hash for row, given in zip(data.rows, data.y.tolist(), strict=True) if given == label]
            chosen += sorted(mine)[:MOST_OF_A_LABEL]

    def look(batch: list[str]) -> tuple[str, float | None]:
        [image_hash] = batch
        try:
            return image_hash, estimate_rescaling(
                decode_image(ws.blobs.image(image_hash), image_hash, ws.limits).pixels
            )
        except (ImageError, NotFound) as error:
            log.warning("image %s is not looked at: %s", image_hash, error)
            return image_hash, None

    pace = Pace(report, "evaluate", len(chosen), "Looking how far your images were enlarged")
    rescalings: dict[str, float | None] = {}
    for image_hash, rescaling in map_batches(look, chosen, size=1, workers=ws.settings.threads, name="looks"):
        rescalings[image_hash] = rescaling
        pace.at(len(rescalings))
    found = find_coverage(ws, data.model, rescalings=rescalings)
    if found is not None:
        models.set_coverage(ws.db, data.model.id, found.to_json())
    return found
