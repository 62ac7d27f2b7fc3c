"""One size rule, one format and one quality for every picture, so that the file can give nothing away any more.

What it takes away is what the file says; what earlier compression or scaling left in the pixels stays, and the audit of
the normalised pictures says how much that still tells.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, JpegImagePlugin

from detector.errors import InvalidInput

QUALITY = 90
SMALLEST_SIDE, LARGEST_SIDE = 32, 512
#: This share of the pictures may be smaller than the side and be scaled up; one tiny file should not shrink them all.
_SCALED_UP = 0.05

_CODE = re.compile(r"jpeg-(\d{2,3})-q(\d{2})")

# Importing the plugin registers the writer; Pillow would else load all of its plugins at the first save.
assert JpegImagePlugin.Image is not None


@dataclass(frozen=True)
class Normalisation:
    """How pictures are made alike: the shorter side is scaled to ``side``, the middle square cut out, saved as JPEG.

    ``code`` is the whole of it as text: part of every embedding's key, so that numbers of pictures treated otherwise
    never meet.
    """

    side: int
    quality: int = QUALITY

    @property
    def code(self) -> str:
        return f"jpeg-{self.side}-q{self.quality}"

    @classmethod
    def parse(cls, code: str) -> Normalisation:
        """The inverse of ``code``. Raises InvalidInput."""
        found = _CODE.fullmatch(code)
        if found is None or not SMALLEST_SIDE <= int(found[1]) <= LARGEST_SIDE or int(found[2]) < 1:
            raise InvalidInput(
                f"{code!r} names no normalisation; expected jpeg-SIDE-qQUALITY with a side of {SMALLEST_SIDE} to "
                f"{LARGEST_SIDE}, such as jpeg-256-q{QUALITY}."
            )
        return cls(int(found[1]), int(found[2]))


def suited_normalisation(shorter_sides: Sequence[int]) -> Normalisation:
    """The normalisation that keeps most detail while hardly any picture has to be scaled up.

    Parameters
    ----------
    shorter_sides : sequence of int, not empty
        Of all pictures, whatever their label, in pixels.
    """
    side = int(np.quantile(np.asarray(shorter_sides), _SCALED_UP, method="lower"))
    return Normalisation(min(max(side, SMALLEST_SIDE), LARGEST_SIDE))


def encode_normalised(image: Image.Image, how: Normalisation) -> bytes:
    """A picture as the JPEG file that every picture becomes.

    Parameters
    ----------
    image : PIL.Image.Image
        Upright and RGB, as the decoder gives it.
    """
    width, height = image.size
    shorter = min(width, height)
    left, top = (width - shorter) / 2, (height - shorter) / 2
    box = (left, top, left + shorter, top + shorter)
    # Always resampled, also where the size is right already: else that would be a trace.
    square = image.resize((how.side, how.side), Image.Resampling.LANCZOS, box=box)
    file = io.BytesIO()
    square.save(file, "JPEG", quality=how.quality, subsampling="4:2:0", optimize=False, progressive=False)
    return file.getvalue()


def normalised(image: Image.Image, how: Normalisation) -> Image.Image:
    """The picture after the round trip through that file: what a backbone gets to see."""
    with Image.open(io.BytesIO(encode_normalised(image, how)), formats=["JPEG"]) as file:
        return file.convert("RGB")
