"""The card of what the file says, on a page of Streamlit."""

from __future__ import annotations

import base64
import re
from html import unescape

import pytest
from streamlit.testing.v1 import AppTest

from detector.imaging.provenance import Provenance, Statement, read_provenance
from pages._provenance import provenance_table
from tests.imaging.pictures import encode, picture
from tests.imaging.provenance.files import PARAMETERS, phone, png
from tests.imaging.provenance.signing import AI, signed
from tests.page_app import PATIENCE
from tests.page_words import as_shown

NASTY = "<script>alert(1)</script> [a](http://x.example) :red[b] **c** $d$ \" onload='x'"


def _page(data: str) -> None:
    import base64

    from detector.imaging.provenance import read_provenance
    from pages._provenance import provenance_card

    provenance_card(read_provenance(base64.b64decode(data)))


def shown(data: bytes) -> tuple[str, str]:
    """The words above the table, and the table."""
    app = AppTest.from_function(_page, kwargs={"data": base64.b64encode(data).decode()}, default_timeout=PATIENCE).run()
    assert not app.exception, app.exception
    table = next(item.proto.body for item in app.get("html"))
    return as_shown("\n".join(str(item.value) for item in (*app.markdown, *app.caption))), table


def rows(table: str) -> list[str]:
    """The rows of a table as a person reads them."""
    found = re.findall(r"<tr>.*?</tr>", table, re.DOTALL)
    return [" ".join(unescape(re.sub(r"<[^>]+>", " ", row)).split()) for row in found]


def test_the_card_has_a_row_for_each_tier_and_each_value_says_what_it_is_worth() -> None:
    words, table = shown(png(("parameters", PARAMETERS)))
    signed_row, stated, hints = rows(table)
    assert signed_row == "signed No content credentials. That says nothing: most files have none."
    assert stated.startswith("stated Stable Diffusion parameters: a lighthouse at dawn")
    assert "Anybody can write or remove it." in stated
    assert hints.startswith("hints Camera: no camera fields That says nothing")
    assert "What the file says" in words
    assert "made by an AI system (Stable Diffusion parameters). Anybody can write or remove that." in words
    assert "never mixed into it" in words


def test_a_signed_picture_shows_integrity_trust_and_revocation_apart() -> None:
    _, table = shown(signed(encode(picture(), "JPEG", exif=phone()), source_type=AI))
    signed_row, _, hints = rows(table)
    for words in ("Integrity: valid", "Trust: not checked against a trust list", "Revocation: not checked"):
        assert words in signed_row
    assert "Digital source type: made by an AI system" in signed_row
    assert "Camera: Fairphone FP5" in hints


def test_a_long_value_stands_behind_a_fold_and_a_short_one_does_not() -> None:
    long = "word " * 100
    table = provenance_table(read_provenance(png(("Comment", long), ("Title", "short"))))
    assert table.count("<details>") == 1
    assert f"<strong>{long[:160].rstrip()}...</strong>" in table
    assert long.strip() in table


@pytest.mark.slow
def test_nothing_of_a_file_is_read_as_html_or_markdown() -> None:
    words, table = shown(png(("Comment", NASTY), ("Title", "Midjourney " + NASTY)))
    assert "<script" not in table
    assert "onload='" not in table
    assert NASTY in rows(table)[1]
    # In the sentence above it stands as it was written, too.
    assert NASTY[:60] in words
    worst = Statement("hint", "x", NASTY, NASTY, NASTY)
    assert "<script" not in provenance_table(Provenance((worst,)))


def test_a_sentence_that_holds_for_several_values_is_said_once() -> None:
    table = provenance_table(read_provenance(png(("Title", "a"), ("Author", "b"), ("Place", "c"))))
    assert rows(table)[1] == "stated Title: a Author: b Place: c A text in the file. Anybody can write or remove it."
