from __future__ import annotations

import io

import pytest
from PIL import Image

from detector.imaging import make_thumbnail
from detector.imaging.thumbnail import thumbnail_type
from tests.imaging.pictures import difference, encode, picture


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=["JPEG"])


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
    image.info.update(exif=exif.tobytes(), icc_profile=b"x" * 500, xmp=b"<secret/>", comment=b"home")
    data = make_thumbnail(image)
    assert b"home" not in data
    assert not {"exif", "icc_profile", "xmp", "comment"} & set(opened(data).info)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_a_thumbnail_is_told_from_one_that_was_cut_off_or_is_none_also_where_an_earlier_version_made_it(
    kind: str,
) -> None:
    data = encode(picture(200, 100), kind)
    assert thumbnail_type(data) == f"image/{kind.lower()}"
    for broken in (data[:-1], data[:100], data[1:], b"", b"<svg/>", encode(picture(20, 10), "PNG")):
        assert thumbnail_type(broken) is None
