"""The public archive's layout with 100,000 files, by one command: times only.

The files are 20,000 images, each saved again at five qualities: nearly the same picture five times, so what a model of
them gets right says nothing.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from PIL import Image

from detector.backbones import OFFLINE
from detector.settings import Settings
from detector.storage import functions, imports, models
from detector.workspace import Workspace
from tests.benchmarks.figure import Figure
from tests.benchmarks.processes import in_new_process
from tests.shared_data import SHARED_DATA

_QUALITIES = (95, 90, 85, 80, 75)
_FILES = 100_000


def archive_100k_s(folder: Path) -> Figure:
    """``python -m detector train ARCHIVE`` on a new data folder: import, embedding, training."""
    archive, data = folder / "archive.zip", folder / "data"
    in_new_process(_make, archive)
    start = time.time()
    subprocess.run(
        [sys.executable, "-m", "detector", "train", str(archive), "--function", "Archive", "--backbone", OFFLINE],
        env={**os.environ, "DETECTOR_DATA_DIR": str(data)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    seconds = time.time() - start
    ws = Workspace.open(Settings(data_dir=data))
    function = functions.find_function(ws.db, "Archive")
    [batch] = imports.list_batches(ws.db, function.id)
    counts = imports.batch_counts(ws.db, batch.id)
    model = models.list_models(ws.db, function.id)[0]
    ws.close()
    assert counts.found == _FILES, counts
    assert counts.rejected == 0, counts
    importing = (batch.finished_at or start) - batch.created_at
    return Figure(
        "archive_100k_s",
        f"from a ZIP of {_FILES:,} JPEGs of 32 px in the public archive's layout to a live model, by one command",
        seconds,
        "s",
        5400,
        at_least=False,
        measurements={
            "import": [importing],
            "embedding": [seconds - importing - model.seconds],
            "training": [model.seconds],
        },
        note=f"{counts.imported:,} samples, of which {model.sample_count:,} were trained with; the others are the "
        f"locked test set or the same bytes again. {_FILES / importing:.0f} files a second. Times only: the files are "
        f"20,000 images saved {len(_QUALITIES)} times each.",
    )


def _make(path: Path) -> None:
    with (
        zipfile.ZipFile(SHARED_DATA / "cifake_20k.zip") as images,
        zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive,
    ):
        for name in images.namelist():
            if not name.lower().endswith(".jpg"):
                continue
            with Image.open(io.BytesIO(images.read(name))) as image:
                image.load()
                for quality in _QUALITIES:
                    file = io.BytesIO()
                    image.save(file, "JPEG", quality=quality)
                    archive.writestr(f"{name[:-4]} q{quality}.jpg", file.getvalue())
