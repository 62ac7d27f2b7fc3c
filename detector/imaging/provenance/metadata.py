"""What lies beside the picture in a file of any format: its texts, and the blocks of XMP, EXIF, IPTC and ICC."""

from __future__ import annotations

import binascii
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

from detector.imaging.formats import sniff_format
from detector.imaging.isobmff import metadata_items
from detector.imaging.jpeg_segments import header_segments
from detector.imaging.png_chunks import chunks_of as png_chunks_of
from detector.imaging.tiff_pages import tag_contents
from detector.imaging.webp_chunks import chunks_of as webp_chunks_of

#: Bytes of one block, and of one text after unpacking; workflows of ComfyUI have up to some megabytes.
MOST_OF_ONE = 4 << 20
#: All texts (or items) together, how many are looked at, segments of a JPEG that are, and packets of XMP.
_MOST_OF_TEXTS, _MOST_TEXTS, _MOST_SEGMENTS, _MOST_PACKETS = 8 << 20, 200, 5_000, 4
#: Segments of quantisation tables that are kept: a JPEG has four tables at most.
_MOST_TABLES = 8

_XMP, _LONG_XMP = b"http://ns.adobe.com/xap/1.0/\x00", b"http://ns.adobe.com/xmp/extension/\x00"
_PHOTOSHOP = b"Photoshop 3.0\x00"
_PNG_KINDS = frozenset({b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"iCCP"})
_WEBP_KINDS = frozenset({b"EXIF", b"XMP ", b"ICCP"})
_XMP_TAG, _IPTC_TAG, _PHOTOSHOP_TAG, _PROFILE_TAG = 700, 33723, 34377, 34675
_TIFF_TAGS = frozenset({_XMP_TAG, _IPTC_TAG, _PHOTOSHOP_TAG, _PROFILE_TAG})


@dataclass
class Metadata:
    """The blocks of one file.

    Attributes
    ----------
    format : str or None
    xmp : list of bytes
        Packets; the extension of a JPEG's is one of its own.
    exif, iptc, photoshop, profile : bytes
        EXIF as a TIFF, IPTC's records, Photoshop's resources and the ICC profile; empty where there is none.
    texts : list of (str, str)
        Keyword and text: of PNG chunks, and of a JPEG's comments under the keyword "Comment".
    markers : set of str
        What else tells the program: "JFIF", "Adobe", "Ducky", "MPF".
    tables : list of bytes
        Contents of a JPEG's quantisation segments.
    """

    format: str | None
    xmp: list[bytes] = field(default_factory=list)
    exif: bytes = b""
    iptc: bytes = b""
    photoshop: bytes = b""
    profile: bytes = b""
    texts: list[tuple[str, str]] = field(default_factory=list)
    markers: set[str] = field(default_factory=set)
    tables: list[bytes] = field(default_factory=list)


def read_metadata(data: bytes) -> Metadata:
    """Find the blocks; nothing in them is understood yet. Of what is broken, what comes before it is kept."""
    found = Metadata(sniff_format(data))
    reader = {"JPEG": _of_jpeg, "PNG": _of_png, "WEBP": _of_webp, "TIFF": _of_tiff}.get(found.format or "")
    if found.format in ("AVIF", "HEIF"):
        reader = _of_isobmff
    if reader is not None:
        # Hostile bytes break a walk in more ways than can be listed, and nothing beside the picture is worth a failure.
        with suppress(Exception):
            reader(data, found)
    if found.photoshop and not found.iptc:
        found.iptc = next((body for number, body in _resources(found.photoshop) if number == _IPTC_RESOURCE), b"")
    return found


def _of_jpeg(data: bytes, found: Metadata) -> None:
    extensions: dict[bytes, list[tuple[int, bytes]]] = {}
    profiles: list[bytes] = []
    resources: list[bytes] = []
    left_of_profile = left_of_resources = MOST_OF_ONE
    left, left_of_texts = MOST_OF_ONE, _MOST_OF_TEXTS
    for marker, body in islice(header_segments(data), _MOST_SEGMENTS):
        if marker == 0xDB:
            if len(found.tables) < _MOST_TABLES:
                found.tables.append(body)
        elif marker == 0xFE:
            left_of_texts -= len(body)
            if left_of_texts >= 0 and len(found.texts) < _MOST_TEXTS:
                found.texts.append(("Comment", _text(body)))
        elif marker == 0xE0 and body.startswith(b"JFIF\x00"):
            found.markers.add("JFIF")
        elif marker == 0xE1 and body.startswith(b"Exif\x00"):
            found.exif = found.exif or body[6:]
        elif marker == 0xE1 and body.startswith(_XMP):
            found.xmp = found.xmp or [body[len(_XMP) :]]
        elif marker == 0xE1 and body.startswith(_LONG_XMP) and (left := left - len(body)) >= 0:
            at = len(_LONG_XMP)
            place = int.from_bytes(body[at + 36 : at + 40], "big")
            extensions.setdefault(body[at : at + 32], []).append((place, body[at + 40 :]))
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\x00"):
            left_of_profile = _take(profiles, body[14:], left_of_profile)
        elif marker == 0xE2 and body.startswith(b"MPF\x00"):
            found.markers.add("MPF")
        elif marker == 0xEC and body.startswith(b"Ducky"):
            found.markers.add("Ducky")
        elif marker == 0xED and body.startswith(_PHOTOSHOP):
            left_of_resources = _take(resources, body[len(_PHOTOSHOP) :], left_of_resources)
        elif marker == 0xEE and body.startswith(b"Adobe"):
            found.markers.add("Adobe")
    for guid, pieces in islice(extensions.items(), 4):
        # Of another picture's extension, which some program has left in the file, nothing is taken.
        if found.xmp and guid in found.xmp[0]:
            found.xmp.append(b"".join(piece for _, piece in sorted(pieces))[:MOST_OF_ONE])
    found.profile = b"".join(profiles)
    found.photoshop = b"".join(resources)


