"""Turning a function's normalisation on and off, and what the files look like once it is on."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from detector.errors import ImageError, InvalidInput, NotFound
from detector.imaging import ImageFacts, decode_image
from detector.imaging.normalise import Normalisation, encode_normalised, suited_normalisation
from detector.jobs import request_build
from detector.progress import Pace, Report, silent
from detector.storage import functions, samples
from detector.storage.acting import MANAGE, needs, reads
from detector.system.batches import map_batches
from detector.workspace import Workspace

log = logging.getLogger(__name__)


@needs(MANAGE, "changing how a function is trained")
def normalise_and_retrain(ws: Workspace, function_id: str, side: int | None = None) -> str:
    """Have all images of a function re-encoded in memory before they are embedded, and a new model trained on that.

    The stored files stay as they are. From the new model on, invoke treats new images in the same way.

    Parameters
    ----------
    side : int, optional
        Pixels of the square; by default what suits the function's images.

    Returns
    -------
    str
        The id of the build's job.

    Raises
    ------
    InvalidInput
        The function has no images, or the side is out of range.
    NotFound
    """
    if side is None:
        sides = samples.shorter_sides(ws.db, function_id)
        if not sides:
            raise InvalidInput("There are no images to normalise yet. Import some first.")
        how = suited_normalisation(sides)
    else:
        how = Normalisation.parse(Normalisation(side).code)
    functions.set_normalise(ws.db, function_id, how.code)
    return request_build(ws, function_id)


@needs(MANAGE, "changing how a function is trained")
def use_as_imported_and_retrain(ws: Workspace, function_id: str) -> str:
    """The way back: images are embedded as they are again. Returns the id of the build's job."""
    functions.set_normalise(ws.db, function_id, None)
    return request_build(ws, function_id)


@reads
def file_facts(ws: Workspace, hashes: Sequence[str], code: str | None, report: Report = silent) -> list[ImageFacts]:
    """The facts of images as a model gets to see their files.

    Parameters
    ----------
    hashes : sequence of str
    code : str or None
        The model's normalisation: the facts are then those of the re-encoded files, made here and now.

    Returns
    -------
    list of ImageFacts, aligned with ``hashes``
    """
    if code is None:
        stored = samples.image_facts(ws.db, hashes)
        return [ImageFacts(**stored[image_hash]) for image_hash in hashes]
    how = Normalisation.parse(code)

    def facts_of(batch: list[str]) -> ImageFacts:
        [image_hash] = batch
        try:
            image = decode_image(ws.blobs.image(image_hash), image_hash, ws.limits)
        except (ImageError, NotFound) as error:
            # One file that was lost since must not end the audit of all: what its import noted is nearly the same.
            log.warning("image %s is taken as it was imported: %s", image_hash, error)
            return ImageFacts(**samples.image_facts(ws.db, [image_hash])[image_hash])
        return decode_image(encode_normalised(image.pixels, how), image_hash, ws.limits).facts

    found: list[ImageFacts] = []
    pace = Pace(report, "evaluate", len(hashes), "Looking at the normalised files")
    for facts in map_batches(facts_of, hashes, size=1, workers=ws.settings.threads, name="normalise"):
        found.append(facts)
        pace.at(len(found))
    return found
