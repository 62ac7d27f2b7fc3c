"""The dashboard with named users: the door, what each role is shown, and that no click reaches farther than a role."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from detector.storage import functions, keys, samples, users
from detector.storage.acting import LABEL, LOOK, MANAGE
from detector.storage.annotating import history
from detector.web.password import PasswordHash
from detector.web.people import OVER, WRONG
from detector.workspace import Workspace
from pages._sign_in import user_gate
from tests.app_server import CHECKOUT
from tests.factories import empty_function, labelled_function
from tests.page_app import PATIENCE, words

#: Each signs in, which takes its time on purpose.
pytestmark = pytest.mark.long

PASSWORD = "correct horse battery"
HASH = str(PasswordHash.make(PASSWORD))


@pytest.fixture
def people(ws: Workspace) -> Iterator[dict[str, users.User]]:
    """A user of each role."""
    user_gate.clear()
    yield {
        name: users.add_user(ws.db, name, role, HASH)
        for name, role in (("Eva", MANAGE), ("Anna", LABEL), ("Ben", LOOK))
    }
    user_gate.clear()


def opened(script: str = "functions.py", **query: str) -> AppTest:
    app = AppTest.from_file(str(CHECKOUT / "pages" / "_dashboard.py"), default_timeout=PATIENCE)
    app.run()
    app.switch_page(script)
    for key, value in query.items():
        app.query_params[key] = value
    return app.run()


def sign_in(app: AppTest, name: str, password: str = PASSWORD) -> AppTest:
    by_label = {field.label: field for field in app.text_input}
    by_label["Name"].set_value(name)
    by_label["Password"].set_value(password)
    return next(button for button in app.button if button.label == "Sign in").click().run()


def go(app: AppTest, script: str, **query: str) -> AppTest:
    app.switch_page(script)
    for key, value in query.items():
        app.query_params[key] = value
    return app.run()


def button(app: AppTest, label: str) -> Any:
    return next(item for item in app.button if item.label == label)


def labels_of(app: AppTest) -> set[str]:
    return {item.label for item in app.button}


def test_nothing_is_drawn_before_somebody_has_signed_in_by_name(ws: Workspace, people: dict[str, users.User]) -> None:
    empty_function(ws, "Confidential photos")
    app = opened("review.py")
    assert "Confidential" not in words(app)
    assert labels_of(app) == {"Sign in"}
    sign_in(app, "Eva", "wrong")
    assert WRONG in words(app)
    assert "Confidential" not in words(app)
    sign_in(app, "eva")
    assert "Confidential photos" in words(app) + " ".join(str(box.options) for box in app.selectbox)
    assert "Eva" in words(app)


def test_the_shared_password_lets_nobody_in_and_the_page_says_so(
    ws: Workspace, people: dict[str, users.User], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pages import _state

    monkeypatch.setenv("DETECTOR_PASSWORD_HASH", HASH)
    _state.workspace.clear()
    app = opened()
    assert OVER in words(app)
    sign_in(app, "", PASSWORD)
    assert WRONG in words(app)


def test_who_was_shut_out_is_out_at_the_next_run(ws: Workspace, people: dict[str, users.User]) -> None:
    for end in (
        lambda: users.set_role(ws.db, people["Anna"].id, LOOK),
        lambda: users.set_password(ws.db, people["Anna"].id, HASH),
        lambda: users.set_disabled(ws.db, people["Anna"].id, True),
    ):
        app = sign_in(opened(), "Anna")
        assert "Sign out" in labels_of(app)
        end()
        app.run()
        assert labels_of(app) == {"Sign in"}


def test_signing_out_draws_the_door(ws: Workspace, people: dict[str, users.User]) -> None:
    app = sign_in(opened(), "Anna")
    button(app, "Sign out").click().run()
    assert labels_of(app) == {"Sign in"}


def test_a_page_that_was_open_before_the_first_user_asks_for_a_name(ws: Workspace) -> None:
    app = opened()
    assert "Sign in" not in labels_of(app)
    users.add_user(ws.db, "Eva", MANAGE, HASH)
    app.run()
    assert labels_of(app) == {"Sign in"}


def test_people_is_for_those_who_manage(ws: Workspace, people: dict[str, users.User]) -> None:
    for name, shown in (("Eva", True), ("Anna", False), ("Ben", False)):
        app = sign_in(opened(), name)
        # A page that is not listed leads nowhere, and its script asks once more.
        alone = AppTest.from_file(str(CHECKOUT / "pages" / "people.py"), default_timeout=PATIENCE)
        alone.session_state["signed-in"] = app.session_state["signed-in"]
        alone.run()
        assert not alone.exception
        assert ("Create a user" in labels_of(alone)) is shown
        assert ("Ben" in words(alone)) is shown


def forge(app: AppTest, key: str) -> AppTest:
    """Click a button although the browser would not let one."""
    found = app.button(key=key)
    assert found.proto.disabled
    found.proto.disabled = False
    return found.click().run()


def test_a_click_on_what_a_role_is_not_offered_changes_nothing(ws: Workspace, people: dict[str, users.User]) -> None:
    """A browser can be made to send any click: the write itself asks for the role."""
    function = labelled_function(ws, 2)
    label = functions.list_labels(ws.db, function.id)[0]
    before = [(sample.id, sample.label_id) for sample in samples.find_samples(ws.db, function.id, limit=9)]
    app = go(sign_in(opened(), "Ben"), "review.py", function=function.id)
    app.button(key=f"select-all-{function.id}").click().run()
    forge(app, f"give-{label.id}")
    after = [(sample.id, sample.label_id) for sample in samples.find_samples(ws.db, function.id, limit=9)]
    assert after == before


def test_a_page_that_forgets_to_ask_is_refused_by_the_write_itself(
    ws: Workspace, people: dict[str, users.User]
) -> None:
    """Forgotten by a page of tomorrow, or drawn before the role changed: the session is asked, not the page."""
    function = labelled_function(ws, 2)
    app = AppTest.from_string(_FORGETFUL, default_timeout=PATIENCE)
    app.query_params["function"] = function.id
    app.session_state["signed-in"] = sign_in(opened(), "Ben").session_state["signed-in"]
    app.run()
    app.button(key="empty-a-label").click().run()
    assert "Ben has the role 'look', and labelling takes the role 'label'" in words(app)
    assert all(sample.label_id is not None for sample in samples.find_samples(ws.db, function.id, limit=9))
    del app.session_state["signed-in"]
    app.button(key="empty-a-label").click().run()
    assert "You are signed out" in words(app)
    assert all(sample.label_id is not None for sample in samples.find_samples(ws.db, function.id, limit=9))


_FORGETFUL = """
import streamlit as st