def _take(pieces: list[bytes], piece: bytes, left: int) -> int:
    """Keep as much of a piece as is left of what may be kept; what is left after it."""
    if left > 0:
        pieces.append(piece[:left])
    return left - len(piece)


def _of_png(data: bytes, found: Metadata) -> None:
    left, looked_at, profile_seen = _MOST_OF_TEXTS, 0, False
    for kind, body in png_chunks_of(data, _PNG_KINDS):
        key, _, rest = body.partition(b"\x00")
        if kind == b"eXIf":
            found.exif = found.exif or body.removeprefix(b"Exif\x00\x00")
            continue
        if kind == b"iCCP":
            # The first alone: each may unpack to megabytes before it turns out to be broken. So may a text.
            if not profile_seen:
                found.profile, profile_seen = _unpacked(rest[1:], MOST_OF_ONE), True
            continue
        if left <= 0 or looked_at >= _MOST_TEXTS:
            continue
        looked_at += 1
        content, coding = rest, "latin-1"
        if kind == b"zTXt":
            content = _unpacked(rest[1:], min(left, MOST_OF_ONE))
        elif kind == b"iTXt":
            coding = "utf-8"
            content = rest[2:].split(b"\x00", 2)[-1]
            if rest[:1] == b"\x01":
                content = _unpacked(content, min(left, MOST_OF_ONE))
        content = content[: min(left, MOST_OF_ONE)]
        left -= len(content)
        if key == b"XML:com.adobe.xmp":
            _take_packet(content, found)
        elif key.startswith(b"Raw profile type "):
            _take_raw_profile(key[17:], content, found)
        else:
            found.texts.append(
                (_text(key[:79]), content.decode(coding, "replace") if coding == "utf-8" else _text(content))
            )


def _take_raw_profile(kind: bytes, content: bytes, found: Metadata) -> None:
    """Take a block that ImageMagick has written as hexadecimal digits: a name, a length, and the digits."""
    try:
        # Not split at every space: megabytes of pairs of digits would become millions of pieces.
        digits = content.split(None, 2)[2].translate(None, b" \t\r\n\v\f")
        block = binascii.unhexlify(digits)
    except (binascii.Error, IndexError):
        return
    if kind in (b"exif", b"APP1", b"app1") and block.startswith(b"Exif"):
        found.exif = found.exif or block[6:]
    elif kind in (b"xmp", b"APP1", b"app1"):
        _take_packet(block.removeprefix(_XMP), found)
    elif kind in (b"iptc", b"8bim"):
        if block.startswith(b"8BIM") or block.startswith(_PHOTOSHOP):
            found.photoshop = found.photoshop or block.removeprefix(_PHOTOSHOP)
        else:
            found.iptc = found.iptc or block


def _take_packet(packet: bytes, found: Metadata) -> None:
    if len(found.xmp) < _MOST_PACKETS:
        found.xmp.append(packet)


def _of_webp(data: bytes, found: Metadata) -> None:
    for kind, body in webp_chunks_of(data, _WEBP_KINDS):
        if kind == b"EXIF":
            found.exif = found.exif or body.removeprefix(b"Exif\x00\x00")
        elif kind == b"ICCP":
            found.profile = found.profile or body[:MOST_OF_ONE]
        elif not found.xmp:
            found.xmp.append(body[:MOST_OF_ONE])


def _of_tiff(data: bytes, found: Metadata) -> None:
    tags = tag_contents(data, _TIFF_TAGS, MOST_OF_ONE)
    found.exif = data
    found.xmp = [tags[_XMP_TAG]] if _XMP_TAG in tags else []
    found.iptc = tags.get(_IPTC_TAG, b"")
    found.photoshop = tags.get(_PHOTOSHOP_TAG, b"")
    found.profile = tags.get(_PROFILE_TAG, b"")


def _of_isobmff(data: bytes, found: Metadata) -> None:
    for kind, content in metadata_items(data, MOST_OF_ONE, _MOST_OF_TEXTS):
        if kind == b"Exif":
            # Before the TIFF stands how far away it begins, as four bytes.
            start = 4 + int.from_bytes(content[:4], "big")
            found.exif = found.exif or content[start:].removeprefix(b"Exif\x00\x00")
        elif b"xmpmeta" in content or b"rdf:RDF" in content:
            _take_packet(content, found)


#: Photoshop's resource that holds IPTC's records.
_IPTC_RESOURCE = 0x0404


def _resources(block: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of Photoshop's resources: ``8BIM``, a number, a name, a length, all at even places."""
    at = 0
    while block[at : at + 4] == b"8BIM" and at + 12 <= len(block):
        number = int.from_bytes(block[at + 4 : at + 6], "big")
        at += 6 + (block[at + 6] + 2) // 2 * 2
        size = int.from_bytes(block[at : at + 4], "big")
        yield number, block[at + 4 : at + 4 + size]
        at += 4 + (size + 1) // 2 * 2


def _unpacked(packed: bytes, most: int) -> bytes:
    """What it unpacks to, at most so many bytes; of what is broken, nothing."""
    try:
        return zlib.decompressobj().decompress(packed, max(1, most))
    except zlib.error:
        return b""


def _text(content: bytes) -> str:
    """Text whose coding is not certain: PNG wants Latin-1, programs write UTF-8."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")
