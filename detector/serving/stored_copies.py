"""Degraded copies as they are stored: embeddings under keys of their own, read back beside those of the samples."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from detector.errors import StoredEmbeddingsDamaged
from detector.imaging.degraded_copies import RECIPE
from detector.storage import embeddings
from detector.storage.embedding_file import write_embedding_files
from detector.storage.functions import Function
from detector.storage.stored_names import WHOLE
from detector.training.copies import Copies, below
from detector.training.scaling import LARGE, Embeddings, Rows
from detector.workspace import Workspace

#: Of more samples fewer copies are made, so that there are never more than this: making them takes its time.
MOST_IN_ALL = 20_000


def wanted_copies(ws: Workspace, function: Function, labelled: int) -> int:
    """How many copies of each of ``labelled`` training samples a function is to have."""
    most = ws.settings.copies if function.copies is None else function.copies
    return min(most, MOST_IN_ALL // max(labelled, 1))


def copies_key(backbone_key: str, number: int) -> str:
    """The key under which the embeddings of the copies of one number lie; it begins like no backbone's."""
    return f"{RECIPE}.{number} {backbone_key}"


def made_copies(ws: Workspace, function_id: str, backbone_key: str, number: int, failed: bool = False) -> set[str]:
    """Hashes of a function's images of which the copy of a number is embedded; also of those that failed, if asked."""
    key = copies_key(backbone_key, number)
    there = embeddings.embedded_hashes(ws.db, function_id, key)
    return there | embeddings.failed_hashes(ws.db, function_id, key) if failed else there


def read_copies(
    ws: Workspace, function: Function, backbone_key: str, hashes: Sequence[str], views: Embeddings
) -> Copies | None:
    """The copies that are there of some training samples.

    Parameters
    ----------
    hashes : n str
        Every labelled training sample of the function.
    views : (n, d) by view, of the samples

    Returns
    -------
    Copies or None
        None where none are wanted or there. Copies in another form than the samples' embeddings are left out, and
        removed, to be made anew.
    """
    dimension = next(iter(views.values())).shape[1]
    found: list[tuple[np.ndarray, np.ndarray, Embeddings]] = []
    for number in range(wanted_copies(ws, function, len(hashes))):
        key = copies_key(backbone_key, number)
        there = made_copies(ws, function.id, backbone_key, number)
        rows = np.array([row for row, image in enumerate(hashes) if image in there], dtype=np.int64)
        if not len(rows):
            continue
        try:
            theirs = _read(ws, key, [hashes[row] for row in rows.tolist()])
        except StoredEmbeddingsDamaged:
            embeddings.remove_damaged(ws.db, key, dimension)
            continue
        if theirs[WHOLE].shape[1] != dimension:
            continue
        found.append((rows, np.full(len(rows), number), {view: theirs.get(view, theirs[WHOLE]) for view in views}))
    if not found:
        return None
    return Copies(
        np.concatenate([rows for rows, _, _ in found]),
        np.concatenate([numbers for _, numbers, _ in found]),
        {view: _all([each[view] for _, _, each in found]) for view in views},
    )


def _all(parts: Sequence[Rows]) -> Rows:
    return reduce(below, parts)


def _read(ws: Workspace, key: str, hashes: Sequence[str]) -> Embeddings:
    if len(hashes) <= LARGE:
        return embeddings.read_embeddings(ws.db, key, hashes)
    return write_embedding_files(ws.db, key, hashes, ws.spool)
