"""Folders of labelled images, made on the spot: small pictures of two kinds that every backbone can tell apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

KINDS = ("real", "synthetic")


def made_image(label: str, seed: int, side: int = 72) -> Image.Image:
    """A picture: "real" has noise of the sensor's kind, every other label a grid of steps as upsampling leaves."""
    rng = np.random.default_rng([seed, sum(label.encode())])
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=np.int16)
    if label == "real":
        smooth = smooth + rng.integers(-18, 19, smooth.shape)
    else:
        smooth = smooth // 40 * 40 + 12 * (np.indices((side, side)).sum(axis=0) % 4 == 0)[..., None]
    return Image.fromarray(np.clip(smooth, 0, 255).astype(np.uint8))


def make_folder(root: Path, counts: dict[str, int], first_seed: int = 0) -> Path:
    """Write ``root/<label>/<number>.png``; returns ``root``."""
    for label, count in counts.items():
        (root / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            made_image(label, first_seed + number).save(root / label / f"{number:03d}.png")
    return root
