"""The door of the dashboard, as somebody without the password and as its owner meets it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="playwright is not installed (requirements-dev.txt)")

from playwright.sync_api import Browser, Page, expect

from detector.storage import functions
from detector.web.password import PasswordHash
from detector.web.throttling import FREE_FAILURES
from pages._state import PAGES
from tests.browser.conftest import Server
from tests.browser.dashboard import no_run
from tests.factories import empty_function, make_image

pytestmark = pytest.mark.browser

PASSWORD = "correct horse battery"
PATIENCE = 60_000


def _guarded(folder: Path) -> Iterator[Server]:
    running = Server(folder, {"DETECTOR_PASSWORD_HASH": str(PasswordHash.make(PASSWORD))})
    empty_function(running.workspace, "Confidential photos")
    yield running
    running.stop()
    assert "Traceback" not in running.log, running.log
    assert PASSWORD not in running.log


@pytest.fixture(scope="module")
def guarded(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a password, and one function whose name must not be seen from outside."""
    yield from _guarded(tmp_path_factory.mktemp("guarded"))


@pytest.fixture
def attacked(chromium: Browser, tmp_path: Path) -> Iterator[Server]:
    """Another one of that kind, of its own: after wrong passwords it lets nobody try for a while."""
    yield from _guarded(tmp_path)


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    expect.set_options(timeout=PATIENCE)
    context = chromium.new_context(viewport={"width": 1400, "height": 900})
    yield context.new_page()
    context.close()


def give(page: Page, password: str) -> None:
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


@pytest.mark.long
def test_no_page_shows_anything_before_sign_in(page: Page, guarded: Server) -> None:
    received: list[bytes] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: received.append(_bytes(frame))))
    function_id = _only_function(guarded)
    for path in ["", *(path for _, _, path in PAGES), "nowhere"]:
        page.goto(f"{guarded.address}/{path}?function={function_id}")
        expect(page.get_by_label("Password", exact=True)).to_be_visible()
        no_run(page)
        expect(page.get_by_test_id("stSidebar").get_by_role("link")).to_have_count(0)
        assert page.locator("h1").all_inner_texts() == ["AI Image Detector"], path
        assert page.get_by_role("button", name="Create").count() == 0
        assert "Confidential" not in page.content(), path
    assert received
    assert not any(b"Confidential" in frame for frame in received)


@pytest.mark.long
def test_a_wrong_password_is_refused_and_slowed_and_the_right_one_opens(page: Page, attacked: Server) -> None:
    page.goto(attacked.address)
    wait = 0
    # Attempts during a wait do not lengthen it; a slow machine needs a wait that outlasts the next attempt.
    for _ in range(FREE_FAILURES + 20):
        give(page, "wrong password")
        expect(page.get_by_role("alert")).to_be_visible()
        # What is read must be the answer to this attempt, not the one before it.
        page.wait_for_timeout(700)
        no_run(page)
        said = re.search("Too many wrong passwords. Wait ([0-9]+) s", page.get_by_role("alert").inner_text())
        wait = int(said[1]) if said else 0
        if wait >= 4:
            break
        page.wait_for_timeout(1000 * wait)
    assert wait >= 4
    give(page, PASSWORD)
    # While one has to wait not even the right one is looked at.
    expect(page.get_by_label("Password", exact=True)).to_be_visible()
    assert "Confidential" not in page.content()
    page.wait_for_timeout(1000 * (wait + 1))
    give(page, PASSWORD)
    expect(page.get_by_role("heading", level=1, name="Functions")).to_be_visible()
    expect(page.get_by_text("Confidential photos").first).to_be_visible()
    page.get_by_test_id("stSidebar").get_by_role("link", name="API", exact=True).click()
    expect(page.get_by_role("heading", level=1, name="API")).to_be_visible()


def test_signing_in_opens_one_browser_and_no_other(chromium: Browser, page: Page, guarded: Server) -> None:
    page.goto(guarded.address)
    give(page, PASSWORD)
    expect(page.get_by_role("heading", level=1, name="Functions")).to_be_visible()
    context = chromium.new_context()
    try:
        other = context.new_page()
        other.goto(f"{guarded.address}/metrics")
        expect(other.get_by_label("Password", exact=True)).to_be_visible()
        assert "Confidential" not in other.content()
    finally:
        context.close()


@pytest.mark.long
def test_file_fields_take_files_of_people_who_have_signed_in(page: Page, guarded: Server, tmp_path: Path) -> None:
    """Kind: refused to strangers only. Files come by another way than the page, and that way asks who sends them."""
    sent: list[int] = []
    page.on("response", lambda answer: sent.append(answer.status) if "/upload_file/" in answer.url else None)
    photo = tmp_path / "photo.png"
    photo.write_bytes(make_image(1))
    page.goto(f"{guarded.address}/import?function={_only_function(guarded)}")
    give(page, PASSWORD)
    page.get_by_role("radio", name="Files", exact=True).click()
    page.get_by_test_id("stFileUploader").locator('input[type="file"]').first.set_input_files(photo)
    expect(page.get_by_text("photo.png").first).to_be_visible()
    expect(page.get_by_text("1 image found", exact=False).first).to_be_visible()
    no_run(page)
    page.get_by_role("button", name="Start the import").click()
    expect(page.get_by_text("1 imported", exact=False).first).to_be_visible()
    assert sent == [204]


def _bytes(frame: str | bytes) -> bytes:
    return frame.encode() if isinstance(frame, str) else frame


def _only_function(server: Server) -> str:
    (found,) = functions.list_functions(server.workspace.db)
    return found.function.id
