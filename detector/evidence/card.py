"""A kept verdict as one picture, to be shown in a chat or an article: the size that networks preview links in."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any

from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from detector.charts.palette import PAPER
from detector.evidence.evidence import FIND_THE_FIRST, NOT_ALONE
from detector.evidence.shown import confidence_words, disputed_words, ink_of, model_words, part, text, time_words
from detector.training.thresholds import CANT_TELL

WIDTH, HEIGHT = 1200, 630
_MARGIN = 56
_PICTURE = 400
#: Of a thumbnail that is opened: those that are kept here have 256 pixels a side.
_MOST_PIXELS = 4_000_000
_COLUMN = _MARGIN + _PICTURE + 48

#: Fonts of systems for scripts that Pillow's own does not have, tried in this order where a text needs one.
_SYSTEM_FONTS = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial.ttf", "segoeui.ttf"),
    *("NotoSansCJK-Regular.ttc", "wqy-zenhei.ttc", "msgothic.ttc", "Hiragino Sans GB.ttc", "Arial Unicode.ttf"),
    *("NotoSansArabic-Regular.ttf", "NotoSansDevanagari-Regular.ttf", "unifont.ttf"),
)
#: No font has it: what is drawn for it is what a font draws for whatever it does not know.
_UNKNOWN = "\U0010ffff"

Font = ImageFont.FreeTypeFont


def card_png(record: Mapping[str, Any], thumbnail: bytes | None = None) -> bytes:
    """A card of 1200 x 630 pixels: the picture, the verdict with its grade and promise, and which model said it.

    Parameters
    ----------
    record : mapping
        JSON of a record or of evidence.
    thumbnail : bytes, optional
        The picture small; without one that can be read, the card is words only.

    Returns
    -------
    bytes
        A PNG file.
    """
    paper, ink = PAPER["light"], ink_of(record)
    card = Image.new("RGB", (WIDTH, HEIGHT), paper.ground)
    draw = ImageDraw.Draw(card)
    draw.rectangle((0, 0, 11, HEIGHT), fill=ink.fill)
    shown = _opened(thumbnail)
    left = _COLUMN if shown is not None else _MARGIN
    width = WIDTH - left - _MARGIN
    if shown is not None:
        top = _MARGIN + 20 + (_PICTURE - shown.height) // 2
        card.paste(shown, (_MARGIN + (_PICTURE - shown.width) // 2, top))
        _line(draw, (_MARGIN, HEIGHT - 124), text(record.get("file"), 200), 22, paper.muted, _PICTURE)
    else:
        _line(draw, (left, HEIGHT - 114), text(record.get("file"), 200), 22, paper.muted, width)
    unsure = record.get("grade") == CANT_TELL
    _line(draw, (left, _MARGIN), "The function" if unsure else "The function says", 26, paper.muted, width)
    _line(draw, (left, _MARGIN + 34), text(record.get("verdict"), 120) or CANT_TELL, 84, ink.text, width)
    top = _MARGIN + 148
    if not unsure:
        grade = text(record.get("grade"), 40)
        end = left + draw.textlength(grade, font=_font(26)) + 36
        draw.rounded_rectangle((left, top, end, top + 46), radius=23, outline=ink.text, width=2)
        _line(draw, (left + 18, top + 8), grade, 26, ink.text, width)
        top += 66
    for line, size, colour, lines in (
        (confidence_words(record, 3), 28, paper.text, 1),
        (text(part(record, "model").get("promise")), 22, paper.text, 2),
        (disputed_words(record), 24, ink.text, 2),
        (f"{FIND_THE_FIRST} {NOT_ALONE}", 20, paper.muted, 4),
    ):
        top = _paragraph(draw, (left, top), line, size, colour, width, lines)
    draw.line((_MARGIN, HEIGHT - 76, WIDTH - _MARGIN, HEIGHT - 76), fill=paper.hairline, width=2)
    # Enough to find the record by; the whole of it stands in the report.
    facts = [model_words(record), time_words(record.get("at")), f"SHA-256 {text(record.get('sha256'), 64)[:16]}"]
    facts += [f"record {text(record['record'], 40)[:16]}"] if record.get("record") else []
    _line(draw, (_MARGIN, HEIGHT - 58), " · ".join(filter(None, facts)), 22, paper.muted, WIDTH - 2 * _MARGIN)
    file = io.BytesIO()
    card.save(file, "PNG", optimize=False)
    return file.getvalue()


def _line(draw: ImageDraw.ImageDraw, at: tuple[float, float], line: str, size: int, colour: str, width: float) -> None:
    """Write one line, smaller or cut where it is too long, in a font that has its letters."""
    drawable, found = _drawable(line, size)
    smallest = max(20, size * 2 // 3)
    while size > smallest and draw.textlength(drawable, font=found) > width:
        size -= 2
        drawable, found = _drawable(line, size)
    if draw.textlength(drawable, font=found) > width:
        fewest, most = 0, len(drawable)
        while fewest < most:
            middle = (fewest + most + 1) // 2
            if draw.textlength(f"{drawable[:middle]}...", font=found) <= width:
                fewest = middle
            else:
                most = middle - 1
        drawable = f"{drawable[:fewest].rstrip()}..."
    draw.text(at, drawable, font=found, fill=colour)


def _paragraph(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], words: str, size: int, colour: str, width: float, most: int
) -> int:
    """Write a few lines; returns where the next paragraph begins."""
    left, top = at
    lines: list[str] = []
    for word in words.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and draw.textlength(longer, font=_drawable(longer, size)[1]) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > most:
        lines = [*lines[: most - 1], " ".join(lines[most - 1 :])]
    for line in lines:
        _line(draw, (left, top), line, size, colour, width)
        top += round(size * 1.35)
    return top + 12 if lines else top


def _opened(thumbnail: bytes | None) -> Image.Image | None:
    if not thumbnail:
        return None
    # A record's own thumbnail was made here; one that a disk has spoiled leaves a card of words.
    with suppress(UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        with Image.open(io.BytesIO(thumbnail), formats=("WEBP", "PNG", "JPEG")) as image:
            if image.width * image.height > _MOST_PIXELS:
                return None
            shown = image.convert("RGB")
        scale = _PICTURE / max(shown.size)
        size = (max(1, round(shown.width * scale)), max(1, round(shown.height * scale)))
        return shown.resize(size, Image.Resampling.LANCZOS)
    return None


def _drawable(line: str, size: int) -> tuple[str, Font]:
    """A line and the font that has all of its letters; what no font here has is left out, and three dots say so."""
    own = _font(size)
    if line.isascii() or _has(None, line):
        return line, own
    for name in _SYSTEM_FONTS:
        if (found := _system_font(name, size)) is not None and _has(name, line):
            return line, found
    kept = "".join(letter if _has(None, letter) else "\0" for letter in line)
    return re.sub("\0+", "...", kept), own


def _has(name: str | None, line: str) -> bool:
    return all(letter.isspace() or _has_letter(name, letter) for letter in set(line))


@cache
def _box(name: str | None) -> bytes:
    return _drawn(name, _UNKNOWN)


def _has_letter(name: str | None, letter: str) -> bool:
    return _drawn(name, letter) != _box(name)


def _drawn(name: str | None, letter: str) -> bytes:
    font = _font(24) if name is None else _system_font(name, 24)
    assert font is not None
    mask = font.getmask(letter, mode="L")
    return repr(mask.size).encode() + bytes(mask)


@cache
def _font(size: int) -> Font:
    found = ImageFont.load_default(size)
    # Pillow without FreeType has a bitmap font of one size only; its wheels have FreeType.
    assert isinstance(found, ImageFont.FreeTypeFont)
    return found


@cache
def _system_font(name: str, size: int) -> Font | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None
