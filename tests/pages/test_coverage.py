"""What Invoke says of pictures unlike the samples, its switch, and what Metrics shows of what the samples cover."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from detector.evidence.run_report import run_csv
from detector.pipeline.build import build
from detector.storage import functions, invoke_runs, models
from detector.storage.functions import Function
from detector.training.coverage import FEWEST
from detector.training.thresholds import MODERATE
from detector.workspace import Workspace
from tests.factories import LABELS, add_images_of_sources, empty_function, make_image
from tests.page_app import dashboard, opened_by_pages, page, words
from tests.runs import worked_off

pytestmark = pytest.mark.slow


def switch(app: AppTest) -> Any:
    """The switch for pictures unlike the samples, among others of the page."""
    return next(item for item in app.toggle if item.label == "Judge such pictures all the same")


SAID = "Your samples are all 80 px (shorter side); this is 240 px."


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        opened_by_pages(tmp_path_factory.mktemp("coverage"), monkeypatch) as opened,
    ):
        yield opened


@pytest.fixture(scope="module")
def covered(ws: Workspace) -> Function:
    return made(ws, "Covered", FEWEST)


def made(ws: Workspace, name: str, each: int) -> Function:
    function = empty_function(ws, name)
    add_images_of_sources(ws, function, each, ["one"])
    functions.set_false_accusation_limit(ws.db, function.id, 0.25)
    assert build(ws, function.id).trained
    return function


def large(n: int) -> tuple[str, bytes, str]:
    return (f"large {n}.png", make_image(940 + n, LABELS[n % 2], 240), "image/png")


def test_one_picture_unlike_the_samples_says_so_and_the_switch_judges_it_all_the_same(
    ws: Workspace, covered: Function
) -> None:
    app = page("invoke.py", covered.id)
    app.file_uploader[0].set_value([large(0)])
    app.run()
    said = words(app)
    assert SAID in said
    assert "not confident enough to say so" not in said
    assert "Judge such pictures all the same" in said
    assert not switch(app).value
    switch(app).set_value(True).run()
    assert not app.exception, app.exception
    try:
        assert functions.get_function(ws.db, covered.id).judge_unlike
        said = words(app)
        assert f"Grade: {MODERATE}. {SAID} The function was never tried on such pictures, so the verdict is" in said
        # What was measured on pictures like the samples promises nothing of this one.
        assert "The limit, at most" not in said
    finally:
        functions.set_judge_unlike(ws.db, covered.id, False)


def test_a_page_that_is_open_does_not_switch_back_what_was_switched_elsewhere(ws: Workspace, covered: Function) -> None:
    app = page("invoke.py", covered.id)
    assert not switch(app).value
    functions.set_judge_unlike(ws.db, covered.id, True)
    try:
        app.run()
        assert switch(app).value
        assert functions.get_function(ws.db, covered.id).judge_unlike
    finally:
        functions.set_judge_unlike(ws.db, covered.id, False)


def test_many_pictures_become_a_run_in_which_each_unlike_one_has_its_reason(ws: Workspace, covered: Function) -> None:
    app = page("invoke.py", covered.id)
    app.file_uploader[0].set_value([large(1), large(2), ("like.png", make_image(950), "image/png")])
    app.run()
    assert not app.exception, app.exception
    [run] = invoke_runs.list_runs(ws.db, covered.id)
    assert app.query_params["run"] in (run.id, [run.id])
    assert not [item for item in app.file_uploader if item.label.startswith("Drop")]
    worked_off(ws)
    rows = list(csv.DictReader(io.StringIO(run_csv(ws, run.id).decode("utf-8-sig"))))
    reasons = {row["File"]: (row["Grade"], row["Reason"]) for row in rows}
    assert [reasons[f"large {number}.png"][0] for number in (1, 2)] == ["can't tell"] * 2
    assert all(reasons[f"large {number}.png"][1].startswith(SAID) for number in (1, 2))
    assert "Your samples" not in reasons["like.png"][1]


def test_metrics_draws_what_the_samples_cover_and_says_what_to_add(covered: Function) -> None:
    app = dashboard("metrics.py", covered.id)
    said = words(app)
    assert "Which pictures compare with your samples" in said
    assert "Add photographs larger than 80 px with both labels. Add JPEG files with both labels." in said
    assert "40 samples." in said
    assert "Size (shorter side)" in said


def test_a_function_with_few_samples_says_nothing_of_it(ws: Workspace) -> None:
    few = made(ws, "Few", FEWEST - 2)
    app = page("invoke.py", few.id)
    assert "Judge such pictures all the same" not in [item.label for item in app.toggle]
    app.file_uploader[0].set_value([large(3)])
    app.run()
    assert "Your samples are" not in words(app)
    assert "Which pictures compare" not in words(dashboard("metrics.py", few.id))


def test_a_model_from_before_shows_it_too(ws: Workspace, covered: Function) -> None:
    live = functions.get_function(ws.db, covered.id).live_model_id
    assert live is not None
    known = models.get_model(ws.db, live).coverage
    models.set_coverage(ws.db, live, None)
    assert "Which pictures compare with your samples" in words(dashboard("metrics.py", covered.id))
    assert models.get_model(ws.db, live).coverage == known
