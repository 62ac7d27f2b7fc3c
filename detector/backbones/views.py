"""What a backbone gets to see of an image: the `whole` view, and the `detail` view where there is detail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from detector.storage.stored_names import DETAIL, WHOLE

# Part of every embedding's key: raise it when anything in this module, a normalisation or a batch size changes.
PREPROCESSING_VERSION = "2"

# Below this many input sizes on the shorter side, a native crop shows little that the whole view does not.
DETAIL_FACTOR = 1.5
DETAIL_POSITIONS = (0.0, 0.5, 1.0)

# Pictures of more than twice this many input sizes are averaged to about this many before the filter proper: a quarter
# of the time for 12 megapixels. Pillow calls 3 indistinguishable; a test holds what it does to embeddings.
REDUCING_GAP = 3.0

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@dataclass(frozen=True)
class PreparedViews:
    """The pixels of one image as a backbone takes them.

    Attributes
    ----------
    whole : uint8 array (S, S, 3)
        Shortest side resized to S, centre crop.
    detail : tuple of uint8 arrays (S, S, 3)
        Crops at native resolution; empty when the image is too small.
    """

    whole: np.ndarray
    detail: tuple[np.ndarray, ...] = ()

    def crops(self) -> list[tuple[str, np.ndarray]]:
        """Every crop with the name of its view, `whole` first."""
        return [(WHOLE, self.whole), *((DETAIL, crop) for crop in self.detail)]


def prepare_views(
    image: Image.Image, size: int, interpolation: Literal["bicubic", "bilinear"] = "bicubic"
) -> PreparedViews:
    """Cut an image into its views.

    Parameters
    ----------
    image : PIL.Image.Image
        Upright RGB image of any size from 1 x 1.
    size : int
        Input side S of the backbone in pixels.
    interpolation : {"bicubic", "bilinear"}
        Filter of the `whole` view; `detail` is never resized.

    Returns
    -------
    PreparedViews
    """
    image = image if image.mode == "RGB" else image.convert("RGB")
    whole = _whole(image, size, interpolation)
    if min(image.size) < DETAIL_FACTOR * size:
        return PreparedViews(whole)
    width, height = image.size
    crops = []
    for position in DETAIL_POSITIONS:
        left, top = round(position * (width - size)), round(position * (height - size))
        crops.append(np.asarray(image.crop((left, top, left + size, top + size))))
    return PreparedViews(whole, tuple(crops))


def _whole(image: Image.Image, size: int, interpolation: str) -> np.ndarray:
    # Same geometry as torchvision's Resize(size) and CenterCrop(size), but only the crop's own pixels are computed:
    # resizing all of a 1 x 50,000 image first would take gigabytes.
    shorter, longer = min(image.size), max(image.size)
    resized = max(size, int(size * longer / shorter))
    offset = round((resized - size) / 2.0)
    start, end = offset * longer / resized, (offset + size) * longer / resized
    width, height = image.size
    box = (start, 0.0, end, float(height)) if width >= height else (0.0, start, float(width), end)
    return np.asarray(image.resize((size, size), _FILTERS[interpolation], box=box, reducing_gap=REDUCING_GAP))
