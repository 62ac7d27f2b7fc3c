from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from detector.errors import InvalidInput
from detector.imaging import ImageLimits, decode_image
from detector.imaging.normalise import Normalisation, encode_normalised, normalised, suited_normalisation

LIMITS = ImageLimits(max_bytes=50_000_000, max_pixels=100_000_000)


def picture(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("size", [(1, 1), (40, 900), (1200, 30), (224, 224), (3000, 2000)])
def test_every_picture_becomes_the_same_kind_of_file(size: tuple[int, int]) -> None:
    how = Normalisation(224)
    found = decode_image(encode_normalised(picture(*size), how), "a", LIMITS)
    facts = found.facts
    assert (facts.format, facts.width, facts.height, facts.mode) == ("JPEG", 224, 224, "RGB")
    assert facts.extra["jpeg_quality"] == 90
    assert (facts.extra["subsampling"], facts.extra["progressive"], facts.extra["has_exif"]) == ("4:2:0", False, False)
    np.testing.assert_array_equal(np.asarray(normalised(picture(*size), how)), np.asarray(found.pixels))


def test_the_format_a_picture_came_in_makes_no_difference() -> None:
    file = io.BytesIO()
    picture(300, 200).save(file, "BMP")
    first = encode_normalised(decode_image(file.getvalue(), "a", LIMITS).pixels, Normalisation(128))
    assert encode_normalised(picture(300, 200), Normalisation(128)) == first


def test_the_middle_of_the_picture_is_kept() -> None:
    wide = Image.new("RGB", (300, 100), "white")
    wide.paste("black", (100, 0, 200, 100))
    assert np.asarray(normalised(wide, Normalisation(64))).max() < 20


def test_the_side_is_one_that_hardly_any_picture_falls_below() -> None:
    assert suited_normalisation([224] * 50 + [650] * 50) == Normalisation(224)
    # One tiny file among many does not shrink them all, and none is made larger than need be.
    assert suited_normalisation([40, *[800] * 99]) == Normalisation(512)
    assert suited_normalisation([32] * 10) == Normalisation(32)
    assert suited_normalisation([1]) == Normalisation(32)


def test_the_code_says_everything_and_nothing_else_is_one() -> None:
    assert Normalisation.parse(Normalisation(96, 85).code) == Normalisation(96, 85)
    for code in ("", "jpeg-16-q90", "jpeg-600-q90", "png-224-q90", "jpeg-224-q00", "jpeg-224-q90 "):
        with pytest.raises(InvalidInput):
            Normalisation.parse(code)
