"""Thumbnails for the gallery: made once, at import."""

from __future__ import annotations

import io

from PIL import Image, JpegImagePlugin

from detector.imaging.jpeg_segments import is_bare

THUMBNAIL_SIDE = 256
# JPEG, not WebP: as large at this quality (15 kB at 256 x 256 pixels), and encoded nine times as fast. Decoding aside,
# nothing else of an import takes as long.
_QUALITY = 80
# Of an original that is its own thumbnail; those that are made have 12 to 15 kB at full size.
_MOST_BYTES = 20_000

# Importing the plugin registers the writer; Pillow would else load all of its plugins at the first save.
assert JpegImagePlugin.Image is not None


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
        A JPEG file, at most 256 pixels on the longest side and never larger than the picture, without metadata.
    """
    file = io.BytesIO()
    small = shrink(image)
    # The same pixels, by another name: what a file says of itself, Pillow would write again.
    bare = small._new(small.im)
    bare.info = {}
    bare.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def is_thumbnail(data: bytes, file_format: str, width: int, height: int) -> bool:
    """Whether a file that was decoded serves as its own thumbnail: a JPEG that is small in both ways, and bare.

    Most files of sets for training are such. Saving them anew is a fifth of the time of their import, under Python's
    lock, and makes them neither smaller nor better.
    """
    small = max(width, height) <= THUMBNAIL_SIDE and len(data) <= _MOST_BYTES
    return small and file_format == "JPEG" and is_bare(data)


def thumbnail_type(data: bytes) -> str | None:
    """The media type of a stored thumbnail; None where it is cut off or something else, by its beginning and end.

    Those of earlier versions are WebP.
    """
    if data[:3] == b"\xff\xd8\xff" and data[-2:] == b"\xff\xd9":
        return "image/jpeg"
    whole = int.from_bytes(data[4:8], "little") + 8 == len(data)
    return "image/webp" if whole and data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None
