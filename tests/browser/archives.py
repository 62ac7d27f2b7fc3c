"""ZIP archives as people bring them, made for one test."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image


def write_archive(path: Path, files: Iterable[tuple[str, bytes]]) -> Path:
    """A ZIP of named files at ``path``."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return path


def folder_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder, named as in ``<label>/<source>/<file>``."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def picture(seed: int, smooth: bool, size: int = 32) -> bytes:
    """A small JPEG of noise; smooth ones have an eighth of the detail, so that two labels can be told apart."""
    random = np.random.default_rng(seed)
    grid = max(4, size // 8) if smooth else size
    noise = Image.fromarray(random.integers(0, 256, (grid, grid, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    noise.resize((size, size), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def cifake_files(train: int, test: int) -> Iterator[tuple[str, bytes]]:
    """The layout of the public CIFAKE archive, with ``train`` and ``test`` images in each of its four folders."""
    seed = 0
    for part, per_folder in (("train", train), ("test", test)):
        for folder in ("REAL", "FAKE"):
            for position in range(per_folder):
                seed += 1
                yield f"{part}/{folder}/{position:04d}.jpg", picture(seed, smooth=folder == "FAKE")
