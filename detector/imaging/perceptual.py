"""Perceptual hashes as ImageHash writes them, bit for bit, in half of its time: an import takes them of each file.

Two thirds of the time of the original are two resizes of the whole picture, the rest is 128 bits that go through a text
one by one. Pillow resizes 8-bit pictures in whole numbers: weights of 22 bits, each pass rounded. Products and sums of
such numbers are exact in double precision, in whatever order they are added: so both resizes can be one product of
matrices, and its result is Pillow's to the last bit.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from PIL import Image

# The pHash looks at the 8 x 8 lowest frequencies of 32 x 32 pixels, the dHash at the neighbours of 9 x 8.
_SIDE, _LOWEST = 32, 8
_COLUMNS, _ROWS = 9, 8

# Pillow's: how far the filter reaches, in pixels of the smaller picture, and how many bits a weight has.
_LANCZOS = 3.0
_WEIGHT_BITS = 22

# Rows that are multiplied at once: larger products are shared among threads by the library that multiplies, which costs
# more than it saves where every core has a picture of its own.
_ROWS_AT_ONCE = 16


def both_hashes(grey: Image.Image) -> str:
    """The pHash and the dHash of a grey picture, 16 hexadecimal digits each.

    Parameters
    ----------
    grey : PIL.Image.Image
        Of mode L.

    Returns
    -------
    str
        As ``f"{imagehash.phash(grey)}{imagehash.dhash(grey)}"``.
    """
    # Here, not above: pages import this module, and the first one must not wait for scipy.
    from scipy.fftpack import dct

    square, neighbours = _reduced(grey) if _rows_come_first(*grey.size) else _resized(grey)
    # Only the rows that are wanted go through the second transform; each is transformed alone, so they are the same.
    lowest = dct(dct(square, axis=0)[:_LOWEST], axis=1)[:, :_LOWEST]
    ordered = np.sort(lowest, axis=None)
    middle = (ordered[lowest.size // 2 - 1] + ordered[lowest.size // 2]) / 2.0
    bits = np.concatenate([lowest > middle, neighbours[:, 1:] > neighbours[:, :-1]])
    return np.packbits(bits).tobytes().hex()


def _resized(grey: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """The picture at both sizes, by Pillow."""
    sizes = (_SIDE, _SIDE), (_COLUMNS, _ROWS)
    square, neighbours = (np.asarray(grey.resize(size, Image.Resampling.LANCZOS)) for size in sizes)
    return square, neighbours


def _rows_come_first(width: int, height: int) -> bool:
    """Whether every Pillow shrinks the rows before the columns, which decides where it rounds.

    Newer ones begin with the columns where a picture is so tall that this is less work.
    """
    return height <= max(width, 2 * width - _SIDE)


def _reduced(grey: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """The same as `_resized`."""
    width, height = grey.size
    blocks = -(-height // _ROWS_AT_ONCE)
    pixels = np.empty((blocks * _ROWS_AT_ONCE, width))
    pixels[:height] = np.asarray(grey)
    pixels[height:] = 0.0
    sums = pixels.reshape(blocks, _ROWS_AT_ONCE, width) @ _across(width)
    rows = _rounded(sums.reshape(-1, _SIDE + _COLUMNS)[:height])
    return _rounded(_down(height, _SIDE) @ rows[:, :_SIDE]), _rounded(_down(height, _ROWS) @ rows[:, _SIDE:])


def _rounded(sums: np.ndarray) -> np.ndarray:
    """Sums of pixels times weights as pixels, 0 to 255, in place."""
    sums += 0.5
    np.floor(sums, out=sums)
    np.maximum(sums, 0.0, out=sums)
    return np.minimum(sums, 255.0, out=sums)


# Sizes are at most those of a thumbnail; the pictures of one collection have few different ones. 80 kB each at most.
@lru_cache(maxsize=64)
def _across(width: int) -> np.ndarray:
    return np.hstack([_weights(width, _SIDE), _weights(width, _COLUMNS)])


@lru_cache(maxsize=128)
def _down(height: int, rows: int) -> np.ndarray:
    return np.ascontiguousarray(_weights(height, rows).T)


def _weights(size: int, smaller: int) -> np.ndarray:
    """Pillow's weights, whole multiples of 2^-22: (pixels of a row, pixels of the resized row).

    As `Resample.c <https://github.com/python-pillow/Pillow/blob/main/src/libImaging/Resample.c>`_ calculates them.
    """
    scale = size / smaller
    stretch = max(scale, 1.0)
    reach = _LANCZOS * stretch
    weights = np.zeros((size, smaller))
    for column in range(smaller):
        centre = (column + 0.5) * scale
        first = max(int(centre - reach + 0.5), 0)
        end = min(int(centre + reach + 0.5), size)
        found = [_lanczos((pixel - centre + 0.5) * (1.0 / stretch)) for pixel in range(first, end)]
        # One after the other, as C adds: Python's own sum corrects for rounding.
        total = 0.0
        for weight in found:
            total += weight
        for pixel, weight in zip(range(first, end), found, strict=True):
            weights[pixel, column] = int(math.copysign(0.5, weight) + weight / total * 2**_WEIGHT_BITS)
    return weights * 2.0**-_WEIGHT_BITS


def _lanczos(distance: float) -> float:
    return _sinc(distance) * _sinc(distance / 3) if -_LANCZOS <= distance < _LANCZOS else 0.0


def _sinc(x: float) -> float:
    return math.sin(x * math.pi) / (x * math.pi) if x else 1.0
