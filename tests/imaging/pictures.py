"""Small pictures and files of every accepted format, made here so that the tests need no data."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image

from detector.imaging import ImageLimits

LIMITS = ImageLimits(max_bytes=5_000_000, max_pixels=4_000_000)

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")


def picture(width: int = 48, height: int = 32, seed: int = 0) -> Image.Image:
    """Smooth shapes with a little noise: compresses like a photograph, and no two seeds look alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noisy = np.asarray(smooth, dtype=np.int16) + rng.integers(-6, 7, (height, width, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def encode(image: Image.Image, file_format: str, **options: Any) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    if file_format == "HEIF":
        pillow_heif.from_pillow(image).save(file, **options)
    else:
        image.save(file, file_format, **options)
    return file.getvalue()


def with_orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def difference(left: Image.Image, right: Image.Image) -> float:
    """Mean absolute difference of two RGB pictures of one size, in grey levels of 255."""
    assert left.size == right.size
    return float(np.abs(np.asarray(left, dtype=float) - np.asarray(right, dtype=float)).mean())
