"""The chunks of a PNG file: the same file without what lies broken beside the picture.

Pillow refuses the whole file for a text that unpacks to more than 1 MiB (the workflows that ComfyUI saves do) and for a
wrong checksum of any chunk before the picture. The specification wants neither: chunks whose name begins with a small
letter are `ancillary <https://www.w3.org/TR/png-3/#4Concepts.FormatChunks>`_, and the picture can be had without them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_APPLE = b"CgBI"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_MOVING = (b"acTL", b"fcTL", b"fdAT")

#: Pillow unpacks at most this much of one text or profile (``PngImagePlugin.MAX_TEXT_CHUNK``).
_MOST_OF_ONE = 1 << 20
#: Texts are unpacked to see whether they can be; behind this much of all together only their names are kept.
_MOST_OF_ALL = 8 << 20
#: Chunks of texts that are kept, and bytes of a name (the specification's limit).
_MOST_TEXTS, _LONGEST_KEY = 1000, 79

#: A photograph of 64 MB in pieces of 4 kB has 16,000; a hostile file may have millions of empty ones.
_MOST_CHUNKS = 200_000

# What Pillow needs of these at least, or what the specification fixes.
_LEAST_LENGTHS = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9}
_TRANSPARENCY_LENGTHS = {0: 2, 2: 6}


@dataclass(frozen=True, slots=True)
class _Chunk:
    kind: bytes
    start: int
    length: int

    @property
    def end(self) -> int:
        return self.start + 12 + self.length

    @property
    def ancillary(self) -> bool:
        return bool(self.kind[0] & 0x20)

    def body(self, data: bytes) -> bytes:
        return data[self.start + 8 : self.end - 4]

    def checksum_holds(self, data: bytes) -> bool:
        found = zlib.crc32(memoryview(data)[self.start + 4 : self.end - 4])
        return found == int.from_bytes(data[self.end - 4 : self.end], "big")


def _chunks(data: bytes) -> Iterator[_Chunk]:
    at = len(_SIGNATURE)
    while at + 8 <= len(data):
        chunk = _Chunk(data[at + 4 : at + 8], at, int.from_bytes(data[at : at + 4], "big"))
        yield chunk
        at = chunk.end


def is_for_apple_apps(data: bytes) -> bool:
    """Whether Xcode has rewritten the file for an app: whole, but no PNG that other programs can decode."""
    return data[12:16] == _APPLE


def chunks_of(data: bytes, kinds: frozenset[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each whole chunk of some kinds, behind the picture too; wrong checksums do not matter."""
    for chunk in islice(_chunks(data), _MOST_CHUNKS):
        if chunk.kind == b"IEND":
            return
        if chunk.kind in kinds and chunk.end <= len(data):
            yield chunk.kind, chunk.body(data)


def without_broken_chunks(data: bytes, moving: bool) -> bytes:
    """A copy with the picture's own chunks and those ancillary ones that can be read.

    The chunks of the picture are copied as they are, so whatever is wrong with them is found when they are decoded.
    Of a text that is too large or cannot be unpacked, the name stays, with a blank for its content.

    Parameters
    ----------
    moving : bool
        Keep the chunks of an animation, where all of them are whole.
    """
    chunks = list(islice(_chunks(data), _MOST_CHUNKS))
    seen_picture = False
    for at, chunk in enumerate(chunks):
        seen_picture |= chunk.kind == b"IDAT"
        if chunk.kind == b"IEND" or (seen_picture and chunk.end > len(data) and chunk.kind != b"IDAT"):
            # What follows is no part of the file, or was cut off behind the picture.
            chunks = chunks[:at]
            break
    keeps_moving = moving and all(c.end <= len(data) and c.checksum_holds(data) for c in chunks if c.kind in _MOVING)
    colour_type = data[25] if len(data) > 25 else 0
    texts = _Texts()
    parts = [_SIGNATURE]
    for chunk in chunks:
        if not chunk.ancillary:
            parts.append(data[chunk.start : chunk.end])
        elif chunk.end > len(data) or not chunk.checksum_holds(data):
            continue
        elif chunk.kind in _TEXTS:
            parts.append(texts.kept(chunk, data))
        elif chunk.kind in _MOVING:
            if keeps_moving:
                parts.append(data[chunk.start : chunk.end])
        elif _is_readable(chunk, data, colour_type):
            parts.append(data[chunk.start : chunk.end])
    # Behind data that are cut off it would be taken for the rest of them.
    if chunks and chunks[-1].end <= len(data):
        parts.append(_END)
    return b"".join(parts)


def _is_readable(chunk: _Chunk, data: bytes, colour_type: int) -> bool:
    if not chunk.kind.isalpha() or chunk.length < _LEAST_LENGTHS.get(chunk.kind, 0):
        return False
    if chunk.kind == b"tRNS":
        if colour_type == 3:
            return 1 <= chunk.length <= 256
        return chunk.length == _TRANSPARENCY_LENGTHS.get(colour_type, -1)
    if chunk.kind == b"iCCP":
        _, _, packed = chunk.body(data).partition(b"\x00")
        return packed[:1] == b"\x00" and _unpacked_size(packed[1:], _MOST_OF_ONE) is not None
    return True


class _Texts:
    """Looks at one text after the other, within one budget for the file."""

    def __init__(self) -> None:
        self._left = _MOST_OF_ALL
        self._count = 0

    def kept(self, chunk: _Chunk, data: bytes) -> bytes:
        self._count += 1
        body = chunk.body(data)
        key, _, rest = body.partition(b"\x00")
        if self._count > _MOST_TEXTS or not 1 <= len(key) <= _LONGEST_KEY:
            return b""
        size: int | None = len(rest)
        most = min(_MOST_OF_ONE, self._left)
        if chunk.kind == b"zTXt":
            size = _unpacked_size(rest[1:], most) if rest[:1] == b"\x00" else None
        elif chunk.kind == b"iTXt" and rest[:1] not in (b"", b"\x00"):
            size = _unpacked_size(rest[2:].split(b"\x00", 2)[-1], most)
        if size is not None and size <= most:
            self._left -= size
            return data[chunk.start : chunk.end]
        if chunk.kind == b"iTXt":
            return _chunk(b"iTXt", key + 5 * b"\x00" + b" ")
        return _chunk(b"tEXt", key + b"\x00 ")


def _unpacked_size(packed: bytes, most: int) -> int | None:
    """How many bytes it unpacks to; None when they are more than ``most``, or when it is broken."""
    unpacker = zlib.decompressobj()
    try:
        size = len(unpacker.decompress(packed, max(1, most)))
    except zlib.error:
        return None
    return None if unpacker.unconsumed_tail or not unpacker.eof else size


def _chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
