"""Facts of a file's header that cost nothing and that the shortcut audit compares between labels."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from PIL import JpegImagePlugin
from PIL.ImageFile import ImageFile

_SUBSAMPLING = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
_MOST_TEXT_KEYS = 20

# Luminance table of the JPEG standard (ITU-T T.81, annex K.1); only its sums are needed, so the order is free.
_STANDARD_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip


def _luminance_sum(quality: int) -> int:
    """Sum of the luminance table that libjpeg makes for ``quality`` (``jpeg_quality_scaling``)."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return sum(min(max((value * percent + 50) // 100, 1), 255) for value in _STANDARD_LUMINANCE)


# Falling with the quality; kept rising, for bisection.
_QUALITY_BY_SUM = sorted((_luminance_sum(quality), quality) for quality in range(1, 101))
_SUMS = [total for total, _ in _QUALITY_BY_SUM]


def facts_of_header(image: ImageFile, file_format: str) -> dict[str, Any]:
    """Facts of a loaded file, as JSON types. The keys are listed at :class:`detector.imaging.ImageFacts`."""
    facts: dict[str, Any] = {
        "has_exif": bool(image.info.get("exif")),
        "has_icc": bool(image.info.get("icc_profile")),
        "has_xmp": bool(image.info.get("xmp")),
    }
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        facts.update(_jpeg_facts(image))
    elif file_format == "PNG":
        keys = sorted(str(key) for key in getattr(image, "text", {}))
        facts["text_keys"] = keys[:_MOST_TEXT_KEYS]
    return facts


def _jpeg_facts(image: JpegImagePlugin.JpegImageFile) -> dict[str, Any]:
    quality, digest = _facts_of_tables(tuple((key, tuple(table)) for key, table in sorted(image.quantization.items())))
    return {
        "jpeg_quality": quality,
        "jpeg_tables": digest,
        "subsampling": "grey" if image.layers == 1 else _SUBSAMPLING.get(JpegImagePlugin.get_sampling(image), "other"),
        "progressive": bool(image.info.get("progressive")),
        "multi_picture": "mpoffset" in image.info,
    }


# The files of a collection share a few.
@lru_cache(maxsize=64)
def _facts_of_tables(tables: tuple[tuple[int, tuple[int, ...]], ...]) -> tuple[int | None, str]:
    """Quality and a short digest of quantization tables, given with their numbers."""
    numbers = ";".join(f"{key}:{','.join(map(str, table))}" for key, table in tables)
    luminance = dict(tables).get(0)
    quality = _estimated_quality(luminance) if luminance is not None else None
    return quality, hashlib.sha256(numbers.encode()).hexdigest()[:12]


def _estimated_quality(luminance: Sequence[int]) -> int:
    """libjpeg's quality (1..100) whose luminance table is nearest in sum; exact for files written by libjpeg."""
    total = sum(luminance)
    at = bisect_left(_SUMS, total)
    candidates = _QUALITY_BY_SUM[max(at - 1, 0) : at + 1]
    return min(candidates, key=lambda candidate: (abs(candidate[0] - total), -candidate[1]))[1]
