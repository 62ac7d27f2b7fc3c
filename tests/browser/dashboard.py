"""What a person does on the pages, in their words: the steps that several browser tests share."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Locator, Page, expect

from tests.browser.accessibility import serious_faults

#: Machines of CI are slow and loaded; what is there sooner is not waited for.
PATIENCE = 60_000
WORK_SECONDS = 600


def no_run(page: Page) -> None:
    """Wait until no run of the page's script is under way: a click in the last moment of one can be lost to Streamlit.

    The end of a run sets all buttons back, that of the run which the click has begun meanwhile among them. What a test
    sees already may be drawn in such a moment.
    """
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")


#: How many were folded.
_UNFOLD = """boxes => {
  const folded = boxes.filter(box => !box.open);
  folded.forEach(box => box.querySelector("summary").click());
  return folded.length;
}"""


_FITS = """width => [
  document.documentElement, document.body,
  ...document.querySelectorAll("[data-testid=stMain], [data-testid=stMainBlockContainer]"),
].every(part => part.scrollWidth <= width)"""


class Dashboard:
    """One browser window on the app; collects what the browser's console complains about."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.complaints: list[str] = []
        self.foreign_requests: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._note_request)
        expect.set_options(timeout=PATIENCE)
        page.goto(address)
        self.settled()

    def _note_request(self, request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in ("localhost", "127.0.0.1"):
            self.foreign_requests.append(request.url)

    def settled(self) -> None:
        """Wait until the page is drawn and no run of its script is under way; a traceback on it is a failure."""
        expect(self.main.locator("h1").first).to_be_visible()
        no_run(self.page)
        # The stylesheet is the last to come, and moves what it finds.
        self.page.wait_for_function("getComputedStyle(document.documentElement).getPropertyValue('--card') !== ''")
        exceptions = self.page.get_by_test_id("stException")
        assert not exceptions.count(), exceptions.first.inner_text()

    @property
    def main(self) -> Locator:
        return self.page.get_by_test_id("stMain")

    @property
    def sidebar(self) -> Locator:
        return self.page.get_by_test_id("stSidebar")

    @property
    def words(self) -> str:
        """All text of the page without the sidebar, on one line."""
        return " ".join(self.main.inner_text().split())

    @property
    def query(self) -> dict[str, str]:
        """What the address says behind its question mark."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.page.url).query).items()}

    def address_says(self, expected: dict[str, str]) -> None:
        """Wait until the address carries exactly this state, which comes a moment after the page."""
        deadline = time.monotonic() + PATIENCE / 1000
        while self.query != expected and time.monotonic() < deadline:
            self.page.wait_for_timeout(100)
        assert self.query == expected

    # Going about

    def open(self, title: str) -> None:
        """Go to a page by the sidebar."""
        self.sidebar.get_by_role("link", name=title, exact=True).click()
        expect(self.main.get_by_role("heading", level=1, name=title, exact=True)).to_be_visible()
        self.settled()

    def visit(self, path: str) -> None:
        """Go to a page by its address, with the function at hand."""
        self.page.goto(f"{self.address}/{path}?function={self.query['function']}")
        self.settled()

    def reload(self) -> None:
        self.page.reload()
        self.settled()

    def resize(self, width: int, height: int) -> None:
        self.page.set_viewport_size({"width": width, "height": height})

    def press(self, name: str) -> None:
        no_run(self.page)
        self.page.get_by_role("button", name=name, exact=True).click()

    def unfold(self, name: str) -> None:
        self.page.get_by_test_id("stExpander").locator("summary", has_text=name).click()

    def unfold_all(self) -> None:
        """Open all that is folded; what is drawn anew meanwhile, too."""
        boxes = self.page.get_by_test_id("stExpander").locator("details")
        for _ in range(30):
            if not boxes.evaluate_all(_UNFOLD):
                return
            # A second click on one that has not opened yet would close it.
            self.page.wait_for_timeout(700)
        raise TimeoutError("Something stays folded.")

    def choose(self, widget: str, option: str) -> None:
        """Choose in a select box, by its label and the beginning of the option."""
        no_run(self.page)
        self.page.get_by_role("combobox", name=widget, exact=True).click()
        self.page.get_by_role("option", name=re.compile(f"^{re.escape(option)}")).click()
        self.settled()

    def type_number(self, widget: str, number: int) -> None:
        # A field whose value was just changed is about to be drawn anew.
        self.settled()
        # By its role: the question mark beside a field has its name, too.
        field = self.page.get_by_role("spinbutton", name=widget)
        field.fill(str(number))
        field.press("Enter")
        self.settled()

    def create_function(self, name: str) -> str:
        """Make a function as the dialog suggests it; ends on the Import page. Returns its id."""
        self.press("Create a function")
        self.page.get_by_label("Name", exact=True).fill(name)
        self.press("Create function")
        expect(self.main.get_by_role("heading", level=1, name="Import", exact=True)).to_be_visible()
        self.settled()
        return self.query["function"]

    def drop_archive(self, path: Path) -> None:
        """Give an archive to the streaming drop zone of the Import page."""
        self.page.locator('.zone input[type="file"]').set_input_files(path)

    def give_files(self, *paths: Path) -> None:
        """Give images to the file field of the page."""
        self.main.get_by_test_id("stFileUploader").locator('input[type="file"]').first.set_input_files(paths)

    def download(self, button: str) -> Path:
        with self.page.expect_download() as download:
            self.main.get_by_test_id("stDownloadButton").get_by_role("button", name=button).click()
        return download.value.path()

    # What is seen

    def sees(self, *texts: str) -> None:
        """Wait until the page shows these texts, wherever on it."""
        for text in texts:
            expect(self.main).to_contain_text(text)

    def sees_in_time(self, text: str) -> None:
        """The same for what background work brings about, without touching anything."""
        expect(self.main).to_contain_text(text, timeout=1000 * WORK_SECONDS)
        self.settled()

    def sees_progress(self) -> None:
        expect(self.sidebar.get_by_test_id("stProgress").first).to_be_visible()

    def sees_no_progress(self) -> None:
        """Wait until no job is shown any more."""
        expect(self.sidebar.get_by_test_id("stProgress")).to_have_count(0, timeout=1000 * WORK_SECONDS)
        expect(self.sidebar).not_to_contain_text("Retraining starts")
        self.settled()

    def wait_for_report(self, archive: str) -> Locator:
        """Wait until the import of an archive has ended; returns its report."""
        report = self.main.locator('[class*="st-key-card-batch-"]').filter(has_text=archive).first
        expect(report).to_contain_text(re.compile("done|stopped"), timeout=1000 * WORK_SECONDS)
        self.settled()
        return report

    def wait_for_model(self, version: int) -> None:
        """Wait, without touching anything, until the Metrics page shows a model version."""
        self.sees_in_time(f"Model {version} ·")
        self.settled()

    def dialog_says(self, text: str) -> None:
        expect(self.page.get_by_role("dialog")).to_contain_text(text)

    def hover_help(self, beside: str) -> None:
        """Point at the question mark beside a text of the sidebar."""
        self.sidebar.get_by_test_id("stCaptionContainer").filter(has_text=beside).get_by_test_id(
            "stTooltipHoverTarget"
        ).hover()

    def tooltip_says(self, text: str) -> None:
        expect(self.page.get_by_test_id("stTooltipContent")).to_contain_text(text)

    def verdict(self) -> str:
        """The label that the function says of one invoked image, without the grade after it."""
        word: str = self.main.locator(".verdict").evaluate("node => node.firstChild.textContent")
        return word.strip()

    def count_charts(self) -> int:
        """How many Plotly charts the page shows, once they are drawn."""
        charts = self.main.get_by_test_id("stPlotlyChart")
        expect(charts.last.locator(".main-svg").first).to_be_attached()
        return charts.count()

    def table_text(self, part: Locator | None = None) -> str:
        """What the first table of a part of the page says; it is a canvas with a hidden table for screen readers."""
        cells = (part or self.main).get_by_test_id("stDataFrame").first.locator("table td")
        expect(cells.first).to_be_attached()
        return " ".join(" ".join(cells.all_text_contents()).split())

    def sees_tiles(self, sample_ids: list[str]) -> None:
        """Wait until the gallery shows these samples in this order."""
        tiles = self.page.locator(".gallery .tile")
        expect(tiles).to_have_count(len(sample_ids))
        for position in (0, len(sample_ids) - 1):
            expect(tiles.nth(position)).to_have_attribute("data-id", sample_ids[position])
        assert tiles.evaluate_all("nodes => nodes.map(node => node.dataset.id)") == sample_ids

    def tile_confidences(self) -> list[int]:
        """The percentages under the pictures, in the order shown."""
        lines = self.page.locator(".gallery .tile .says").all_inner_texts()
        return [int(re.search(r"(\d+) %$", line)[1]) for line in lines]  # type: ignore[index]

    def click_tile(self, sample_id: str) -> None:
        self.page.locator(f'.gallery .tile[data-id="{sample_id}"]').click()

    def serious_faults(self) -> list[str]:
        """What axe finds on the page, once it is drawn."""
        self.settled()
        return serious_faults(self.page)

    def fits_in(self, width: int) -> None:
        """Wait until nothing of the page, its scrolling part included, is wider than that many pixels."""
        self.settled()
        self.page.wait_for_function(_FITS, arg=width)
