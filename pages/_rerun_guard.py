"""What is shown is drawn anew without undoing a click that comes at the same time.

A page is drawn anew by the ticks of its clock (``st.fragment(run_every=...)``), and clocks meet people in two ways that
Streamlit leaves to its user:

- The browser sends a tick just before the script itself switches to another page. It runs after that page was drawn,
  under the old page's name; the browser takes away what is shown and waits for the old page, which nobody draws. Such a
  tick is known by its page.
- ``st.rerun`` in a tick goes on with its page although a click on another page has stopped it, and its page lands where
  the run of the click looks which page to draw: the click does nothing. A new run that is asked for at the end of the
  tick, through the queue, does not begin once the tick was stopped.

``st.stop`` is not for pages: Streamlit forgets the clocks of a page only after the next run that came to its end. A
tick that was sent before then draws into a place that is something else by now, and the browser gives the page up
('setIn' cannot be called on an ElementNode). A page that has nothing more to show calls `end_page`.

A dialog closes with a new run of its page, so nothing is drawn anew while one is open: what has been typed stays.
Dialogs say when they are closed (``on_dismiss``).

Streamlit keeps to itself what this takes: the record of a run and the queue of runs. A version that has them no longer,
or under other names, gets a plain ``st.rerun``: pages still show what is new, and only the clicks above may be lost.
All of this can go once ``st.rerun`` in a tick leaves a page switch that came meanwhile alone, and Streamlit drops ticks
of a page that is no longer shown.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, NoReturn
from urllib.parse import urlencode

import streamlit as st

log = logging.getLogger(__name__)

_KEY = "drawn"


@dataclass
class _Drawn:
    page: str
    query: str = ""
    under_dialog: bool = False


@contextmanager
def drawing() -> Iterator[None]:
    """Remember what is shown; around everything that a full run draws, after ``st.navigation``."""
    context = _run_context()
    drawn = st.session_state[_KEY] = _Drawn(getattr(context, "page_script_hash", ""))
    try:
        yield
    except _end_of_page():
        # Nothing else: a run that a click stopped goes no further. As if it had come to its end, Streamlit would
        # forget the clocks that the run of the click has set up meanwhile.
        pass
    finally:
        drawn.query = urlencode(st.query_params.to_dict(), doseq=True)
        drawn.under_dialog = getattr(context, "has_dialog_opened", False)


def rerun_if_changed(changed: bool, shut_out: bool = False) -> None:
    """Draw the page again where it has changed or was taken away. The last call in the clock that every page has.

    With ``shut_out`` it is drawn again also under an open dialog: nothing of it is for whoever looks at it.
    """
    drawn: _Drawn | None = st.session_state.get(_KEY)
    if drawn is None:
        return
    if shut_out:
        changed, drawn.under_dialog = True, False
    try:
        _ask_for_a_run(drawn, changed)
    except (AttributeError, ImportError, TypeError) as error:
        # Not in the block: st.rerun ends the run by an exception of its own.
        missing = str(error)
    else:
        return
    _say_once(missing)
    if changed and not drawn.under_dialog:
        st.rerun()


def _ask_for_a_run(drawn: _Drawn, changed: bool) -> None:
    """Through the queue, which a click on another page still overtakes."""
    from streamlit.runtime.scriptrunner import RerunData, get_script_run_ctx

    context = get_script_run_ctx()
    if context is None or context.script_requests is None:
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


def _run_context() -> Any:
    """Streamlit's record of this run; None outside of a run, and where Streamlit has no such record."""
    try:
        from streamlit.runtime.scriptrunner import get_script_run_ctx
    except ImportError:
        return None
    return get_script_run_ctx()


def end_page() -> NoReturn:
    """Draw nothing more of this page; the run itself comes to its end."""
    for end in _end_of_page():
        raise end
    st.stop()


@cache
def _end_of_page() -> tuple[type[BaseException], ...]:
    """What `end_page` raises: to Streamlit, where nobody catches it, a script that stops; none where it has no such."""
    try:
        from streamlit.runtime.scriptrunner import StopException
    except ImportError:
        return ()
    return (type("EndOfPage", (StopException,), {}),)


@cache
def _say_once(missing: str) -> None:
    log.warning("This version of Streamlit is made otherwise (%s); pages are drawn again by a plain st.rerun", missing)
