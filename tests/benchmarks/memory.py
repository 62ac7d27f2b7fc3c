"""The memory of a whole build, training and predictions, at 100,000 samples; and how time and memory grow."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import insert, select, update

from detector.backbones import OFFLINE, get_backbone
from detector.backbones.registry import get_spec
from detector.settings import Settings
from detector.storage.schema import embeddings
from detector.storage.schema import functions as functions_table
from detector.workspace import Workspace
from tests.benchmarks.figure import Figure
from tests.benchmarks.machine import peak_bytes
from tests.made_samples import made_function

N = 100_000
_SIZES = (10_000, 30_000, 100_000)
_CURVE = (1000, 10_000, 100_000)
_CLIP = "clip-vit-b-32-openai"
_CHECKOUT = Path(__file__).resolve().parents[2]


def memory_clip_100k_mb(folder: Path) -> Figure:
    """A full-size ViT-B/32 with random weights: 512 projected numbers and the 768 before them."""
    return _figure(
        "memory_clip_100k_mb",
        "peak memory of a whole build (training, predictions) of 100,000 samples x 1,280 numbers, ViT-B/32",
        folder,
        f"{_CLIP}:{_clip_checkpoint(folder)}",
    )


def memory_offline_100k_mb(folder: Path) -> Figure:
    """The offline backbone's 2,912 numbers."""
    return _figure(
        "memory_offline_100k_mb",
        "peak memory of a whole build (training, predictions) of 100,000 samples x 2,912 numbers, offline backbone",
        folder,
        "",
    )


def memory_offline_views_100k_mb(folder: Path) -> Figure:
    """Both views of larger pictures, 5,824 numbers, of which three sets of features are tried."""
    found = _build(folder / "both", N, "", both=True)
    return Figure(
        "memory_offline_views_100k_mb",
        "peak memory of a whole build of 100,000 samples x 5,824 numbers, both views of the offline backbone",
        found["rss_mb"],
        "MB",
        2000,
        at_least=False,
        measurements={"seconds": [found["build_s"]]},
        note="Without embedding.",
    )


def growth(folder: Path) -> dict[str, Any]:
    """Seconds of the sweep, of predicting all and of loading the columns, and peak memory, by number of samples."""
    curves: dict[str, dict[str, float]] = {"sweep_s": {}, "predict_s": {}, "columns_s": {}, "rss_mb": {}}
    for n in _CURVE:
        found = _build(folder / str(n), n, "")
        for name, curve in curves.items():
            curve[str(n)] = found[name]
    return curves


def _figure(name: str, what: str, folder: Path, checkpoint: str) -> Figure:
    by_size = [_build(folder / str(n), n, checkpoint) for n in _SIZES]
    peaks = [found["rss_mb"] for found in by_size]
    measurements = {f"MB at {', '.join(f'{n:,}' for n in _SIZES)}": peaks}
    measurements["seconds there"] = [found["build_s"] for found in by_size]
    slope = (peaks[-1] - peaks[-2]) / (_SIZES[-1] - _SIZES[-2])
    pace = (by_size[-1]["build_s"] - by_size[-2]["build_s"]) / (_SIZES[-1] - _SIZES[-2])
    note = (
        "Without embedding; more than 5,000 samples are trained on 1,024 directions of their features. "
        f"{1e3 * slope:.1f} MB and {1e3 * pace:.2f} s more for every 1,000 samples between 30,000 "
        f"and 100,000: at 1,000,000, by that slope, {(peaks[-1] + slope * 900_000) / 1e3:.1f} GB and "
        f"{(by_size[-1]['build_s'] + pace * 900_000) / 60:.0f} minutes."
    )
    if checkpoint:
        note += " At 10,000 samples the peak is that of loading the full-size network, in float32."
    return Figure(name, what, peaks[-1], "MB", 2000, at_least=False, measurements=measurements, note=note)


def _build(folder: Path, n: int, checkpoint: str, both: bool = False) -> dict[str, float]:
    """Make a function, then build it in a process of its own: what made it must not count."""
    settings = Settings(data_dir=folder, precision="float32", clip_checkpoint=checkpoint)
    ws = Workspace.open(settings)
    backbone = get_backbone(_CLIP if checkpoint else OFFLINE, "float32", settings)
    function = made_function(ws, n, dimension=backbone.dimension, backbone_key=backbone.key)
    with ws.db.write() as connection:
        connection.execute(
            update(functions_table)
            .where(functions_table.c.id == function.id)
            .values(backbone_id=backbone.spec.id, precision="float32", live_model_id=None)
        )
    if both:
        _add_detail(ws)
    ws.close()
    ran = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.memory", str(folder), function.id, checkpoint],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=_CHECKOUT,
    )
    found: dict[str, float] = json.loads(ran.stdout.strip().splitlines()[-1])
    return found


def _add_detail(ws: Workspace) -> None:
    """A second view of every image: the first one with noise."""
    rng = np.random.default_rng(1)
    with ws.db.write() as connection:
        hashes = list(connection.scalars(select(embeddings.c.image_hash)))
        for start in range(0, len(hashes), 2000):
            rows = connection.execute(
                select(embeddings).where(embeddings.c.image_hash.in_(hashes[start : start + 2000]))
            ).all()
            values = []
            for row in rows:
                numbers = np.frombuffer(row.data, np.float16)
                noisy = (numbers + rng.standard_normal(numbers.size, dtype=np.float32)).astype(np.float16)
                values.append({**row._mapping, "view": "detail", "data": noisy.tobytes()})
            connection.execute(insert(embeddings), values)


def _clip_checkpoint(folder: Path) -> Path:
    from tests.random_clip import write_random_clip

    path = folder / "clip.pt"
    write_random_clip(path, get_spec(_CLIP).architecture)
    return path


def _child(folder: Path, function_id: str, checkpoint: str) -> dict[str, float]:
    """One build, from an opened folder to the last prediction; its parts as the progress reports them."""
    from detector.gallery.columns import columns_of
    from detector.pipeline.build import build

    ws = Workspace.open(Settings(data_dir=folder, precision="float32", clip_checkpoint=checkpoint))
    began: dict[str, float] = {}

    def report(phase: str, done: int, total: int, message: str, rate: float | None) -> None:
        began.setdefault(phase if phase != "train" or message.startswith("Preparing") else "sweep", time.perf_counter())

    start = time.perf_counter()
    build(ws, function_id, report)
    end = time.perf_counter()
    peak = peak_bytes() / 1e6
    columns_of(ws, function_id)
    return {
        "build_s": end - start,
        "sweep_s": began["predict"] - began["sweep"],
        "predict_s": end - began["predict"],
        "columns_s": time.perf_counter() - end,
        "rss_mb": peak,
    }


if __name__ == "__main__":
    print(json.dumps(_child(Path(sys.argv[1]), sys.argv[2], sys.argv[3])))
