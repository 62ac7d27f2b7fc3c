"""Degraded copies of a picture: what the web does to pictures, done on purpose, so that a detector is trained on it.

A copy follows from the hash of its original and its number alone: the same picture gets the same copies every time, on
every machine. Even numbers are one change, odd ones a chain of two to four with a JPEG at its end, as pictures travel.
How strongly is drawn from `STRENGTHS`; the stress strip of the audit tests strengths beyond these (see
``evaluation/stress.py``), so that what it finds is no echo of the training.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

#: Part of the key of every copy's embedding: raise it when anything here changes what a copy looks like.
RECIPE = "copies-1"

JPEG, WEBP, BLUR, SCALE, CROP, NOISE, COLOUR = "jpeg", "webp", "blur", "scale", "crop", "noise", "colour"
#: From, to, by kind of change: quality; quality; sigma in pixels; share of each side; share of each side that stays;
#: deviation in grey levels; share by which brightness, contrast and colour become more or less.
STRENGTHS = {
    JPEG: (60.0, 90.0),
    WEBP: (70.0, 90.0),
    BLUR: (0.5, 1.2),
    SCALE: (0.5, 0.9),
    CROP: (0.8, 0.95),
    NOISE: (1.0, 4.0),
    COLOUR: (-0.1, 0.1),
}
_FILTERS = (
    Image.Resampling.BOX,
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
)
_LONGEST_CHAIN = 4


@dataclass(frozen=True)
class Change:
    """One change of a picture.

    Attributes
    ----------
    kind : one of the keys of `STRENGTHS`
    strength : float
        Within its range there.
    seed : int
        For what a kind draws besides: a filter, a place, noise.
    """

    kind: str
    strength: float
    seed: int

    def apply(self, image: Image.Image) -> Image.Image:
        """The changed picture; RGB in, RGB out."""
        rng = np.random.default_rng(self.seed)
        match self.kind:
            case "jpeg":
                return saved_as(image, "JPEG", quality=round(self.strength))
            case "webp":
                return saved_as(image, "WEBP", quality=round(self.strength), method=2)
            case "blur":
                return image.filter(ImageFilter.GaussianBlur(self.strength))
            case "scale":
                return image.resize(self.size(*image.size), _FILTERS[int(rng.integers(len(_FILTERS)))])
            case "crop":
                width, height = self.size(*image.size)
                left = int(rng.integers(image.width - width + 1))
                top = int(rng.integers(image.height - height + 1))
                return image.crop((left, top, left + width, top + height))
            case "noise":
                return noisy(image, self.strength, self.seed)
            case _:
                return _recoloured(image, *rng.uniform(-abs(self.strength), abs(self.strength), 3))

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Pixels of what comes out."""
        if self.kind not in (SCALE, CROP):
            return width, height
        return max(1, round(self.strength * width)), max(1, round(self.strength * height))


def changes_of(image_hash: str, number: int) -> tuple[Change, ...]:
    """What is done to a picture for its copy of a number.

    Parameters
    ----------
    image_hash : str
        Of the original's file.
    number : int
        0 or higher.
    """
    digest = hashlib.sha256(f"{RECIPE}:{image_hash}:{number}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    if number % 2 == 0:
        kinds = [str(rng.choice(list(STRENGTHS)))]
    else:
        others = [kind for kind in STRENGTHS if kind != JPEG]
        before = int(rng.integers(1, _LONGEST_CHAIN))
        kinds = [*rng.choice(others, before, replace=False).tolist(), JPEG]
    return tuple(Change(kind, float(rng.uniform(*STRENGTHS[kind])), int(rng.integers(2**31))) for kind in kinds)


def degraded_copy(image: Image.Image, image_hash: str, number: int) -> bytes:
    """A copy of a picture as a file.

    Parameters
    ----------
    image : PIL.Image.Image
        Upright and RGB, as the decoder gives it.
    image_hash, number : as in `changes_of`
    """
    changes = changes_of(image_hash, number)
    for change in changes[:-1]:
        image = change.apply(image)
    last = changes[-1]
    if last.kind == JPEG:
        return encoded(image, "JPEG", quality=round(last.strength))
    if last.kind == WEBP:
        return encoded(image, "WEBP", quality=round(last.strength), method=2)
    return encoded(last.apply(image), "BMP")


def noisy(image: Image.Image, deviation: float, seed: int) -> Image.Image:
    """The picture with normal noise of a deviation in grey levels, in every pixel and channel."""
    pixels = np.asarray(image, dtype=np.float32)
    noise = np.random.default_rng(seed).standard_normal(pixels.shape, dtype=np.float32)
    return Image.fromarray(np.clip(np.rint(pixels + deviation * noise), 0, 255).astype(np.uint8))


def encoded(image: Image.Image, file_format: str, **options: int) -> bytes:
    """The picture as a file."""
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def saved_as(image: Image.Image, file_format: str, **options: int) -> Image.Image:
    """The picture as it comes out of such a file; RGB in, RGB out."""
    with Image.open(io.BytesIO(encoded(image, file_format, **options)), formats=[file_format]) as file:
        return file.convert("RGB")


def _recoloured(image: Image.Image, brightness: float, contrast: float, colour: float) -> Image.Image:
    image = ImageEnhance.Brightness(image).enhance(1 + brightness)
    image = ImageEnhance.Contrast(image).enhance(1 + contrast)
    return ImageEnhance.Color(image).enhance(1 + colour)
