"""Somebody at the dashboard whose browser sends what no page offers: any value for any widget, and for none."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState

from tests.visitor import Visitor

#: Texts that are paths, formulas, markup, commands, long, empty, or of no character that is shown.
NASTY_TEXTS = (
    "",
    "../../etc/passwd",
    "\0",
    "\u202e\u0000\n\r\x1b[31m",
    "<script>alert(1)</script>",
    "'; DROP TABLE samples; --",
    "${jndi:ldap://x}",
    "x" * 100_000,
    "-1",
    "NaN",
    "999999999999999999999999",
    "\U0001f4a3" * 500,
)
NUMBERS = (float("nan"), float("inf"), float("-inf"), -1.0, 1e308, -1e18, 100.5)
WHOLE_NUMBERS = (-(2**63), 2**63 - 1, -1, 10**9)
#: What our own components are told: reports that are none, of other sessions, or nested without end.
REPORTS: tuple[Any, ...] = (
    None,
    [],
    "report",
    {"report": {"session": "other", "load": 1, "log": "no list"}},
    {"report": {"session": {}, "load": [], "log": [{"n": "1", "kind": [], "ids": {}, "label": 5}], "selected": 7}},
    {"value": [float(10**9), "a"], "choice": {"bins": [-1, 10**9]}},
    {"asked": {"id": "../x", "step": 10**30}, "size": -1, "report": [[[[]]]]},
)

#: The kinds of state that a widget of a kind can be told, by the first word of their names: what it does not refuse
#: for being of another type.
FITTING = {
    "number_input": ("number", "whole"),
    "slider": ("numbers", "wholes", "no"),
    "selectbox": ("text",),
    "radio": ("text", "whole"),
    "multiselect": ("texts", "wholes", "no"),
    "button_group": ("texts", "wholes", "no"),
    "text_input": ("text",),
    "bidi_component": ("report", "broken"),
    "file_uploader": ("a",),
}


def forgeries() -> list[tuple[str, Callable[[WidgetState], None]]]:
    """What is done to a widget's state, by a name for people."""
    made: list[tuple[str, Callable[[WidgetState], None]]] = []

    def add(name: str, change: Callable[[WidgetState], None]) -> None:
        made.append((name, change))

    for text in NASTY_TEXTS:
        add(f"text {text[:12]!r}", lambda state, text=text: setattr(state, "string_value", text))  # type: ignore[misc]
        add(
            f"texts {text[:12]!r}",
            lambda state, text=text: state.string_array_value.data.extend([text, text]),  # type: ignore[misc]
        )
    for number in NUMBERS:
        add(f"number {number}", lambda state, number=number: setattr(state, "double_value", number))  # type: ignore[misc]
        add(
            f"numbers {number}",
            lambda state, number=number: state.double_array_value.data.extend([number] * 3),  # type: ignore[misc]
        )
    for whole in WHOLE_NUMBERS:
        add(f"whole {whole}", lambda state, whole=whole: setattr(state, "int_value", whole))  # type: ignore[misc]
        add(
            f"wholes {whole}",
            lambda state, whole=whole: state.int_array_value.data.extend([whole, whole]),  # type: ignore[misc]
        )
    add("no numbers", lambda state: state.double_array_value.SetInParent())
    add("no texts", lambda state: state.string_array_value.SetInParent())
    for report in REPORTS:
        said = json.dumps(report)
        add(f"report {said[:20]}", lambda state, said=said: setattr(state, "json_value", said))  # type: ignore[misc]
    add("broken report", lambda state: setattr(state, "json_value", '{"report": '))
    add("bytes", lambda state: setattr(state, "bytes_value", b"\x80\x04\x95cposix\nsystem\n"))
    add("chat", lambda state: setattr(state.chat_input_value, "data", "x"))
    add("a file that was never sent", _foreign_file)
    return made


def _foreign_file(state: WidgetState) -> None:
    file = state.file_uploader_state_value.uploaded_file_info.add()
    file.file_id, file.name, file.size = "../../../etc/passwd", "../../x.png", 2**62
    file.file_urls.file_id = file.file_id
    file.file_urls.upload_url = "http://169.254.169.254/"


class Forger(Visitor):
    """A visitor that knows all widgets of its page by their ids, and sends states made by hand."""

    @property
    def widgets(self) -> dict[str, str]:
        """Kind by id of whatever on the page has one, but for buttons: pressing them is no forgery."""
        found = {}
        for element in self.elements:
            kind = element.WhichOneof("type")
            widget_id = getattr(getattr(element, kind or "", None), "id", "") if kind else ""
            if isinstance(widget_id, str) and widget_id and kind not in ("button", "download_button"):
                found[widget_id] = str(kind)
        return found

    @property
    def exceptions(self) -> list[str]:
        """What the page shows of errors that it did not expect."""
        return [f"{found.exception}" for found in self.elements if found.HasField("exception")]

    @property
    def gallery_id(self) -> str:
        """Of the grid of Review."""
        [found] = [widget_id for widget_id in self.widgets if widget_id.endswith("-review")]
        return found

    def report(self, gallery: str, number: int, **gesture: Any) -> None:
        """Tell the page of one gesture, in its own session, as the grid does."""
        grids = [element.bidi_component for element in self.elements if element.HasField("bidi_component")]
        [grid] = [found for found in grids if found.id == gallery]
        session = re.search(r'"session": ?"([0-9a-f]+)"', grid.json or grid.mixed.json)
        assert session is not None
        about = {"session": session[1], "load": "forged", "number": number, "revision": 0, "selected": []}
        said = json.dumps({"report": {**about, "opened": None, "log": [{"n": number, **gesture}]}})
        self.forge(lambda state: setattr(state, "json_value", said), [gallery])

    def forge(self, change: Callable[[WidgetState], None], ids: list[str]) -> None:
        """Let the page run with this state of each of these widgets, of whatever kind they are."""
        asked = BackMsg()
        asked.rerun_script.query_string, asked.rerun_script.page_name = self._query, self._page
        for widget_id in ids:
            state = asked.rerun_script.widget_states.widgets.add()
            state.id = widget_id
            change(state)
        self.elements = []
        self.send(asked.SerializeToString())
        self.read_until_drawn()
