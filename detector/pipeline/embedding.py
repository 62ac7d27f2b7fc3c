"""Images of a function -> rows of embeddings. Resumes by asking the table what is missing."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.backbones import choose_precision, fetch_weights, get_backbone
from detector.backbones.availability import AUTO
from detector.backbones.inner import why_no_inner_blocks
from detector.backbones.registry import get_spec
from detector.errors import ImageError, StoredFileDamaged, StoredFileMissing
from detector.formatting import count
from detector.pipeline.speed import LEAST_IMAGES, note_rate
from detector.progress import Pace, Report, silent
from detector.serving.shared_work import At, SharedWork, backbone_from_json, backbone_to_json, share
from detector.storage import embeddings, functions, models
from detector.storage.functions import Function
from detector.workspace import Workspace

if TYPE_CHECKING:
    from detector.backbones import Backbone


log = logging.getLogger(__name__)


def function_backbone(ws: Workspace, function: Function, report: Report = silent) -> Backbone:
    """The loaded backbone of a function, in the precision chosen for it once, normalising if the function does.

    Parameters
    ----------
    report : Report
        Hears of a download, which comes before everything else and may take minutes.

    Raises
    ------
    BackboneUnavailable
        The weights cannot be had.
    """
    fetch_weights(function.backbone_id, ws.settings, report)
    precision = function.precision
    if precision is None:
        # Back at a backbone from before: a second measurement may come out otherwise, and all would be embedded anew.
        before = models.last_precision(ws.db, function.id, function.backbone_id)
        asked = ws.settings.precision
        precision = before if asked in (AUTO, before) else None
        precision = precision or choose_precision(function.backbone_id, ws.settings)
        reason = None
        if asked not in (AUTO, precision):
            # Here, not above: it brings torch.
            from detector.backbones.bfloat16 import FLOAT32_INSTEAD

            reason = f"{function.backbone_reason} {FLOAT32_INSTEAD}".strip()
        functions.set_precision(ws.db, function.id, precision, reason)
    # The wish outlives a backbone that cannot fulfil it, and holds again for the next.
    inner = function.inner_features and why_no_inner_blocks(get_spec(function.backbone_id)) is None
    return get_backbone(function.backbone_id, precision, ws.settings, inner).normalising(function.normalise)


def embed_missing(ws: Workspace, function_id: str, backbone: Backbone, report: Report = silent) -> int:
    """Embed the images of a function that have no embedding under this backbone; returns how many.

    Every batch is committed by itself, so a killed run loses at most one batch. An image that fails is noted with its
    reason and not tried again under this backbone.
    """
    hashes = embeddings.missing_images(ws.db, function_id, backbone.key)
    if not hashes:
        return 0
    pace = Pace(report, "embed", len(hashes), f"Looking at {count(len(hashes), 'image')}")
    start = time.monotonic()
    answers = share(
        ws, EMBED, backbone_to_json(backbone), hashes, pace.at, lambda: _embed(ws, backbone, hashes, pace.at)
    )
    if answers.here and answers.done >= LEAST_IMAGES:
        note_rate(ws, backbone.spec.id, answers.done / (time.monotonic() - start), "build")
    return answers.done


def _embed_some(ws: Workspace, parameters: dict[str, Any], hashes: list[str], at: At) -> dict[str, Any]:
    missing = set(embeddings.without_embedding(ws.db, hashes, parameters["key"]))
    if not missing:
        return {"done": len(hashes)}
    backbone = backbone_from_json(ws, parameters)
    there = len(hashes) - len(missing)
    at(there)
    new = _embed(ws, backbone, [item for item in hashes if item in missing], lambda done: at(there + done))
    return {"done": there + int(new["done"])}


def _embed(ws: Workspace, backbone: Backbone, hashes: Sequence[str], at: At) -> dict[str, Any]:
    # Here, not above: it brings torch, which the server needs only once it looks at images.
    from detector.backbones.pipeline import embed_files

    done = 0

    def read() -> Iterator[tuple[str, bytes, str]]:
        for image_hash, bytes_of_it in ws.blobs.readers(hashes):
            try:
                yield image_hash, bytes_of_it(), image_hash
            except (StoredFileMissing, StoredFileDamaged) as error:
                # Not noted as a failure: importing the picture again brings the bytes back, and then it must be tried.
                log.warning("image %s was not looked at: %s", image_hash, error)

    def store(rows: list[tuple[str, dict[str, np.ndarray]]], failures: list[tuple[str, ImageError]]) -> None:
        nonlocal done
        embeddings.write_embeddings(ws.db, backbone.key, rows, [(key, str(error)) for key, error in failures])
        done += len(rows) + len(failures)
        at(done)

    embed_files(read(), backbone, ws.limits, ws.settings.threads, store)
    return {"done": done}


#: A function's images as embeddings, some hundreds at a time; items are hashes.
EMBED = SharedWork("embed", _embed_some)
