"""Names are shown as they are: nothing in them is read as Markdown, and nothing of them can be clicked."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

pytest.importorskip("playwright", reason="playwright is not installed (requirements-dev.txt)")

from playwright.sync_api import Browser, Page, expect

from tests.app_server import end, start_app, wait_until_it_answers
from tests.nasty_names import NASTY, WITH_CONTROLS
from tests.ports import free_port

pytestmark = pytest.mark.browser

#: The text of every place that shows a name, as it stands in the page, with what CSS shows as one space as one.
_SHOWN = """part => [...part.querySelectorAll('[data-testid=stMarkdownContainer], [data-testid=stCaptionContainer]')]
    .filter(node => !node.parentElement.closest('[data-testid=stMarkdownContainer], [data-testid=stCaptionContainer]'))
    .map(node => node.textContent.trim().replace(/\\s+/g, ' '))"""


#: What Markdown makes of text.
_READ = "a, img, code, ul, ol, li, blockquote, hr, table, del, .katex, [role=img]"


@pytest.fixture(scope="module")
def demo(chromium: Browser) -> Iterator[Page]:
    port = free_port()
    process = start_app(port, dict(os.environ), program="tests/browser/escape_demo.py")
    try:
        wait_until_it_answers(f"http://localhost:{port}", process)
        page = chromium.new_page()
        page.set_default_timeout(60_000)
        page.goto(f"http://localhost:{port}")
        expect(page.get_by_text("All are drawn.")).to_be_visible(timeout=60_000)
        page.wait_for_timeout(1500)  # what is loaded only when it is needed: pictures of ":smile:", formulas
        yield page
        page.close()
    finally:
        end(process)


def test_a_name_is_shown_character_by_character_wherever_streamlit_reads_markdown(demo: Page) -> None:
    """The kind: an address in a name became a link, ":smile:" a picture, "->" an arrow; no backslash stops those."""
    for n, name in enumerate([*NASTY, *WITH_CONTROLS]):
        part = demo.locator(f".st-key-name-{n}")
        shown = part.evaluate(_SHOWN)
        assert set(shown) == {" ".join(name.split())}, (name, shown)
        assert len(shown) == 8, (name, shown)
        assert part.locator(_READ).count() == 0, name


def test_a_name_in_a_tooltip_and_in_a_toast_is_no_link_either(demo: Page) -> None:
    """The kind as above, where a text comes and goes."""
    words = " ".join(" ".join(NASTY).split())
    toast = demo.get_by_test_id("stToast")
    expect(toast).to_contain_text("evil.example")
    assert words in " ".join(toast.inner_text().split())
    assert toast.locator("a, img, .katex").count() == 0
    demo.get_by_test_id("stTooltipHoverTarget").hover()
    tooltip = demo.get_by_test_id("stTooltipContent")
    expect(tooltip).to_be_visible()
    assert " ".join((tooltip.text_content() or "").split()) == words
    assert tooltip.locator("a, img, .katex").count() == 0
