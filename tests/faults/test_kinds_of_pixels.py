"""Whatever kind of file a picture comes in, its embedding is that of the upright RGB picture that people see."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms, ImageOps

from detector.backbones.network import Backbone
from detector.backbones.pipeline import embed_files
from detector.imaging import ImageLimits
from tests.imaging.pictures import encode, picture, with_orientation

pytestmark = pytest.mark.faults

LIMITS = ImageLimits(max_bytes=5_000_000, max_pixels=4_000_000)
BASE = picture(120, 80, seed=3)


def _seen(data: bytes) -> bytes:
    """The same picture as Pillow shows it: upright, in RGB, as a PNG."""
    heic = data[8:12] == b"heic"
    image = pillow_heif.open_heif(data).to_pillow() if heic else ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    return encode(image.convert("RGB"), "PNG")


def _kinds() -> Iterator[tuple[str, bytes, bytes]]:
    """(name, a file of that kind, its twin as an RGB PNG)"""
    for value in range(1, 9):
        for kind in ("JPEG", "PNG", "TIFF", "WEBP"):
            data = encode(BASE, kind, exif=with_orientation(value))
            yield f"{kind} turned by {value}", data, _seen(data)
    for kind in ("AVIF", "HEIF"):
        data = encode(BASE, kind)
        yield kind, data, _seen(data)
    cmyk = encode(BASE.convert("CMYK"), "JPEG", quality=95)
    yield "CMYK JPEG", cmyk, _seen(cmyk)
    wide = np.asarray(BASE.convert("L"), dtype=np.uint16) * 257
    grey = encode(BASE.convert("L").convert("RGB"), "PNG")
    yield "16 bits of grey", encode(Image.fromarray(wide), "PNG"), grey
    yield "grey", encode(BASE.convert("L"), "PNG"), grey
    clear = BASE.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(BASE.size))
    white = Image.alpha_composite(Image.new("RGBA", BASE.size, "white"), clear).convert("RGB")
    yield "transparency", encode(clear, "PNG"), encode(white, "PNG")
    palette = BASE.quantize(64)
    holes = palette.convert("RGB")
    holes.paste((255, 255, 255), mask=Image.fromarray((np.asarray(palette) == 5).astype(np.uint8) * 255))
    yield "palette with transparency", encode(palette, "PNG", transparency=5), encode(holes, "PNG")
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    yield "a profile of sRGB", encode(BASE, "PNG", icc_profile=srgb), encode(BASE, "PNG")


KINDS = list(_kinds())


@pytest.fixture(scope="module")
def embedded() -> dict[tuple[int, bool], np.ndarray]:
    """The embedding of each file and of its twin, all made in one go."""
    from detector.backbones.offline import load_offline

    backbone: Backbone = load_offline("float32", threads=1)
    items = [((n, twin), data, name) for n, (name, *both) in enumerate(KINDS) for twin, data in enumerate(both)]
    found: dict[tuple[int, bool], np.ndarray] = {}

    def keep(rows: list, errors: list) -> None:  # type: ignore[type-arg]
        assert not errors
        found.update({(number, bool(twin)): views["whole"] for (number, twin), views in rows})

    embed_files(items, backbone, LIMITS, 1, keep)
    return found


@pytest.mark.parametrize("number", range(len(KINDS)), ids=[name for name, *_ in KINDS])
def test_its_embedding_is_that_of_the_upright_rgb_twin(
    number: int, embedded: dict[tuple[int, bool], np.ndarray]
) -> None:
    mine, twin = embedded[number, False], embedded[number, True]
    assert np.abs(mine - twin).max() <= 0.02 * np.abs(twin).max()
    # Another picture is nothing like as near: the bound above says something.
    cosine = float(mine @ twin / np.linalg.norm(mine) / np.linalg.norm(twin))
    assert cosine > 0.9995


def test_a_picture_that_is_not_turned_upright_would_be_noticed(embedded: dict[tuple[int, bool], np.ndarray]) -> None:
    """The bound tells a turned picture from an upright one."""
    names = [name for name, *_ in KINDS]
    upright, turned = embedded[names.index("PNG turned by 1"), True], embedded[names.index("PNG turned by 6"), True]
    # What is stored as 6 is shown turned, so the two twins are different pictures.
    assert np.abs(upright - turned).max() > 0.02 * np.abs(upright).max()
