"""What the fuzz tests share: how long they look, from which seed, and files whose checksums hold and fields lie.

The seed is kept in the repository: examples are derived from the test alone (``derandomize``), so every run tries the
same ones, and one that once failed stands beside its test as an ``@example``. ``DETECTOR_FUZZ=20000`` looks that often,
at new examples each time.
"""

from __future__ import annotations

import os
import struct
import zlib

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

_WANTED = int(os.environ.get("DETECTOR_FUZZ", "0"))


def fuzz(examples: int) -> settings:
    """So many examples, the same ones each time; with ``DETECTOR_FUZZ`` so many others."""
    return settings(
        max_examples=_WANTED or examples,
        derandomize=not _WANTED,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
    )


NUMBERS_16 = st.sampled_from([0, 1, 2, 3, 255, 256, 0x7FFF, 0x8000, 0xFFFF]) | st.integers(0, 0xFFFF)
NUMBERS_32 = st.sampled_from([0, 1, 8, 255, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]) | st.integers(0, 4096)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk whose checksum is right, whatever is in it."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@st.composite
def pngs(draw: st.DrawFn) -> bytes:
    """PNG and APNG whose chunks are in any order, of any kind, with any fields, all with right checksums."""
    small = st.integers(0, 40)
    head = struct.pack(
        ">IIBBBBB",
        draw(small | NUMBERS_32),
        draw(small | NUMBERS_32),
        draw(st.sampled_from([1, 2, 4, 8, 16, 3, 0])),
        draw(st.sampled_from([0, 2, 3, 4, 6, 1, 255])),
        0,
        0,
        draw(st.sampled_from([0, 1, 7])),
    )
    # Mostly a picture that can be read: else nothing behind the head is looked at.
    if draw(st.integers(0, 3)):
        head = struct.pack(">IIBBBBB", 9, 7, 8, draw(st.sampled_from([0, 2, 3, 4, 6])), 0, 0, 0)
    pixels = zlib.compress(draw(st.binary(max_size=400)) + bytes(9 * 8 * 4))
    kinds = st.sampled_from(
        [
            *(
                b"IDAT",
                b"PLTE",
                b"tRNS",
                b"tEXt",
                b"zTXt",
                b"iTXt",
                b"eXIf",
                b"iCCP",
                b"acTL",
                b"fcTL",
                b"fdAT",
                b"gAMA",
            ),
            *(b"cHRM", b"sBIT", b"pHYs", b"tIME", b"caBX", b"IHDR", b"IEND", b"abcd", b"\0\0\0\0"),
        ]
    )
    bodies = st.one_of(
        st.binary(max_size=120),
        st.binary(max_size=30).map(lambda data: b"Comment\0" + data),
        st.binary(max_size=60).map(lambda data: b"parameters\0\0" + zlib.compress(data * 50)),
        st.binary(max_size=60).map(lambda data: b"XML:com.adobe.xmp\0\0\0\0\0" + data),
        tiffs(),
    )
    others = draw(st.lists(st.builds(png_chunk, kinds, bodies), max_size=5))
    behind = draw(st.lists(st.builds(png_chunk, kinds, bodies), max_size=2))
    parts = [png_chunk(b"IHDR", head), *others, png_chunk(b"IDAT", pixels), *behind, png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@st.composite
def tiffs(draw: st.DrawFn) -> bytes:
    """TIFF of both byte orders whose directories point anywhere, to themselves too, with any kinds and counts."""
    order = draw(st.sampled_from("<>"))
    tags = st.sampled_from(
        [256, 257, 258, 259, 262, 273, 277, 278, 279, 274, 282, 330, 34665, 34853, 37510, 700, 34675]
    )
    data = bytearray((b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", draw(st.just(8) | NUMBERS_32)))
    for _ in range(draw(st.integers(1, 3))):
        entries = draw(st.lists(st.tuples(tags, st.integers(0, 20), NUMBERS_32, NUMBERS_32), max_size=12))
        if draw(st.booleans()):
            # What makes a picture: 4 x 4 grey ones.
            here = len(data)
            entries = [(256, 3, 1, 4), (257, 3, 1, 4), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), *entries]
            entries += [(273, 4, 1, here), (277, 3, 1, 1), (278, 3, 1, 4), (279, 4, 1, 16)]
        data += struct.pack(order + "H", len(entries))
        for tag, kind, count, value in entries:
            packed = struct.pack(order + "HH", value & 0xFFFF, 0) if kind == 3 else struct.pack(order + "I", value)
            data += struct.pack(order + "HHI", tag, kind, count) + packed
        data += struct.pack(order + "I", draw(st.sampled_from([0, 8, len(data) + 4]) | NUMBERS_32))
    return bytes(data) + draw(st.binary(max_size=64))


@st.composite
def riffs(draw: st.DrawFn) -> bytes:
    """WEBP whose chunks lie about their lengths."""
    kinds = st.sampled_from([b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"EXIF", b"XMP ", b"ICCP", b"C2PA"])
    body = b"WEBP"
    for kind, data, lies, length in draw(
        st.lists(st.tuples(kinds, st.binary(max_size=60), st.booleans(), NUMBERS_32), max_size=6)
    ):
        body += kind + struct.pack("<I", length if lies else len(data)) + data + bytes(len(data) % 2)
    return b"RIFF" + struct.pack("<I", draw(st.just(len(body)) | NUMBERS_32)) + body


@st.composite
def boxes(draw: st.DrawFn, depth: int = 3) -> bytes:
    """Boxes in boxes, as of HEIC and AVIF, whose lengths are 0, 1, too small or too large."""
    kinds = st.sampled_from([b"ftyp", b"meta", b"iinf", b"infe", b"iloc", b"iref", b"iprp", b"ipco", b"ispe", b"irot"])
    made = b""
    for _ in range(draw(st.integers(1, 4))):
        inner = draw(boxes(depth - 1)) if depth and draw(st.booleans()) else draw(st.binary(max_size=40))
        length = draw(st.just(len(inner) + 8) | NUMBERS_32)
        made += struct.pack(">I", length) + draw(kinds | st.just(b"mdat")) + inner
    return made


def isobmff() -> st.SearchStrategy[bytes]:
    """What begins as HEIC or AVIF does."""
    brands = st.sampled_from([b"heic", b"avif", b"mif1", b"hevx", b"msf1"])
    return st.builds(
        lambda brand, rest: struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + b"mif1" + brand + rest, brands, boxes()
    )


@st.composite
def jpegs(draw: st.DrawFn, whole: bytes = b"") -> bytes:
    """A JPEG with segments put behind its start that are of any kind, length and content."""
    made = b""
    markers = st.sampled_from(
        [0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xEE, 0xFE, 0xC0, 0xC2, 0xDB, 0xC4, 0xDA, 0xDD, 0xFF, 0x00]
    )
    starts = st.sampled_from([b"", b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0\1\1", b"JP\0\1\0\0"])
    for marker, start, data, lies, length in draw(
        st.lists(st.tuples(markers, starts, tiffs() | st.binary(max_size=60), st.booleans(), NUMBERS_16), max_size=5)
    ):
        body = start + data
        made += bytes([0xFF, marker]) + struct.pack(">H", length if lies else min(len(body) + 2, 0xFFFF)) + body
    return whole[:2] + made + whole[2:]


@st.composite
def zips(draw: st.DrawFn, names: st.SearchStrategy[bytes], contents: st.SearchStrategy[bytes]) -> bytes:
    """Archives of which every field may lie: sizes, checksums, offsets, flags, methods, counts, ZIP64 records."""
    data, directory = b"", b""
    entries = draw(st.lists(st.tuples(names, contents), max_size=5))
    for name, content in entries:
        method = draw(st.sampled_from([0, 8, 8, 0, 12, 14, 93, 99, 6]))
        packed = zlib.compress(content)[2:-4] if method == 8 else content
        honest = draw(st.integers(0, 2)) > 0
        flags = 0x800 if honest else draw(st.sampled_from([0, 1, 8, 0x800, 0x2000, 0xFFFF]))
        crc = zlib.crc32(content) if honest else draw(NUMBERS_32)
        size, claimed = (len(packed), len(content)) if honest else (draw(NUMBERS_32), draw(NUMBERS_32))
        extra = b"" if honest else draw(st.binary(max_size=30))
        offset = len(data) if honest else draw(NUMBERS_32 | st.just(0))
        fields = struct.pack("<HHHHHIII", 20, flags, method, 0, 33, crc, size, claimed)
        data += b"PK\3\4" + fields + struct.pack("<HH", len(name), len(extra)) + name + extra + packed
        mode = 0o100644 if honest else draw(st.sampled_from([0o120777, 0o40755, 0o20666, 0]))
        directory += b"PK\1\2" + struct.pack("<H", 0x314) + fields
        directory += struct.pack("<HHHHHII", len(name), len(extra), 0, 0, 0, mode << 16, offset) + name + extra
    whole = draw(st.integers(0, 3)) > 0
    count = len(entries) if whole else draw(NUMBERS_16)
    length, start = (len(directory), len(data)) if whole else (draw(NUMBERS_32), draw(NUMBERS_32))
    comment = draw(st.binary(max_size=20))
    if not whole and draw(st.booleans()):
        place = len(data) + len(directory)
        directory += b"PK\6\6" + struct.pack("<QHHIIQQQQ", draw(NUMBERS_32), 45, 45, 0, 0, count, count, length, start)
        directory += b"PK\6\7" + struct.pack("<IQI", 0, draw(st.just(place) | NUMBERS_32), 1)
        count, length, start = 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count, count, length, start, len(comment)) + comment
    return data + directory + end
