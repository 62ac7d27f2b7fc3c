"""The one decoder for every image that comes in, from whomever.

What it promises: a file is refused by its byte count before it is parsed and by its pixel count before a pixel is
decoded; a file whose picture is damaged or cut off is refused and never shown half, while what lies beside the picture
(texts, profiles, EXIF) never costs it; previews, masks and reduced copies are not taken for the picture, camera raw
files are refused; every refusal is a named :class:`~detector.errors.ImageError` and nothing else escapes. It keeps no
state and may be called from many threads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import ExifTags, Image, ImageFile

from detector.errors import (
    CameraRawFile,
    EmptyFile,
    ImageDamaged,
    ImageError,
    ImageNotSupported,
    ImageTooManyBytes,
    ImageTooManyPixels,
    NotAnImage,
)
from detector.imaging.colour import to_rgb
from detector.imaging.file_facts import facts_of_header
from detector.imaging.formats import open_file, sniff_format, webp_canvas
from detector.imaging.other_kinds import other_kind
from detector.imaging.second_look import mended_copies, why_not_supported
from detector.imaging.tiff_pages import inspect_tiff

# Process-wide in Pillow: a library that sets it would make the lower part of cut-off photographs grey, silently.
ImageFile.LOAD_TRUNCATED_IMAGES = False

# Pillow lays pictures in blocks of 16 MB; these hold one of 12 megapixels, the most that is kept for each thread.
_BLOCKS_A_THREAD = 3
_keeping_lock = threading.Lock()
_keeping: list[int] = []

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class ImageLimits:
    """What is accepted at most: bytes of the file, and pixels (width x height) of the picture."""

    max_bytes: int
    max_pixels: int


@dataclass(frozen=True)
class ImageFacts:
    """What the file says about itself, apart from the picture.

    ``width`` and ``height`` are those of the upright picture; ``mode`` is Pillow's mode of the stored pixels;
    ``orientation`` is the EXIF value 1..8 that was undone; ``animated`` says that there are more frames than the first;
    ``extra`` holds JSON types: ``has_exif``, ``has_icc``, ``has_xmp``, for JPEG also ``jpeg_quality``, ``jpeg_tables``,
    ``subsampling``, ``progressive`` and ``multi_picture``, for PNG ``text_keys``.
    """

    format: str
    width: int
    height: int
    mode: str
    byte_count: int
    orientation: int = 1
    animated: bool = False
    extra: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The facts as plain JSON types."""
        # Not `asdict`, which looks into every value again: an import asks this of each file.
        return {**vars(self), "extra": dict(self.extra)}


@dataclass(frozen=True)
class DecodedImage:
    """An upright RGB picture without metadata, and the facts of its file."""

    pixels: Image.Image
    facts: ImageFacts


@contextmanager
def memory_kept(threads: int) -> Iterator[None]:
    """While many pictures are decoded, let the next take the memory of the last, up to 48 MB a thread.

    Otherwise Pillow gives it back and asks for it anew: for photographs, filling fresh pages takes up to a third of the
    time of decoding. All is given back at the end of the last such block of the process.

    Parameters
    ----------
    threads : int
        How many decode at once.
    """
    blocks = _BLOCKS_A_THREAD * threads
    with _keeping_lock:
        _keeping.append(blocks)
        Image.core.set_blocks_max(max(_keeping))
    try:
        yield
    finally:
        with _keeping_lock:
            _keeping.remove(blocks)
            Image.core.set_blocks_max(max(_keeping, default=0))


def decode_image(data: bytes, name: str, limits: ImageLimits) -> DecodedImage:
    """Decode the (first) picture of an image file.

    Parameters
    ----------
    data : bytes
        The whole file.
    name : str
        The file's name as the user knows it; used in messages only.
    limits : ImageLimits
        Larger files and pictures are refused.

    Returns
    -------
    DecodedImage
        RGB, upright, transparency on white.

    Raises
    ------
    EmptyFile, NotAnImage, ImageNotSupported, CameraRawFile, ImageDamaged, ImageTooManyBytes, ImageTooManyPixels
        All are ``ImageError``. ImageDamaged: the picture, not only what lies beside it, is damaged or cut off.
    """
    return decode_reduced(data, name, limits, None)


