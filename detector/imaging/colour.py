"""Any of Pillow's pixel modes -> 8-bit RGB, transparency laid on white, deep samples scaled and not clipped."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageCms

_PHOTOMETRIC_TAG = 262
_WHITE_IS_ZERO = 0
_BITS_TAG = 258
_DEEP_MODES = ("I", "F")  # and the "I;16" family


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a loaded image to plain RGB.

    Parameters
    ----------
    image : PIL.Image.Image
        In any mode that the accepted formats produce: 1, L, LA, P, PA, RGB, RGBA, RGBa, CMYK, YCbCr, LAB, I, I;16*, F.

    Returns
    -------
    PIL.Image.Image
        A new image of mode RGB and the same size; it may share its pixels with the one given, which should then not be
        painted on. What was transparent is white. Samples of 16 bits, of 32 bits and floating-point samples are scaled
        to 0..255.
    """
    if image.mode in _DEEP_MODES or image.mode.startswith("I;16"):
        return _scaled_to_8_bits(image).convert("RGB")
    if image.has_transparency_data:
        return _on_white(image)
    if image.mode == "LAB":
        return _lab_to_rgb(image)
    # `convert` would copy: for 12 megapixels a third of the time that decoding them takes.
    return image._new(image.im) if image.mode == "RGB" else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    # Pillow converts the premultiplied modes, and only those, in two steps.
    if image.mode == "La":
        image = image.convert("LA")
    with_alpha = image if image.mode == "RGBA" else image.convert("RGBA")
    alpha = with_alpha.getchannel("A")
    rgb = with_alpha.convert("RGB")
    if alpha.getextrema() == (255, 255):
        return rgb
    background = Image.new("RGB", image.size, (255, 255, 255))
    background.paste(rgb, mask=alpha)
    return background


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    converted = ImageCms.profileToProfile(
        image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert converted is not None  # None only for inPlace=True
    return converted


def _scaled_to_8_bits(image: Image.Image) -> Image.Image:
    # float32 holds 16-bit integers exactly, and the rest well enough for 8 bits.
    values = np.nan_to_num(np.asarray(image, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    white = _white_of(image, values)
    scaled = np.clip(np.rint(values * np.float32(255.0 / white)), 0, 255).astype(np.uint8)
    tags = getattr(image, "tag_v2", {})
    if image.mode.startswith("I;16") and tags.get(_PHOTOMETRIC_TAG) == _WHITE_IS_ZERO:
        scaled = 255 - scaled  # Pillow inverts such files at 8 bits, not at 16
    return Image.fromarray(scaled)


def _white_of(image: Image.Image, values: np.ndarray) -> float:
    """The value that means white. Files of 16 bits say it; for 32 bits and floats only the content can tell."""
    if image.mode.startswith("I;16"):
        bits = getattr(image, "tag_v2", {}).get(_BITS_TAG, (16,))
        return float(2 ** min(int(bits[0]), 16) - 1)
    highest = float(values.max(initial=0.0))
    for white in (1.0, 255.0, 65535.0):
        # Integers of 0 and 1 only would be a mask; as a picture it is the same.
        if highest <= white:
            return white
    return highest
