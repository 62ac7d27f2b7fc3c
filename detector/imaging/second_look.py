"""What to do with a file that Pillow does not decode: try it without what lies beside the picture, or name its kind."""

from __future__ import annotations

from collections.abc import Iterator

from detector.imaging import gif_blocks, isobmff, jpeg_segments, png_chunks, tiff_pages, webp_chunks

# Compressions and depths of Windows bitmaps that Pillow decodes; others exist for printers and for Windows CE.
_BMP_COMPRESSIONS = {0, 1, 2, 3}
_BMP_DEPTHS = {1, 4, 8, 16, 24, 32}


def mended_copies(data: bytes, file_format: str) -> Iterator[bytes]:
    """Copies of a file to decode in its place, the one nearest to it first.

    Each has the picture's own data byte by byte, so a picture that is damaged or cut off still is. Files whose picture
    decodes as they are never come here.

    Parameters
    ----------
    file_format : str
        One of ``detector.imaging.formats.FORMATS``.
    """
    if file_format == "PNG":
        yield png_chunks.without_broken_chunks(data, moving=True)
        yield png_chunks.without_broken_chunks(data, moving=False)
    elif file_format == "JPEG":
        yield from jpeg_segments.mended_copies(data)
    elif file_format == "WEBP":
        yield webp_chunks.without_metadata(data)
    elif file_format == "GIF":
        yield gif_blocks.without_extensions(data)
    elif file_format in ("AVIF", "HEIF"):
        yield isobmff.without_metadata(data, with_profile=True)
        yield isobmff.without_metadata(data, with_profile=False)
    elif file_format == "TIFF":
        for all_beside in (False, True):
            copy = tiff_pages.without_broken_tags(data, all_beside)
            if copy is not None:
                yield copy


def why_not_supported(data: bytes, file_format: str) -> str | None:
    """The kind of a file that is whole but cannot be decoded here, such as "a lossless JPEG"; None for damaged ones."""
    if file_format == "PNG":
        return "a PNG rewritten for iPhone apps (CgBI)" if png_chunks.is_for_apple_apps(data) else None
    if file_format == "JPEG":
        return jpeg_segments.why_not_supported(data)
    if file_format == "TIFF":
        return tiff_pages.why_not_supported(data)
    if file_format in ("AVIF", "HEIF"):
        return isobmff.why_not_supported(data)
    if file_format == "BMP" and int.from_bytes(data[14:18], "little") >= 40:
        depth, compression = int.from_bytes(data[28:30], "little"), int.from_bytes(data[30:34], "little")
        if compression not in _BMP_COMPRESSIONS or depth not in _BMP_DEPTHS:
            return f"a BMP of {depth} bits a pixel with compression {compression}"
    return None