def decode_reduced(data: bytes, name: str, limits: ImageLimits, longest_side: int | None) -> DecodedImage:
    """Like :func:`decode_image`, but large JPEGs may come out smaller, for thumbnails and perceptual hashes.

    A JPEG decoder can produce 1/2, 1/4 or 1/8 of the size at a fraction of the time. It still has to read every bit of
    the compressed data to do so: a file that is cut off is found just as in full size.

    Parameters
    ----------
    longest_side : int or None
        The picture may be reduced, but not so that its longest side falls below this. None: full size. The facts
        always tell the full size.
    """
    if not data:
        raise EmptyFile(name)
    if len(data) > limits.max_bytes:
        raise ImageTooManyBytes(name, len(data), limits.max_bytes)
    file_format = sniff_format(data)
    try:
        picture = data
        if file_format in (None, "TIFF"):
            content = inspect_tiff(data)
            if content.raw is not None:
                raise CameraRawFile(name, content.raw)
            if content.picture is None:
                raise ImageNotSupported(name, "a TIFF that holds nothing but reduced copies of a picture")
            picture = content.picture
        if file_format is None:
            kind = other_kind(data)
            raise NotAnImage(name) if kind is None else ImageNotSupported(name, kind)
        return _decode_or_mend(picture, file_format, name, limits, longest_side)
    except ImageError:
        raise
    # The bytes are hostile until proven otherwise, and the plugins raise OSError, SyntaxError, ValueError,
    # struct.error, MemoryError, RuntimeError, KeyError and more on damaged ones: a bad file must cost one line of the
    # report, whatever is wrong with it.
    except Exception as error:
        raise ImageDamaged(name, f"{file_format}: {type(error).__name__}: {error}") from error


def _decode_or_mend(
    data: bytes, file_format: str, name: str, limits: ImageLimits, longest_side: int | None
) -> DecodedImage:
    try:
        return _decode(data, file_format, name, limits, longest_side)
    except ImageError:
        raise
    except Exception:
        for mended in mended_copies(data, file_format):
            try:
                found = _decode(mended, file_format, name, limits, longest_side)
            except ImageError:
                raise
            except Exception:  # the next one may do; in the end the first complaint is the one to tell
                continue
            return replace(found, facts=replace(found.facts, byte_count=len(data)))
        kind = why_not_supported(data, file_format)
        if kind is not None:
            raise ImageNotSupported(name, kind) from None
        raise


def _decode(data: bytes, file_format: str, name: str, limits: ImageLimits, longest_side: int | None) -> DecodedImage:
    # Pillow's own limit counts for the whole process and may be lower than what a user has allowed. It only rises.
    if Image.MAX_IMAGE_PIXELS is not None and limits.max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = limits.max_pixels
    if file_format == "WEBP":
        _check_pixels(webp_canvas(data) or (1, 1), name, limits)
    image = open_file(data, file_format)
    _check_pixels(image.size, name, limits)
    # TIFF turns itself upright while loading and forgets how it lay.
    orientation = _valid_orientation(getattr(image, "tag_v2", {}).get(ExifTags.Base.Orientation, 1))
    stored_mode = image.mode
    full_size = image.size
    if longest_side is not None and file_format == "JPEG":
        scale = min(longest_side / max(full_size), 1.0)
        image.draft(None, (max(1, int(full_size[0] * scale)), max(1, int(full_size[1] * scale))))
    image.load()
    if file_format == "HEIF":  # its size is known for sure only after decoding
        full_size = image.size
        _check_pixels(full_size, name, limits)

    remaining = _orientation_of(image)
    pixels = to_rgb(image)
    pixels.info = {}
    if remaining in _UPRIGHT:
        pixels = pixels.transpose(_UPRIGHT[remaining])
    width, height = full_size[::-1] if remaining >= 5 else full_size
    facts = ImageFacts(
        format=file_format,
        width=width,
        height=height,
        mode=stored_mode,
        byte_count=len(data),
        orientation=remaining if remaining != 1 else orientation,
        # Last, because looking for a second frame moves on in the file.
        extra=facts_of_header(image, file_format),
        animated=_is_animated(image, file_format),
    )
    return DecodedImage(pixels, facts)


def _check_pixels(size: tuple[int, int], name: str, limits: ImageLimits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise ImageTooManyPixels(name, width, height, limits.max_pixels)
    if width < 1 or height < 1:
        raise ImageDamaged(name, f"a picture of {width} x {height} pixels")


def _orientation_of(image: ImageFile.ImageFile) -> int:
    try:
        return _valid_orientation(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # fails in as many ways as decoding, but bad metadata says nothing against the picture
        return 1


def _valid_orientation(value: object) -> int:
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _is_animated(image: ImageFile.ImageFile, file_format: str) -> bool:
    if file_format in ("JPEG", "BMP"):
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # damage behind the first frame, which is all that we use
        return False
