"""Review at 100,000 samples: its queries, its pages in a real browser, the server's memory, and the newest scores."""

from __future__ import annotations

import itertools
import statistics
import time
from pathlib import Path

import numpy as np

from detector.backbones import OFFLINE, get_backbone
from detector.gallery.columns import columns_of
from detector.gallery.filters import ANY, NONE, UNSURE, GalleryFilter, Order
from detector.gallery.selection import Gallery
from detector.pipeline.build import predict_all
from detector.storage import functions, models, samples
from detector.storage.functions import Function
from detector.training.linear_model import LinearModel
from detector.training.model_file import write_model
from detector.training.out_of_fold import OutOfFold
from detector.workspace import Workspace
from tests.benchmarks.figure import Figure
from tests.benchmarks.server import review_page, server, turn
from tests.factories import label_ids, workspace
from tests.made_samples import made_function

N = 100_000
_PICTURES = 400
_PAGES, _LONG = 40, 500


def filters(ids: dict[str, str]) -> list[GalleryFilter]:
    """One of each kind that people choose; ``ids``: of the labels, by name."""
    return [
        GalleryFilter(),
        GalleryFilter(says=ids["real"]),
        GalleryFilter(label=NONE),
        GalleryFilter(label=ANY, low=0.5, high=0.8),
        GalleryFilter(agreement="differs", source="sdxl"),
        GalleryFilter(verdict=UNSURE, text="7"),
        GalleryFilter(text="img_0"),
        GalleryFilter(duplicates=True),
        GalleryFilter(split="train", source=NONE),
    ]


def gallery_query_ms(folder: Path) -> Figure:
    """Any filter, order and page, stacks on and off, with the counts of every choice."""
    ws = workspace(folder)
    function = made_function(ws, N)
    ids = label_ids(ws, function)
    columns_of(ws, function.id)
    wheres = filters(ids)
    took = []
    for where, order, stacked in itertools.product(wheres, Order, (True, False)):
        for number in (1, 2, 90):
            start = time.perf_counter()
            gallery = Gallery(ws, function.id)
            gallery.page(where, order, number, 96, stacked)
            gallery.facets(where)
            took.append(1000 * (time.perf_counter() - start))
    return Figure(
        "gallery_query_ms",
        "any filter, order and page of Review at 100,000 samples with all counts, 95th percentile",
        statistics.quantiles(took, n=20)[-1],
        "ms",
        50,
        at_least=False,
        measurements={"median, max": [statistics.median(took), max(took)]},
        note=f"{len(took)} looks.",
    )


def gallery_page_s(folder: Path) -> Figure:
    """From the key to a page on which all tiles in sight have their pictures."""
    ws = workspace(folder)
    function = made_function(ws, N, pictures=_PICTURES, dimension=512)
    ws.close()
    with server(folder) as (address, _), review_page(address, function.id) as page:
        took = [turn(page) for _ in range(_PAGES)]
    return Figure(
        "gallery_page_s",
        "next page of Review at 100,000 samples in Chromium, until all tiles in sight have pictures, 95th percentile",
        statistics.quantiles(took, n=20)[-1],
        "s",
        1.0,
        at_least=False,
        measurements={"median, max": [statistics.median(took), max(took)]},
    )


def gallery_growth_mb(folder: Path) -> Figure:
    """The server's memory over 500 page changes, from the 150th on: before that it fills its caches."""
    ws = workspace(folder)
    function = made_function(ws, N, pictures=_PICTURES, dimension=512)
    ws.close()
    resident = []
    with server(folder) as (address, process), review_page(address, function.id) as page:
        for number in range(_LONG):
            turn(page)
            if number % 50 == 49:
                resident.append(process.memory_info().rss / 1e6)
    return Figure(
        "gallery_growth_mb",
        "growth of the server's memory from the 150th to the 500th page change of Review, 100,000 samples",
        resident[-1] - resident[2],
        "MB",
        30,
        at_least=False,
        measurements={"resident, every 50 pages": resident},
    )


def mislabelled_ready_s(folder: Path) -> Figure:
    """From a new model to predictions and "most likely mislabelled" of 100,000 samples, offline backbone."""
    ws = workspace(folder)
    backbone = get_backbone(OFFLINE, "float32", ws.settings)
    function = made_function(ws, N, dimension=backbone.dimension, backbone_key=backbone.key)
    functions.set_precision(ws.db, function.id, "float32")
    _add_model(ws, function, backbone.key, backbone.dimension)
    start = time.perf_counter()
    predict_all(ws, function.id)
    seconds = time.perf_counter() - start
    scored = Gallery(ws, function.id).columns.numbers["label_quality"]
    assert np.isfinite(scored).sum() > 0.7 * N
    return Figure(
        "mislabelled_ready_s",
        "from a trained model to predictions and most likely mislabelled, 100,000 samples x 2,912 numbers",
        seconds,
        "s",
        30,
        at_least=False,
    )


def _add_model(ws: Workspace, function: Function, key: str, dimension: int) -> None:
    rng = np.random.default_rng(0)
    ids = label_ids(ws, function)
    rows = [row for row in samples.training_rows(ws.db, function.id) if row.label_id is not None]
    model = LinearModel(
        ("real", "synthetic"), ("whole",), "all", ((0, dimension),), dimension, "standardise",
        np.zeros(dimension), np.ones(dimension), rng.standard_normal((1, dimension)) / dimension**0.5, np.zeros(1),
        1.0, key, OFFLINE, "1", "made",
    )  # fmt: skip
    p = rng.random(len(rows))
    kept = OutOfFold(
        [row.image_hash for row in rows],
        np.stack([p, 1 - p], axis=1),
        np.array([row.label_id == ids["synthetic"] for row in rows], np.int64),
        np.arange(len(rows)),
    )
    models.add_model(
        ws.db, ws.blobs, function.id, write_model(model), kept.to_bytes(),
        backbone_id=OFFLINE, backbone_key=key, precision="float32", label_ids=[ids["real"], ids["synthetic"]],
        label_names=["real", "synthetic"], sample_count=len(rows), training_fingerprint="made", hyperparameters={},
        sweep=[], cross_validation=None, thresholds=None, normalise=None, seconds=1.0,
    )  # fmt: skip
