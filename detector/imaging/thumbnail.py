"""Thumbnails for the gallery: made once, at import."""

from __future__ import annotations

import io

from PIL import Image, WebPImagePlugin

THUMBNAIL_SIDE = 256
_QUALITY = 80
# 0 is the fastest of WebP's seven efforts: three times as many a second as the default, for files a tenth larger.
_METHOD = 0

# Importing the plugin registers the writer; Pillow would else load all of its plugins at the first save.
assert WebPImagePlugin.SUPPORTED


def shrink(image: Image.Image) -> Image.Image:
    """A copy whose longest side is at most ``THUMBNAIL_SIDE``; the image itself where it already is that small."""
    if max(image.size) <= THUMBNAIL_SIDE:
        return image
    scale = THUMBNAIL_SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def make_thumbnail(image: Image.Image) -> bytes:
    """Encode a thumbnail.

    Parameters
    ----------
    image : PIL.Image.Image
        An upright RGB picture of any size; it is not changed.

    Returns
    -------
    bytes
        A WebP file, at most 256 pixels on the longest side and never larger than the picture, without metadata.
    """
    file = io.BytesIO()
    shrink(image).save(file, "WEBP", quality=_QUALITY, method=_METHOD, icc_profile=None, exif=b"", xmp=b"")
    return file.getvalue()


def is_whole_thumbnail(data: bytes) -> bool:
    """Whether bytes are a WebP file that is neither cut off nor something else, by its header."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP" and int.from_bytes(data[4:8], "little") + 8 == len(data)
