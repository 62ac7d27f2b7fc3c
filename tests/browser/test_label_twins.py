"""Two spellings of one name on Review, and a long report on Import, with a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from detector.storage import imports, samples
from tests.browser.conftest import Server, served
from tests.factories import add_images, empty_function, label_ids, make_image
from tests.storage.test_label_twins import NFC, NFD, with_twins

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.browser.dashboard import Dashboard

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from served(tmp_path_factory.mktemp("twins"))


@pytest.mark.long
def test_two_spellings_become_one_label_when_a_person_says_so(dashboard: Dashboard, server: Server) -> None:
    """The dialog, and a filter that names the label which goes."""
    from playwright.sync_api import expect

    ws = server.workspace
    function = with_twins(ws, 3)
    ids = label_ids(ws, function)
    page = dashboard.page
    page.goto(f"{server.address}/review?function={function.id}&label={ids[NFD]}")
    dashboard.settled()
    assert "are one name in two spellings: 3 and 3 images" in dashboard.words
    dashboard.press(f"Merge into {NFC}")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("3 images labelled")
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_have_count(0)
    assert label_ids(ws, function) == ids
    dashboard.settled()
    dashboard.press(f"Merge into {NFC}")
    dialog.get_by_role("button", name="Merge", exact=True).click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_text("one name in two spellings")).to_have_count(0)
    dashboard.settled()
    assert samples.count_by(ws.db, function.id).by_label == {ids["real"]: 3, ids[NFC]: 6}
    # What was filtered by the vanished spelling is filtered by the other one.
    dashboard.address_says({"function": function.id, "label": ids[NFC]})
    assert re.search(r"6 of 9 samples", dashboard.words)


def test_the_whole_report_of_an_import_is_a_download(dashboard: Dashboard, server: Server, tmp_path: Path) -> None:
    """The kind: a table cut for display was all that there was."""
    ws = server.workspace
    function = empty_function(ws)
    batch = add_images(ws, function, [("first.png", make_image(1), "real")])
    imports.add_samples(ws.db, function.id, batch, [], [(f"{n}.png", "It is broken.") for n in range(1_234)])
    page = dashboard.page
    page.goto(f"{server.address}/import?function={function.id}")
    dashboard.settled()
    assert "The first 1,000 of 1,234; all of them in the CSV." in dashboard.words
    with page.expect_download() as started:
        dashboard.press("Table (CSV)")
    started.value.save_as(tmp_path / "report.csv")
    assert len((tmp_path / "report.csv").read_bytes().decode("utf-8-sig").splitlines()) == 1_235
