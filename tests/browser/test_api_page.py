"""The API page: a key made, an example copied and run, the call in the table, the key revoked."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="playwright is not installed (requirements-dev.txt)")

from playwright.sync_api import Browser, expect

from detector.pipeline.build import build
from detector.storage import keys
from tests.browser.conftest import Server
from tests.browser.dashboard import Dashboard
from tests.factories import labelled_function, make_image

pytestmark = pytest.mark.browser


@pytest.mark.long
def test_the_example_copied_from_the_page_prints_a_verdict_until_its_key_is_revoked(
    chromium: Browser, server: Server, tmp_path: Path
) -> None:
    function = labelled_function(server.workspace, 6, "Press photos")
    assert build(server.workspace, function.id).trained
    context = chromium.new_context(viewport={"width": 1400, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server.address)
    dashboard = Dashboard(context.new_page(), server.address)
    page = dashboard.page
    dashboard.visit("api")

    # A key: its secret is there once, and right.
    dashboard.press("Create a key")
    page.get_by_label("Name", exact=True).fill("Nightly import")
    dashboard.press("Create key")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("shown only this once")
    client_id, secret = (text.strip() for text in dialog.locator("code").all_inner_texts())
    assert keys.check_secret(server.workspace.db, client_id, secret) is not None
    dashboard.press("Done")
    expect(dialog).to_have_count(0)
    expect(dashboard.main).to_contain_text("Nightly import")
    assert secret not in page.content()

    # The six lines of the story, through the clipboard.
    expect(dashboard.main.locator("pre").first).to_contain_text("<token>")
    dashboard.press("Token")
    example = dashboard.main.get_by_role("tabpanel").first.locator('[data-testid="stCode"]')
    expect(example).not_to_contain_text("<token>")
    dashboard.settled()
    example.hover()
    example.get_by_role("button").click()
    program = page.evaluate("navigator.clipboard.readText()")
    assert len(program.strip().splitlines()) == 6
    assert f"{server.address}/v1/functions/function_{function.id}/invoke" in program

    (tmp_path / "image.jpg").write_bytes(make_image(100, "real"))
    said = _run(program, tmp_path)
    assert re.search('"labelName": ?"(real|synthetic)"', said), said
    calls = dashboard.main.locator('[class*="st-key-card-calls"]')
    expect(calls.get_by_test_id("stDataFrame")).to_be_visible()

    # Revoked: the same program is refused at once.
    dashboard.press("Revoke")
    dashboard.press("Revoke for good")
    expect(dashboard.main).to_contain_text("There is no active key yet")
    refused = _run(program, tmp_path)
    assert "labelName" not in refused
    assert "message" in refused
    assert "<token>" in example.inner_text()

    # The documentation that the page names is there, and needs nothing from elsewhere.
    page.goto(dashboard.main.get_by_role("link", name="Documentation of all calls").get_attribute("href") or "")
    expect(page.get_by_text("/connect/token").first).to_be_visible()
    assert dashboard.complaints == []
    assert dashboard.foreign_requests == []
    context.close()


def _run(program: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
