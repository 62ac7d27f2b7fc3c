"""The grid of the Review page by itself, driven by keys and fingers, on a server that is at times slower than they."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.app_server import end, start_app, wait_until_it_answers
from tests.browser.accessibility import serious_faults
from tests.ports import free_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.browser

PATIENCE = 60_000


class Demo:
    """One server that shows `gallery_demo.py`, and a page on it."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "gestures"
        self._log.touch()
        self.port = free_port()
        self.address = f"http://localhost:{self.port}"
        self.start()

    def start(self) -> None:
        settings = {"GALLERY_DEMO_LOG": str(self._log)}
        self._process = start_app(self.port, settings, program="tests/browser/gallery_demo.py")
        wait_until_it_answers(self.address, self._process)

    def stop(self) -> None:
        end(self._process)

    def forget(self) -> None:
        self._log.write_text("")

    @property
    def gestures(self) -> list[list[Any]]:
        """What was handed to the page, in order."""
        return [json.loads(line) for line in self._log.read_text(encoding="utf-8").splitlines()]

    def was_told(self, expected: list[list[Any]], page: Page) -> None:
        """Wait until the page was handed exactly these gestures, and look once more whether one comes twice."""
        deadline = time.monotonic() + PATIENCE / 1000
        while len(self.gestures) < len(expected) and time.monotonic() < deadline:
            page.wait_for_timeout(100)
        settled(page)
        page.wait_for_timeout(600)
        assert self.gestures == expected


