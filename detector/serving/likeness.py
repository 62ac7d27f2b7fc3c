"""Whether a picture is like the samples of a stored model: found once from their embeddings, and kept beside it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from detector.backbones.column_blocks import column_blocks
from detector.errors import ModelFileInvalid, StorageTrouble, StoredEmbeddingsDamaged, StoredModelUnusable
from detector.serving.stored_models import stored_out_of_fold
from detector.storage import embeddings, models
from detector.storage.models import ModelRow
from detector.storage.stored_names import WHOLE
from detector.training.likeness import MOST_SAMPLES, LikenessModel, fit_likeness
from detector.training.scaling import Rows
from detector.workspace import Workspace

#: The fact of a `Miss` that comes from here, beside those of the picture's file.
LIKENESS = "likeness"
#: Models whose answer is kept in memory, of some 20 KB each.
_CACHED = 8


@dataclass(frozen=True)
class Likeness:
    """How far one picture lies from the samples.

    Attributes
    ----------
    distance, threshold : float
        Without a unit; 0 is what is usual among the samples, and the threshold what 1 in 20 of them exceeds.
    flagged : bool
        Whether it is farther than that: the function has never seen anything like it.
    share : float
        Of the samples, 0 to 1: how many lie as far from the others.
    count : int
        How many samples are compared with.
    """

    distance: float
    threshold: float
    flagged: bool
    share: float
    count: int

    @property
    def reason(self) -> str:
        """Why it is flagged, in a sentence; empty where it is not."""
        if not self.flagged:
            return ""
        seen = f"{self.count:,}"
        if self.share == 0:
            return f"Unlike your samples: not one of {seen} of them is as far from the others as this picture."
        return (
            f"Unlike your samples: among {seen} of them only 1 in {int(1 / self.share):,} is as far from the others as "
            "this picture."
        )


def likeness_of_views(known: LikenessModel, whole: np.ndarray) -> list[Likeness]:
    """How far pictures lie from the samples, from their (n, d) embeddings of the whole view."""
    distances = known.distances(whole)
    return [
        Likeness(distance, known.threshold, flag, known.share_as_far(distance), known.count)
        for distance, flag in zip(distances.tolist(), known.flagged(distances).tolist(), strict=True)
    ]


_cache: OrderedDict[tuple[str, str], LikenessModel | None] = OrderedDict()
_lock = threading.Lock()


def likeness_model(
    ws: Workspace, row: ModelRow, at_hand: tuple[Sequence[str], Rows] | None = None
) -> LikenessModel | None:
    """What is usual among a model's samples; found now where that was not stored yet, as with models from before.

    Parameters
    ----------
    at_hand : (n image hashes, (n, d) embeddings of the whole view), optional
        Of all samples of the training, where they are in memory: a training does not read them twice.

    Returns
    -------
    LikenessModel or None
        None where that cannot be said: too few samples, a model that was not validated, or nothing is left of the
        embeddings that it was trained on.
    """
    key = (str(ws.settings.data_dir), row.id)
    with _lock:
        if key in _cache:
            _cache.move_to_end(key)
            return _cache[key]
    found = _stored(ws, row)
    if found is None:
        try:
            found = find_likeness(ws, row, at_hand)
        except (StoredModelUnusable, StoredEmbeddingsDamaged):
            # Both are made anew by the next build: what follows for this model is not known before.
            return None
        if found is not None:
            # A disk that is full must keep nobody from an answer: it is found again the next time.
            with suppress(StorageTrouble, OSError):
                models.put_likeness_file(ws.blobs, row.id, found.to_bytes())
    with _lock:
        _cache[key] = found
        while len(_cache) > _CACHED:
            _cache.popitem(last=False)
    return found


def find_likeness(
    ws: Workspace, row: ModelRow, at_hand: tuple[Sequence[str], Rows] | None = None
) -> LikenessModel | None:
    """Find it from the embeddings of the samples that the model was trained on, all labels together.

    Parameters
    ----------
    at_hand
        As for `likeness_model`.

    Raises
    ------
    StoredModelUnusable, StoredEmbeddingsDamaged
    """
    known = stored_out_of_fold(ws, row)
    if known is None:
        return None
    group_of = {
        image: str(group)
        for image, group in sorted(zip(known.hashes, known.groups.tolist(), strict=True))[:MOST_SAMPLES]
    }
    if at_hand is not None:
        place = {image: row_ for row_, image in enumerate(at_hand[0])}
        # All of a large training's lie in a file: these few are read from it.
        whole = at_hand[1][np.array([place[image] for image in group_of], dtype=np.int64)][:]
    else:
        there = embeddings.embedded_hashes(ws.db, row.function_id, row.backbone_key)
        # Some were deleted since, embeddings and all.
        group_of = {image: group for image, group in group_of.items() if image in there}
        if not group_of:
            return None
        whole = embeddings.read_embeddings(ws.db, row.backbone_key, list(group_of))[WHOLE]
    return fit_likeness(whole, list(group_of.values()), column_blocks(row.backbone_id, whole.shape[1]))


def _stored(ws: Workspace, row: ModelRow) -> LikenessModel | None:
    try:
        data = models.likeness_file(ws.blobs, row.id)
        return LikenessModel.from_bytes(data) if data is not None else None
    except (ModelFileInvalid, OSError):
        # It is found anew, and written over.
        return None
