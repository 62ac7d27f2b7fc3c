"""Degraded copies of labelled samples as embeddings: which are wanted, which are missing, and how they are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.errors import ImageError
from detector.formatting import count
from detector.imaging.degraded_copies import degraded_copy
from detector.progress import Pace, Report, silent
from detector.serving.changed_files import changed_files
from detector.serving.shared_work import At, SharedWork, backbone_from_json, backbone_to_json, share
from detector.serving.stored_copies import copies_key, made_copies, wanted_copies
from detector.storage import embeddings, functions, samples
from detector.storage.models import ModelRow
from detector.storage.stored_names import TRAIN
from detector.workspace import Workspace

if TYPE_CHECKING:
    from detector.backbones import Backbone

#: Where copies are lacking of at most this share of the samples, no model is trained for their sake alone: the next
#: training takes them along.
FEW_LACKING = 0.05


def missing_copies(ws: Workspace, function_id: str, backbone_key: str) -> list[tuple[str, int]]:
    """(image hash, number) of the copies that a function lacks, samples in hash order."""
    function = functions.get_function(ws.db, function_id)
    labelled = _labelled(ws, function_id, backbone_key)
    wanted = wanted_copies(ws, function, len(labelled))
    there = [made_copies(ws, function_id, backbone_key, number, failed=True) for number in range(wanted)]
    return [(image, number) for image in labelled for number in range(wanted) if image not in there[number]]


def lacks_copies(ws: Workspace, function_id: str, model: ModelRow) -> bool:
    """Whether copies are to be made for the training that follows on a model; none before there is one with folds."""
    return model.cross_validation is not None and bool(missing_copies(ws, function_id, model.backbone_key))


def lacking_share(ws: Workspace, function_id: str, backbone_key: str) -> float:
    """Of how large a share of a function's labelled training samples copies are missing."""
    missing = {image for image, _ in missing_copies(ws, function_id, backbone_key)}
    return len(missing) / max(len(_labelled(ws, function_id, backbone_key)), 1)


def embed_copies(ws: Workspace, function_id: str, backbone: Backbone, report: Report = silent) -> int:
    """Make and embed the copies that a function lacks; returns how many.

    Every batch is committed by itself, so a killed run loses at most one batch. A copy that cannot be made is noted and
    not tried again.
    """
    missing = missing_copies(ws, function_id, backbone.key)
    if not missing:
        return 0
    pace = Pace(report, "embed", len(missing), f"Looking at {count(len(missing), 'degraded copy', 'degraded copies')}")
    return share(
        ws, COPY, backbone_to_json(backbone), missing, pace.at, lambda: _embed(ws, backbone, missing, pace.at)
    ).done


def _embed_some(ws: Workspace, parameters: dict[str, Any], items: list[Any], at: At) -> dict[str, Any]:
    missing: list[tuple[str, int]] = []
    for number in sorted({int(number) for _, number in items}):
        key = copies_key(parameters["key"], number)
        lacking = embeddings.without_embedding(ws.db, [image for image, its in items if its == number], key)
        missing += [(image, number) for image in lacking]
    if not missing:
        return {"done": len(items)}
    backbone, there = backbone_from_json(ws, parameters), len(items) - len(missing)
    at(there)
    new = _embed(ws, backbone, sorted(missing), lambda done: at(there + done))
    return {"done": there + int(new["done"])}


def _embed(ws: Workspace, backbone: Backbone, missing: Sequence[tuple[str, int]], at: At) -> dict[str, Any]:
    # Here, not above: it brings torch, which the server needs only once it looks at images.
    from detector.backbones.pipeline import embed_files

    done = 0

    def store(
        rows: list[tuple[tuple[str, int], dict[str, np.ndarray]]], failures: list[tuple[tuple[str, int], ImageError]]
    ) -> None:
        nonlocal done
        for number in sorted({number for (_, number), _ in (*rows, *failures)}):
            embeddings.write_embeddings(
                ws.db,
                copies_key(backbone.key, number),
                [(image, views) for (image, its), views in rows if its == number],
                [(image, str(error)) for (image, its), error in failures if its == number],
            )
        done += len(rows) + len(failures)
        at(done)

    copies = changed_files(
        ws,
        (((image_hash, number), image_hash) for image_hash, number in missing),
        lambda key, picture: degraded_copy(picture, *key),
    )
    embed_files(copies, backbone, ws.limits, ws.settings.threads, store)
    return {"done": done}


#: Degraded copies as embeddings; items are pairs of an image's hash and the number of its copy.
COPY = SharedWork("copies", _embed_some)


def _labelled(ws: Workspace, function_id: str, backbone_key: str) -> list[str]:
    """Hashes of the labelled training samples that are embedded, in their order."""
    embedded = embeddings.embedded_hashes(ws.db, function_id, backbone_key)
    rows = samples.training_rows(ws.db, function_id)
    return sorted(
        row.image_hash for row in rows if row.label_id is not None and row.split == TRAIN and row.image_hash in embedded
    )
