"""The sidebar's choice of a function."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from detector.workspace import Workspace
from tests.factories import empty_function
from tests.page_app import dashboard


def _choice(app: AppTest) -> str:
    (box,) = [box for box in app.sidebar.selectbox if box.label == "Function"]
    return str(box.value)


def test_what_a_late_tick_says_of_the_box_before_is_nobodys_choice(ws: Workspace) -> None:
    """A clock's message that left the browser in time for the page before; it lost the function that was just made."""
    first, second = empty_function(ws, "First"), empty_function(ws, "Second")
    app = dashboard("import_images.py", first.id)
    late = app._tree.get_widget_states()
    app.query_params["function"] = second.id
    app.run()
    assert _choice(app) == second.id
    app._run(late)
    assert app.query_params["function"] in (second.id, [second.id])
    assert _choice(app) == second.id
    assert f"Images for {second.name}" in "".join(item.value for item in app.markdown)


def test_another_function_comes_where_it_is_chosen(ws: Workspace) -> None:
    first, second = empty_function(ws, "First"), empty_function(ws, "Second")
    app = dashboard("import_images.py", first.id)
    (box,) = [box for box in app.sidebar.selectbox if box.label == "Function"]
    box.set_value(second.id).run()
    assert _choice(app) == second.id
    assert f"Images for {second.name}" in "".join(item.value for item in app.markdown)
