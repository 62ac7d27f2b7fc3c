"""The Invoke page as a newsroom uses it: pictures dropped or pasted, their evidence, many at once, records, a phone."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("playwright", reason="playwright is not installed (requirements-dev.txt)")

from playwright.sync_api import Browser, expect

from detector.pipeline.build import build
from detector.storage import functions, records
from detector.storage.functions import Function
from tests.browser.conftest import Server, served
from tests.factories import LABELS, labelled_function, make_image
from tests.imaging.pictures import encode, picture
from tests.imaging.provenance.signing import signed
from tests.pictures import with_text_chunk

if TYPE_CHECKING:
    from tests.browser.dashboard import Dashboard

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from served(tmp_path_factory.mktemp("invoke"))


@pytest.fixture(scope="module")
def function(server: Server) -> Function:
    ws = server.workspace
    made = labelled_function(ws, 40, "Newsroom")
    functions.set_false_accusation_limit(ws.db, made.id, 0.25)
    assert build(ws, made.id).trained
    return functions.get_function(ws.db, made.id)


def open_invoke(dashboard: Dashboard, function: Function, **query: str) -> None:
    asked = "&".join(f"{name}={value}" for name, value in {"function": function.id, **query}.items())
    dashboard.page.goto(f"{dashboard.address}/invoke?{asked}")
    dashboard.settled()


def give(dashboard: Dashboard, *files: tuple[str, bytes]) -> None:
    # What lies in the place is taken out of it: two files would be many pictures.
    for _ in range(dashboard.page.locator(".st-key-drop [data-testid=stFileUploaderDeleteBtn] button").count()):
        dashboard.page.locator(".st-key-drop [data-testid=stFileUploaderDeleteBtn] button").first.click()
        # Not before the server knows: a file that comes sooner is the second of two.
        expect(dashboard.main.locator(".verdict")).to_have_count(0)
        dashboard.settled()
    place = dashboard.page.locator(".st-key-drop input[type=file]")
    place.set_input_files([{"name": name, "mimeType": "image/png", "buffer": data} for name, data in files])


def looked_at(dashboard: Dashboard, *files: tuple[str, bytes]) -> None:
    """Give them, and wait until the copies were looked at, too."""
    give(dashboard, *files)
    dashboard.sees(files[0][0])
    expect(dashboard.main.locator(".copies li")).to_have_count(6)
    dashboard.settled()


_PASTE = """([name, data]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const all = new DataTransfer();
  all.items.add(new File([bytes], name, { type: "image/png" }));
  document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: all, bubbles: true, cancelable: true }));
}"""


@pytest.mark.long
def test_a_pasted_picture_is_judged_like_a_chosen_one(dashboard: Dashboard, function: Function) -> None:
    open_invoke(dashboard, function)
    place = dashboard.page.get_by_test_id("stFileUploaderDropzone").first
    # A real place to drop on, not a strip: of 900 pixels a third at least.
    assert (place.bounding_box() or {"height": 0})["height"] >= 300
    data = base64.b64encode(make_image(901, "synthetic")).decode()
    dashboard.page.evaluate(_PASTE, ["image.png", data])
    expect(dashboard.main.locator(".verdict")).to_contain_text("synthetic")
    dashboard.sees("pasted-1.png", "Before you use this.", "Does it stay?", "Like what I know", "What the file says")


def test_what_is_pasted_into_a_field_of_text_stays_there(dashboard: Dashboard, function: Function) -> None:
    open_invoke(dashboard, function)
    dashboard.page.evaluate(
        _PASTE.replace("document.body.", "document.querySelector('input[type=number], input[type=text]').")
        .replace("([name, data]) => {", "([name, data]) => { const added = document.createElement('input'); "
                 "added.type = 'text'; document.body.prepend(added);"),
        ["image.png", base64.b64encode(make_image(902)).decode()],
    )  # fmt: skip
    dashboard.page.wait_for_timeout(1500)
    assert not dashboard.main.locator(".verdict").count()


@pytest.mark.long
def test_a_tall_picture_leaves_room_for_its_verdict(dashboard: Dashboard, function: Function) -> None:
    open_invoke(dashboard, function)
    looked_at(dashboard, ("tall.png", make_image(903, "real", 1400)))
    box = dashboard.main.locator(".st-key-picture img").bounding_box() or {}
    assert box["height"] <= 0.7 * 900 + 1


def test_the_verdict_is_kept_found_again_and_disputed(dashboard: Dashboard, server: Server, function: Function) -> None:
    open_invoke(dashboard, function)
    stating = with_text_chunk(
        make_image(904, "synthetic"), "parameters", "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1"
    )
    looked_at(dashboard, ("press.png", stating))
    dashboard.sees("The file states that it was made by an AI system")
    before = records.count_records(server.workspace.db, function.id)
    dashboard.press("Keep a record")
    dashboard.sees("Kept as record")
    assert records.count_records(server.workspace.db, function.id) == before + 1
    with dashboard.page.expect_download() as download:
        dashboard.page.get_by_role("button", name="Report", exact=True).click()
    report = Path(download.value.path()).read_text(encoding="utf-8")
    assert "press.png" in report
    assert not re.search(r"""(?:src|href)=["']?https?:""", report)
    address = dashboard.main.get_by_role("link", name="record").get_attribute("href") or ""
    dashboard.page.goto(f"{dashboard.address}/invoke{address[address.index('?') :]}")
    dashboard.settled()
    dashboard.sees("Verdict, kept on", "press.png", "SHA-256")
    open_invoke(dashboard, function)
    looked_at(dashboard, ("again.png", stating))
    dashboard.sees("was invoked")


