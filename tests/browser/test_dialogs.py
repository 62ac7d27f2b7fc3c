"""Dialogs while work goes on behind them."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright", reason="playwright is not installed (requirements-dev.txt)")

from playwright.sync_api import expect

from detector.jobs import EVALUATE
from detector.storage import functions, jobs
from tests.browser.conftest import Server
from tests.browser.dashboard import Dashboard

pytestmark = pytest.mark.browser


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
