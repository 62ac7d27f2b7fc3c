"""What the way a file is made hints at: camera fields, quantisation tables, colour profile, traces of an editor.

None of it is a statement: cameras, editors and websites write these things by the way.
"""

from __future__ import annotations

from collections.abc import Iterator

from detector.formatting import listed
from detector.imaging.provenance.generators import is_graph, is_parameters, of_parameters, statements_of_texts
from detector.imaging.provenance.metadata import Metadata
from detector.imaging.provenance.source_types import names_ai_system
from detector.imaging.provenance.statement import Statement
from detector.imaging.tiff_pages import tag_contents

_DESCRIPTION, _MAKE, _MODEL, _SOFTWARE, _DATE, _ARTIST = 270, 271, 272, 305, 306, 315
_TAKEN, _COMMENT, _LENS = 36867, 37510, 42036
_TAGS = frozenset({_DESCRIPTION, _MAKE, _MODEL, _SOFTWARE, _DATE, _ARTIST, _TAKEN, _COMMENT, _LENS})
_LONGEST_TAG = 1 << 20

_ANYBODY = "Anybody can write, copy or remove it."

# Tables of the JPEG standard (ITU-T T.81, annex K), in the zigzag order in which files have them.
_LUMINANCE = (
    16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40, 26, 24, 22, 22, 24, 49, 35, 37, 29, 40, 58, 51, 61,
    60, 57, 51, 56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81, 87, 95, 98, 103, 104, 103, 62, 77, 113,
    121, 112, 100, 120, 92, 101, 103, 99,
)  # fmt: skip
_CHROMINANCE = (
    17, 18, 18, 24, 21, 24, 47, 26, 26, 47, 99, 66, 56, 66, *(50 * (99,)),
)  # fmt: skip


