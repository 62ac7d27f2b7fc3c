"""The clock of every page against a person who moves on: the real server, spoken to as the browser's script does it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect

from detector.jobs import EVALUATE
from detector.storage import functions, jobs
from tests.browser.conftest import Server

pytestmark = [pytest.mark.slow, pytest.mark.long]

SECONDS = 60


class Window:
    """One session; ``shown`` is the page that a browser would show, None while it waits for one that is not drawn."""

    def __init__(self, socket: ClientConnection, function_id: str) -> None:
        self._socket = socket
        self._query = f"function={function_id}"
        self.pages: dict[str, str] = {}
        self.shown: str | None = None
        self.clock = ""
        self._ask(BackMsg())

    def click(self, page: str) -> None:
        """Choose a page of the sidebar."""
        message = BackMsg()
        message.rerun_script.page_script_hash = self.pages[page]
        self._ask(message)

    def tick(self, page: str) -> None:
        """The clock strikes while the browser shows this page."""
        message = BackMsg()
        message.rerun_script.page_script_hash = self.pages[page]
        message.rerun_script.fragment_id = self.clock
        message.rerun_script.is_auto_rerun = True
        self._ask(message)

    def _ask(self, message: BackMsg) -> None:
        message.rerun_script.query_string = self._query
        self._socket.send(message.SerializeToString())

    def rest(self, seconds: float = 1.0) -> None:
        """Read what comes until nothing has come for so long."""
        while True:
            try:
                data = self._socket.recv(timeout=seconds)
            except TimeoutError:
                return
            assert isinstance(data, bytes)
            self._read(ForwardMsg.FromString(data))

    def _read(self, message: ForwardMsg) -> None:
        kind = message.WhichOneof("type")
        if (
            kind == "new_session"
            and self.shown is not None
            and message.new_session.page_script_hash != self.pages[self.shown]
        ):
            self.shown = None
        elif kind == "navigation":
            self.pages = {page.url_pathname: page.page_script_hash for page in message.navigation.app_pages}
            self.shown = {value: name for name, value in self.pages.items()}[message.navigation.page_script_hash]
        elif kind == "auto_rerun" and not self.clock:
            self.clock = message.auto_rerun.fragment_id


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    yield running
    running.stop()


@contextmanager
def window(server: Server, function_id: str) -> Iterator[Window]:
    address = server.address.replace("http", "ws", 1)
    with connect(f"{address}/_stcore/stream", subprotocols=["streamlit"], max_size=None) as socket:  # type: ignore[list-item]
        opened = Window(socket, function_id)
        deadline = time.monotonic() + SECONDS
        while not opened.clock:
            assert time.monotonic() < deadline
            opened.rest()
        yield opened


def test_clock_and_clicks(server: Server) -> None:
    function = functions.create_function(server.workspace.db, "Clock", backbone_id="efficientnet-lite0")
    with window(server, function.id) as browser:
        # A tick that was sent before the script went on to Import by itself.
        browser.click("import")
        browser.rest()
        assert browser.shown == "import"
        browser.tick("")  # the first page has no name in the address
        browser.rest()
        assert browser.shown == "import", "a late tick left the browser with a page that nobody draws"

        # Work begins or ends, the tick draws the page anew, and the person clicks while it does.
        for attempt in range(8):
            browser.click("import")
            browser.rest(0.3)
            waiting = jobs.enqueue(server.workspace.db, function.id, EVALUATE, delay=3600)
            browser.tick("import")
            time.sleep(0.04 * attempt)
            browser.click("metrics")
            browser.rest(0.5)
            assert browser.shown == "metrics", f"click {attempt} was undone"
            jobs.finish(server.workspace.db, waiting, "cancelled")

        # Without a click the tick draws the page anew by itself.
        browser.shown = None
        browser.tick("metrics")
        browser.rest()
        assert browser.shown == "metrics"
