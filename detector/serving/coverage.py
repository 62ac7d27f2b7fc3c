"""What the files of a stored model's samples cover: found once from the facts of their import, and kept with it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from detector.errors import NotFound, StorageTrouble, StoredModelUnusable
from detector.imaging.degraded_copies import JPEG, WEBP, changes_of
from detector.imaging.file_look import FileLook, file_look
from detector.imaging.normalise import Normalisation
from detector.serving.stored_models import stored_out_of_fold
from detector.storage import models, samples
from detector.storage.models import ModelRow
from detector.training.coverage import SIZE, Coverage, LabelFiles
from detector.workspace import Workspace

#: Samples of a label that are looked at, the first by their hashes: percentiles of more are the same.
MOST_OF_A_LABEL = 5000
#: What clients that save bandwidth make of a picture before they send it: the longer side, and the JPEG's quality.
CLIENT_SIDE, CLIENT_QUALITY = 1024, 95


def coverage_of(ws: Workspace, row: ModelRow) -> Coverage | None:
    """What a model's samples cover; found now where that was not stored yet, as with models from before.

    Returns
    -------
    Coverage or None
        None where nothing is known of its samples: it was not validated, or its file cannot be read.
    """
    if row.coverage is not None:
        return Coverage.from_json(row.coverage)
    try:
        found = find_coverage(ws, row)
    except StoredModelUnusable:
        return None
    if found is not None:
        # A disk that is full must keep nobody from an answer: it is found again the next time.
        with suppress(StorageTrouble, NotFound):
            models.set_coverage(ws.db, row.id, found.to_json())
    return found


def find_coverage(
    ws: Workspace,
    row: ModelRow,
    rescalings: Mapping[str, float | None] | None = None,
) -> Coverage | None:
    """Find it from the facts of the samples that the model was trained on, with the labels of that time.

    Degraded copies that it was trained on as well count beside them. Where there are some, what clients send counts in,
    too: a model that was trained on worse copies is not put off by it.

    Parameters
    ----------
    rescalings : dict of image hash to float, optional
        How much those pictures were enlarged that were looked at for it.

    Raises
    ------
    StoredModelUnusable
    """
    known = stored_out_of_fold(ws, row)
    if known is None:
        return None
    copies = int(row.hyperparameters.get("copies", 0))
    by_label: dict[str, list[str]] = {label_id: [] for label_id in row.label_ids}
    for image_hash, label in sorted(zip(known.hashes, known.labels.tolist(), strict=True)):
        mine = by_label[row.label_ids[label]]
        if len(mine) < MOST_OF_A_LABEL:
            mine.append(image_hash)
    facts = samples.image_facts(ws.db, [image_hash for mine in by_label.values() for image_hash in mine])
    labels = {}
    for label_id, mine in by_label.items():
        # Some were deleted since, files and all.
        there = [image_hash for image_hash in mine if image_hash in facts]
        looks = [file_look(facts[item], (rescalings or {}).get(item)) for item in there]
        others = [look_of_copy(facts[item], item, number) for item in there for number in range(copies)]
        if others:
            others += [_from_client(facts[item]["width"], facts[item]["height"]) for item in there]
        if looks:
            labels[label_id] = LabelFiles.of(looks, others)
    if len(labels) < len(by_label):
        # Of a label without any, nothing can be compared.
        labels = {}
    if row.normalise is None:
        return Coverage(labels)
    # Made alike before the model sees them: only a picture too small for the square still differs, being enlarged.
    return Coverage(labels, (SIZE,), Normalisation.parse(row.normalise).side)


def look_of_copy(facts: Mapping[str, Any], image_hash: str, number: int) -> FileLook:
    """The look of a degraded copy, from its original's facts and what is done to it: no picture is opened.

    A copy that no compression came last for looks as its original was saved: its traces are still there.
    """
    look, (width, height) = file_look(facts), (facts["width"], facts["height"])
    for change in changes_of(image_hash, number):
        width, height = change.size(width, height)
        if change.kind in (JPEG, WEBP):
            quality = round(change.strength) if change.kind == JPEG else None
            look = replace(look, quality=quality, lossless=False)
    return replace(look, side=min(width, height))


def _from_client(width: int, height: int) -> FileLook:
    scale = min(1.0, CLIENT_SIDE / max(width, height))
    return FileLook(max(1, round(scale * min(width, height))), CLIENT_QUALITY)
