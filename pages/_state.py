"""What every page shares: the opened data folder, the function at hand, and how to move between pages."""

from __future__ import annotations

import re

import streamlit as st

from detector.imaging.formats import IMAGE_ENDINGS
from detector.storage import functions
from detector.storage.functions import FunctionSummary, Label
from detector.storage.label_names import TURNING
from detector.workspace import Workspace
from pages._rerun_guard import end_page

#: Script, title and address of each page, in the sidebar's order.
PAGES = (
    ("functions.py", "Functions", "functions"),
    ("import_images.py", "Import", "import"),
    ("review.py", "Review", "review"),
    ("metrics.py", "Metrics", "metrics"),
    ("invoke.py", "Invoke", "invoke"),
    ("api.py", "API", "api"),
    ("health.py", "Health", "health"),
)

#: File endings that the upload widgets take; the decoder goes by the bytes.
IMAGE_TYPES = list(IMAGE_ENDINGS)


@st.cache_resource(show_spinner=False)
def workspace() -> Workspace:
    """The data folder of this server, opened once."""
    return Workspace.open()


def largest_upload_mb() -> int:
    """What the upload widgets of images tell and enforce: without it they would name the server's own limit."""
    return max(1, workspace().settings.max_image_mb)


#: What stands in place of a function that the address names and that is not there.
NOT_THERE = "The function in this address does not exist: it was deleted, or the address is incomplete."


def current_function() -> FunctionSummary | None:
    """The function that the address names; where it names none, the newest.

    None when there is none at all, and when the one that the address names is not there: another one in its place would
    be taken for it (`names_another`).
    """
    found = functions.list_functions(workspace().db)
    wanted = st.query_params.get("function")
    if wanted is not None:
        return next((item for item in found if item.function.id == wanted), None)
    if not found:
        return None
    st.query_params["function"] = found[0].function.id
    return found[0]


def names_another(chosen: FunctionSummary | None) -> bool:
    """Whether there is no function at hand because the one that the address names is not there."""
    return chosen is None and st.query_params.get("function") is not None


def require_function() -> FunctionSummary:
    """The function at hand; without one, an empty state with the way to one, and the page ends."""
    chosen = current_function()
    if names_another(chosen):
        heading("No such function", NOT_THERE)
        if st.button("Choose among all functions", type="primary"):
            st.query_params.pop("function")
            go("functions.py")
        end_page()
    if chosen is None:
        heading("No function yet", "A function is one detector: its images, its labels and its model.")
        if st.button("Make the first function", type="primary"):
            go("functions.py")
        end_page()
    return chosen


def function_labels(function_id: str) -> list[Label]:
    """The labels of a function, in their order."""
    return functions.list_labels(workspace().db, function_id)


def heading(title: str, sentence: str) -> None:
    """The one title of a page, and the sentence that says what one looks at."""
    st.title(title, anchor=False)
    st.markdown(f":gray[{escape(sentence)}]")


def go(page: str, function_id: str | None = None, **query: str) -> None:
    """Switch to a page; the function goes with it."""
    wanted = function_id or st.query_params.get("function")
    st.switch_page(page, query_params={**({"function": wanted} if wanted else {}), **query})


def import_link(function_id: str, key: str = "import-more") -> None:
    """The way to more images, wherever too few of them are the reason for something; ``key`` unique on the page."""
    if st.button("Import more images", key=key, type="tertiary", icon=":material/add:"):
        go("import_images.py", function_id)


def menu_key(menu: str) -> str:
    """The key of a menu, a popover, until it is shut: the one after it is another one, and closed."""
    return f"{menu}-{st.session_state.get(_times_shut(menu), 0)}"


def shut(menu: str) -> None:
    """Close a menu: left open it would lie beside a dialog of its, and take the first Escape.

    Not by the popover's own state: where it is opened and one of its buttons is clicked within one run, the server has
    never said "open", and the browser does not hear "closed".
    """
    st.session_state[_times_shut(menu)] = st.session_state.get(_times_shut(menu), 0) + 1


def _times_shut(menu: str) -> str:
    return f"{menu}-times-shut"


def escape(text: str) -> str:
    """Text of users, safe inside Markdown: shown as written, with nothing in it that can be clicked.

    A backslash stops what Markdown itself would read. Streamlit's page also looks through the text that is left when
    Markdown was read (addresses become links, ``:smile:`` a picture, ``->`` an arrow), and there no backslash helps: a
    character of each such pattern gets a span of its own, which cuts the text in two and looks like nothing.

    Characters that turn the direction of reading round are left out: the rest of the sentence would read backwards.
    """
    return _MARKS.sub(_without_meaning, text.translate(_NOT_TURNING))


_NOT_TURNING = dict.fromkeys(map(ord, TURNING))


#: What Markdown reads, and what Streamlit looks for after it: ":" before anything but space (http://, :smile:,
#: :material/home:, :red[), "@", the dot of "www.", and the pairs that it draws as arrows and signs. An emoji at
#: the very beginning would become the icon of a warning.
_MARKS = re.compile(
    r"(?P<alone>:(?=\S)|@|(?<=www)\.|-(?=[->])|<(?=[-=])|>(?==)|~(?==))"
    r"|(?P<coded>[\t\n\r]|^ +| +$|^[^\x00-\x7f]|^[\d#*](?=\ufe0f))"
    r"|[\\`*_{}\[\]()#+\-!|<>~$:&]"
    r"|(?<=\d)\.(?=\s|$)",
    re.IGNORECASE,
)


def _without_meaning(found: re.Match[str]) -> str:
    if found["alone"]:
        return f":color[\\{found[0]}]"
    if found["coded"]:
        # Written out, a line break would begin a list or a heading, and four spaces a block of code.
        return "".join(f"&#{ord(character)};" for character in found[0])
    return f"\\{found[0]}"
