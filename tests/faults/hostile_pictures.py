"""Pictures that were made to do harm, each built here byte by byte, as small as such a file is."""

from __future__ import annotations

import struct
import zlib

from PIL import Image, PngImagePlugin

from tests.imaging.pictures import encode, picture

FRAMES = 100_000
_PNG = b"\x89PNG\r\n\x1a\n"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _header(width: int, height: int) -> bytes:
    return _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says that it is as large as this."""
    return _PNG + _header(width, height) + _chunk(b"IDAT", zlib.compress(bytes(1000))) + _chunk(b"IEND", b"")


def png_that_unpacks_to_more() -> bytes:
    """A PNG of 16 x 16 whose bytes unpack to 200 MB."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(10_000_000)) for _ in range(20)) + packer.flush()
    return _PNG + _header(16, 16) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def gif_of_frames(count: int = FRAMES) -> bytes:
    """A GIF of 16 x 16 with so many frames after the first."""
    still = encode(picture(16, 16), "GIF")
    frame = b"!\xf9\x04\x00\x00\x00\x00\x00" + b",\x00\x00\x00\x00\x01\x00\x01\x00\x00" + b"\x02\x02D\x01\x00"
    assert still.endswith(b";")
    return still[:-1] + frame * count + b";"


def apng_of_frames(count: int = FRAMES) -> bytes:
    """An animated PNG of 16 x 16 with so many frames."""
    side = 16
    rows = b"".join(b"\0" + bytes((7 * x + 11 * y) % 256 for x in range(3 * side)) for y in range(side))
    parts = [_PNG, _header(side, side), _chunk(b"acTL", struct.pack(">II", count, 0))]
    control = struct.pack(">IIIIHHBB", side, side, 0, 0, 1, 10, 0, 0)
    parts += [_chunk(b"fcTL", struct.pack(">I", 0) + control), _chunk(b"IDAT", zlib.compress(rows))]
    small = struct.pack(">IIIIHHBB", 1, 1, 0, 0, 1, 10, 0, 0)
    dot, sequence = zlib.compress(b"\0\0\0\0"), 1
    for _ in range(count - 1):
        parts.append(_chunk(b"fcTL", struct.pack(">I", sequence) + small))
        parts.append(_chunk(b"fdAT", struct.pack(">I", sequence + 1) + dot))
        sequence += 2
    return b"".join([*parts, _chunk(b"IEND", b"")])


def png_with_giant_texts() -> bytes:
    """A picture beside which lie texts that unpack to 60 MB each."""
    texts = PngImagePlugin.PngInfo()
    for number in range(4):
        texts.add_text(f"parameters {number}", "a" * 60_000_000, zip=True)
    return encode(picture(32, 32, seed=5), "PNG", pnginfo=texts)


def tiff_of_a_circle() -> bytes:
    """A TIFF whose only directory names itself as the next one."""
    data = bytearray(encode(picture(16, 16, seed=6), "TIFF"))
    [start] = struct.unpack("<I", data[4:8])
    [entries] = struct.unpack("<H", data[start : start + 2])
    place = start + 2 + 12 * entries
    data[place : place + 4] = struct.pack("<I", start)
    return bytes(data)


def not_pictures() -> dict[str, bytes]:
    """Files of other kinds under the names of photographs; some begin as a picture does."""
    page = b"<html><script>fetch('http://evil.example')</script></html>"
    return {
        "psd.jpg": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 16, 16, 8, 3) + bytes(3000),
        "eps.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n(r) file\n" + bytes(200),
        "fits.jpg": b"SIMPLE  =                    T".ljust(80) + b"END".ljust(2800),
        "svg.png": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
        "page.gif": b"GIF89a" + page,
        "page.jpg": b"\xff\xd8\xff\xe0" + page,
        "page.png": _PNG + page,
        "pickle.webp": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07builtin\x94.",
    }


def polyglot() -> bytes:
    """A whole JPEG that is a page with a script too."""
    return encode(picture(40, 40, seed=7), "JPEG", comment=b"<script>alert(1)</script>") + b"<html><script>1</script>"


def cut_off() -> dict[str, bytes]:
    """A photograph in each format, cut off at every tenth of its bytes."""
    found = {}
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "HEIF"):
        data = encode(picture(96, 64, seed=8), kind)
        found |= {f"cut/{kind}-{tenth}.{kind.lower()}": data[: len(data) * tenth // 10] for tenth in range(1, 10)}
    return found


def with_place() -> dict[str, bytes]:
    """Small JPEGs that say where they were taken, in each of the places where a file may say it."""
    exif = Image.Exif()
    exif.get_ifd(0x8825)[29] = SECRET.decode()
    plain = encode(picture(60, 60, seed=9), "JPEG", quality=90)
    end = plain[2:]
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>" + SECRET + b"</x:xmpmeta>"

    def segment(mark: int, data: bytes) -> bytes:
        return b"\xff\xd8" + struct.pack(">BBH", 0xFF, mark, len(data) + 2) + data + end

    return {
        "exif.jpg": encode(picture(60, 60, seed=10), "JPEG", exif=exif, quality=90),
        "xmp.jpg": segment(0xE1, xmp),
        "photoshop.jpg": segment(0xED, b"Photoshop 3.0\x008BIM" + SECRET),
        "comment.jpg": segment(0xFE, SECRET),
        "behind.jpg": plain + SECRET,
        "profile.jpg": segment(0xE2, b"MPF\0" + SECRET),
        "large.jpg": encode(picture(700, 500, seed=11), "JPEG", exif=exif, comment=SECRET),
        "exif.png": encode(picture(60, 60, seed=12), "PNG", exif=exif),
    }


#: Whatever a thumbnail must not hold.
SECRET = b"2026:52.5200N-13.4050E"
