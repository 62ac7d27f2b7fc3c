"""Every page in every state: it opens, without an error, and says what is the case."""

from __future__ import annotations

import pytest

from detector.jobs import IMPORT
from detector.storage import functions
from detector.workspace import Workspace
from pages._state import NOT_THERE, PAGES
from tests.factories import empty_function, labelled_function
from tests.page_app import dashboard, words
from tests.page_words import as_shown
from tests.pages.conftest import Trained
from tests.pages.states import FAILURE, NOTE, failed_import, failed_training, running, waiting

SCRIPTS = [script for script, _, _ in PAGES]
OF_ONE_FUNCTION = [script for script in SCRIPTS if script not in ("functions.py", "api.py", "health.py")]
#: The last one is about the data folder, whatever functions there are.
OF_FUNCTIONS = [script for script in SCRIPTS if script != "health.py"]


@pytest.mark.slow
@pytest.mark.parametrize("script", OF_FUNCTIONS)
def test_without_any_function_it_leads_to_the_first_one(ws: Workspace, script: str) -> None:
    app = dashboard(script)
    assert not app.error
    assert len(app.title) == 1
    first = "Create a function" if script == "functions.py" else "Make the first function"
    assert first in [button.label for button in app.button]


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_with_an_empty_function_it_opens(ws: Workspace, script: str) -> None:
    function = empty_function(ws, "Nothing in it")
    app = dashboard(script, function.id)
    assert not app.error
    assert len(app.title) == 1
    assert "0 samples · no model yet" in words(app)
    if script in OF_ONE_FUNCTION and script != "import_images.py":
        assert "Import images" in [button.label for button in app.button]


@pytest.mark.slow
@pytest.mark.parametrize("script", OF_FUNCTIONS)
def test_a_function_that_is_gone_is_not_replaced_by_another(ws: Workspace, script: str) -> None:
    labelled_function(ws, 2, "Another one")
    app = dashboard(script, "0123456789abcdef")
    assert not app.error
    assert NOT_THERE in words(app)
    assert "4 samples · no model yet" not in words(app)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("kind", ["build", IMPORT])
def test_while_work_is_running_it_says_how_far_it_is(ws: Workspace, script: str, kind: str) -> None:
    function = labelled_function(ws, 2)
    running(ws, function.id, kind)
    app = dashboard(script, function.id)
    assert not app.error
    assert "12 of 48" in words(app)
    assert "4.0 images/s" in words(app) or "4 images/s" in words(app)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_while_a_training_is_queued_it_says_so(ws: Workspace, script: str) -> None:
    function = labelled_function(ws, 2)
    waiting(ws, function.id)
    app = dashboard(script, function.id)
    assert not app.error
    assert "Training starts in a moment" in words(app)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_of_a_trained_function_it_says_how_good_it_is(trained: Trained, script: str) -> None:
    app = dashboard(script, trained.function_id)
    assert not app.error
    assert len(app.title) == 1
    assert f"{trained.said['total']} samples · 12 of 14 right" in words(app)
    assert "Import images" not in [button.label for button in app.button]


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_trained_function_that_is_retrained_still_shows_its_model(trained: Trained, script: str) -> None:
    running(trained.ws, trained.function_id)
    app = dashboard(script, trained.function_id)
    assert not app.error
    assert "12 of 14 right" in words(app)
    assert "12 of 48" in words(app)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_after_a_training_and_an_import_that_failed_it_opens(ws: Workspace, script: str) -> None:
    function = failed_training(ws)
    failed_import(ws, function.id)
    app = dashboard(script, function.id)
    # The report of the import is the one place for its error.
    assert [as_shown(item.value) for item in app.error] == ([FAILURE] if script == "import_images.py" else [])
    assert "4 samples · no model yet" in words(app)
    if script in ("functions.py", "metrics.py"):
        assert NOTE in words(app)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_it_opens_after_the_training_of_a_trained_function_failed(trained: Trained, script: str) -> None:
    functions.set_training_note(trained.ws.db, trained.function_id, "It did not end.")
    app = dashboard(script, trained.function_id)
    assert not app.error
    assert "12 of 14 right" in words(app)