@pytest.fixture(scope="module")
def demo(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    running = Demo(tmp_path_factory.mktemp("gallery"))
    yield running
    running.stop()


@pytest.fixture
def page(chromium: Browser, demo: Demo) -> Iterator[Page]:
    """A new window; the console stays without errors, and nothing leaves the machine."""
    context = chromium.new_context(viewport={"width": 1400, "height": 900})
    window = context.new_page()
    troubles: list[str] = []
    window.on("pageerror", lambda error: troubles.append(str(error)))
    window.on("request", lambda request: _note_foreign(request.url, troubles))
    window.set_default_timeout(PATIENCE)
    demo.forget()
    yield window
    context.close()
    assert not troubles


def _note_foreign(url: str, troubles: list[str]) -> None:
    if url.startswith(("http", "ws")) and "//localhost:" not in url:
        troubles.append(url)


def visit(page: Page, demo: Demo, query: str = "") -> Locator:
    """Open the demo; returns its tiles."""
    page.goto(f"{demo.address}/?{query}")
    tiles = page.locator(".gallery .tile")
    tiles.first.wait_for()
    settled(page)
    # The stylesheet comes up to 200 ms after the run has ended, and moves all that lies under the title: between
    # pointing at a bar and pressing, the histogram slid away.
    page.wait_for_function("getComputedStyle(document.documentElement).getPropertyValue('--card') !== ''")
    return tiles


def settled(page: Page) -> None:
    from playwright.sync_api import expect

    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning", timeout=PATIENCE)


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def focused(page: Page) -> str:
    """Which sample's tile has the focus."""
    return page.locator(".gallery .tile:focus").get_attribute("data-id") or ""


def selected(page: Page) -> list[str]:
    return page.locator('.gallery .tile[aria-selected="true"]').evaluate_all("all => all.map(one => one.dataset.id)")


def label_of(page: Page, sample_id: str) -> str:
    return page.locator(f'.tile[data-id="{sample_id}"] .label').inner_text()


def zoom_says(page: Page) -> str:
    return page.locator("dialog.large .fit").inner_text()


@pytest.mark.long
def test_twenty_labels_and_three_undos_typed_faster_than_the_server_answers(page: Page, demo: Demo) -> None:
    tiles = visit(page, demo, "slow=0.5")
    tiles.first.focus()
    keys = ["1", "2", "0", "2"] * 5
    press(page, *keys)
    assert focused(page) == "s20"
    assert [label_of(page, f"s{i}") for i in range(4)] == ["real", "synthetic", "no label", "synthetic"]
    press(page, "u", "u", "Control+z")
    names = {"1": "real", "2": "synthetic", "0": None}
    given = [["label", [f"s{i}"], names[key], 0] for i, key in enumerate(keys)]
    demo.was_told(given + [["undo", [], None, 0]] * 3, page)
    # Where the last three stood before: 17 and 19 had another label, 18 the one that came back.
    assert [label_of(page, f"s{i}") for i in (16, 17, 18, 19)] == ["real", "real", "synthetic", "synthetic"]
    assert focused(page) == "s20"


@pytest.mark.long
def test_a_label_shows_at_once_and_stays(page: Page, demo: Demo) -> None:
    tiles = visit(page, demo, "slow=1.5")
    tile = tiles.nth(1)
    assert tile.locator(".badge").is_visible()
    tile.focus()
    press(page, "2")
    seen = tile.locator(".label").evaluate(
        """async (label) => {
          const seen = new Set();
          for (const end = Date.now() + 3500; Date.now() < end;) {
            seen.add(label.textContent);
            await new Promise(requestAnimationFrame);
          }
          return [...seen];
        }"""
    )
    assert seen == ["synthetic"]
    assert not tile.locator(".badge").is_visible()
    demo.was_told([["label", ["s1"], "synthetic", 0]], page)


def test_ranges_are_selected_by_keys_and_labelled_together(page: Page, demo: Demo) -> None:
    visit(page, demo).nth(2).focus()
    press(page, "Shift+ArrowRight", "Shift+ArrowRight", "Shift+ArrowRight", "Shift+ArrowLeft")
    assert selected(page) == ["s2", "s3", "s4"]
    press(page, "ArrowRight", "Space", "ArrowRight", "ArrowRight", "Shift+Space")
    assert selected(page) == ["s2", "s3", "s4", "s5", "s6", "s7"]
    press(page, "Space", "2")
    demo.was_told([["label", ["s2", "s3", "s4", "s5", "s6"], "synthetic", 0]], page)
    assert selected(page) == []
    press(page, "Control+a")
    assert len(selected(page)) == 24
    press(page, "Escape", "Home", "ArrowDown")
    assert selected(page) == []
    assert focused(page) == "s7"
    press(page, "End")
    assert focused(page) == "s23"


def test_the_page_may_set_the_selection(page: Page, demo: Demo) -> None:
    tiles = visit(page, demo)
    tiles.nth(5).click()
    page.get_by_text("page 1 · 1 selected").wait_for()
    page.get_by_role("button", name="Select three").click()
    page.get_by_text("page 1 · 3 selected").wait_for()
    settled(page)
    assert selected(page) == ["s0", "s1", "s2"]
    tiles.nth(7).click(modifiers=["Shift"])
    page.get_by_text("page 1 · 4 selected").wait_for()


@pytest.mark.long
def test_label_keys_ask_about_all_that_match_until_one_selects_by_hand(page: Page, demo: Demo) -> None:
    """The page said that all were selected, and a key labelled the one tile in focus."""
    tiles = visit(page, demo, "slow=0.3")
    page.get_by_role("button", name="Select everything").click()
    page.locator('.tile[data-id="s23"][aria-selected="true"]').wait_for()
    assert len(selected(page)) == 24
    tiles.nth(3).focus()
    press(page, "2", "ArrowRight", "0")
    told = [["label-all", [], "synthetic", 0], ["label-all", [], None, 0]]
    demo.was_told(told, page)
    assert label_of(page, "s3") == "synthetic"
    assert len(selected(page)) == 24
    # The key after it comes before the server knows that it was left.
    press(page, "Space", "2")
    assert selected(page) == []
    demo.was_told([*told, ["leave-all", [], None, 0], ["label", ["s4"], "synthetic", 0]], page)
    assert selected(page) == []


@pytest.mark.long
def test_the_page_turns_at_its_ends_and_by_keys(page: Page, demo: Demo) -> None:
    tiles = visit(page, demo, "slow=0.3")
    tiles.first.focus()
    press(page, "End", "ArrowRight", "1")
    page.locator('.tile[data-id="s24"]:focus').wait_for()
    # The label key came before the page it would have gone to.
    demo.was_told([["page", [], None, 1]], page)
    press(page, "ArrowLeft")
    page.locator('.tile[data-id="s0"]:focus').wait_for()
    press(page, "n", "PageDown")
    page.locator('.tile[data-id="s48"]:focus').wait_for()
    press(page, "p")
    page.locator('.tile[data-id="s24"]:focus').wait_for()
    demo.was_told([["page", [], None, step] for step in (1, -1, 1, 1, -1)], page)


@pytest.mark.long
def test_the_large_view_by_keys(page: Page, demo: Demo) -> None:
    visit(page, demo).nth(2).focus()
    large = page.locator("dialog.large")
    press(page, "Enter")
    large.get_by_text("external id").wait_for()
    assert "ext-2" in large.inner_text()
    assert large.locator(".near li").count() == 5
    assert zoom_says(page).startswith("fit, ")
    zooms = []
    for _ in range(5):
        press(page, "z")
        zooms.append(zoom_says(page))
    assert zooms[:4] == ["100 %", "200 %", "400 %", "800 %"]
    assert zooms[4].startswith("fit, ")
    press(page, "+", "+")
    assert zoom_says(page) == "400 %"
    picture = large.locator(".stage img")
    assert picture.evaluate("one => [one.style.width, getComputedStyle(one).imageRendering]") == ["3600px", "pixelated"]
    before = picture.evaluate("one => one.style.transform")
    press(page, "Shift+ArrowRight")
    assert picture.evaluate("one => one.style.transform") != before

    press(page, "1")
    demo.was_told([["label", ["s2"], "real", 0]], page)
    # The rerun neither closes it nor resets the zoom.
    assert large.is_visible()
    assert zoom_says(page) == "400 %"
    assert large.locator(".word").inner_text() == "real"
    assert large.locator('.give[aria-pressed="true"]').inner_text() == "1 real"

    press(page, "ArrowRight", "ArrowRight", "ArrowRight")
    large.get_by_text("ext-5").wait_for()
    assert zoom_says(page).startswith("fit, ")
    # One of the most alike that is on another page; keys go on from where it was opened.
    press(page, "ArrowRight", *["ArrowRight"] * 17)
    large.get_by_text("ext-23").wait_for()
    large.get_by_role("button", name="picture-25.png").click()
    assert large.locator("h2").inner_text() == "picture-25.png"
    large.get_by_text("ext-25").wait_for()
    press(page, "2")
    demo.was_told([["label", ["s2"], "real", 0], ["label", ["s25"], "synthetic", 0]], page)
    assert large.locator(".word").inner_text() == "synthetic"
    press(page, "ArrowLeft")
    large.get_by_text("ext-22").wait_for()
    for _ in range(17):
        press(page, "ArrowLeft")
    large.get_by_text("ext-5").wait_for()
    press(page, "Escape")
    assert not large.is_visible()
    assert focused(page) == "s5"
    settled(page)
    page.wait_for_timeout(500)
    assert not large.is_visible()


@pytest.mark.long
def test_tiles_that_leave_the_filter_take_neither_the_focus_nor_the_large_view_along(page: Page, demo: Demo) -> None:
    tiles = visit(page, demo, "only=unlabelled&slow=0.3")
    assert tiles.count() == 12
    tiles.first.focus()
    press(page, "1", "1", "1")
    demo.was_told([["label", [one], "real", 0] for one in ("s0", "s5", "s10")], page)
    assert tiles.count() == 9
    assert focused(page) == "s15"
    press(page, "Control+a", "2")
    page.get_by_text("page 1 · 0 selected").wait_for()
    settled(page)
    page.wait_for_function("!document.querySelector('.gallery .tile')")
    press(page, "u")
    tiles.first.wait_for()
    tiles.first.focus()
    press(page, "Enter")
    large = page.locator("dialog.large")
    large.get_by_text("ext-15").wait_for()
    press(page, "1")
    page.locator('.tile[data-id="s15"]').wait_for(state="detached")
    assert large.locator(".word").inner_text() == "real"
    press(page, "ArrowRight")
    large.get_by_text("ext-20").wait_for()
    press(page, "Escape")
    assert focused(page) == "s20"


def test_the_large_view_by_mouse(page: Page, demo: Demo) -> None:
    tiles = visit(page, demo)
    tiles.nth(3).dblclick()
    large = page.locator("dialog.large")
    large.get_by_text("ext-3").wait_for()
    assert selected(page) == []
    stage = large.locator(".stage")
    stage.dblclick(position={"x": 200, "y": 200})
    assert zoom_says(page) == "100 %"
    page.mouse.wheel(0, -120)
    assert zoom_says(page) == "fit, 116 %"
    page.mouse.wheel(0, -120)
    assert zoom_says(page) == "200 %"
    picture = large.locator(".stage img")
    box = stage.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 300, box["y"] + 300)
    before = picture.bounding_box()
    page.mouse.down()
    page.mouse.move(box["x"] + 260, box["y"] + 280, steps=4)
    page.mouse.up()
    after = picture.bounding_box()
    assert before is not None
    assert after is not None
    assert (after["x"] - before["x"], after["y"] - before["y"]) == pytest.approx((-40, -20), abs=1)
    large.get_by_role("button", name="close").click()
    tiles.nth(6).hover()
    tiles.nth(6).get_by_role("button", name="open picture-6.png").click()
    large.get_by_text("ext-6").wait_for()
    large.get_by_role("button", name="2 synthetic").click()
    demo.was_told([["label", ["s6"], "synthetic", 0]], page)


