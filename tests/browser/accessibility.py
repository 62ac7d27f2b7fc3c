"""What axe says of a page, its components looked into, too."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

#: How long a fault must stay: what is being drawn or faded is gone by then, however slow the machine.
_STAYS_SECONDS = 20.0


def serious_faults(page: Page, within: str = "") -> list[str]:
    """The serious and critical ones that stay: their ids, and the parts of the page that have them.

    ``within``: part of a selector; axe must have looked at something in there.
    """
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe of requirements-dev.txt is missing")
    # Here, not above: where no playwright is installed, the tests are read all the same.
    from tests.browser.dashboard import no_run

    no_run(page)
    # Dialogs and menus come in slowly.
    page.wait_for_timeout(700)
    end = time.monotonic() + _STAYS_SECONDS
    while True:
        result = axe.Axe().run(page).response
        found = [
            f"{item['id']}: {[node['html'][:200] for node in item['nodes']][:5]}"
            for item in result["violations"]
            if item["impact"] in ("serious", "critical")
        ]
        if not found or time.monotonic() > end:
            looked_at = str([node["target"] for one in result["passes"] for node in one["nodes"]])
            assert within in looked_at, f"axe did not look into {within}"
            return found
        page.wait_for_timeout(1000)
        no_run(page)
