"""Stored pictures changed on purpose, as files: what degraded copies and the audit's changes are made of."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from PIL import Image

from detector.errors import ImageError, NotFound
from detector.imaging import decode_image
from detector.system.batches import map_batches
from detector.workspace import Workspace

log = logging.getLogger(__name__)

Key = TypeVar("Key")


def changed_files(
    ws: Workspace, images: Iterable[tuple[Key, str]], change: Callable[[Key, Image.Image], bytes]
) -> Iterator[tuple[Key, bytes, str]]:
    """Change stored pictures, ahead in threads and in order; those that cannot be are left out, with a line in the log.

    Parameters
    ----------
    images : iterable of (key, image hash)
    change : callable
        (key, picture) -> the bytes of its changed file.

    Yields
    ------
    (key, bytes, image hash), as ``embed_files`` takes them
    """

    def make(batch: list[tuple[Key, str]]) -> list[tuple[Key, bytes, str]]:
        made = []
        for key, image_hash in batch:
            try:
                picture = decode_image(ws.blobs.image(image_hash), image_hash, ws.limits).pixels
                made.append((key, change(key, picture), image_hash))
            except (ImageError, NotFound) as error:
                log.warning("no copy of image %s: %s", image_hash, error)
        return made

    # One at a time: a copy of a large picture is a bitmap of many megabytes.
    for made in map_batches(make, images, size=1, workers=ws.settings.threads, name="copies"):
        yield from made
