"""Report, text and card of a kept verdict: all sections, nothing from elsewhere, and whatever a file says is text."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detector.evidence.card import HEIGHT, WIDTH, card_png
from detector.evidence.evidence import FIND_THE_FIRST, NOT_ALONE
from detector.evidence.report import CONTENT_SECURITY_POLICY, html_report, plain_text
from detector.evidence.shown import NOTHING_SAID
from detector.imaging import make_thumbnail
from tests.factories import make_image
from tests.made_evidence import evidence_json, hostile_json

THUMBNAIL = make_thumbnail(Image.open(io.BytesIO(make_image(3))).convert("RGB"))
RECORD = evidence_json(record="a1" * 16, keptAt="2026-11-03T10:01:00+00:00")


class Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.said = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.said += data if self.tags and self.tags[-1][0] != "style" else ""

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_report_has_its_sections_in_order_and_the_facts_of_the_record() -> None:
    said = Page(html_report(RECORD, THUMBNAIL)).said
    order = (
        *("The function says", "synthetic", "strong", FIND_THE_FIRST, NOT_ALONE, "At this quality", "Does it stay?"),
        *("Like what the function knows", "What the file says", "Signed", "Stated", "Hints"),
        *("What no verdict covers", "Record", "SHA-256"),
    )
    places = [said.find(words) for words in order]
    assert -1 not in places
    assert places == sorted(places)
    for fact in (
        *("meadow.jpg", "ab" * 32, "a1" * 16, "Model 7 (efficientnet-lite0)", "0123456789abcdef", "2 %"),
        *("3 Nov 2026, 10:00 UTC", "3 Nov 2026, 10:01 UTC", "Who signed the file.", "Anybody can write or remove"),
        *("1 of 2 copies", "at half the size", "This very picture is one of your samples.", "Euler a"),
    ):
        assert fact in said, fact


def test_the_report_asks_nobody_for_anything_and_runs_nothing() -> None:
    for html in (html_report(RECORD, THUMBNAIL, {"half": THUMBNAIL, "Where": THUMBNAIL}), html_report(hostile_json())):
        page = Page(html)
        [policy] = [m for m in page.of("meta") if m.get("http-equiv") == "Content-Security-Policy"]
        assert policy["content"] == CONTENT_SECURITY_POLICY
        assert "default-src 'none'" in CONTENT_SECURITY_POLICY
        assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "a", "form", "object", "base"}
        assert all((image["src"] or "").startswith("data:image/") for image in page.of("img"))
        assert "url(" not in html
        assert not re.search(r"\bhttps?:", html)
        assert not [name for _, found in page.tags for name in found if name.startswith("on")]
    assert len(Page(html_report(RECORD, THUMBNAIL, {"half": THUMBNAIL, "Where": THUMBNAIL})).of("img")) == 3


def test_whatever_a_file_says_is_text_of_bounded_length() -> None:
    html = html_report(hostile_json())
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert not set(html) & set("\x00\x1b\u202e")
    long = html_report(evidence_json(provenance=[{"tier": "stated", "name": "n", "value": "v" * 100_000}] * 500))
    assert len(long) < 60_000


@pytest.mark.parametrize("data", [b"<svg onload=alert(1)>", b"GIF89a", b"", b"RIFFxxxx"])
def test_only_the_kinds_of_pictures_that_are_made_here_are_shown(data: bytes) -> None:
    html = html_report(RECORD, data)
    assert "onload" not in html
    assert all("image/webp" in (image["src"] or "") for image in Page(html).of("img"))


@pytest.mark.parametrize("record", [{}, {"stability": {}, "nearest": "x", "model": [], "labelConfidences": [{}]}])
def test_a_record_from_before_there_was_some_part_can_still_be_read(record: dict[str, Any]) -> None:
    assert FIND_THE_FIRST in html_report(record)
    assert FIND_THE_FIRST in plain_text(record)
    assert Image.open(io.BytesIO(card_png(record))).size == (WIDTH, HEIGHT)


def test_a_file_that_says_nothing_is_not_held_against_it() -> None:
    assert NOTHING_SAID in Page(html_report(evidence_json(provenance=[]))).said


def test_a_verdict_that_is_none_is_not_made_one() -> None:
    unsure = evidence_json(verdict="can't tell", grade="can't tell")
    assert "The function can't tell." in plain_text(unsure)
    assert "says" not in plain_text(unsure).splitlines()[0]
    assert "badge" not in html_report(unsure).partition("</style>")[2]


def test_a_disputed_record_says_so_everywhere() -> None:
    disputed = {**RECORD, "disputed": {"labelName": "real", "at": "2026-11-04T09:00:00+00:00"}}
    words = "Disputed on 4 Nov 2026, 09:00 UTC: somebody says real."
    assert words in plain_text(disputed)
    assert words in Page(html_report(disputed)).said
    assert card_png(disputed) != card_png(RECORD)


def test_the_text_is_six_to_ten_lines_for_a_mail() -> None:
    lines = plain_text(RECORD).splitlines()
    assert 6 <= len(lines) <= 10
    assert lines[0] == "meadow.jpg: The function says synthetic (strong). synthetic 98.7 %, real 1.3 %."
    assert "1 of 2 copies" in plain_text(RECORD)
    assert "Euler a" in plain_text(RECORD)
    assert lines[-1].endswith(f"SHA-256 {'ab' * 32}, record {'a1' * 16}.")
    assert len(plain_text(hostile_json()).splitlines()) <= 10
    assert not set(plain_text(hostile_json())) & set("\x00\x1b\u202e")


def _ink(png: bytes, box: tuple[int, int, int, int]) -> int:
    """How many pixels of a part are not paper."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB").crop(box), dtype=int)
    return int((np.abs(pixels - np.array([0xFB, 0xFA, 0xF7])).sum(axis=2) > 60).sum())


def test_the_card_has_the_size_of_previews_and_shows_picture_and_words() -> None:
    card = card_png(RECORD, THUMBNAIL)
    assert Image.open(io.BytesIO(card)).size == (1200, 630)
    picture, words = (100, 120, 400, 400), (504, 60, 1150, 200)
    assert _ink(card, picture) > 80_000
    assert _ink(card, words) > 3_000
    assert _ink(card_png(RECORD, None), words) != _ink(card, words)


def test_nothing_on_the_card_runs_over_its_edge() -> None:
    long = hostile_json() | {"verdict": "W" * 120, "reason": "x" * 5000, "file": "W" * 300}
    for thumbnail in (THUMBNAIL, None):
        card = card_png(long, thumbnail)
        assert _ink(card, (1160, 0, 1200, 630)) == 0
        assert _ink(card, (12, 606, 1200, 630)) == 0


@pytest.mark.parametrize("name", ["Фотография.jpg", "写真の森.png", "صورة.jpg", "Ünïcödé.jpg", "\U000e0041\ue000.png"])
def test_a_name_in_another_script_is_no_row_of_boxes(name: str) -> None:
    from detector.evidence.card import _SYSTEM_FONTS, _drawable, _has, _system_font

    shown, font = _drawable(name, 22)
    own = [None, *(other for other in _SYSTEM_FONTS if _system_font(other, 22) is not None)]
    assert any(_has(each, shown) for each in own if each is None or _system_font(each, 22) is font)
    assert shown.endswith((".jpg", ".png"))


@pytest.mark.parametrize("data", [b"RIFF", b"<svg/>", THUMBNAIL[:60]])
def test_a_thumbnail_that_a_disk_has_spoiled_leaves_a_card_of_words(data: bytes) -> None:
    assert card_png(RECORD, data) == card_png(RECORD, None)
