"""From 2,000 images in a ZIP to a detector, and from ten changed labels to new predictions, offline backbone."""

from __future__ import annotations

import io
import statistics
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from detector import jobs
from detector.backbones.registry import OFFLINE
from detector.importing.batch import zip_payload
from detector.importing.guessing import suggest
from detector.pipeline.copies import embed_copies
from detector.pipeline.embedding import function_backbone
from detector.settings import Settings
from detector.storage import annotating, functions, models, samples
from detector.storage.functions import Function
from detector.storage.samples import SampleFilter, Sort
from detector.worker.running import run_pending
from detector.workspace import Workspace
from tests.benchmarks.figure import Figure
from tests.benchmarks.processes import in_new_process
from tests.shared_data import SHARED_DATA

_SET = "mixed2000"
_MADE = 2000
_LABELS = ("real", "synthetic")
_BUILDS = 3
_RETRAININGS = 7
_RELABELLED = 10


def zip_to_detector_s(folder: Path) -> Figure:
    """A server that has just started, given a ZIP: until there are a live model, its metrics and all predictions."""
    took = [in_new_process(_zip_to_detector, folder / str(number)) for number in range(_BUILDS)]
    return Figure(
        "zip_to_detector_s",
        "2,000 images of 256 px in a ZIP to a live model with metrics and predictions, offline backbone",
        statistics.median(each["all"] for each in took),
        "s",
        60,
        at_least=False,
        measurements={name: [each[name] for each in took] for name in took[0]},
        note=f"Each in a new process that has not loaded torch yet; {_data_note()}",
    )


def retrain_s(folder: Path) -> Figure:
    """Ten labels changed by hand, until the new model's predictions are written."""
    took = in_new_process(_retrain, folder / "with", True)
    without = in_new_process(_retrain, folder / "without", False)
    return Figure(
        "retrain_s",
        "10 of 2,000 labels changed to the new model's predictions of all samples, trained with degraded copies and "
        "without in one job, offline backbone",
        statistics.median(took),
        "s",
        3,
        at_least=False,
        measurements={"ours": took, "without copies": without},
        note="In a process that has built the function before, as a server has. The pause that a server waits for "
        f"further changes (3 s, retrain_delay) and its look into the queue every 0.5 s are not counted; {_data_note()}",
    )


def _zip_to_detector(folder: Path) -> dict[str, float]:
    ws = Workspace.open(Settings(data_dir=folder))
    function, payload = _function_and_zip(ws)
    start = time.perf_counter()
    jobs.request_import(ws, function.id, payload, "zip")
    result = run_pending(ws, function.id)
    seconds = time.perf_counter() - start
    _check_finished(ws, function)
    assert result is not None
    return {
        "all": seconds,
        "import": seconds - result.embed_seconds - result.train_seconds,
        "embed": result.embed_seconds,
        "train and predict": result.train_seconds,
    }


def _retrain(folder: Path, copies: bool) -> list[float]:
    ws = Workspace.open(replace(Settings(data_dir=folder), **({} if copies else {"copies": 0})))
    function, payload = _function_and_zip(ws)
    jobs.request_import(ws, function.id, payload, "zip")
    run_pending(ws, function.id)
    if copies:
        embed_copies(ws, function.id, function_backbone(ws, functions.get_function(ws.db, function.id)))
        jobs.request_build(ws, function.id)
        run_pending(ws, function.id)
    took = []
    rng = np.random.default_rng(0)
    label_ids = [label.id for label in functions.list_labels(ws.db, function.id)]
    for _ in range(_RETRAININGS):
        before = functions.get_function(ws.db, function.id).live_model_id
        changing = [
            rng.choice(
                [
                    sample.id
                    for sample in samples.find_samples(
                        ws.db, function.id, SampleFilter(annotated=label), Sort.OLDEST, limit=None
                    )
                ],
                _RELABELLED // 2,
            )
            for label in label_ids
        ]
        start = time.perf_counter()
        for ids, label in zip(changing, reversed(label_ids), strict=True):
            annotating.annotate(ws.db, ids.tolist(), label)
        jobs.request_retraining(ws, function.id)
        run_pending(ws, function.id)
        took.append(time.perf_counter() - start)
        assert functions.get_function(ws.db, function.id).live_model_id != before
        _check_finished(ws, function)
    return took


def _check_finished(ws: Workspace, function: Function) -> None:
    live = functions.get_function(ws.db, function.id).live_model_id
    assert live is not None
    assert models.get_model(ws.db, live).cross_validation is not None
    everything = samples.find_samples(ws.db, function.id, limit=2 * _MADE)
    assert len(everything) > 0.99 * _MADE
    assert {sample.predicted_by for sample in everything} == {live}


def _function_and_zip(ws: Workspace) -> tuple[Function, dict[str, object]]:
    function = functions.create_function(ws.db, "Benchmark", backbone_id=OFFLINE, label_names=_LABELS)
    path = ws.spool / "upload.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in _files():
            archive.writestr(name, data)
        names = archive.namelist()
    plan = suggest(names, _LABELS).plan
    assert plan.mode == "folders"
    return function, zip_payload(path, replace(plan, source_level=1), "upload.zip")


def _files() -> Iterator[tuple[str, bytes]]:
    root = SHARED_DATA / _SET
    if root.is_dir():
        for path in sorted(root.rglob("*.*")):
            if path.is_file():
                yield str(path.relative_to(root)), path.read_bytes()
        return
    for number in range(_MADE):
        label = _LABELS[number % 2]
        yield f"{label}/made/{number}.jpg", _made_jpeg(number, label == "synthetic")


def _made_jpeg(seed: int, striped: bool) -> bytes:
    rng = np.random.default_rng(seed)
    blobs = Image.fromarray(rng.integers(20, 236, (9, 9, 3), dtype=np.uint8))
    pixels = np.asarray(blobs.resize((256, 256), Image.Resampling.BICUBIC), dtype=np.int16)
    pixels = pixels + rng.integers(-12, 13, pixels.shape)
    if striped:
        pixels = pixels + 3 * (np.arange(256) % 4 < 2)[None, :, None]
    file = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def _data_note() -> str:
    return "real and generated photographs." if (SHARED_DATA / _SET).is_dir() else "made images."