@pytest.mark.long
def test_until_the_server_answers_the_thumbnail_stands_in(page: Page, demo: Demo) -> None:
    visit(page, demo, "slow=1.5").nth(2).focus()
    press(page, "Enter")
    large = page.locator("dialog.large")
    assert large.locator(".loading").is_visible()
    assert large.locator("h2").inner_text() == "picture-2.png"
    width = large.locator(".stage img").evaluate("one => one.getBoundingClientRect().width")
    assert width > 600
    large.get_by_text("ext-2").wait_for()
    assert not large.locator(".loading").is_visible()


def test_keys_typed_into_a_field_stay_there(page: Page, demo: Demo) -> None:
    visit(page, demo)
    field = page.get_by_label("Words")
    field.click()
    page.keyboard.type("12u?np")
    field.press("Enter")
    settled(page)
    assert field.input_value() == "12u?np"
    assert not page.locator("dialog.keys").is_visible()
    demo.was_told([], page)


def test_a_reload_starts_the_numbers_anew_and_repeats_nothing(page: Page, demo: Demo) -> None:
    for key, label in (("1", "real"), ("2", "synthetic")):
        visit(page, demo).first.focus()
        demo.forget()
        press(page, key)
        demo.was_told([["label", ["s0"], label, 0]], page)


