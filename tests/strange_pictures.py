"""Pictures that are neither photographs nor made by a generator: what a detector was never tried with.

All are drawn here, in many sizes, colours and fonts, and saved as PNG and as JPEG in turn. Page screenshots come from a
real Chromium.
"""

from __future__ import annotations

import html
import io
import math
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

_TEXT = (
    "the council voted late on Tuesday to move money from roads to schools after a long debate about what the winter "
    "had cost and who should pay for it residents said they had waited years for answers while officials pointed to "
    "figures from March report shows that prices rose by four percent in the north and fell along the coast because "
    "ferries ran less often editors asked for the original letter and got a copy without a date or signature"
)
_WORDS = _TEXT.split()
_SIZES = (
    (256, 256),
    (320, 240),
    (512, 512),
    (640, 480),
    (900, 600),
    (600, 900),
    (1024, 768),
    (1280, 720),
    (1600, 1200),
)


def strange_pictures(kind: str, count: int) -> Iterator[tuple[str, bytes]]:
    """(file name, bytes) of ``count`` pictures of one of the ``DRAWN`` kinds; the same each time."""
    for seed in range(count):
        rng = np.random.default_rng([seed, *kind.encode()])
        size = _SIZES[int(rng.integers(len(_SIZES)))]
        yield _saved(DRAWN[kind](rng, *size), kind, seed)


def _saved(picture: Image.Image, kind: str, seed: int) -> tuple[str, bytes]:
    file = io.BytesIO()
    if seed % 2:
        picture.convert("RGB").save(file, "JPEG", quality=92)
    else:
        picture.convert("RGB").save(file, "PNG", compress_level=1)
    return f"{kind}-{seed}.{'jpg' if seed % 2 else 'png'}", file.getvalue()


