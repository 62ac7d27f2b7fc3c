"""Importing 20,000 small files and 2 GB of large ones: how fast, and in how much memory."""

from __future__ import annotations

import io
import os
import shutil
import statistics
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
from PIL import Image
from sqlalchemy import func, select, text

from detector.backbones.registry import OFFLINE
from detector.importing.batch import zip_payload
from detector.importing.labelling import LabelPlan
from detector.jobs import IMPORT, request_import
from detector.settings import Settings
from detector.storage import functions, imports, jobs
from detector.storage.imports import ImportCounts
from detector.storage.schema import images, thumbnails
from detector.worker.running import run_job
from detector.workspace import Workspace
from tests.benchmarks.figure import Figure
from tests.benchmarks.machine import peak_bytes
from tests.benchmarks.processes import in_new_process

_SMALL = 20_000
_SIDE = 256
_LARGE_BYTES = 2_000_000_000
_LARGE_SIZE = (4000, 3000)
#: Every so many of the large files is a PNG, which cannot be decoded at a reduced size.
_PNG_EVERY = 8


def import_files_s(folder: Path) -> Figure:
    """Checked, hashed, stored, with thumbnail, perceptual hash and rows, each batch on disk before the next."""
    archive = folder / "small.zip"
    in_new_process(_make_small, archive)
    rates = []
    for number in range(2):
        seconds, _ = in_new_process(_import, folder / str(number), archive)
        rates.append(_SMALL / seconds)
        shutil.rmtree(folder / str(number))
    return Figure(
        "import_files_s",
        f"files a second, importing a ZIP of 20,000 JPEGs of {_SIDE} px",
        statistics.median(rates),
        "/s",
        1000,
        at_least=True,
        measurements={"ours": rates},
        note=f"{archive.stat().st_size / _SMALL / 1000:.0f} kB each. Every file and every commit is forced to disk "
        "(fsync, synchronous=FULL): kill -9 loses at most one batch, and no row is without its bytes.",
    )


def import_rss_mb(folder: Path) -> Figure:
    """The highest resident memory of the process that imports, less what it had before."""
    small, large = folder / "small.zip", folder / "large.zip"
    in_new_process(_make_small, small)
    in_new_process(_make_large, large)
    _, small_growth = in_new_process(_import, folder / "a", small)
    shutil.rmtree(folder / "a")
    _, large_growth = in_new_process(_import, folder / "b", large)
    return Figure(
        "import_rss_mb",
        "highest growth of memory while importing a ZIP of 20,000 files, and one of 2 GB",
        max(small_growth, large_growth),
        "MB",
        400,
        at_least=False,
        measurements={"20,000 files": [small_growth], "2 GB": [large_growth]},
        note=f"The 2 GB are pictures of 12 megapixels, one in {_PNG_EVERY} a PNG, on {os.cpu_count()} cores; as many "
        "are decoded at the same time as there are cores.",
    )


def _import(folder: Path, archive: Path) -> tuple[float, float]:
    """Seconds, and megabytes at the highest above those before."""
    ws = Workspace.open(Settings(data_dir=folder))
    function = functions.create_function(ws.db, "Benchmark", backbone_id=OFFLINE, label_names=("real", "synthetic"))
    with zipfile.ZipFile(archive) as file:
        count = len(file.namelist())
    plan = LabelPlan(mode="folders", level=0)
    batch_id, _ = request_import(ws, function.id, zip_payload(archive, plan, archive.name), "zip")
    before = psutil.Process().memory_info().rss
    start = time.perf_counter()
    job = jobs.claim(ws.db, (IMPORT,), function.id)
    assert job is not None
    run_job(ws, job)
    seconds = time.perf_counter() - start
    highest = peak_bytes()
    assert imports.batch_counts(ws.db, batch_id) == ImportCounts(imported=count)
    with ws.db.read() as connection:
        assert connection.scalar(text("PRAGMA synchronous")) == 2
        assert connection.scalar(select(func.count()).select_from(thumbnails)) == count
        for row in connection.execute(select(images.c.hash, images.c.byte_count).limit(100)):
            assert len(ws.blobs.image(row.hash)) == row.byte_count
    return seconds, (highest - before) / 1e6


def _make_small(path: Path) -> None:
    rng = np.random.default_rng(0)
    grain = rng.integers(-10, 11, (2 * _SIDE, 2 * _SIDE, 3), dtype=np.int16)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number in range(_SMALL):
            blobs = Image.fromarray(rng.integers(20, 236, (9, 9, 3), dtype=np.uint8))
            pixels = np.asarray(blobs.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC), dtype=np.int16)
            top, left = rng.integers(0, _SIDE, 2)
            pixels = pixels + grain[top : top + _SIDE, left : left + _SIDE]
            file = io.BytesIO()
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
            archive.writestr(f"{('real', 'synthetic')[number % 2]}/{number:05d}.jpg", file.getvalue())


def _make_large(path: Path) -> None:
    """Photographs that do not compress; each is told from the others by a comment, which is much faster to write."""
    jpegs, pngs = list(_large("JPEG", 4, quality=85)), list(_large("PNG", 2, compress_level=1))
    written = number = 0
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        while written < _LARGE_BYTES:
            name = f"{('real', 'synthetic')[number % 2]}/{number:05d}"
            if number % _PNG_EVERY == 0:
                # What follows a PNG's end is left alone by decoders.
                data, name = pngs[number % len(pngs)] + b"%08d" % number, f"{name}.png"
            else:
                jpeg = jpegs[number % len(jpegs)]
                data, name = jpeg[:2] + b"\xff\xfe\x00\x0a%08d" % number + jpeg[2:], f"{name}.jpg"
            archive.writestr(name, data)
            written += len(data)
            number += 1


def _large(kind: str, count: int, **how: int) -> Iterator[bytes]:
    rng = np.random.default_rng(1)
    for _ in range(count):
        blobs = Image.fromarray(rng.integers(20, 236, (30, 40, 3), dtype=np.uint8))
        pixels = np.asarray(blobs.resize(_LARGE_SIZE, Image.Resampling.BICUBIC), dtype=np.int16)
        pixels = pixels + rng.integers(-16, 17, pixels.shape, dtype=np.int16)
        file = io.BytesIO()
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, kind, **how)
        yield file.getvalue()