@pytest.mark.long
def test_a_gesture_made_while_the_server_starts_again_is_not_lost(page: Page, demo: Demo) -> None:
    visit(page, demo).first.focus()
    press(page, "1")
    demo.was_told([["label", ["s0"], "real", 0]], page)
    demo.stop()
    press(page, "2")
    page.wait_for_timeout(500)
    demo.start()
    demo.was_told([["label", ["s0"], "real", 0], ["label", ["s1"], "synthetic", 0]], page)


def test_the_list_of_keys_and_stacks(page: Page, demo: Demo) -> None:
    tiles = visit(page, demo)
    tiles.nth(4).focus()
    keys = page.locator("dialog.keys")
    press(page, "?")
    assert keys.is_visible()
    assert "2 synthetic" in " ".join(keys.inner_text().split())
    press(page, "Escape")
    assert not keys.is_visible()
    assert focused(page) == "s4"
    press(page, "s", "ArrowRight", "s")
    tiles.nth(13).get_by_role("button", name="3 alike").click()
    demo.was_told([["stack", ["s4"], None, 0], ["stack", ["s13"], None, 0]], page)
    assert selected(page) == []
    page.get_by_role("button", name="keys ?").click()
    assert keys.is_visible()


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(page: Page, demo: Demo, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    tiles = visit(page, demo)
    tiles.nth(1).click()
    settled(page)
    assert serious_faults(page, "stBidiComponentIsolated") == []
    tiles.nth(4).focus()
    press(page, "Enter")
    page.locator("dialog.large").get_by_text("ext-4").wait_for()
    assert serious_faults(page, "stBidiComponentIsolated") == []
    press(page, "?")
    assert serious_faults(page, "stBidiComponentIsolated") == []


@pytest.mark.long
@pytest.mark.parametrize("size", ["S", "M", "L"])
def test_a_phone_shows_two_columns_and_cuts_nothing_off(chromium: Browser, demo: Demo, size: str) -> None:
    context = chromium.new_context(viewport={"width": 420, "height": 900}, has_touch=True, is_mobile=True)
    page = context.new_page()
    tiles = visit(page, demo, f"size={size}")
    tops = tiles.evaluate_all("all => all.map(one => Math.round(one.getBoundingClientRect().top))")
    assert tops.count(tops[0]) == (3 if size == "S" else 2)
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 420
    open_button = tiles.first.locator(".open")
    assert open_button.evaluate("one => getComputedStyle(one).opacity") == "1"
    box = open_button.bounding_box()
    assert box is not None
    assert min(box["width"], box["height"]) >= 24
    open_button.tap()
    page.locator("dialog.large").get_by_text("ext-0").wait_for()
    widths = page.locator("dialog.large :is(.top, .stage, .sheet)").evaluate_all(
        "all => all.map(one => one.scrollWidth)"
    )
    assert max(widths) <= 420
    context.close()


def test_a_range_is_dragged_on_the_histogram_or_moved_by_keys(page: Page, demo: Demo) -> None:
    visit(page, demo)
    bars = page.locator(".range .bar")
    assert bars.count() == 10
    bars.nth(2).hover()
    page.mouse.down()
    bars.nth(5).hover()
    assert page.locator(".range .words").inner_text() == "60 to 80 %"
    assert page.get_by_text("range 0.00 1.00").is_visible()
    page.mouse.up()
    page.get_by_text("range 0.60 0.80").wait_for()
    page.get_by_role("slider", name="Confidence to").focus()
    press(page, "ArrowRight", "ArrowRight")
    page.get_by_text("range 0.60 0.90").wait_for()
    page.get_by_role("slider", name="Confidence from").focus()
    press(page, "Home")
    page.get_by_text("range 0.00 0.90").wait_for()
    page.get_by_role("button", name="any", exact=True).click()
    page.get_by_text("range 0.00 1.00").wait_for()
    assert page.locator(".range .words").inner_text() == "any"