def _image(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _colour(rng: np.random.Generator, low: int = 0, high: int = 256) -> tuple[int, int, int]:
    red, green, blue = rng.integers(low, high, 3).tolist()
    return red, green, blue


def _noise(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    style = int(rng.integers(5))
    channels = 1 if rng.random() < 0.4 else 3
    if style == 0:
        values = rng.integers(0, 256, (height, width, channels)).astype(float)
    elif style == 1:
        values = rng.normal(rng.uniform(60, 200), rng.uniform(15, 70), (height, width, channels))
    elif style == 2:
        values = rng.integers(0, 2, (height, width, channels)) * 255.0
    elif style == 3:
        values = np.where(rng.random((height, width, channels)) < rng.uniform(0.1, 0.5), 255.0, 0.0)
    else:
        side = int(rng.integers(2, 9))
        small = rng.integers(0, 256, (height // side + 1, width // side + 1, channels)).astype(float)
        values = small.repeat(side, 0).repeat(side, 1)[:height, :width]
    return _image(np.broadcast_to(values, (height, width, 3)))


def _flat(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    grey = int(rng.integers(256))
    colours = ((0, 0, 0), (255, 255, 255), (grey, grey, grey), *(_colour(rng) for _ in range(5)))
    return Image.new("RGB", (width, height), colours[int(rng.integers(len(colours)))])


def _gradient(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    if rng.random() < 0.35:
        along = np.hypot(x - rng.uniform(0.2, 0.8), y - rng.uniform(0.2, 0.8))
    else:
        angle = rng.uniform(0, 2 * math.pi)
        along = x * math.cos(angle) + y * math.sin(angle)
    along = (along - along.min()) / (along.max() - along.min())
    stops = int(rng.integers(2, 5))
    colours = rng.integers(0, 256, (stops, 3)).astype(float)
    places = np.linspace(0, 1, stops)
    return _image(np.stack([np.interp(along, places, colours[:, channel]) for channel in range(3)], axis=-1))


@cache
def _font_files() -> list[Path]:
    folder = Path("/usr/share/fonts")
    return [path for path in sorted(folder.rglob("*.ttf")) if "Math" not in path.name] if folder.is_dir() else []


def _font(rng: np.random.Generator, size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    files = _font_files()
    return ImageFont.truetype(files[int(rng.integers(len(files)))], size) if files else ImageFont.load_default(size)


def _words(rng: np.random.Generator, count: int) -> str:
    return " ".join(_WORDS[index] for index in rng.integers(len(_WORDS), size=count).tolist())


def _paper_and_ink(rng: np.random.Generator) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    if rng.random() < 0.6:
        return (255, 255, 255), _colour(rng, 0, 60)
    if rng.random() < 0.5:
        return _colour(rng, 220, 256), _colour(rng, 0, 110)
    return _colour(rng, 10, 60), _colour(rng, 190, 256)


def _text(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    paper, ink = _paper_and_ink(rng)
    picture = Image.new("RGB", (width, height), paper)
    draw = ImageDraw.Draw(picture)
    size = float(rng.uniform(11, max(14, height / 22)))
    font, head = _font(rng, size), _font(rng, size * rng.uniform(1.3, 2.2))
    margin = int(width * rng.uniform(0.03, 0.12))
    columns = int(rng.integers(1, 3)) if width > 500 else 1
    top = margin
    if rng.random() < 0.6:
        draw.text((margin, top), _words(rng, 4).title(), ink, head)
        top += int(size * 3)
    step = size * rng.uniform(1.2, 1.7)
    column = (width - margin * (columns + 1)) / columns
    for number in range(columns):
        left = margin + number * (column + margin)
        y = float(top)
        while y < height - margin - step:
            if rng.random() < 0.12:
                y += step * 0.7
                continue
            line = _words(rng, 30)
            room = column * (1.0 if rng.random() < 0.85 else rng.uniform(0.3, 0.9))
            while line and draw.textlength(line, font) > room:
                line = line.rpartition(" ")[0]
            draw.text((left, y), line, ink, font)
            y += step
    return picture


def _chart(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    paper, ink = _paper_and_ink(rng)
    picture = Image.new("RGB", (width, height), paper)
    draw = ImageDraw.Draw(picture)
    font = _font(rng, max(10.0, height / 32))
    left, top, right, bottom = int(width * 0.1), int(height * 0.13), int(width * 0.95), int(height * 0.87)
    draw.text((left, int(height * 0.03)), _words(rng, 4).capitalize(), ink, _font(rng, max(12.0, height / 20)))
    palette = [_colour(rng, 20, 230) for _ in range(6)]
    _CHARTS[int(rng.integers(len(_CHARTS)))](rng, draw, (left, top, right, bottom), palette, ink, font)
    return picture


Box = tuple[int, int, int, int]


def _axes(draw: ImageDraw.ImageDraw, box: Box, ink: tuple[int, ...], font: object) -> None:
    left, top, right, bottom = box
    soft = tuple((value + 128) // 2 for value in ink)
    for step in range(6):
        y = bottom - (bottom - top) * step // 5
        draw.line((left, y, right, y), soft, 1)
        draw.text((left // 4, y - 6), str(step * 20), ink, font)  # type: ignore[arg-type]
    draw.line((left, top, left, bottom, right, bottom), ink, 2)


def _bars(rng, draw, box, palette, ink, font) -> None:  # type: ignore[no-untyped-def]
    left, top, right, bottom = box
    _axes(draw, box, ink, font)
    number = int(rng.integers(4, 13))
    stacked = rng.random() < 0.4
    slot = (right - left) / number
    for index in range(number):
        x, y = left + slot * index, float(bottom)
        for part in range(3 if stacked else 1):
            tall = (bottom - top) * rng.uniform(0.1, 0.3 if stacked else 0.95)
            draw.rectangle((x + slot * 0.15, y - tall, x + slot * 0.85, y), palette[part if stacked else index % 2])
            y -= tall
        draw.text((x + slot * 0.2, bottom + 4), _words(rng, 1)[:5], ink, font)


def _lines(rng, draw, box, palette, ink, font) -> None:  # type: ignore[no-untyped-def]
    left, top, right, bottom = box
    _axes(draw, box, ink, font)
    for series in range(int(rng.integers(1, 5))):
        walk = np.cumsum(rng.normal(0, 1, int(rng.integers(8, 60))))
        scaled = bottom - (walk - walk.min()) / (np.ptp(walk) + 1e-9) * (bottom - top) * rng.uniform(0.4, 0.95)
        points = list(zip(np.linspace(left, right, len(walk)).tolist(), scaled.tolist(), strict=True))
        draw.line(points, palette[series], int(rng.integers(2, 5)))
        draw.text((right - 60, points[-1][1]), _words(rng, 1), palette[series], font)


def _pie(rng, draw, box, palette, ink, font) -> None:  # type: ignore[no-untyped-def]
    left, top, right, bottom = box
    side = min(right - left, bottom - top)
    shares = np.cumsum(rng.dirichlet(np.full(int(rng.integers(3, 7)), 2.0))) * 360
    start = 0.0
    for index, stop in enumerate(shares.tolist()):
        draw.pieslice((left, top, left + side, top + side), start, stop, palette[index % 6], (255, 255, 255))
        y = top + index * side // 8
        draw.rectangle((left + side + 14, y, left + side + 26, y + 12), palette[index % 6])
        draw.text((left + side + 34, y), _words(rng, 1), ink, font)
        start = stop


def _dots(rng, draw, box, palette, ink, font) -> None:  # type: ignore[no-untyped-def]
    left, top, right, bottom = box
    _axes(draw, box, ink, font)
    radius = int(rng.integers(2, 7))
    for series in range(int(rng.integers(1, 4))):
        centre = rng.uniform(0.25, 0.75, 2)
        for x, y in np.clip(rng.normal(centre, 0.13, (int(rng.integers(20, 200)), 2)), 0, 1).tolist():
            px, py = left + x * (right - left), top + y * (bottom - top)
            draw.ellipse((px - radius, py - radius, px + radius, py + radius), palette[series])


def _heat(rng, draw, box, palette, ink, font) -> None:  # type: ignore[no-untyped-def]
    left, top, right, bottom = box
    rows, columns = int(rng.integers(4, 12)), int(rng.integers(4, 14))
    low, high = np.array(palette[0]), np.array(palette[1])
    for row in range(rows):
        for column in range(columns):
            share = rng.random()
            x, y = left + (right - left) * column / columns, top + (bottom - top) * row / rows
            fill = tuple((low + share * (high - low)).astype(int).tolist())
            draw.rectangle((x, y, x + (right - left) / columns - 1, y + (bottom - top) / rows - 1), fill)
        draw.text((left // 4, top + (bottom - top) * row / rows), _words(rng, 1)[:4], ink, font)


_CHARTS = (_bars, _lines, _pie, _dots, _heat)

DRAWN: dict[str, Callable[[np.random.Generator, int, int], Image.Image]] = {
    "noise": _noise,
    "flat": _flat,
    "gradient": _gradient,
    "text": _text,
    "chart": _chart,
}


def screenshots(count: int) -> list[tuple[str, bytes]]:
    """(file name, bytes) of screenshots of ``count`` pages without photographs; skips the test without a browser."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("screenshots need Chromium, which is not installed")
    # In a thread of its own: a thread that already drives a browser, as browser tests of the same process do, cannot
    # start a second one.
    with ThreadPoolExecutor(max_workers=1) as alone:
        return alone.submit(lambda: list(_shots(playwright, path, count))).result()


def _shots(playwright: ModuleType, path: str, count: int) -> Iterator[tuple[str, bytes]]:
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        try:
            for seed in range(count):
                rng = np.random.default_rng([seed, 77])
                sizes = ((1280, 800), (1400, 900), (1920, 1080), (390, 844), (768, 1024), (1024, 640))
                width, height = sizes[int(rng.integers(len(sizes)))]
                page = browser.new_page(viewport={"width": width, "height": height})
                page.set_content(_page(rng))
                shot = Image.open(io.BytesIO(page.screenshot()))
                page.close()
                yield _saved(shot, "screenshot", seed)
        finally:
            browser.close()


def _css(colour: tuple[int, int, int]) -> str:
    return f"rgb({colour[0]},{colour[1]},{colour[2]})"


def _page(rng: np.random.Generator) -> str:
    paper, ink = _paper_and_ink(rng)
    accent, font = _colour(rng, 30, 220), ("sans-serif", "serif", "monospace")[int(rng.integers(3))]
    body = _PAGES[int(rng.integers(len(_PAGES)))](rng)
    links = "".join(f"<a>{html.escape(_words(rng, 1)).title()}</a>" for _ in range(int(rng.integers(3, 8))))
    return f"""<style>body{{margin:0;background:{_css(paper)};color:{_css(ink)};font:{int(rng.integers(13, 19))}px/1.5
    {font}}} nav{{background:{_css(accent)};color:#fff;padding:14px 24px}} nav a{{margin-right:22px}}
    main{{padding:20px;max-width:{int(rng.integers(600, 1300))}px;margin:auto}}
    .card,td,th,input,pre,.say{{border:1px solid #9998;padding:10px;border-radius:{int(rng.integers(0, 12))}px}}
    .grid{{display:grid;grid-template-columns:repeat({int(rng.integers(2, 5))},1fr);gap:14px}}
    button{{background:{_css(accent)};color:#fff;border:0;padding:9px 18px}}
    table{{border-collapse:collapse;width:100%}}
    .say{{max-width:60%;margin:8px 0}} .say:nth-child(even){{margin-left:35%;background:{_css(accent)};color:#fff}}
    </style><nav>{links}</nav><main><h1>{_words(rng, 5).capitalize()}</h1>{body}</main>"""


def _article(rng: np.random.Generator) -> str:
    return "".join(f"<h3>{_words(rng, 4)}</h3><p>{_words(rng, int(rng.integers(30, 110)))}.</p>" for _ in range(9))


def _table(rng: np.random.Generator) -> str:
    rows = "".join(
        "<tr><td>" + _words(rng, 2) + "".join(f"<td>{int(rng.integers(9999)):,}" for _ in range(4)) for _ in range(22)
    )
    return f"<table><tr><th>Name<th>2022<th>2023<th>2024<th>2025</tr>{rows}</table>"


def _form(rng: np.random.Generator) -> str:
    fields = "".join(
        f"<p><label>{_words(rng, 2)}<br><input size=40 value='{_words(rng, 2)}'></label>" for _ in range(8)
    )
    return f"{fields}<p><button>{_words(rng, 1)}</button> <button>{_words(rng, 2)}</button>"


def _cards(rng: np.random.Generator) -> str:
    card = "<div class=card><h2>{}</h2><p>{}</p><button>{}</button></div>"
    cards = "".join(card.format(int(rng.integers(999)), _words(rng, 14), "Open") for _ in range(12))
    return f"<div class=grid>{cards}</div>"


def _code(rng: np.random.Generator) -> str:
    lines = "\n".join(" " * 4 * int(rng.integers(4)) + "_".join(_words(rng, 3).split()) + " = f(x)" for _ in range(40))
    return f"<p>{_words(rng, 20)}</p><pre>{lines}</pre>"


def _chat(rng: np.random.Generator) -> str:
    return (
        "<div>" + "".join(f"<div class=say>{_words(rng, int(rng.integers(3, 30)))}</div>" for _ in range(14)) + "</div>"
    )


_PAGES = (_article, _table, _form, _cards, _code, _chat)
