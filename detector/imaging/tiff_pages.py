"""The directories of a TIFF file: which of its pictures is the picture, and what is left without broken tags.

Cameras write their raw files as TIFFs with a thumbnail first, and programs write pages that are reduced copies of
another. See `TIFF 6.0 <https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf>`_, its supplement 1 (SubIFDs),
TIFF/EP (ISO 12234-2) and the `DNG specification <https://helpx.adobe.com/camera-raw/digital-negative.html>`_.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from PIL import TiffImagePlugin

_NEW_SUBFILE, _SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 255, 256, 257, 258, 259, 262
_MAKE, _SAMPLES, _SUB_DIRECTORIES, _SAMPLE_FORMAT, _DNG_VERSION = 271, 277, 330, 339, 50706
_EXIF_DIRECTORY = 34665
_STRIPS, _TILES = (273, 279), (324, 325)

_REDUCED, _MASK = 1, 4
_RAW_PHOTOMETRICS = {32803, 34892}  # a colour filter array, and the same demosaiced but not yet developed
_RAW_COMPRESSIONS = {32767: "ARW", 32770: "SRW", 34713: "NEF", 65000: "DCR", 65535: "PEF"}
_RAW_BY_MAKE = (
    ("canon", "CR2"), ("nikon", "NEF"), ("sony", "ARW"), ("pentax", "PEF"), ("ricoh", "PEF"), ("samsung", "SRW"),
    ("hasselblad", "3FR"), ("phase one", "IIQ"), ("leaf", "MOS"), ("epson", "ERF"), ("mamiya", "MEF"),
    ("kodak", "DCR"), ("olympus", "ORF"), ("panasonic", "RW2"),
)  # fmt: skip
_RAW_STARTS = (
    (b"FUJIFILMCCD-RAW", "RAF"),
    (b"FOVb", "X3F"),
    (b"IIRO", "ORF"),
    (b"IIRS", "ORF"),
    (b"MMOR", "ORF"),
    (b"IIU\x00", "RW2"),
    (b"\x00MRM", "MRW"),
    (b"II\x1a\x00\x00\x00HEAPCCDR", "CRW"),
    (b"\x00\x00\x00\x18ftypcrx ", "CR3"),
)

#: Tags without which the picture cannot be decoded, or comes out as another one; the rest lies beside it.
_PICTURE_TAGS = {
    254, 255, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 332,
    336, 338, 339, 347, *range(512, 522), 529, 530, 531, 532,
}  # fmt: skip

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}

#: Pages searched for one that is not reduced, pages and sub-directories looked at for raw pictures, tags of a page,
#: strips or tiles of a picture.
_MOST_PAGES, _MOST_SEARCHED, _MOST_TAGS, _MOST_STRIPS = 1000, 16, 4096, 1 << 20

_COMPRESSIONS = {
    34661: "JBIG",
    34712: "JPEG 2000",
    33003: "JPEG 2000",
    33004: "JPEG 2000",
    33005: "JPEG 2000",
    34887: "LERC",
    34933: "PNG",
    34934: "JPEG XR",
    22610: "JPEG XR",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
# Known to Pillow by name, but its libtiff hands out no samples that it could use.
_UNUSABLE_COMPRESSIONS = {32809: "ThunderScan", 34676: "SGI LogLuv", 34677: "SGI LogLuv"}
_SAMPLE_KINDS = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}


class _Tag(NamedTuple):
    kind: int
    values: int
    at: int


@dataclass(frozen=True)
class _Page:
    """One directory: where it begins, its tags, and where the next is (0: nowhere)."""

    start: int
    tags: dict[int, _Tag]
    next: int


class _Tiff:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.byte_order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
        self.order = "<" if data[:2] == b"II" else ">"
        self.big = data[2:4] in (b"+\x00", b"\x00+")
        # Of a directory: how long its number of tags is, and how long a tag, and a place in the file.
        self.head, self.entry, self.place = (8, 20, 8) if self.big else (2, 12, 4)
        self.layout = struct.Struct(self.order + ("HHQQ" if self.big else "HHII"))
        self._known: dict[int, _Page | None] = {}
        self.first = self.whole(8 if self.big else 4, self.place)

    def whole(self, at: int, size: int) -> int:
        return int.from_bytes(self.data[at : at + size], self.byte_order)

    def page(self, start: int) -> _Page | None:
        """None where there is no whole directory."""
        if start not in self._known:
            self._known[start] = self._read(start)
        return self._known[start]

    def _read(self, start: int) -> _Page | None:
        count = self.whole(start, self.head)
        end = start + self.head + count * self.entry
        if not 8 <= start <= len(self.data) - self.head or end > len(self.data) or not 0 < count <= _MOST_TAGS:
            return None
        tags: dict[int, _Tag] = {}
        at = start + self.head + self.entry - self.place
        for tag, kind, values, place in self.layout.iter_unpack(self.data[start + self.head : end]):
            # Short values stand in the tag itself.
            tags.setdefault(tag, _Tag(kind, values, at if _SIZES.get(kind, 0) * values <= self.place else place))
            at += self.entry
        return _Page(start, tags, self.whole(end, self.place))

    def pages(self, most: int) -> Iterator[_Page]:
        seen: set[int] = set()
        at = self.first
        while at and at not in seen and len(seen) < most and (page := self.page(at)):
            seen.add(at)
            yield page
            at = page.next

    def numbers(self, page: _Page, tag: int, most: int = _MOST_STRIPS) -> tuple[int, ...]:
        """The values of a tag of whole numbers; empty where it is missing, of another kind or outside the file."""
        found = page.tags.get(tag)
        if found is None or found.kind not in _INTEGERS:
            return ()
        count = min(found.values, most)
        if found.at + count * _SIZES[found.kind] > len(self.data):
            return ()
        return struct.unpack_from(f"{self.order}{count}{_INTEGERS[found.kind]}", self.data, found.at)

    def number(self, page: _Page, tag: int, otherwise: int) -> int:
        found = page.tags.get(tag)
        if found is None or found.kind not in _INTEGERS or not found.values:
            return otherwise
        size = _SIZES[found.kind]
        return self.whole(found.at, size) if found.at + size <= len(self.data) else otherwise

    def below(self, page: _Page) -> list[_Page]:
        """The directories below a page."""
        if _SUB_DIRECTORIES not in page.tags:
            return []
        places = self.numbers(page, _SUB_DIRECTORIES, _MOST_SEARCHED)
        return [found for found in map(self.page, places) if found is not None]

    def is_beside(self, page: _Page) -> bool:
        """Whether a page says that it is a reduced copy of the picture, or a mask of it."""
        marks = self.number(page, _NEW_SUBFILE, 0)
        return bool(marks & (_REDUCED | _MASK)) or self.number(page, _SUBFILE, 1) == 2

    def size(self, page: _Page) -> tuple[int, int]:
        return self.number(page, _WIDTH, 0), self.number(page, _HEIGHT, 0)


class TiffContent(NamedTuple):
    """What a file is: a camera raw file (``raw`` says which), or a TIFF with its picture as the first page.

    ``picture`` is the file itself, or a copy with one number changed; None in a raw file, and where every page says
    that it is a reduced copy or a mask.
    """

    raw: str | None
    picture: bytes | None


def inspect_tiff(data: bytes) -> TiffContent:
    """Tell camera raw files by their content, and find the picture of a TIFF.

    The picture is the first page that does not say that it is a reduced copy or a mask; of a page that is, or that has
    a larger picture below it, the one below. Files of other formats come back as their own picture.
    """
    for start, kind in _RAW_STARTS:
        if data.startswith(start):
            return TiffContent(kind, None)
    if data[4:12] == b"ftypcrx ":
        return TiffContent("CR3", None)
    if data[:4] not in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        return TiffContent(None, data)
    tiff = _Tiff(data)
    raw = _raw_kind(tiff)
    return TiffContent(raw, None) if raw else TiffContent(None, _picture_first(tiff))


def _raw_kind(tiff: _Tiff) -> str | None:
    if tiff.data[8:10] == b"CR" and tiff.byte_order == "little":
        return "CR2"
    if tiff.data[8:12] in (b"IIII", b"MMMM"):
        return "IIQ"
    for page in tiff.pages(_MOST_SEARCHED):
        if _DNG_VERSION in page.tags:
            return "DNG"
        for found in (page, *tiff.below(page)):
            compression = tiff.number(found, _COMPRESSION, 1)
            if tiff.number(found, _PHOTOMETRIC, 0) in _RAW_PHOTOMETRICS or compression in _RAW_COMPRESSIONS:
                return _RAW_COMPRESSIONS.get(compression) or _kind_by_make(tiff)
    return None


def _kind_by_make(tiff: _Tiff) -> str:
    page = tiff.page(tiff.first)
    found = page.tags.get(_MAKE) if page else None
    make = tiff.data[found.at : found.at + min(found.values, 64)].lower().decode("latin-1") if found else ""
    return next((kind for maker, kind in _RAW_BY_MAKE if maker in make), "TIFF/EP")


def _picture_first(tiff: _Tiff) -> bytes | None:
    pages = 0
    for page in tiff.pages(_MOST_PAGES):
        pages += 1
        beside = tiff.is_beside(page)
        if not beside and _SUB_DIRECTORIES not in page.tags:
            return tiff.data if page.start == tiff.first else _starting_at(tiff, page)
        width, height = (0, 0) if beside else tiff.size(page)
        best = None if beside else page
        for found in tiff.below(page):
            wide, high = tiff.size(found)
            if not tiff.is_beside(found) and wide > width and high > height:
                best, width, height = found, wide, high
        if best is not None:
            return tiff.data if best.start == tiff.first else _starting_at(tiff, best)
    return tiff.data if pages == 0 else None


def _starting_at(tiff: _Tiff, page: _Page) -> bytes:
    at = 8 if tiff.big else 4
    return tiff.data[:at] + page.start.to_bytes(tiff.place, tiff.byte_order) + tiff.data[at + tiff.place :]


def tag_contents(data: bytes, wanted: Container[int], most: int) -> dict[int, bytes]:
    """What stands in some tags of the first page and of its EXIF directory, at most ``most`` bytes of each.

    EXIF data of every format are a TIFF without a picture. What is no TIFF, or leads out of the file, is left out.
    """
    if data[:4] not in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        return {}
    tiff = _Tiff(data)
    first = tiff.page(tiff.first)
    exif = tiff.page(tiff.number(first, _EXIF_DIRECTORY, 0)) if first else None
    found: dict[int, bytes] = {}
    for page in (first, exif):
        for tag, place in page.tags.items() if page else ():
            size = _SIZES.get(place.kind, 0) * place.values
            if tag in wanted and size and place.at + size <= len(data):
                found.setdefault(tag, data[place.at : place.at + min(size, most)])
    return found


def without_broken_tags(data: bytes, all_beside: bool) -> bytes | None:
    """A copy whose first page has no tags that lead out of the file; None where there is no such page.

    Nothing moves, since the tags point at places in the file: only the list of tags becomes shorter.

    Parameters
    ----------
    all_beside : bool
        Drop all tags without which the picture is the same one, too.
    """
    tiff = _Tiff(data)
    page = tiff.page(tiff.first)
    if page is None:
        return None
    begin = page.start + tiff.head
    count = tiff.whole(page.start, tiff.head)
    kept = []
    for at in range(begin, begin + count * tiff.entry, tiff.entry):
        tag = tiff.whole(at, 2)
        found = page.tags[tag]
        whole = found.kind in _SIZES and found.at + _SIZES[found.kind] * found.values <= len(data)
        if tag in _PICTURE_TAGS or (whole and not all_beside):
            kept.append(data[at : at + tiff.entry])
    end = begin + count * tiff.entry
    following = data[end : end + tiff.place] if page.next < len(data) else bytes(tiff.place)
    directory = len(kept).to_bytes(tiff.head, tiff.byte_order) + b"".join(kept) + following
    return data[: page.start] + directory + data[page.start + len(directory) :]


def why_not_supported(data: bytes) -> str | None:
    """What kind of TIFF it is, where all data of its first page are there but cannot be decoded; else None."""
    tiff = _Tiff(data)
    page = tiff.page(tiff.first)
    if page is None or not _is_whole(tiff, page):
        return None
    if tiff.big and tiff.byte_order == "big":
        return "a BigTIFF with the highest byte first"
    compression = tiff.number(page, _COMPRESSION, 1)
    if compression in _UNUSABLE_COMPRESSIONS:
        return f"a TIFF compressed as {_UNUSABLE_COMPRESSIONS[compression]}"
    if compression not in TiffImagePlugin.COMPRESSION_INFO:
        return f"a TIFF compressed as {_COMPRESSIONS.get(compression, f'number {compression}')}"
    bits, samples = tiff.number(page, _BITS, 1), tiff.number(page, _SAMPLES, 1)
    kind = _SAMPLE_KINDS.get(tiff.number(page, _SAMPLE_FORMAT, 1))
    return f"a TIFF of {samples} {f'{kind} ' if kind else ''}sample{'s' if samples != 1 else ''} of {bits} bits a pixel"


def _is_whole(tiff: _Tiff, page: _Page) -> bool:
    """Whether the page's data lie inside the file, all of them as far as the tags can tell."""
    width, height = tiff.size(page)
    places_tag, counts_tag = _TILES if _TILES[0] in page.tags else _STRIPS
    places, counts = tiff.numbers(page, places_tag), tiff.numbers(page, counts_tag)
    if not width or not height or not places or len(places) != len(counts):
        return False
    if any(place + count > len(tiff.data) or count == 0 for place, count in zip(places, counts, strict=True)):
        return False
    if tiff.number(page, _COMPRESSION, 1) != 1:
        return True
    bits = sum(tiff.numbers(page, _BITS, 16)) or 1
    return sum(counts) * 8 >= width * height * bits
