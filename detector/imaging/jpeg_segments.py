"""The segments of a JPEG file: without what lies broken beside the picture, with its end mark, and kinds not read.

See `ITU-T T.81 <https://www.w3.org/Graphics/JPEG/itu-t81.pdf>`_, annex B, for markers and segments.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import JpegImagePlugin

_END_MARK = b"\xff\xd9"
_SCAN, _END, _COMMENT = 0xDA, 0xD9, 0xFE
_APPLICATIONS = range(0xE0, 0xF0)
_LOSSLESS_JPEG_LS = 0xF7
_FRAMES = {*range(0xC0, 0xD0), _LOSSLESS_JPEG_LS} - {0xC4, 0xC8, 0xCC}
# What a picture needs: frames of the two common kinds, tables, scans. Everything else lies beside it.
_NEEDED = {0xC0, 0xC2, 0xC4, 0xDA, 0xDB, 0xDD}
_JFIF_LENGTH = 16
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
# Inside a scan, zeros behind 0xFF and restart marks belong to the data, and any number of 0xFF may lead a mark.
_NEXT_MARK = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")

# Read by the decoder itself: without Adobe's segment the colours of a CMYK or RGB file would be others. Each with the
# length from which it is read.
_JFIF, _ADOBE = (0xE0, b"JFIF\x00", 14), (0xEE, b"Adobe", 12)
_EXIF, _PROFILE = (0xE1, b"Exif\x00\x00", 14), (0xE2, b"ICC_PROFILE\x00", 14)

#: Scans of one file that are looked at; real progressive files have about ten.
_MOST_SCANS = 200

# What is laid behind data that may be cut off, to see whether the decoder takes any of it for the picture. Sometimes a
# bit or two is all that is missing, hence every three bits to begin with; and restart marks with bits behind each,
# twice, since the decoder passes over a mark that is one or two ahead of the one it waits for.
_FILLINGS = (
    48 * b"\xff\x00",
    *(
        96 * bytes([bits])
        for bits in (0b00000000, 0b10100110, 0b01011010, 0b11001001, 0b00111001, 0b10010110, 0b01101100)
    ),
    *(b"".join(b"\xff" + bytes([0xD0 + n % 8]) + 24 * b"\x5a" for n in range(first, first + 16)) for first in (0, 4)),
)

_ROWS_A_PIECE = 64


@dataclass(frozen=True, slots=True)
class _Segment:
    marker: int
    start: int
    end: int

    def body(self, data: bytes) -> bytes:
        return data[self.start + 4 : self.end]

    def holds(self, data: bytes, kind: tuple[int, bytes, int]) -> bool:
        marker, beginning, least = kind
        return (
            self.marker == marker and self.end - self.start - 4 >= least and data.startswith(beginning, self.start + 4)
        )


def _segments(data: bytes) -> Iterator[_Segment]:
    """All of the first picture, its end mark too; ends early where the structure breaks."""
    at, scans = 2, 0
    while scans < _MOST_SCANS and (found := _NEXT_MARK.search(data, at)):
        at, marker = found.start(), data[found.start() + 1]
        end = at + 2 if marker == _END else at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if end > len(data) or (marker != _END and end < at + 4):
            return
        yield _Segment(marker, at, end)
        if marker == _END:
            return
        scans += marker == _SCAN
        at = end


def _header(data: bytes) -> Iterator[_Segment]:
    """The segments up to and with the first scan's own."""
    for segment in _segments(data):
        yield segment
        if segment.marker == _SCAN:
            return


def header_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Second byte of the marker, and content, of each segment up to the picture's own data."""
    return ((segment.marker, segment.body(data)) for segment in _header(data))


def is_bare(data: bytes) -> bool:
    """Whether a file that was decoded is a picture in colour and nothing else: no texts, no profile, no small copy.

    Whoever is shown such a file learns no more from it than from its pixels saved anew.
    """
    last, components, has_jfif, in_scans = 2, 0, False, False
    for segment in _segments(data):
        if not in_scans and segment.start != last:
            # Bytes that belong to nothing; decoders pass over them.
            return False
        last, in_scans = segment.end, in_scans or segment.marker == _SCAN
        if segment.holds(data, _JFIF) and segment.end - segment.start == _JFIF_LENGTH + 2:
            has_jfif = True
        elif segment.marker in _FRAMES and segment.marker in _NEEDED and not components:
            components = segment.body(data)[5]
        elif segment.marker == _END:
            break
        elif segment.marker in _FRAMES or segment.marker not in _NEEDED:
            return False
    # Without JFIF's mark the decoder guesses whether these are colours of their own.
    return has_jfif and components == 3 and last == len(data)


