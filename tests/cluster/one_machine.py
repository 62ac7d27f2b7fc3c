"""The same images in two places: trained by one process alone, and to be trained by a cluster."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import func, select

from detector.jobs import request_build
from detector.storage import functions, models
from detector.storage.functions import Function
from detector.storage.schema import embedding_failures, embeddings
from detector.worker.running import run_pending
from detector.workspace import Workspace
from tests.factories import labelled_function, workspace

SETTINGS = {"DETECTOR_PRECISION": "float32", "DETECTOR_RETRAIN_DELAY": "0", "DETECTOR_COPIES": "0"}


def until(holds: Callable[[], object], what: str, seconds: float = 240.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)


def twins(folder: Path, per_label: int) -> tuple[Workspace, Workspace, Function]:
    """Two workspaces with the same samples of one function; neither has looked at them."""
    first = workspace(folder / "alone")
    function = labelled_function(first, per_label)
    first.close()
    shutil.copytree(folder / "alone", folder / "shared")
    return workspace(folder / "alone"), workspace(folder / "shared"), function


def train_alone(ws: Workspace, function: Function) -> bytes:
    """The model's file, as one process makes it."""
    request_build(ws, function.id)
    run_pending(ws, function.id)
    return live_model_file(ws, function)


def live_model_file(ws: Workspace, function: Function) -> bytes:
    live = functions.get_function(ws.db, function.id).live_model_id
    assert live is not None
    return models.model_file(ws.blobs, live)


def embedded(ws: Workspace) -> int:
    """Rows of embeddings."""
    with ws.db.read() as connection:
        return connection.scalar(select(func.count()).select_from(embeddings)) or 0


def images_embedded(ws: Workspace) -> int:
    """Images that have one."""
    with ws.db.read() as connection:
        return connection.scalar(select(func.count(embeddings.c.image_hash.distinct()))) or 0


def failed(ws: Workspace) -> int:
    with ws.db.read() as connection:
        return connection.scalar(select(func.count()).select_from(embedding_failures)) or 0


def stored_embeddings(ws: Workspace) -> dict[tuple[str, str, str], bytes]:
    """All of them by image, key and view."""
    with ws.db.read() as connection:
        rows = connection.execute(
            select(embeddings.c.image_hash, embeddings.c.backbone_key, embeddings.c.view, embeddings.c.data)
        )
        return {(row.image_hash, row.backbone_key, row.view): row.data for row in rows}