@pytest.mark.long
def test_many_pictures_are_judged_behind_the_page_and_found_by_their_address(
    dashboard: Dashboard, function: Function
) -> None:
    open_invoke(dashboard, function)
    files = [(f"{label}-{n}.png", make_image(920 + n, label)) for n in range(6) for label in LABELS]
    give(dashboard, *files, ("broken.png", b"no picture"))
    dashboard.page.wait_for_url("**run=*")
    dashboard.sees_in_time("not read")
    dashboard.settled()
    address = dashboard.page.url
    dashboard.page.goto(dashboard.address)
    dashboard.settled()
    dashboard.page.goto(address)
    dashboard.sees_in_time("13 pictures")
    assert dashboard.serious_faults() == []
    with dashboard.page.expect_download() as download:
        dashboard.page.get_by_role("button", name=re.compile("CSV")).first.click()
    assert Path(download.value.path()).read_bytes().startswith(b"\xef\xbb\xbf")


@pytest.mark.long
def test_where_is_drawn_over_the_picture(dashboard: Dashboard, function: Function) -> None:
    open_invoke(dashboard, function)
    looked_at(dashboard, ("where.png", make_image(905, "synthetic")))
    dashboard.main.get_by_text("Where", exact=True).click()
    dashboard.sees_in_time("nearly blind to small changes")


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault_and_nothing_is_wider_than_a_phone(
    dashboard: Dashboard, function: Function, scheme: Any
) -> None:
    dashboard.page.emulate_media(color_scheme=scheme)
    open_invoke(dashboard, function)
    assert dashboard.serious_faults() == []
    # Unlike the samples, with content credentials: both have words of their own.
    looked_at(dashboard, ("a.jpg", signed(encode(picture(300, 200), "JPEG"))))
    dashboard.sees("valid: the file is as it was signed", "Your samples")
    assert dashboard.serious_faults() == []
    looked_at(dashboard, ("a.png", make_image(906, "synthetic")))
    assert dashboard.serious_faults() == []
    dashboard.resize(420, 900)
    dashboard.fits_in(420)
    assert dashboard.serious_faults() == []
