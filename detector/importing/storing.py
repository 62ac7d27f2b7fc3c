"""Bytes of one image -> stored and described, once: whoever brings the same bytes again gets the same row."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from detector.imaging import inspect_image, sha256_hex
from detector.storage import imports
from detector.storage.imports import ImageRow
from detector.storage.places import find_places
from detector.storage.trouble import once_more
from detector.workspace import Workspace

#: A flush of the disk that failed goes well a moment later; room on it does not come so soon.
_MOMENTS = (0.05, 0.3)


def store_image(ws: Workspace, data: bytes, name: str) -> ImageRow:
    """Check an image and put its bytes into the blob store; its row is written with its sample.

    Bytes come before rows: a crash in between leaves bytes that nothing names, never a row without bytes.

    Raises
    ------
    ImageError
        The bytes cannot be used as an image.
    """
    image = describe_image(ws, data, name)
    store_bytes(ws, image.image_hash, data)
    return image


def store_bytes(ws: Workspace, image_hash: str, data: bytes) -> None:
    """Put an image's bytes into the blob store, several times if need be. Raises what the last time raised."""
    once_more(partial(ws.blobs.put_image, image_hash, data), _MOMENTS)


def store_each(ws: Workspace, files: Sequence[tuple[str, bytes]]) -> list[Exception | None]:
    """`store_bytes` for several (image_hash, data); what it raised for each, so that none costs the others."""
    outcomes: list[Exception | None] = []
    for image_hash, data in files:
        try:
            store_bytes(ws, image_hash, data)
        except Exception as error:  # raised again for its own file, by whoever asks for that
            outcomes.append(error)
        else:
            outcomes.append(None)
    return outcomes


def describe_image(ws: Workspace, data: bytes, name: str, in_place: bool = False) -> ImageRow:
    """Check an image, without storing anything. Raises ImageError."""
    image_hash = sha256_hex(data)
    # The same bytes were decoded to their end before: nothing new can come of doing it again.
    image = _known(ws, image_hash, len(data))
    if image is None and in_place and find_places(ws.db, [image_hash]):
        image = imports.find_image(ws.db, image_hash)
    if image is not None:
        return image
    inspected = inspect_image(data, name, ws.limits)
    return ImageRow(
        image_hash=image_hash,
        byte_count=inspected.facts.byte_count,
        format=inspected.facts.format,
        width=inspected.facts.width,
        height=inspected.facts.height,
        facts=inspected.facts.to_json(),
        perceptual_hash=inspected.perceptual_hash,
        thumbnail=inspected.thumbnail,
    )


def _known(ws: Workspace, image_hash: str, byte_count: int) -> ImageRow | None:
    """The row of an image whose bytes are there too. The quicker question comes first, a table's or a disk's."""
    if not ws.blobs.is_near:
        image = imports.find_image(ws.db, image_hash)
        return image if image is not None and ws.blobs.has_image(image_hash, byte_count) else None
    # Bytes come before rows, so the table need not be asked about those that are not there.
    return imports.find_image(ws.db, image_hash) if ws.blobs.has_image(image_hash, byte_count) else None
