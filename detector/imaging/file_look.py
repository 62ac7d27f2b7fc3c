"""What of a file decides whether a picture compares with others: its size, how it was saved, how much it was enlarged.

Format, camera and software are not among it: they say who made a file, and two programs that save a picture in the same
way make files that compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: Formats that keep every pixel. GIF keeps 256 colours of a picture, but adds none of a compression's traces.
LOSSLESS_FORMATS = frozenset({"PNG", "BMP", "GIF", "TIFF"})


@dataclass(frozen=True)
class FileLook:
    """One picture's file.

    Attributes
    ----------
    side : int
        The shorter side in pixels.
    quality : int, 1..100, or None
        Of a JPEG. None: saved without loss, or in a format whose quality its file does not say.
    rescaling : float or None
        How much the picture was enlarged, from its spectrum: 1 for not at all. None: not looked at, or not to be told.
    lossless : bool
        Whether the file keeps every pixel as it was.
    format : str
        As its decoder calls it, such as "JPEG"; it decides nothing, and is only counted.
    """

    side: int
    quality: int | None = None
    rescaling: float | None = None
    lossless: bool = False
    format: str = field(default="", compare=False)


def file_look(facts: Mapping[str, Any], rescaling: float | None = None) -> FileLook:
    """The look of a file from its facts, which are `ImageFacts` as JSON.

    Parameters
    ----------
    facts : mapping
        As stored with each image.
    rescaling : float, optional
        From `detector.imaging.rescaling.estimate_rescaling`, where the picture itself was looked at.
    """
    quality = facts["extra"].get("jpeg_quality")
    return FileLook(
        side=min(facts["width"], facts["height"]),
        quality=None if quality is None else int(quality),
        rescaling=rescaling,
        lossless=facts["format"] in LOSSLESS_FORMATS,
        format=facts["format"],
    )
