"""A page that is drawn anew by its clock, with Streamlit's private parts and without them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import streamlit as st
from streamlit.runtime import scriptrunner
from streamlit.testing.v1 import AppTest

from tests.app_server import CHECKOUT

#: What `pages._rerun_guard` reads of Streamlit's record of a run.
ATTRIBUTES = (
    "page_script_hash",
    "script_requests",
    "script_requests.request_rerun",
    "cached_message_hashes",
    "context_info",
)


class _Without:
    """An object of Streamlit's as another version may make it: the attribute at the end of ``path`` is not there."""

    def __init__(self, kept: Any, path: str) -> None:
        self._kept, (self._name, _, self._rest) = kept, path.partition(".")

    def __getattr__(self, name: str) -> Any:
        if name != self._name:
            return getattr(self._kept, name)
        if not self._rest:
            raise AttributeError(f"no attribute {name!r}")
        return _Without(getattr(self._kept, name), self._rest)


@pytest.fixture
def plain_reruns(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each call of st.rerun, which is still carried out."""
    calls: list[str] = []
    rerun = st.rerun

    def counted() -> None:
        calls.append("plain")
        rerun()

    monkeypatch.setattr(st, "rerun", counted)
    return calls


def _script(changes: int, dialog: bool) -> None:
    """A page that something has changed under ``changes`` times."""
    import streamlit as st

    from pages._rerun_guard import drawing, rerun_if_changed

    runs = st.session_state["runs"] = st.session_state.get("runs", 0) + 1
    with drawing():
        st.write(f"run {runs}")
        if dialog:
            st.dialog("Asked")(st.write)("Typed text stays.")
    rerun_if_changed(changed=runs <= changes)


def _runs(changes: int, dialog: bool = False) -> int:
    app = AppTest.from_function(_script, kwargs={"changes": changes, "dialog": dialog}).run()
    assert not app.exception
    return int(app.session_state["runs"])


def _drop_from_package(name: str) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda monkeypatch: monkeypatch.delattr(scriptrunner, name)


def _drop_from_context(path: str) -> Callable[[pytest.MonkeyPatch], None]:
    def drop(monkeypatch: pytest.MonkeyPatch) -> None:
        found = scriptrunner.get_script_run_ctx
        monkeypatch.setattr(scriptrunner, "get_script_run_ctx", lambda: _Without(found(), path))

    return drop


def _other_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    class RerunData:
        pass

    monkeypatch.setattr(scriptrunner, "RerunData", RerunData)


def test_a_page_is_drawn_anew_through_streamlits_queue_once_for_each_change(plain_reruns: list[str]) -> None:
    assert _runs(changes=2) == 3
    assert plain_reruns == []


def test_nothing_is_drawn_anew_under_a_dialog(plain_reruns: list[str]) -> None:
    assert _runs(changes=2, dialog=True) == 1
    assert plain_reruns == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "take_away",
    [
        *(pytest.param(_drop_from_package(name), id=name) for name in ("get_script_run_ctx", "RerunData")),
        *(pytest.param(_drop_from_context(path), id=path) for path in ATTRIBUTES),
        pytest.param(_other_arguments, id="other arguments"),
    ],
)
def test_where_a_part_of_streamlit_is_missing_a_plain_rerun_draws_the_page_anew(
    take_away: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch, plain_reruns: list[str]
) -> None:
    take_away(monkeypatch)
    assert _runs(changes=2) == 3
    assert plain_reruns == ["plain", "plain"]


@pytest.mark.slow
def test_a_page_under_which_nothing_changed_is_left_alone_without_those_parts(
    monkeypatch: pytest.MonkeyPatch, plain_reruns: list[str]
) -> None:
    monkeypatch.delattr(scriptrunner, "RerunData")
    assert _runs(changes=0) == 1
    # The dialog can still be told, so what was typed still stays.
    assert _runs(changes=2, dialog=True) == 1
    assert plain_reruns == []


def test_where_streamlit_no_longer_tells_of_dialogs_a_page_is_still_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    _drop_from_context("has_dialog_opened")(monkeypatch)
    assert _runs(changes=2) == 3


def _stopping() -> None:
    """A page with a clock, and without it from the second run on; it stops early."""
    import streamlit as st

    from pages._rerun_guard import drawing, end_page

    runs = st.session_state["runs"] = st.session_state.get("runs", 0) + 1
    with drawing():
        if runs == 1:
            st.fragment(st.write, run_every=60.0)("how far it is")
        else:
            st.info("nothing is under way")
        end_page()


def test_a_clock_of_before_does_not_draw_into_a_page_that_stopped() -> None:
    app = AppTest.from_function(_stopping).run()
    clocks = app._fragment_storage
    (clock,) = clocks._fragments
    assert clocks.contains(clock)
    app.run()
    assert not app.exception
    assert app.info[0].value == "nothing is under way"
    assert not clocks.contains(clock)


def _interrupted() -> None:
    """A page that is stopped in its second run, as by a click, before it has come to its clock."""
    import streamlit as st
    from streamlit.runtime.scriptrunner import StopException

    from pages._rerun_guard import drawing

    runs = st.session_state["runs"] = st.session_state.get("runs", 0) + 1
    with drawing():
        if runs == 2:
            raise StopException
        st.fragment(st.write, run_every=60.0)("how far it is")


def test_a_run_that_a_click_stopped_takes_no_clock_away() -> None:
    app = AppTest.from_function(_interrupted).run()
    (clock,) = app._fragment_storage._fragments
    app.run()
    assert app.session_state["runs"] == 2
    assert app._fragment_storage.contains(clock)


def test_no_page_stops_in_the_middle_of_its_run() -> None:
    stopping = [path.name for path in (CHECKOUT / "pages").glob("*.py") if "st.stop()" in path.read_text("utf-8")]
    assert stopping == ["_rerun_guard.py"]
