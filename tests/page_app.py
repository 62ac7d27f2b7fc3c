"""The dashboard's pages run here, without a browser, on a data folder that a test has open as well."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from detector.workspace import Workspace
from pages import _state
from pages._single import desk
from tests.app_server import CHECKOUT
from tests.databases import database_setting
from tests.factories import workspace
from tests.page_words import as_shown

#: The first run of a page brings its libraries.
PATIENCE = 240


@contextmanager
def opened_by_pages(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A data folder, a new one where there is none yet, that the pages open, too."""
    monkeypatch.setenv("DETECTOR_DATA_DIR", str(folder))
    for name, value in database_setting(folder).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DETECTOR_PRECISION", "float32")
    monkeypatch.setenv("DETECTOR_BACKBONE", "efficientnet-lite0")
    # One that refuses at once: the Functions page asks which backbones can be had.
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    _state.workspace.clear()
    opened = workspace(folder)
    yield opened
    opened.close()
    _state.workspace.clear()


def page(name: str, function_id: str | None = None, **query: str) -> AppTest:
    """A page after its first run, such as ``metrics.py``, with the function and the rest that its address names."""
    app = AppTest.from_file(str(CHECKOUT / "pages" / name), default_timeout=PATIENCE)
    if function_id is not None:
        app.query_params["function"] = function_id
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception, app.exception
    return app


def dashboard(name: str, function_id: str | None = None, **query: str) -> AppTest:
    """A page inside the whole dashboard, with its sidebar: links to other pages lead somewhere only there."""
    app = AppTest.from_file(str(CHECKOUT / "pages" / "_dashboard.py"), default_timeout=PATIENCE)
    # Once for the list of pages, then to the one that is wanted.
    app.run()
    app.switch_page(name)
    app.query_params.clear()
    for key, value in {**({"function": function_id} if function_id is not None else {}), **query}.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception, app.exception
    return app


def wait_for_findings() -> None:
    """Wait for what Invoke finds out behind its page; there is no browser that would ask for it again and again."""
    end = time.monotonic() + PATIENCE
    while desk().busy:
        assert time.monotonic() < end
        time.sleep(0.05)


def words(app: AppTest) -> str:
    """All that a page says, as a person reads it."""
    kinds = (app.title, app.markdown, app.caption, app.info, app.warning, app.error)
    return as_shown("\n".join(str(item.value) for kind in kinds for item in kind))
