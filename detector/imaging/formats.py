"""Which image formats are accepted, how their files begin, and what opens them.

The format is told from the first bytes, never from the file's name, and exactly one of Pillow's plugins is then
called. This is narrower than ``Image.open(formats=...)`` and leaves the check of the size to us: ``Image.open`` checks
against a limit of the whole process, and cannot say afterwards how large the picture would have been.
"""

from __future__ import annotations

import io
import struct

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL.ImageFile import ImageFile

# A phone's MPO file (several pictures in one) is a JPEG to this class: the first picture is the photograph.
_PLUGINS: dict[str, type[ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}
FORMATS = (*_PLUGINS, "HEIF")

#: How the files of each format may be called; the first is how we call them. The one list: of the upload widgets, of an
#: import's folders and of the files of an export. What a file is, is told from its bytes all the same.
ENDINGS_BY_FORMAT: dict[str, tuple[str, ...]] = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif"),
}
IMAGE_ENDINGS: tuple[str, ...] = tuple(ending for endings in ENDINGS_BY_FORMAT.values() for ending in endings)

_BMP_HEADER_SIZES = {12, 16, 40, 52, 56, 64, 108, 124}
_TIFF_STARTS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}


def sniff_format(data: bytes) -> str | None:
    """Tell the format from the first bytes of a file.

    Returns
    -------
    str or None
        One of ``FORMATS``; None when the bytes begin like none of them.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    # Texts may well begin with "BM": the size of the header tells them from pictures.
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES:
        return "BMP"
    if data.startswith(_TIFF_STARTS):
        return "TIFF"
    if data[4:8] == b"ftyp":
        return _isobmff_format(data)
    return None


def _isobmff_format(data: bytes) -> str | None:
    """AVIF and HEIC share their container with videos; the brands tell them apart."""
    length = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[8:12]} | {data[at : at + 4] for at in range(16, length - 3, 4)}
    if brands & _AVIF_BRANDS:
        return "AVIF"
    return "HEIF" if brands & _HEIF_BRANDS else None


def open_file(data: bytes, file_format: str) -> ImageFile:
    """Read the header; no pixel is decoded. Raises whatever the plugin raises on a damaged header."""
    if file_format == "HEIF":
        # Imported at the first HEIC only: it loads large libraries that most users never need.
        from pillow_heif import HeifImageFile

        return HeifImageFile(io.BytesIO(data))
    return _PLUGINS[file_format](io.BytesIO(data))


def webp_canvas(data: bytes) -> tuple[int, int] | None:
    """Width and height that a WebP header claims; None where it is too short to say.

    libwebp reserves memory for the whole canvas when a file is opened, so its size must be known before that. See the
    `container specification <https://developers.google.com/speed/webp/docs/riff_container>`_.
    """
    kind = data[12:16]
    if len(data) < 30:
        return None
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None
