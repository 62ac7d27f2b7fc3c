"""The blocks of a GIF file: the same file without the extensions that lie broken beside the pictures.

See the `GIF89a specification <https://www.w3.org/Graphics/GIF/spec-gif89a.txt>`_.
"""

from __future__ import annotations

_EXTENSION, _IMAGE, _TRAILER, _CONTROL = 0x21, 0x2C, 0x3B, 0xF9
#: Blocks that are looked at: an animation has a few a frame.
_MOST_BLOCKS = 100_000


def without_extensions(data: bytes) -> bytes:
    """A copy with the pictures, and of the extensions only those whole ones that tell how a picture is laid on."""
    at = 13 + _table(data[10:11])
    parts = [data[:at]]
    for _ in range(_MOST_BLOCKS):
        kind = data[at : at + 1]
        if kind == bytes([_EXTENSION]):
            end = _behind_pieces(data, at + 2)
            if end is not None and data[at + 1] == _CONTROL and end - at == 8 and data[at + 2] == 4:
                parts.append(data[at:end])
        elif kind == bytes([_IMAGE]):
            end = _behind_pieces(data, at + 11 + _table(data[at + 9 : at + 10]))
            # What is cut off goes along: the decoder finds out whether it needs it.
            parts.append(data[at:end])
        else:
            break
        if end is None:
            break
        at = end
    return b"".join((*parts, bytes([_TRAILER])))


def _table(flags: bytes) -> int:
    """The bytes of the colour table that these flags announce."""
    return 3 << (flags[0] % 8 + 1) if flags and flags[0] & 0x80 else 0


def _behind_pieces(data: bytes, at: int) -> int | None:
    """Where a chain of pieces, each after its length, ends; None where it does not."""
    while at < len(data):
        if data[at] == 0:
            return at + 1
        at += 1 + data[at]
    return None