from detector.errors import DetectorError
from detector.operations.labels import give_label
from detector.storage.samples import find_samples
from pages import _sign_in
from pages._state import workspace


def act():
    ids = [sample.id for sample in find_samples(workspace().db, st.query_params["function"], limit=9)]
    try:
        give_label(workspace(), st.query_params["function"], ids, None)
    except DetectorError as error:
        st.session_state["said"] = str(error)


st.button("Act", key="empty-a-label", on_click=act)
st.markdown(st.session_state.get("said", ""))
"""


def test_a_click_on_a_page_whose_user_was_shut_out_changes_nothing(
    ws: Workspace, people: dict[str, users.User]
) -> None:
    function = labelled_function(ws, 2)
    label = functions.list_labels(ws.db, function.id)[0]
    before = [(sample.id, sample.label_id) for sample in samples.find_samples(ws.db, function.id, limit=9)]
    app = go(sign_in(opened(), "Anna"), "review.py", function=function.id)
    app.button(key=f"select-all-{function.id}").click().run()
    users.set_disabled(ws.db, people["Anna"].id, True)
    app.button(key=f"give-{label.id}").click().run()
    assert labels_of(app) == {"Sign in"}
    after = [(sample.id, sample.label_id) for sample in samples.find_samples(ws.db, function.id, limit=9)]
    assert after == before


def test_who_labels_is_named_in_the_history(ws: Workspace, people: dict[str, users.User]) -> None:
    function = labelled_function(ws, 1)
    label = functions.list_labels(ws.db, function.id)[0]
    app = go(sign_in(opened(), "Anna"), "review.py", function=function.id)
    app.button(key=f"select-all-{function.id}").click().run()
    app.button(key=f"give-{label.id}").click().run()
    told = [entry.who for sample in samples.find_samples(ws.db, function.id) for entry in history(ws.db, sample.id)]
    assert told.count("Anna") == 1


@pytest.mark.parametrize("name", ["Anna", "Ben"])
def test_keys_and_tokens_are_only_for_those_who_manage(ws: Workspace, people: dict[str, users.User], name: str) -> None:
    """A token of a key that manages would be the way round every role."""
    key = keys.create_key(ws.db, "Old")
    app = sign_in(opened(), name)
    go(app, "api.py")
    assert not app.exception
    assert {"Create a key", "Token", "Revoke"} & labels_of(app) == set()
    assert key.id not in words(app)
    sign_in(manager := opened(), "Eva")
    go(manager, "api.py")
    assert {"Create a key", "Token", "Revoke"} <= labels_of(manager)


def test_without_users_the_sidebar_names_nobody(ws: Workspace) -> None:
    app = opened()
    assert "Sign out" not in labels_of(app)
