from __future__ import annotations

import io

import pytest
from PIL import Image

from detector.imaging import make_thumbnail
from tests.imaging.pictures import difference, picture


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=["WEBP"])


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1024, 512), (256, 128)), ((300, 600), (128, 256)), ((48, 32), (48, 32)), ((3000, 2), (256, 1))],
)
def test_the_longest_side_is_at_most_256_and_nothing_is_enlarged(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert opened(make_thumbnail(picture(*size))).size == expected


def test_the_thumbnail_shows_the_picture_and_leaves_it_unchanged() -> None:
    image = picture(512, 384)
    before = image.tobytes()
    thumbnail = opened(make_thumbnail(image)).convert("RGB")
    assert difference(thumbnail, image.resize((256, 192), Image.Resampling.LANCZOS)) < 6
    assert image.tobytes() == before


def test_metadata_of_the_picture_does_not_reach_the_thumbnail() -> None:
    image = picture(300, 300)
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    image.info.update(exif=exif.tobytes(), icc_profile=b"x" * 500, xmp=b"<secret/>")
    data = make_thumbnail(image)
    assert b"home" not in data
    assert not {"exif", "icc_profile", "xmp"} & set(opened(data).info)
