from __future__ import annotations

import imagehash
import numpy as np
import pytest
from PIL import Image

from detector.imaging.perceptual import both_hashes
from tests.imaging.pictures import picture
from tests.shared_data import require

#: Square, wide, tall, so tall that Pillow shrinks the columns first, tiny, and the very sizes that come out.
SIZES = [
    (256, 256), (256, 171), (192, 256), (144, 256), (143, 256), (40, 256), (2, 256), (256, 2), (1, 1), (3, 5), (32, 32),
    (9, 8), (8, 9), (31, 33), (33, 31), (100, 168), (100, 169), (255, 254),
]  # fmt: skip


def original(grey: Image.Image) -> str:
    return f"{imagehash.phash(grey)}{imagehash.dhash(grey)}"


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_both_hashes_are_those_of_imagehash_to_the_last_bit(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, size[::-1])
    drawn = [
        noise,
        rng.integers(100, 103, size[::-1]),
        np.broadcast_to(noise[:1], size[::-1]),
        np.broadcast_to(noise[:, :1], size[::-1]),
        np.indices(size[::-1]).sum(axis=0) % 2 * 255,
        # Overshoots at the edges, where the pixels are cut off at black and white.
        np.indices(size[::-1])[1] // 7 % 2 * 255,
        np.asarray(picture(*size).convert("L")),
    ]
    for pixels in drawn:
        grey = Image.fromarray(np.ascontiguousarray(pixels, dtype=np.uint8))
        assert both_hashes(grey) == original(grey)


@pytest.mark.slow
def test_pictures_of_any_size_have_the_hashes_of_imagehash() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        grey = Image.fromarray(rng.integers(0, 256, tuple(rng.integers(1, 257, 2)), dtype=np.uint8))
        assert both_hashes(grey) == original(grey), grey.size


@pytest.mark.slow
def test_plain_pictures_have_the_hashes_of_imagehash() -> None:
    for shade in range(256):
        for size in ((256, 256), (256, 100), (1, 1)):
            grey = Image.new("L", size, shade)
            assert both_hashes(grey) == original(grey)


@pytest.mark.parametrize("name", ["cifar10_real", "genimage_mini", "confounded_size"])
def test_real_pictures_have_the_hashes_of_imagehash(name: str) -> None:
    for path in sorted(require(name).rglob("*.jpg"))[::4][:150]:
        with Image.open(path) as image:
            grey = image.convert("L")
        grey.thumbnail((256, 256))
        assert both_hashes(grey) == original(grey), path.name
