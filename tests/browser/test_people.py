"""Three people with three roles at one dashboard, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="playwright is not installed (requirements-dev.txt)")

from playwright.sync_api import Browser, Page, expect

from detector.storage import users
from detector.storage.acting import LABEL, LOOK, MANAGE
from detector.storage.annotating import history
from detector.storage.samples import find_samples
from detector.web.password import PasswordHash
from tests.browser.conftest import Server
from tests.browser.dashboard import no_run
from tests.factories import labelled_function

pytestmark = [pytest.mark.browser, pytest.mark.long]

PASSWORD = "correct horse battery"
PATIENCE = 60_000


@pytest.fixture
def server(chromium: Browser, tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    labelled_function(running.workspace, 2, "Press photos")
    made = str(PasswordHash.make(PASSWORD))
    for name, role in (("Eva", MANAGE), ("Anna", LABEL), ("Ben", LOOK)):
        users.add_user(running.workspace.db, name, role, made)
    yield running
    running.stop()
    assert "Traceback" not in running.log, running.log
    assert PASSWORD not in running.log


@pytest.fixture
def pages(chromium: Browser) -> Iterator[list[Page]]:
    expect.set_options(timeout=PATIENCE)
    contexts = [chromium.new_context(viewport={"width": 1400, "height": 900}) for _ in range(3)]
    yield [context.new_page() for context in contexts]
    for context in contexts:
        context.close()


def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Password", exact=True).fill(password)
    no_run(page)
    page.get_by_role("button", name="Sign in", exact=True).click()


def go(page: Page, title: str) -> None:
    page.get_by_test_id("stSidebar").get_by_role("link", name=title, exact=True).click()
    expect(page.get_by_role("heading", level=1, name=title, exact=True)).to_be_visible()
    no_run(page)


def test_each_sees_and_does_what_the_role_allows_until_it_is_taken_away(server: Server, pages: list[Page]) -> None:
    eva, anna, ben = pages
    for page, name in ((eva, "Eva"), (anna, "Anna"), (ben, "Ben")):
        page.goto(server.address)
        expect(page.get_by_label("Password", exact=True)).to_be_visible()
        assert "Press photos" not in page.content()
        sign_in(page, name)
        expect(page.get_by_role("heading", level=1, name="Functions")).to_be_visible()
        expect(page.get_by_test_id("stSidebar").get_by_text(name, exact=True)).to_be_visible()
    for page, shown in ((eva, 1), (anna, 0), (ben, 0)):
        expect(page.get_by_test_id("stSidebar").get_by_role("link", name="People", exact=True)).to_have_count(shown)
    expect(eva.get_by_role("button", name="Create a function")).to_be_enabled()
    expect(anna.get_by_role("button", name="Create a function")).to_be_disabled()

    # Ben looks, and is not offered labels; Anna labels.
    go(ben, "Review")
    ben.get_by_role("button", name="Select all", exact=False).first.click()
    expect(ben.get_by_role("button", name="Only what I select")).to_be_visible()
    expect(ben.get_by_role("button", name="synthetic", exact=True).first).to_be_disabled()
    go(ben, "Import")
    expect(ben.get_by_text("Images are imported by users with the role")).to_be_visible()
    go(anna, "Review")
    anna.get_by_role("button", name="Select all", exact=False).first.click()
    anna.get_by_role("button", name="synthetic", exact=True).first.click()
    expect(anna.get_by_text("2 samples labelled", exact=False).first).to_be_visible()
    db = server.workspace.db
    function_id = next(iter(find_function_ids(server)))
    told = [entry.who for sample in find_samples(db, function_id) for entry in history(db, sample.id)]
    assert told.count("Anna") == 2

    # Anna changes her password: the old one lets nobody in, and this page stays.
    no_run(anna)
    anna.get_by_role("button", name="Password", exact=True).click()
    anna.get_by_label("Password of today").fill(PASSWORD)
    anna.get_by_label("New password", exact=True).fill("another good one")
    anna.get_by_label("New password once more").fill("another good one")
    no_run(anna)
    anna.get_by_role("button", name="Change password").click()
    expect(anna.get_by_role("dialog")).to_have_count(0)
    expect(anna.get_by_test_id("stSidebar").get_by_text("Anna", exact=True)).to_be_visible()
    stored = users.find_user(db, "Anna")
    assert stored is not None
    assert PasswordHash.parse(users.password_hash(db, stored.id) or "").matches("another good one")

    # Eva makes somebody, then shuts Ben out: his page is taken away without a click of his.
    go(eva, "People")
    eva.get_by_role("button", name="Create a user").click()
    eva.get_by_role("dialog").get_by_label("Name", exact=True).fill("Carl")
    no_run(eva)
    eva.get_by_role("dialog").get_by_role("button", name="Create user").click()
    expect(eva.get_by_text("Give them this password now")).to_be_visible()
    given = eva.get_by_role("dialog").locator("code").inner_text().strip()
    assert len(given) == 19
    no_run(eva)
    eva.get_by_role("button", name="Done").click()
    expect(eva.get_by_role("dialog")).to_have_count(0)
    expect(eva.get_by_text("Carl", exact=False).first).to_be_visible()
    found = users.find_user(db, "Ben")
    assert found is not None
    no_run(eva)
    eva.locator(f".st-key-change-{found.id} button").click()
    no_run(eva)
    eva.get_by_role("dialog").get_by_role("button", name="Shut out").click()
    expect(eva.get_by_text("shut out", exact=False).first).to_be_visible()
    expect(ben.get_by_label("Password", exact=True)).to_be_visible()
    assert "Press photos" not in ben.get_by_test_id("stApp").inner_text()
    sign_in(ben, "Carl", given)
    expect(ben.get_by_test_id("stSidebar").get_by_text("Carl", exact=True)).to_be_visible()
    no_run(ben)
    ben.get_by_role("button", name="Sign out").click()
    expect(ben.get_by_label("Password", exact=True)).to_be_visible()


def find_function_ids(server: Server) -> list[str]:
    from detector.storage.functions import list_functions

    return [item.function.id for item in list_functions(server.workspace.db)]
