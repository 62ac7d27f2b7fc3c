"""The chunks of a WebP file: the same file without what lies broken or cut off beside the picture.

See the `container specification <https://developers.google.com/speed/webp/docs/riff_container>`_.
"""

from __future__ import annotations

from collections.abc import Iterator

_PICTURE = frozenset({b"VP8X", b"ALPH", b"VP8 ", b"VP8L", b"ANIM", b"ANMF"})
#: Chunks that are looked at: an animation has one a frame.
_MOST_CHUNKS = 50_000
# Of the flags of VP8X, those for alpha and animation; the others announce ICC, EXIF and XMP.
_PICTURE_FLAGS = 0x12


def chunks_of(data: bytes, kinds: frozenset[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of the chunks of some kinds, up to the first that is not whole."""
    at = 12
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(data):
            return
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + size
        if end > len(data):
            return
        if kind in kinds:
            yield kind, data[at + 8 : end]
        at = end + size % 2


def without_metadata(data: bytes) -> bytes:
    """A copy with the picture's own chunks alone, as far as they are whole, and with sizes that fit them."""
    parts: list[bytes] = []
    for kind, body in chunks_of(data, _PICTURE):
        size = len(body)
        if kind == b"VP8X":
            body = bytes([body[0] & _PICTURE_FLAGS]) + body[1:]
        parts.append(kind + size.to_bytes(4, "little") + body + b"\x00" * (size % 2))
    payload = b"WEBP" + b"".join(parts)
    return b"RIFF" + len(payload).to_bytes(4, "little") + payload
