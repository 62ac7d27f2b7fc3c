"""Small workspaces, pictures and functions for the tests: real files, a real database, the real offline backbone."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detector.backbones import OFFLINE, hub
from detector.imaging import inspect_image
from detector.importing.batch import Incoming, import_items
from detector.settings import Settings
from detector.storage import functions, imports
from detector.storage.functions import Function
from detector.storage.imports import ImageRow, NewSample
from detector.workspace import Workspace
from tests.databases import database_url, make_tables

LABELS = ("real", "synthetic")


def workspace(folder: Path, **settings: Any) -> Workspace:
    """A new data folder. The precision is fixed: measuring it takes seconds. No degraded copies: they take longer."""
    usual: dict[str, Any] = {"precision": "float32", "retrain_delay": 0.0, "copies": 0}
    if "database_url" not in settings:
        usual["database_url"] = database_url(folder)
        if not usual["database_url"] and "store" not in settings:
            make_tables(folder)
    return Workspace.open(Settings(data_dir=folder, **usual | settings))


@lru_cache(1000)
def make_image(seed: int, label: str = "real", size: int = 80) -> bytes:
    """A PNG of coloured blobs; "synthetic" ones carry fine stripes. No two seeds are near-duplicates."""
    rng = np.random.default_rng([seed, LABELS.index(label) if label in LABELS else 2 + len(label)])
    blobs = Image.fromarray(rng.integers(40, 216, (7, 7, 3), dtype=np.uint8))
    pixels = np.asarray(blobs.resize((size, size), Image.Resampling.BICUBIC), dtype=np.int16)
    pixels = pixels + rng.integers(-8, 9, pixels.shape)
    if label == "synthetic":
        pixels = pixels + 24 * (np.arange(size) % 4 < 2)[None, :, None]
    return png(pixels)


def png(pixels: np.ndarray) -> bytes:
    """An array (height, width, 3) of 0..255 as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def near_duplicate(data: bytes) -> bytes:
    """The same picture in other bytes."""
    pixels = np.array(Image.open(io.BytesIO(data)))
    pixels[0, 0] ^= 1
    return png(pixels)


def images(per_label: int, labels: Sequence[str] = LABELS) -> list[tuple[str, bytes, str]]:
    """(file name, bytes, label), the labels in turn."""
    return [(f"{label}-{seed}.png", make_image(seed, label), label) for seed in range(per_label) for label in labels]


def empty_function(ws: Workspace, name: str = "Test", labels: Sequence[str] = LABELS) -> Function:
    """A function without samples, on the offline backbone."""
    return functions.create_function(ws.db, name, backbone_id=OFFLINE, label_names=labels)


def add_images(
    ws: Workspace, function: Function, items: Iterable[tuple[str, bytes, str | None]], group: str | None = None
) -> str:
    """Import files given as (file name, bytes, label); returns the batch's id."""
    incoming = [
        Incoming(name, lambda data=data: data, label, group=group)  # type: ignore[misc]
        for name, data, label in items
    ]
    batch_id = imports.create_batch(ws.db, function.id, "upload", "Test files")
    looked = import_items(ws, function.id, batch_id, incoming, len(incoming))
    imports.finish_batch(ws.db, batch_id, "done", looked)
    return batch_id


def labelled_function(ws: Workspace, per_label: int, name: str = "Test", labels: Sequence[str] = LABELS) -> Function:
    """A function with ``per_label`` images of each label."""
    function = empty_function(ws, name, labels)
    add_images(ws, function, images(per_label, labels))
    return function


def label_ids(ws: Workspace, function: Function) -> dict[str, str]:
    """Label name -> id."""
    return {label.name: label.id for label in functions.list_labels(ws.db, function.id)}


def new_sample(ws: Workspace, data: bytes, name: str = "image.png", **facts: Any) -> NewSample:
    """An inspected file, its bytes stored, ready for ``imports.add_samples``."""
    found = inspect_image(data, name, ws.limits)
    ws.blobs.put_image(found.sha256, data)
    return NewSample(
        file_name=name,
        image=ImageRow(
            image_hash=found.sha256,
            byte_count=len(data),
            format=found.facts.format,
            width=found.facts.width,
            height=found.facts.height,
            facts=found.facts.to_json(),
            perceptual_hash=found.perceptual_hash,
            thumbnail=found.thumbnail,
        ),
        **facts,
    )


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    """A ZIP archive of these files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def stored_batch(ws: Workspace, batch_id: str) -> imports.ImportBatch:
    """The import of that id, of whichever function."""
    [found] = [
        batch
        for line in functions.list_functions(ws.db)
        for batch in imports.list_batches(ws.db, line.function.id)
        if batch.id == batch_id
    ]
    return found


def forget_whether_the_hub_answers() -> None:
    """Make the next question for the model hub's reachability a question to the hub: answers are kept for a while."""
    hub._answers.clear()


def add_images_of_sources(
    ws: Workspace, function: Function, each: int, sources: Sequence[str | None], labels: Sequence[str] = LABELS
) -> None:
    """``each`` images of every label from each source; "{label}" in a source's name stands for the label's."""
    ids = label_ids(ws, function)
    new = [
        new_sample(
            ws,
            make_image(100 * number + seed, label),
            f"{label}-{number}-{seed}.png",
            label_id=ids[label],
            source=source.replace("{label}", label) if source is not None else None,
        )
        for label in labels
        for number, source in enumerate(sources)
        for seed in range(each)
    ]
    imports.add_samples(ws.db, function.id, None, new)


def try_unseen(ws: Workspace, function: Function) -> None:
    """What an audit does first of all for the second promise, and nothing else of it: copies take long."""
    from detector.evaluation.audit_data import load_audit_data
    from detector.evaluation.examination import Examination
    from detector.evaluation.sources import measure_unseen

    measure_unseen(Examination(ws, load_audit_data(ws, function.id)))
