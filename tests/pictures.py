"""Real picture files with something in them."""

from __future__ import annotations

import io

from PIL import Image, PngImagePlugin


def with_text_chunk(png: bytes, key: str, text: str) -> bytes:
    """A PNG with a text chunk, the pixels as they were."""
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text(key, text)
    file = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        picture.save(file, "PNG", pnginfo=chunks)
    return file.getvalue()
