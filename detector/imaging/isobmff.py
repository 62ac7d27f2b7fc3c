"""The boxes of AVIF and HEIC files: the same file without broken metadata, and what its picture is coded as.

See ISO/IEC 14496-12 (boxes) and 23008-12 (items).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

_CODED_AS = {
    b"jpeg": "JPEG",
    b"j2k1": "JPEG 2000",
    b"vvc1": "VVC",
    b"evc1": "EVC",
    b"avc1": "H.264",
    b"unci": "uncompressed samples",
    b"jxs1": "JPEG XS",
}
_METADATA = (b"Exif", b"mime", b"uri ")
_PROFILES = (b"prof", b"rICC")
#: Boxes that are looked at; real files have some hundreds.
_MOST_BOXES = 20_000
#: Pieces of one item; metadata lie in one.
_MOST_PIECES = 16


@dataclass(frozen=True, slots=True)
class _Box:
    kind: bytes
    start: int
    body: int
    end: int


def _boxes(data: bytes, start: int, end: int) -> Iterator[_Box]:
    """The boxes that lie side by side in a range; the last may claim to reach beyond it."""
    for _ in range(_MOST_BOXES):
        if start + 8 > end:
            return
        size, kind, body = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8], start + 8
        if size == 1:
            size, body = int.from_bytes(data[start + 8 : start + 16], "big"), start + 16
        elif size == 0:
            size = end - start
        if size < body - start:
            return
        yield _Box(kind, start, body, start + size)
        start += size


def _inside(data: bytes, box: _Box, kind: bytes, skipped: int = 0) -> Iterator[_Box]:
    """The boxes of a kind in another one, beyond whose end none of them reaches, whatever it claims."""
    end = min(box.end, len(data))
    for found in _boxes(data, box.body + skipped, end):
        if found.kind == kind:
            yield replace(found, end=min(found.end, end))


def _meta(data: bytes) -> Iterator[_Box]:
    return (box for box in _boxes(data, 0, len(data)) if box.kind == b"meta")


def _items(data: bytes) -> Iterator[tuple[int, int]]:
    """The id of each item, and where its four letters stand that say what it is."""
    for meta in _meta(data):
        for table in _inside(data, meta, b"iinf", 4):
            # The number of entries has two bytes in the first version of the box, four since.
            for entry in _inside(data, table, b"infe", 6 if data[table.body] == 0 else 8):
                wide = data[entry.body] >= 3
                at = entry.body + 4
                yield int.from_bytes(data[at : at + (4 if wide else 2)], "big"), at + (6 if wide else 4)


def primary_brand(data: bytes) -> bytes | None:
    """Four letters that say how the picture, not one of the thumbnails, is coded; None where that cannot be told."""
    for meta in _meta(data):
        for box in _inside(data, meta, b"pitm", 4):
            wanted = int.from_bytes(data[box.body + 4 : box.body + (6 if data[box.body] == 0 else 8)], "big")
            return next((data[at : at + 4] for item, at in _items(data) if item == wanted), None)
    return None


def metadata_items(data: bytes, most: int, most_of_all: int) -> Iterator[tuple[bytes, bytes]]:
    """Kind (``Exif`` or ``mime``) and content of each item that is metadata, at most ``most`` bytes of each.

    Where an item lies says the box ``iloc``: pieces of the file, or of the box ``idat``. Thousands of items may lie in
    the same place, hence ``most_of_all``, the bytes of all items together; what comes after them is left out.
    """
    left = most_of_all
    kinds = {item: data[at : at + 4] for item, at in _items(data) if data[at : at + 4] in (b"Exif", b"mime")}
    for meta in _meta(data):
        inside = next(_inside(data, meta, b"idat", 4), None)
        for box in _inside(data, meta, b"iloc", 4):
            for item, in_box, pieces in _places(data[box.body : box.end]):
                base = (inside.body if inside else len(data)) if in_box else 0
                if left <= 0:
                    return
                if item in kinds:
                    content = bytearray()
                    for at, size in pieces:
                        content += data[base + at : base + at + min(size, most - len(content), left - len(content))]
                    left -= len(content)
                    yield kinds.pop(item), bytes(content)


def _places(box: bytes) -> Iterator[tuple[int, bool, list[tuple[int, int]]]]:
    """Of each item of an ``iloc`` its id, whether places count within ``idat``, and its pieces: where, and how long."""
    at = 6

    def number(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(box[at - size : at], "big")

    if len(box) < 8:
        return
    version, wide = box[0], 4 if box[0] >= 2 else 2
    of_offset, of_length, of_base, of_index = box[4] >> 4, box[4] & 15, box[5] >> 4, box[5] & 15
    for _ in range(min(number(wide), _MOST_BOXES)):
        item = number(wide)
        in_box = version >= 1 and number(2) & 15 == 1
        at += 2  # which file it lies in: always this one
        base, pieces = number(of_base), []
        for _ in range(min(number(2), _MOST_PIECES)):
            at += of_index if version >= 1 else 0
            pieces.append((base + number(of_offset), number(of_length)))
        if at > len(box):
            return
        yield item, in_box, pieces


def why_not_supported(data: bytes) -> str | None:
    """What the picture is coded as, where that is nothing that is read; else None."""
    coded = _CODED_AS.get(primary_brand(data) or b"")
    return None if coded is None else f"a HEIF file coded as {coded}"


def without_metadata(data: bytes, with_profile: bool) -> bytes:
    """A copy whose metadata are called by names that no decoder looks for.

    Nothing moves, since the file's tables point at places in it. Where the last box claims to be longer than the file,
    it is made to reach to the end: what is cut off may be metadata, and if it is the picture, the decoder finds out.

    Parameters
    ----------
    with_profile : bool
        Keep ICC profiles. What else says how colours are to be read always stays.
    """
    copy = bytearray(data)
    for _, at in _items(data):
        if data[at : at + 4] in _METADATA:
            copy[at : at + 4] = b"none"
    if not with_profile:
        for meta in _meta(data):
            for properties in _inside(data, meta, b"iprp", 4):
                for container in _inside(data, properties, b"ipco"):
                    for box in _inside(data, container, b"colr"):
                        if data[box.body : box.body + 4] in _PROFILES:
                            copy[box.start + 4 : box.start + 8] = b"free"
    for box in _boxes(data, 0, len(data)):
        if box.end > len(data) and box.kind == b"mdat" and box.body == box.start + 8:
            copy[box.start : box.start + 4] = bytes(4)
    return bytes(copy)
