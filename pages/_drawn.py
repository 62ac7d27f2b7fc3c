"""What is shown is drawn anew without undoing a click that comes at the same time.

A page is drawn anew by the ticks of its clock (``st.fragment(run_every=...)``), and clocks meet people in two ways that
Streamlit leaves to its user:

- The browser sends a tick just before the script itself switches to another page. It runs after that page was drawn,
  under the old page's name; the browser takes away what is shown and waits for the old page, which nobody draws. Such a
  tick is known by its page.
- ``st.rerun`` in a tick goes on with its page although a click on another page has stopped it, and its page lands where
  the run of the click looks which page to draw: the click does nothing. A new run that is asked for at the end of the
  tick, through the queue, does not begin once the tick was stopped.

A dialog closes with a new run of its page, so nothing is drawn anew while one is open: what has been typed stays.
Dialogs say when they are closed (``on_dismiss``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlencode

import streamlit as st
from streamlit.runtime.scriptrunner import RerunData, get_script_run_ctx

_KEY = "drawn"


@dataclass
class _Drawn:
    page: str
    query: str = ""
    under_dialog: bool = False


@contextmanager
def drawing() -> Iterator[None]:
    """Remember what is shown; around everything that a full run draws, after ``st.navigation``."""
    context = get_script_run_ctx()
    drawn = st.session_state[_KEY] = _Drawn(context.page_script_hash if context is not None else "")
    try:
        yield
    finally:
        drawn.query = urlencode(st.query_params.to_dict(), doseq=True)
        drawn.under_dialog = context is not None and context.has_dialog_opened


def draw_anew(changed: bool) -> None:
    """Draw the page again where it has changed or was taken away. The last call in the clock that every page has."""
    context = get_script_run_ctx()
    drawn: _Drawn | None = st.session_state.get(_KEY)
    if context is None or context.script_requests is None or drawn is None:
        return
    taken_away = drawn.page != context.page_script_hash
    if taken_away or (changed and not drawn.under_dialog):
        context.script_requests.request_rerun(
            RerunData(
                # Not the tick's own: it may have left the browser before the address was written that is drawn now.
                query_string=drawn.query,
                page_script_hash=drawn.page,
                cached_message_hashes=context.cached_message_hashes,
                context_info=context.context_info,
            )
        )
