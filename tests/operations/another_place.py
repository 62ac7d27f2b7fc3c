"""Pictures of a place that a detector of `tests.factories` images does not know: there everything looks real to it."""

from __future__ import annotations

import io
from functools import partial

from PIL import Image, ImageFilter

from detector.operations.recentring import Picture
from tests.factories import LABELS, make_image

#: So far that stripes are weaker than in any sample, and still there.
_BLUR = 1.3


def picture(seed: int, label: str) -> bytes:
    """A picture of that place; no two seeds of a label are near-duplicates."""
    blurred = Image.open(io.BytesIO(make_image(seed, label))).filter(ImageFilter.GaussianBlur(_BLUR))
    file = io.BytesIO()
    blurred.save(file, "PNG")
    return file.getvalue()


def pictures(each: int = 12, first: int = 500) -> dict[str, list[Picture]]:
    """By label, names and how to read them."""
    return {
        label: [(f"{label}-{seed}.png", partial(picture, seed, label)) for seed in range(first, first + each)]
        for label in LABELS
    }
