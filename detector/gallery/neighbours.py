"""The samples nearest to one, by embedding: a compact index finds candidates, the stored embeddings order them."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save
from sqlalchemy import select

from detector.errors import NotFound, StoredEmbeddingsDamaged
from detector.gallery.projection import Projection
from detector.storage import embeddings
from detector.storage.embeddings import neighbours_file
from detector.storage.schema import labels, samples
from detector.storage.stored_names import WHOLE
from detector.workspace import Workspace

log = logging.getLogger(__name__)

#: How many of the compact index are compared exactly; more, where too many of them lie in the bin.
_CANDIDATES = 100
_MORE = 2000
#: For a picture that is no sample: where so few of them carry a label that none was among the nearest.
_MOST = 20_000
#: Indices kept in memory: one of 100,000 samples has 51 MB.
_CACHED = 2


@dataclass(frozen=True)
class Neighbour:
    """``similarity`` is the cosine of the centred embeddings, -1 to 1; near 0: no more alike than any two."""

    sample_id: str
    similarity: float


@dataclass(frozen=True)
class LabelledNeighbour:
    """An annotated sample near a picture. ``similarity`` is as of a Neighbour, ``label`` the name of its label."""

    sample_id: str
    similarity: float
    label: str
    file_name: str

    def to_json(self) -> dict[str, Any]:
        """As evidence lists it; the distance is 0 for the same picture, and near 1 for any two."""
        distance = round(1 - self.similarity, 4)
        return {"sample": self.sample_id, "label": self.label, "distance": distance, "file": self.file_name}


@dataclass(frozen=True, eq=False)
class NeighbourIndex:
    """All samples of a function under one backbone, made small.

    Attributes
    ----------
    backbone_key : where the exact embeddings are found
    sample_ids : (n,) bytes
    compact : (n, p) float16 unit vectors
    projection : what made ``compact``, and what makes exact similarities
    """

    backbone_key: str
    sample_ids: np.ndarray
    compact: np.ndarray
    projection: Projection

    def to_bytes(self) -> bytes:
        """A safetensors file."""
        return save(
            {
                "backbone_key": np.frombuffer(self.backbone_key.encode(), np.uint8).copy(),
                "sample_ids": np.ascontiguousarray(self.sample_ids).view(np.uint8).reshape(len(self.sample_ids), -1),
                "compact": np.ascontiguousarray(self.compact),
                "centre": self.projection.centre,
                "directions": self.projection.directions,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> NeighbourIndex:
        """The inverse of ``to_bytes``."""
        arrays = load(data)
        names = np.ascontiguousarray(arrays["sample_ids"])
        return cls(
            arrays["backbone_key"].tobytes().decode(),
            names.view(f"S{names.shape[1]}").reshape(-1),
            arrays["compact"],
            Projection(arrays["centre"], arrays["directions"]),
        )


def store_index(
    ws: Workspace,
    function_id: str,
    backbone_key: str,
    sample_ids: Sequence[str],
    compact: np.ndarray,
    projection: Projection,
) -> None:
    """Replace the index of a function; every process takes the new one with its next question."""
    names = np.array([name.encode("ascii") for name in sample_ids])
    ws.blobs.put(neighbours_file(function_id), NeighbourIndex(backbone_key, names, compact, projection).to_bytes())


def nearest(ws: Workspace, function_id: str, sample_id: str, n: int = 5) -> list[Neighbour]:
    """The samples most like one, the most alike first.

    Parameters
    ----------
    sample_id : str
        It may lie in the bin; its neighbours never do.

    Returns
    -------
    at most n Neighbour
        An empty list for a sample that came after the last predictions were written: it is not in the index yet.
    """
    index = _load(ws, function_id)
    if index is None:
        return []
    found = np.flatnonzero(index.sample_ids == sample_id.encode())
    if not found.size:
        return []
    place = int(found[0])
    closeness = index.compact @ index.compact[place]
    closeness[place] = -np.inf
    others = len(closeness) - 1
    answer: list[Neighbour] = []
    for count in (_CANDIDATES, _MORE):
        take = min(max(count, n), others)
        # In the order of the index: what is equally alike then always comes in the same order.
        candidates = np.sort(np.argpartition(-closeness, take)[:take])
        answer = _exact(ws, index, place, candidates, n)
        if len(answer) >= n or take == others:
            break
    return answer


def nearest_to(
    ws: Workspace, function_id: str, views: Mapping[str, np.ndarray], n: int = 5, backbone_key: str | None = None
) -> list[LabelledNeighbour]:
    """The annotated samples most like a picture that need not be a sample, the most alike first.

    Parameters
    ----------
    views : mapping of str to (d,) float32
        The picture's embedding, rounded as those of samples are.
    backbone_key : str, optional
        What made it. With samples that were embedded by another backbone it cannot be compared.

    Returns
    -------
    at most n LabelledNeighbour
        None from the bin. An empty list before the first predictions were written, or where embeddings do not compare.
    """
    index = _load(ws, function_id)
    whole = np.asarray(views[WHOLE], dtype=np.float32)
    if index is None or not len(index.sample_ids) or whole.shape != index.projection.centre.shape:
        return []
    if backbone_key is not None and backbone_key != index.backbone_key:
        return []
    asked = (whole - index.projection.centre) @ index.projection.directions
    # The length of what is asked about is the same for all; only the order counts here.
    closeness = index.compact @ asked
    answer: list[LabelledNeighbour] = []
    for count in (_CANDIDATES, _MORE, _MOST):
        take = min(max(count, n), len(closeness))
        candidates = np.sort(np.argpartition(-closeness, take - 1)[:take])
        # The nearest of the annotated ones by the compact index; embeddings are read of so many only.
        near = _annotated(ws, [str(name, "ascii") for name in index.sample_ids[candidates].tolist()])
        places = [place for place in candidates.tolist() if str(index.sample_ids[place], "ascii") in near]
        places = sorted(places, key=lambda place: -closeness[place])[: max(_CANDIDATES, n)]
        answer = _exact_to(ws, index, whole, [near[str(index.sample_ids[place], "ascii")] for place in places], n)
        if len(answer) >= n or take == len(closeness):
            break
    return answer


@dataclass(frozen=True)
class _Annotated:
    sample_id: str
    image_hash: str
    label: str
    file_name: str


def _exact_to(
    ws: Workspace, index: NeighbourIndex, whole: np.ndarray, near: Sequence[_Annotated], n: int
) -> list[LabelledNeighbour]:
    if not near:
        return []
    try:
        rows = embeddings.read_embeddings(ws.db, index.backbone_key, [item.image_hash for item in near])[WHOLE]
    except (LookupError, StoredEmbeddingsDamaged):
        # Removed or found damaged in this moment; the next build puts it right.
        return []
    similarity = index.projection.even(rows) @ index.projection.even(whole[None])[0]
    best = np.argsort(-similarity, kind="stable")[:n].tolist()
    return [LabelledNeighbour(near[i].sample_id, float(similarity[i]), near[i].label, near[i].file_name) for i in best]


def _annotated(ws: Workspace, ids: Sequence[str]) -> dict[str, _Annotated]:
    """Those of some samples that carry a label and are not in the bin, by id."""
    found: dict[str, _Annotated] = {}
    with ws.db.read() as connection:
        for start in range(0, len(ids), _MORE):
            rows = connection.execute(
                select(samples.c.id, samples.c.image_hash, samples.c.file_name, labels.c.name)
                .join(labels, labels.c.id == samples.c.label_id)
                .where(samples.c.id.in_(ids[start : start + _MORE]), samples.c.deleted_at.is_(None))
            )
            found.update({row.id: _Annotated(row.id, row.image_hash, row.name, row.file_name) for row in rows})
    return found


def _exact(ws: Workspace, index: NeighbourIndex, place: int, candidates: np.ndarray, n: int) -> list[Neighbour]:
    """The best of the candidates by their stored embeddings, without those that were deleted since."""
    asked = str(index.sample_ids[place], "ascii")
    ids = [str(name, "ascii") for name in index.sample_ids[candidates].tolist()]
    hash_of = _hashes(ws, asked, ids)
    alive = [name for name in ids if name in hash_of]
    if asked not in hash_of or not alive:
        return []
    hashes = [hash_of[name] for name in (asked, *alive)]
    rows = index.projection.even(embeddings.read_embeddings(ws.db, index.backbone_key, hashes)[WHOLE])
    similarity = rows[1:] @ rows[0]
    best = np.argsort(-similarity, kind="stable")[:n]
    return [Neighbour(alive[i], float(similarity[i])) for i in best.tolist()]


def _hashes(ws: Workspace, asked: str, ids: Sequence[str]) -> dict[str, str]:
    """Image hashes by sample id: of the one asked about, and of those that are not in the bin."""
    with ws.db.read() as connection:
        rows = connection.execute(
            select(samples.c.id, samples.c.image_hash, samples.c.deleted_at).where(
                # The function is not asked for: SQLite would walk through all of its samples instead.
                samples.c.id.in_([asked, *ids])
            )
        )
        return {row.id: row.image_hash for row in rows if row.deleted_at is None or row.id == asked}


_cache: OrderedDict[tuple[str, str], tuple[str, NeighbourIndex]] = OrderedDict()
_lock = threading.Lock()


def _load(ws: Workspace, function_id: str) -> NeighbourIndex | None:
    """The index of a function, from memory while its file is the same; None where none was written yet."""
    key = (str(ws.settings.data_dir), function_id)
    try:
        version = ws.blobs.version(neighbours_file(function_id))
        with _lock:
            if key not in _cache or _cache[key][0] != version:
                try:
                    index = NeighbourIndex.from_bytes(ws.blobs.get(neighbours_file(function_id)))
                except (SafetensorError, KeyError, ValueError) as error:
                    # A damaged file; the next predictions write another one.
                    log.warning("the index of function %s cannot be read: %s", function_id, error)
                    return None
                # Products of float16 are computed one by one; of float32 many at once.
                compact = index.compact.astype(np.float32)
                _cache[key] = version, NeighbourIndex(index.backbone_key, index.sample_ids, compact, index.projection)
                while len(_cache) > _CACHED:
                    _cache.popitem(last=False)
            _cache.move_to_end(key)
            return _cache[key][1]
    except NotFound:
        return None
