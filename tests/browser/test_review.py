"""Review as a person drives it: by keyboard alone, and on everything that a filter shows."""

from __future__ import annotations

import csv
import io
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from detector.gallery.filters import GalleryFilter, Order
from detector.gallery.selection import Gallery
from detector.pipeline.build import build
from detector.storage import functions, samples
from detector.storage.functions import Function
from detector.storage.schema import annotation_history
from tests.browser.conftest import Server, served
from tests.factories import add_images, empty_function, images, label_ids, make_image, near_duplicate

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.browser.dashboard import Dashboard

pytestmark = pytest.mark.browser

DIFFERS = GalleryFilter(agreement="differs")


@pytest.fixture(scope="module")
def server(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Labels are given in peace: the training that follows them would only come after an hour."""
    yield from served(tmp_path_factory.mktemp("review"), {"DETECTOR_RETRAIN_DELAY": "3600"})


@pytest.fixture
def function(dashboard: Dashboard, server: Server) -> Function:
    """Sixty-one labelled images, of which ten carry a wrong label, and a trained model; the Review page is open.

    Each test has a function of its own. The pictures are those of the others, so that they are embedded only once.
    """
    ws = server.workspace
    function = empty_function(ws, "Reviewed")
    wrong = {"real": "synthetic", "synthetic": "real"}
    items = [
        (name, data, wrong[label] if place < 10 else label) for place, (name, data, label) in enumerate(images(30))
    ]
    add_images(ws, function, [*items, ("twin.png", near_duplicate(make_image(25)), "real")])
    build(ws, function.id)
    dashboard.page.goto(f"{dashboard.address}/review?function={function.id}")
    dashboard.settled()
    # The component draws its tiles a moment after the run has ended.
    dashboard.page.locator(".gallery .tile").nth(47).wait_for()
    return functions.get_function(ws.db, function.id)


def _labels(server: Server, function: Function) -> dict[str, str | None]:
    rows = samples.find_samples(server.workspace.db, function.id, limit=1000)
    return {row.id: row.label_id for row in rows}


def _wait_for(server: Server, function: Function, expected: dict[str, str | None]) -> None:
    deadline = time.monotonic() + 300
    while _labels(server, function) != expected and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _labels(server, function) == expected


def test_twenty_images_are_labelled_by_keyboard_alone_and_three_undone(
    dashboard: Dashboard, server: Server, function: Function
) -> None:
    ids = label_ids(server.workspace, function)
    before = _labels(server, function)
    keyboard = dashboard.page.keyboard
    tiles = dashboard.page.locator(".gallery .tile")
    order: list[str] = tiles.evaluate_all("nodes => nodes.map(node => node.dataset.id)")
    # By Tab from the top of the page, as somebody without a mouse would.
    for _ in range(60):
        keyboard.press("Tab")
        if tiles.evaluate_all("nodes => nodes.some(node => node === node.getRootNode().activeElement)"):
            break
    expected, changes = dict(before), []
    for place, sample_id in enumerate(order[:20]):
        # 1, 2 and 0 in turn; a label that is there already is no change.
        key, label = (("1", ids["real"]), ("2", ids["synthetic"]), ("0", None))[place % 3]
        keyboard.press(key)
        if expected[sample_id] != label:
            changes.append((sample_id, expected[sample_id]))
        expected[sample_id] = label
    _wait_for(server, function, expected)
    for _ in range(3):
        keyboard.press("u")
        sample_id, earlier = changes.pop()
        expected[sample_id] = earlier
        _wait_for(server, function, expected)
    with server.workspace.db.read() as connection:
        given = select(annotation_history).where(annotation_history.c.by == "person")
        rows = connection.execute(given.where(annotation_history.c.sample_id.in_(list(before)))).all()
    assert sum(row.undone_at is not None for row in rows) == 3
    assert len(rows) == len(changes) + 3
    # The tiles stayed where they were while their labels changed, and undo still works after a reload.
    assert tiles.evaluate_all("nodes => nodes.map(node => node.dataset.id)") == order
    dashboard.reload()
    tiles.first.focus()
    keyboard.press("u")
    sample_id, earlier = changes.pop()
    expected[sample_id] = earlier
    _wait_for(server, function, expected)
    assert len(changes) > 8


def test_all_that_differ_are_relabelled_at_once_and_brought_back(
    dashboard: Dashboard, server: Server, function: Function
) -> None:
    ws, ids = server.workspace, label_ids(server.workspace, function)
    before = _labels(server, function)
    dashboard.choose("Says and label", "differ")
    dashboard.choose("Order", "most confident first")
    found = Gallery(ws, function.id)
    differing = found.ids(DIFFERS, Order.MOST_CONFIDENT)
    assert len(differing) >= 5
    dashboard.sees_tiles(differing)
    dashboard.press(f"Select all {len(differing)} that match")
    dashboard.sees(f"All {len(differing)} that match")
    dashboard.press("synthetic")
    expected = before | dict.fromkeys(differing, ids["synthetic"])
    _wait_for(server, function, expected)
    dashboard.sees("changed since")
    # What the filter shows now is what still differs.
    left = Gallery(ws, function.id).ids(DIFFERS, Order.MOST_CONFIDENT)
    assert len(left) < len(differing)
    dashboard.sees_tiles(left)
    dashboard.press("undo")
    _wait_for(server, function, before)


def test_a_label_key_asks_about_all_that_match_and_a_click_ends_that(
    dashboard: Dashboard, server: Server, function: Function
) -> None:
    """The bar said that all that match were selected, and the key labelled one tile."""
    page, ids = dashboard.page, label_ids(server.workspace, function)
    before = _labels(server, function)
    dashboard.choose("Says and label", "differ")
    differing = Gallery(server.workspace, function.id).ids(DIFFERS, Order.LEAST_CONFIDENT)
    tiles = page.locator(".gallery .tile")
    chosen = page.locator('.gallery .tile[aria-selected="true"]')
    dashboard.press(f"Select all {len(differing)} that match")
    chosen.nth(len(differing) - 1).wait_for()
    tiles.nth(1).focus()
    page.keyboard.press("2")
    dashboard.dialog_says(f"This will give {len(differing)} samples the label synthetic.")
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")
    dashboard.sees(f"All {len(differing)} that match")

    tiles.nth(1).click()
    dashboard.sees("1 selected")
    page.get_by_text("No longer all that match: only what you select.").wait_for()
    assert chosen.count() == 1
    assert _labels(server, function) == before

    dashboard.press(f"Select all {len(differing)} that match")
    chosen.nth(len(differing) - 1).wait_for()
    tiles.nth(0).focus()
    page.keyboard.press("2")
    dashboard.press("Do it")
    _wait_for(server, function, before | dict.fromkeys(differing, ids["synthetic"]))


def test_a_step_back_in_the_browser_is_taken(dashboard: Dashboard, server: Server, function: Function) -> None:
    """The address and the tiles stayed on the later view: what the widgets said was written over it."""
    page, ids = dashboard.page, label_ids(server.workspace, function)
    gallery = Gallery(server.workspace, function.id)
    start = dashboard.query
    real = {"label": ids["real"]}
    both = real | {"says": ids["synthetic"]}
    dashboard.choose("Label", "real")
    dashboard.address_says(start | real)
    dashboard.choose("Says", "synthetic")
    dashboard.address_says(start | both)
    assert 0 < gallery.count(GalleryFilter(**both)) < gallery.count(GalleryFilter(**real))
    # The address is written before the run has ended, and a step back before that counts as a further choice.
    dashboard.settled()

    page.go_back()
    dashboard.sees(f"{gallery.count(GalleryFilter(**real))} of 61 samples")
    dashboard.settled()
    dashboard.address_says(start | real)
    page.go_back()
    dashboard.sees("61 of 61 samples")
    page.go_forward()
    page.go_forward()
    dashboard.sees(f"{gallery.count(GalleryFilter(**both))} of 61 samples")
    dashboard.settled()
    dashboard.address_says(start | both)
    # Another choice goes on from there.
    dashboard.choose("Says", "any")
    dashboard.address_says(start | real)
    # Pages too.
    dashboard.choose("Label", "any label")
    dashboard.address_says(start | {"label": "any"})
    tiles = page.locator(".gallery .tile")
    tiles.first.focus()
    page.keyboard.press("n")
    dashboard.address_says(start | {"label": "any", "page": "2"})
    dashboard.settled()
    page.go_back()
    tiles.nth(47).wait_for()
    dashboard.settled()
    dashboard.address_says(start | {"label": "any"})
    # Of two quick choices the second comes with the address from before the first: that is no step back.
    for widget, option in (("Label", "real"), ("Says", "synthetic")):
        page.get_by_role("combobox", name=widget, exact=True).click()
        page.get_by_role("option", name=option).click()
    dashboard.sees(f"{gallery.count(GalleryFilter(**both))} of 61 samples")
    dashboard.settled()
    dashboard.address_says(start | both)


@pytest.mark.long
def test_a_source_is_set_by_a_name_and_removed_after_a_question(
    dashboard: Dashboard, server: Server, function: Function
) -> None:
    """An empty field took the source of 99 samples away, unasked, and undo does not bring it back."""
    page, ws = dashboard.page, server.workspace

    def sources() -> set[str | None]:
        return {row.source for row in samples.get_samples(ws.db, chosen)}

    tiles = page.locator(".gallery .tile")
    chosen: list[str] = tiles.evaluate_all("nodes => nodes.slice(0, 2).map(node => node.dataset.id)")

    def choose_two() -> None:
        for place in (0, 1):
            tiles.nth(place).click()
        dashboard.sees("2 selected")
        dashboard.press("More")

    choose_two()
    assert page.get_by_role("button", name="Set source").is_disabled()
    field = page.get_by_label("Source", exact=True)
    field.fill("*x*")
    field.press("Enter")
    page.get_by_role("button", name="Set source", disabled=False).click()
    # As it was written, not as Markdown.
    page.get_by_text("Source of 2 samples set to *x*.").wait_for()
    assert sources() == {"*x*"}
    dashboard.settled()
    page.reload()
    dashboard.settled()
    choose_two()
    dashboard.press("Remove source")
    # The menu that it was chosen from is one more dialog.
    asked = page.get_by_role("dialog", name="Are you sure?")
    asked.get_by_text("This will remove the source from 2 samples.").wait_for()
    assert sources() == {"*x*"}
    dashboard.press("Do it")
    page.get_by_text("Source removed from 2 samples.").wait_for()
    assert sources() == {None}


def test_what_cannot_be_is_not_offered(dashboard: Dashboard, function: Function) -> None:
    page = dashboard.page
    page.goto(f"{page.url}&sort=useful")
    dashboard.sees("61 of 61 samples · all have a label, so newest import first")
    page.goto(f"{page.url}&text=nowhere")
    dashboard.sees("No sample matches these filters.")
    dashboard.settled()
    assert page.get_by_role("button", name="Select all 0 that match").is_disabled()
    assert page.get_by_role("button", name="Download", exact=True).is_disabled()


@pytest.mark.long
def test_stacks_open_samples_go_to_the_bin_and_come_back_and_everything_can_be_downloaded(
    dashboard: Dashboard, server: Server, function: Function
) -> None:
    page = dashboard.page
    stack = page.locator(".gallery .tile", has=page.locator(".stacked:visible"))
    stack.locator(".words").click()
    dashboard.sees("1 selected · the others of its stack are not")
    stack.locator(".stacked").click()
    page.get_by_role("button", name="Close the stack").wait_for()
    dashboard.settled()
    assert page.locator(".gallery .tile").count() == 2
    assert "group" in dashboard.query
    dashboard.press("Close the stack")
    page.get_by_role("button", name="Close the stack").wait_for(state="detached")
    dashboard.settled()
    assert page.locator(".gallery .tile").count() == 48

    gone = page.locator(".gallery .tile").first
    gone_id = gone.get_attribute("data-id")
    gone.click()
    dashboard.sees("1 selected")
    page.get_by_role("button", name="More", exact=True).click()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.locator(f'.gallery .tile[data-id="{gone_id}"]').wait_for(state="detached")
    assert gone_id not in _labels(server, function)
    dashboard.reload()
    page.get_by_role("button", name="More filters").click()
    page.get_by_text("In the bin (1)").click()
    dashboard.sees("1 sample in the bin")
    page.keyboard.press("Escape")
    dashboard.press("Select all 1 that match")
    dashboard.press("Restore")
    deadline = time.monotonic() + 300
    while gone_id not in _labels(server, function) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert gone_id in _labels(server, function)

    dashboard.press("Show all")
    dashboard.sees("61 of 61 samples")
    dashboard.settled()
    for words, ending in (("Table (CSV)", ".csv"), ("Images in label folders (ZIP)", ".zip")):
        page.get_by_role("button", name="Download", exact=True).click()
        with page.expect_download() as download:
            page.get_by_role("link", name=words).click()
        page.keyboard.press("Escape")
        assert download.value.suggested_filename.endswith(ending)
        data = Path(download.value.path()).read_bytes()
        if ending == ".csv":
            assert len(list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))) == 61
        else:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                assert sum(name.endswith(".png") for name in archive.namelist()) == 61


@pytest.mark.long
def test_axe_finds_no_serious_fault_on_the_page_its_menus_and_the_large_view(
    dashboard: Dashboard, function: Function
) -> None:
    page = dashboard.page
    assert dashboard.serious_faults() == []
    page.locator(".gallery .tile").first.click()
    dashboard.sees("1 selected")
    for menu, entry in (("More", "Delete"), ("Download", "Table (CSV)")):
        dashboard.press(menu)
        page.get_by_text(entry, exact=True).first.wait_for()
        assert dashboard.serious_faults() == [], menu
        page.keyboard.press("Escape")
    dashboard.press("Select all 61 that match")
    dashboard.sees("All 61 that match")
    dashboard.settled()
    page.locator(".gallery .tile").first.focus()
    page.keyboard.press("0")
    dashboard.dialog_says("61 samples")
    assert dashboard.serious_faults() == []
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")
    page.emulate_media(color_scheme="dark")
    dashboard.reload()
    assert dashboard.serious_faults() == []
    page.emulate_media(color_scheme="light")
    dashboard.reload()
    page.locator(".gallery .tile").first.focus()
    page.keyboard.press("Enter")
    page.locator("dialog.large .facts").wait_for()
    page.wait_for_timeout(1000)
    assert dashboard.serious_faults() == []
    assert page.locator("dialog.large .near li").count() == 5
    page.keyboard.press("Escape")
    page.get_by_role("button", name="More filters").click()
    page.wait_for_timeout(700)
    assert dashboard.serious_faults() == []
