"""Image files from anywhere -> upright RGB pictures, facts about the file, fingerprints and thumbnails."""

from detector.imaging.decode import DecodedImage, ImageFacts, ImageLimits, decode_image
from detector.imaging.fingerprint import near_duplicate_groups, perceptual_hash, sha256_hex
from detector.imaging.inspection import Inspected, inspect_image
from detector.imaging.thumbnail import THUMBNAIL_SIDE, make_thumbnail

__all__ = [
    "THUMBNAIL_SIDE",
    "DecodedImage",
    "ImageFacts",
    "ImageLimits",
    "Inspected",
    "decode_image",
    "inspect_image",
    "make_thumbnail",
    "near_duplicate_groups",
    "perceptual_hash",
    "sha256_hex",
]