def why_not_supported(data: bytes) -> str | None:
    """What kind of JPEG it is, where it is one that is not read though nothing is wrong with it; else None."""
    frame = next((segment for segment in _header(data) if segment.marker in _FRAMES), None)
    if frame is None or len(body := frame.body(data)) < 6:
        return None
    if frame.marker == _LOSSLESS_JPEG_LS:
        return "a JPEG-LS file"
    if frame.marker in (0xC3, 0xC7, 0xCB, 0xCF):
        return "a lossless JPEG"
    if frame.marker in (0xC5, 0xC6, 0xCD, 0xCE):
        return "a hierarchical JPEG"
    if body[0] != 8:
        return f"a JPEG of {body[0]} bits a sample"
    if frame.marker in (0xC9, 0xCA):
        return "a JPEG with arithmetic coding"
    if body[5] not in (1, 3, 4):
        return f"a JPEG of {body[5]} components"
    if body[1:3] == b"\x00\x00":
        return "a JPEG that tells its height only after the picture"
    return None


def mended_copies(data: bytes) -> Iterator[bytes]:
    """Copies to try in place of a file that did not decode: without broken segments, with the missing end mark."""
    for copy in (data, *(_without_broken_segments(data, with_exif) for with_exif in (True, False))):
        try:
            JpegImagePlugin.JpegImageFile(io.BytesIO(copy))
        except Exception:  # as many kinds as there are segments to be broken
            continue
        if copy is not data:
            yield copy
        ended = with_end_mark(copy)
        if ended is not None:
            yield ended
        return


def _without_broken_segments(data: bytes, with_exif: bool) -> bytes:
    # Pillow reads more segments than libjpeg does, and refuses the file for one that is too short.
    kept = [_JFIF, _ADOBE, _PROFILE] + ([_EXIF] if with_exif else [])
    parts, end = [data[:2]], 2
    for segment in _header(data):
        beside = segment.marker in _APPLICATIONS or segment.marker == _COMMENT
        if not beside or any(segment.holds(data, kind) for kind in kept):
            parts.append(data[segment.start : segment.end])
        end = segment.end
    return b"".join((*parts, data[end:]))


def with_end_mark(data: bytes) -> bytes | None:
    """The file with an end mark, where that is all that it lacks; else None.

    libjpeg makes up what is missing of a file that is cut off, and only warns. So it is tried: the file is whole when
    the picture is the same whatever is laid behind its last byte. Files that were filled up with zeros, as interrupted
    downloads are, count as cut off.
    """
    segments = list(_segments(data))
    if any(segment.marker == _END for segment in segments) or not _all_scans_are_there(segments, data):
        return None
    data = data.rstrip(b"\xff")  # half of the mark, or the padding before it
    if data.endswith(b"\x00\x00"):
        return None
    whole = _picture(data)
    return data + _END_MARK if all(_picture(data + filling) == whole for filling in _FILLINGS) else None


def _picture(data: bytes) -> bytes:
    """A digest of the pixels that libjpeg makes of data without an end mark."""
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(data + _END_MARK))
    image.load()
    digest = hashlib.blake2b()
    for top in range(0, image.height, _ROWS_A_PIECE):  # never the whole picture a second time
        digest.update(image.crop((0, top, image.width, min(top + _ROWS_A_PIECE, image.height))).tobytes())
    return digest.digest()


def _all_scans_are_there(segments: list[_Segment], data: bytes) -> bool:
    """Whether the scans bring all 64 coefficients of every component, to the last bit.

    A progressive file cut off between two scans decodes without a complaint, only less sharply than it was.
    """
    missing: dict[int, set[int]] = {}
    progressive = False
    for segment in segments:
        body = segment.body(data)
        if segment.marker in _FRAMES and len(body) >= 6:
            progressive = segment.marker in _PROGRESSIVE
            missing = {body[at]: set(range(64)) for at in range(6, min(len(body), 6 + 3 * body[5]), 3)}
        elif segment.marker == _SCAN and len(body) >= 4 + 2 * body[0]:
            first, last, bits = body[1 + 2 * body[0] : 4 + 2 * body[0]]
            brought = range(first, last + 1) if progressive else range(64)
            for at in range(1, 1 + 2 * body[0], 2):
                if not progressive or bits & 15 == 0:
                    missing.get(body[at], set()).difference_update(brought)
    return bool(missing) and not any(missing.values())
