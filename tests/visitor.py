"""Somebody at the dashboard without a browser: Streamlit's own messages over a websocket."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import requests
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect

_PATIENCE = 240


class Visitor:
    """One open page.

    Parameters
    ----------
    address : str
        Of the server.
    path : str
        The page, as in the browser's address.
    headers : mapping of str to str, optional
        What a proxy or a liar adds.
    session_id : str, optional
        Of a page that was open before, as a browser names it when its connection was cut.
    token, origin : str, optional
        What a browser proves itself with when it names the user in its cookies.
    query : str, optional
        What stands behind the question mark of the browser's address.
    source : str, optional
        The address to come from; all of 127.0.0.0/8 is this machine.
    """

    def __init__(
        self,
        address: str,
        path: str = "",
        headers: Mapping[str, str] | None = None,
        session_id: str = "",
        token: str = "none",
        origin: str | None = None,
        source: str = "127.0.0.1",
        query: str = "",
    ) -> None:
        self._address, host = address, urlsplit(address)
        assert host.port is not None
        self._open = ExitStack()
        opening = connect(
            f"ws://localhost:{host.port}/_stcore/stream",
            sock=socket.create_connection(("127.0.0.1", host.port), source_address=(source, 0)),
            subprotocols=["streamlit", *([token, session_id] if session_id else [token])],  # type: ignore[list-item]
            additional_headers=headers,
            origin=origin,  # type: ignore[arg-type]
            max_size=None,
            open_timeout=_PATIENCE,
        )
        self._socket = self._open.enter_context(opening)
        self._page, self._query, self.session_id = path, query, ""
        self.elements: list[Any] = []
        self.run()

    def run(self, **widgets: Any) -> None:
        """Let the page run with these values, by the widgets' identifiers, until it has been drawn."""
        asked = BackMsg()
        asked.rerun_script.query_string = self._query
        asked.rerun_script.page_name = self._page
        for widget_id, value in widgets.items():
            state = asked.rerun_script.widget_states.widgets.add()
            state.id = widget_id
            setattr(state, "trigger_value" if value is True else "string_value", value)
        self.elements = []
        self.send(asked.SerializeToString())
        self.read_until_drawn()

    def turn_to(self, path: str, query: str = "") -> None:
        """Go to another page in the same window."""
        self._page, self._query = path, query
        self.run()

    def read_until_drawn(self) -> None:
        while True:
            got = ForwardMsg()
            got.ParseFromString(self._socket.recv(timeout=_PATIENCE))
            kind = got.WhichOneof("type")
            if kind == "new_session":
                self.session_id = got.new_session.initialize.session_id
                self.elements = []
            elif kind == "delta" and got.delta.HasField("new_element"):
                self.elements.append(got.delta.new_element)
            elif kind == "script_finished" and got.script_finished in (
                ForwardMsg.FINISHED_SUCCESSFULLY,
                ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY,
            ):
                return

    def send(self, message: bytes) -> None:
        self._socket.send(message)

    def give(self, password: str) -> str:
        """Try a password; returns what the page says then, or the title of the page that it opens."""
        [field] = [found.text_input for found in self.elements if found.HasField("text_input")]
        [button] = [found.button for found in self.elements if found.HasField("button")]
        self.run(**{field.id: password, button.id: True})
        said = [found.alert.body for found in self.elements if found.HasField("alert")]
        return said[0] if said else self.titles[0]

    @property
    def titles(self) -> list[str]:
        return [
            found.heading.body for found in self.elements if found.HasField("heading") and found.heading.tag == "h1"
        ]

    def put(self, data: bytes, file_id: str = "file", **options: Any) -> requests.Response:
        """Send a file as the upload field does."""
        given = xsrf(self._address)
        return requests.put(
            f"{self._address}{upload_path(self.session_id, file_id)}",
            files={"file": ("photo.png", data)},
            headers=given,
            timeout=_PATIENCE,
            **options,
        )

    def delete(self, file_id: str) -> requests.Response:
        """Take a file off the page."""
        path = upload_path(self.session_id, file_id)
        return requests.delete(f"{self._address}{path}", headers=xsrf(self._address), timeout=_PATIENCE)

    def close(self) -> None:
        self._open.close()


def upload_path(session_id: str, file_id: str = "file") -> str:
    return f"/_stcore/upload_file/{session_id}/{file_id}"


def xsrf(address: str) -> dict[str, str]:
    """The headers that Streamlit asks of uploads; everybody gets them."""
    token = requests.get(f"{address}/_stcore/health", timeout=_PATIENCE).cookies["_streamlit_xsrf"]
    return {"X-Xsrftoken": token, "Cookie": f"_streamlit_xsrf={token}"}