def _at_quality(table: tuple[int, ...], quality: int) -> tuple[int, ...]:
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return tuple(min(max((value * scale + 50) // 100, 1), 255) for value in table)


_STANDARD = {_at_quality(_LUMINANCE, quality): quality for quality in range(100, 0, -1)}
_STANDARD_COLOUR = {_at_quality(_CHROMINANCE, quality) for quality in range(1, 101)}


def statements_of_exif(exif: bytes) -> Iterator[Statement]:
    """Statements among the EXIF fields: a description, and the parameters that AI tools put into the user's comment."""
    tags = tag_contents(exif, _TAGS, _LONGEST_TAG)
    big = exif[:2] == b"MM"
    comment = user_comment(tags.get(_COMMENT, b""), big)
    if is_parameters(comment):
        yield from of_parameters(comment)
    elif is_graph(comment):
        yield from statements_of_texts([("prompt", comment)])
    elif comment:
        yield from statements_of_texts([("User comment (EXIF)", comment)])
    description = _ascii(tags.get(_DESCRIPTION, b""))
    if is_parameters(description):
        yield from of_parameters(description)
    elif description:
        yield from statements_of_texts([("ImageDescription", description)])
    # ComfyUI's nodes for WebP lay the graph into these two fields, each after its name.
    for tag in (_MAKE, _MODEL):
        name, _, graph = _ascii(tags.get(tag, b"")).partition(":")
        if name in ("prompt", "workflow") and graph.lstrip().startswith("{"):
            yield from statements_of_texts([(name, graph)])
    software = _ascii(tags.get(_SOFTWARE, b""))
    if names_ai_system(software):
        yield from statements_of_texts([("Software", software)])
    if artist := _ascii(tags.get(_ARTIST, b"")):
        yield Statement.of(
            "stated",
            "creator",
            "Artist (EXIF)",
            artist,
            f"Whom the file names as its maker. {_ANYBODY}",
        )


def user_comment(content: bytes, big: bool) -> str:
    """The text of EXIF's user comment, whose first eight bytes tell the coding."""
    coding, text = content[:8], content[8:]
    if coding.startswith(b"UNICODE"):
        # The order of bytes is that of the EXIF data; many programs write the other one.
        orders = ("utf-16-be", "utf-16-le") if big else ("utf-16-le", "utf-16-be")
        decoded = [text.decode(order, "replace") for order in orders]
        return max(decoded, key=lambda found: sum(character < "\u0250" for character in found[:2000])).strip("\x00 ")
    if coding.startswith((b"ASCII", b"\x00" * 8)):
        return _ascii(text)
    return _ascii(content)


def hints_of(found: Metadata) -> Iterator[Statement]:
    """All hints of a file, from what it says of a camera to the tables of its compression."""
    tags = {tag: _ascii(content) for tag, content in tag_contents(found.exif, _TAGS, _LONGEST_TAG).items()}
    camera = " ".join(
        text for tag in (_MAKE, _MODEL) if (text := tags.get(tag, "")) and not text.startswith(("prompt:", "workflow:"))
    )
    if camera:
        yield Statement.of(
            "hint", "camera", "Camera", camera, f"A camera or a phone writes it into its photographs. {_ANYBODY}"
        )
        if tags.get(_LENS):
            yield Statement.of("hint", "camera-lens", "Lens", tags[_LENS], f"A camera writes it. {_ANYBODY}")
    else:
        yield Statement(
            "hint",
            "no-camera",
            "Camera",
            "no camera fields",
            "That says nothing: most websites and messengers remove them.",
        )
    if tags.get(_SOFTWARE):
        yield Statement.of(
            "hint", "software", "Software (EXIF)", tags[_SOFTWARE], f"The program that wrote the file last. {_ANYBODY}"
        )
    if taken := tags.get(_TAKEN) or tags.get(_DATE):
        yield Statement.of(
            "hint", "date", "Taken" if tags.get(_TAKEN) else "Changed", taken, f"As a clock was set. {_ANYBODY}"
        )
    yield from _of_tables(found)
    yield from _of_editor(found)
    if name := profile_name(found.profile):
        yield Statement.of(
            "hint",
            "colour-profile",
            "Colour profile",
            name,
            "How colours are meant. Cameras, screens and programs each have their own; it proves nothing.",
        )


def _of_tables(found: Metadata) -> Iterator[Statement]:
    tables = dict(_tables(found.tables))
    if 0 not in tables:
        return
    quality = _STANDARD.get(tables[0])
    if quality is not None and all(table in _STANDARD_COLOUR or table in _STANDARD for table in tables.values()):
        yield Statement(
            "hint",
            "tables",
            "Quantisation tables",
            f"the standard's, at quality {quality}",
            "Nearly every program and website compresses so, AI systems too. It says that this file was not "
            "compressed last by a program with tables of its own.",
        )
    else:
        yield Statement(
            "hint",
            "tables",
            "Quantisation tables",
            "not the standard's",
            "Cameras, phones, image editors and some websites have tables of their own. It does not say which.",
        )


def _tables(segments: list[bytes]) -> Iterator[tuple[int, tuple[int, ...]]]:
    for body in segments[:8]:
        at = 0
        while at < len(body):
            wide = 2 if body[at] >> 4 else 1
            numbers = body[at + 1 : at + 1 + 64 * wide]
            if len(numbers) == 64 * wide:
                yield (
                    body[at] & 15,
                    tuple(int.from_bytes(numbers[n : n + wide], "big") for n in range(0, 64 * wide, wide)),
                )
            at += 1 + 64 * wide


def _of_editor(found: Metadata) -> Iterator[Statement]:
    named = []
    if found.photoshop:
        named.append("Photoshop resources")
    if "Ducky" in found.markers:
        named.append("a segment of Photoshop's Save for Web")
    if named:
        yield Statement(
            "hint",
            "editor",
            "Traces of an editor",
            listed(named),
            "Adobe's programs write these, and some others do. News photographs have them too.",
        )


def profile_name(profile: bytes) -> str:
    """The description of an ICC profile; empty where it cannot be read. See ICC.1:2022, 7.3 and 10."""
    for at in range(132, 132 + 12 * min(int.from_bytes(profile[128:132], "big"), 100), 12):
        if profile[at : at + 4] != b"desc":
            continue
        start, size = (int.from_bytes(profile[at + n : at + n + 4], "big") for n in (4, 8))
        block = profile[start : start + min(size, 4096)]
        if block.startswith(b"desc"):
            return _ascii(block[12 : 12 + int.from_bytes(block[8:12], "big")])
        if block.startswith(b"mluc") and int.from_bytes(block[8:12], "big"):
            length, place = (int.from_bytes(block[n : n + 4], "big") for n in (20, 24))
            return block[place : place + length].decode("utf-16-be", "replace").strip("\x00 ")
        return ""
    return ""


def _ascii(content: bytes) -> str:
    return content.split(b"\x00", 1)[0].decode("utf-8", "replace").strip()
