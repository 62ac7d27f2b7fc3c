"""Made JPEGs that cost as much to read as small photographs."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def photographs(n: int, seed: int = 0, side: int = 256) -> list[bytes]:
    """JPEGs with the detail and the size in bytes of small photographs."""
    rng = np.random.default_rng(seed)
    files = []
    for _ in range(n):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), np.int16)
        pixels = np.clip(pixels + rng.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files
