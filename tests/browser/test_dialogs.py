"""Dialogs while work goes on behind them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("playwright", reason="playwright is not installed (requirements-dev.txt)")

from playwright.sync_api import Browser, expect

from detector.jobs import EVALUATE
from detector.storage import functions, jobs
from tests.browser.conftest import Server, served
from tests.browser.dashboard import Dashboard
from tests.factories import add_images, images

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all: each test removes the functions that it made."""
    yield from served(tmp_path_factory.mktemp("dialogs"))


@pytest.mark.long
def test_what_is_typed_into_a_dialog_outlives_the_end_of_a_job(dashboard: Dashboard, server: Server) -> None:
    db = server.workspace.db
    first = functions.get_function(db, dashboard.create_function("First"))
    waiting = jobs.enqueue(db, first.id, EVALUATE, delay=3600)
    dashboard.page.goto(dashboard.address)
    dashboard.settled()
    dashboard.press("Create a function")
    dialog = dashboard.page.get_by_role("dialog")
    name = dashboard.page.get_by_label("Name", exact=True)
    name.fill("Second")
    name.press("Tab")
    jobs.finish(db, waiting, "cancelled")
    jobs.enqueue(db, first.id, EVALUATE, delay=3600)
    dashboard.page.wait_for_timeout(5000)  # several ticks of the clock, each of which sees the change
    expect(dialog).to_be_visible()
    expect(name).to_have_value("Second")
    dashboard.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    functions.rename_function(db, first.id, "Renamed elsewhere")
    jobs.enqueue(db, first.id, EVALUATE, {"another": True}, delay=3600)
    # The page is drawn anew again: nobody touches it.
    dashboard.sees("Renamed elsewhere")
    functions.delete_function(db, first.id)


@pytest.mark.long
def test_a_dialog_from_a_menu_stands_alone_and_goes_with_one_escape(dashboard: Dashboard, server: Server) -> None:
    """Kind: the menu stayed open over the page, beside the dialog of one of its lines, and took the first Escape.

    Brothers: each line of a function's menu, and Review's menu of what can be done with samples.
    """
    db, page = server.workspace.db, dashboard.page
    function = functions.get_function(db, dashboard.create_function("First"))
    add_images(server.workspace, function, images(2))
    dialog, menu = page.locator('section[role="dialog"]'), page.get_by_test_id("stPopoverBody")
    dashboard.open("Functions")
    for line, title in (
        ("Rename", "Rename function"),
        ("Change backbone", "Change the backbone"),
        ("Delete", "Delete function"),
    ):
        dashboard.press("More")
        dashboard.press(line)
        expect(dialog).to_contain_text(title)
        expect(menu).to_have_count(0)
        if line == "Change backbone":
            # There is no model yet that could answer.
            expect(dialog).to_contain_text("All 4 images are looked at again")
            expect(dialog).not_to_contain_text("live model")
        dashboard.settled()
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
    dashboard.visit("review")
    dashboard.press("Select all 4 that match")
    bar = page.locator(".st-key-review-actions")
    bar.get_by_role("button", name="More").click()
    dashboard.press("Remove source")
    expect(dialog).to_contain_text("Are you sure?")
    expect(menu).to_have_count(0)
    dashboard.settled()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    functions.delete_function(db, function.id)


@pytest.mark.long
def test_the_page_says_which_backbone_auto_chose_and_why(dashboard: Dashboard, server: Server) -> None:
    why = "EfficientNet-Lite0 (offline) is the automatic choice. CLIP ViT-B/32 256 px (DataComp) is not available"
    dashboard.press("Create a function")
    dashboard.unfold("Backbone")
    dashboard.dialog_says(why)
    dashboard.reload()
    function_id = dashboard.create_function("Automatic")
    dashboard.hover_help("EfficientNet-Lite0 (offline)")
    dashboard.tooltip_says(why)
    functions.delete_function(server.workspace.db, function_id)
