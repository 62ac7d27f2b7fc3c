"""The card of Metrics that shows what was invoked and how it differs, with the settings of what is captured."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from detector.imaging.file_look import FileLook
from detector.operations.capture import CaptureSettings
from detector.pipeline.build import build
from detector.serving.invoke_counts import file_bins
from detector.storage import functions
from detector.storage.functions import Function
from detector.storage.invoke_days import InvokeDay, add_invokes
from detector.workspace import Workspace
from tests.factories import labelled_function
from tests.page_app import opened_by_pages, page, words

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        opened_by_pages(tmp_path_factory.mktemp("drift"), monkeypatch) as opened,
    ):
        yield opened


@pytest.fixture(scope="module")
def function(ws: Workspace) -> Function:
    made = labelled_function(ws, 30)
    assert build(ws, made.id).trained
    return functions.get_function(ws.db, made.id)


def counted(ws: Workspace, function: Function, n: int, door: str) -> None:
    bins = file_bins(FileLook(32, lossless=True, format="PNG")) | {"said": "can't tell", "confidence": "5"}
    today = datetime.now(UTC).date().isoformat()
    counts = {part: {name: n} for part, name in bins.items()}
    add_invokes(ws.db, [InvokeDay(function.id, today, door, function.live_model_id or "", n, counts)])


def test_the_card_says_what_will_be_here_then_counts_then_what_has_changed(ws: Workspace, function: Function) -> None:
    assert "Nothing was invoked in the last 30 days." in words(page("metrics.py", function.id))
    counted(ws, function, 20, "api")
    said = words(page("metrics.py", function.id))
    assert "20 verdicts in the last 30 days (UTC): 20 through the API." in said
    assert "Too little to compare with your samples (only 20 of them from model 1); that takes 50." in said
    counted(ws, function, 40, "page")
    app = page("metrics.py", function.id)
    assert "60 verdicts in the last 30 days (UTC): 20 through the API, 40 on the Invoke page." in words(app)
    warnings = [str(item.value) for item in app.warning]
    assert any("Of 60 invokes in the last 7 days 100 % are of pictures smaller than 64 px" in item for item in warnings)
    assert any("The figures on this page are not of such pictures." in item for item in warnings)


def test_what_is_captured_is_set_there(ws: Workspace, function: Function) -> None:
    app = page("metrics.py", function.id)
    [low] = [toggle for toggle in app.toggle if toggle.label == "Pictures that got can't tell"]
    low.set_value(True).run()
    [share] = [number for number in app.number_input if number.label == "Of all others, in percent"]
    share.set_value(2.5).run()
    [bound] = [number for number in app.number_input if number.label == "At most, a month"]
    bound.set_value(30).run()
    assert not app.exception, app.exception
    set_to = CaptureSettings.of(functions.get_function(ws.db, function.id))
    assert set_to == CaptureSettings(low_grade=True, random_share=0.025, a_month=30)
    assert "0 pictures captured this month, of 30 at most." in words(app)
    assert any(fold.label == "Captured by itself: can't tell, 2.5 % at random" for fold in app.expander)
