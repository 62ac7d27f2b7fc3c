"""Everything that an import wants to know of a file, in one decode."""

from __future__ import annotations

from dataclasses import dataclass

from detector.imaging.decode import ImageFacts, ImageLimits, decode_reduced
from detector.imaging.fingerprint import perceptual_hash, sha256_hex
from detector.imaging.thumbnail import THUMBNAIL_SIDE, is_thumbnail, make_thumbnail, shrink

# Twice the thumbnail, so that what the JPEG decoder leaves out is not visible in the thumbnail.
_DECODED_SIDE = 2 * THUMBNAIL_SIDE


@dataclass(frozen=True)
class Inspected:
    """What an import stores beside the bytes: their SHA-256, the facts, the perceptual hash, a thumbnail."""

    sha256: str
    facts: ImageFacts
    perceptual_hash: str
    thumbnail: bytes


def inspect_image(data: bytes, name: str, limits: ImageLimits) -> Inspected:
    """Check that a file decodes to its end, and take its fingerprints and thumbnail.

    Takes the same parameters and raises the same errors as :func:`detector.imaging.decode_image`. The same bytes always
    give the same result. Safe to call from many threads; most of the time is spent outside Python's lock.

    Returns
    -------
    Inspected
    """
    decoded = decode_reduced(data, name, limits, _DECODED_SIDE)
    small, facts = shrink(decoded.pixels), decoded.facts
    own = is_thumbnail(data, facts.format, facts.width, facts.height)
    return Inspected(
        sha256=sha256_hex(data),
        facts=facts,
        perceptual_hash=perceptual_hash(small),
        thumbnail=data if own else make_thumbnail(small),
    )
