"""Many pictures on the page: given, waited for, looked through, added to the samples, and deleted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from detector.errors import NotFound
from detector.evidence.run_report import AS_THEY_ARE
from detector.evidence.runs import Order
from detector.jobs import IMPORT
from detector.operations.false_accusations import set_false_accusation_limit
from detector.operations.runs import STOPPED
from detector.pipeline.build import build
from detector.storage import functions, invoke_runs, jobs
from detector.storage.functions import Function
from detector.workspace import Workspace
from pages._invoke_runs import run_picture
from pages._run_tiles import Choice
from tests.app_server import CHECKOUT
from tests.factories import labelled_function, make_image
from tests.page_app import PATIENCE, opened_by_pages, words
from tests.runs import PICTURES, claimed, given, worked_off

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        opened_by_pages(tmp_path_factory.mktemp("runs"), monkeypatch) as opened,
    ):
        yield opened


@pytest.fixture(scope="module")
def function(ws: Workspace) -> Function:
    made = labelled_function(ws, 40)
    assert build(ws, made.id).trained
    return functions.get_function(ws.db, made.id)


def page(function: Function, run_id: str | None = None) -> AppTest:
    app = AppTest.from_file(str(CHECKOUT / "tests" / "pages" / "run_page.py"), default_timeout=PATIENCE)
    app.query_params["function"] = function.id
    if run_id is not None:
        app.query_params["run"] = run_id
    app.run()
    assert not app.exception, app.exception
    return app


def press(app: AppTest, label: str) -> None:
    [button] = [button for button in app.button if button.label == label]
    button.click().run()
    assert not app.exception, app.exception


def html(app: AppTest) -> str:
    """What a page says in pieces of its own markup, where `words` does not look."""
    return " ".join(element.proto.body for element in app.get("html"))


def labels(app: AppTest) -> list[str]:
    return [button.label for button in app.button]


def test_files_that_are_given_become_a_run_with_an_address_of_its_own(ws: Workspace, function: Function) -> None:
    app = page(function)
    files = [(name.replace("/", "-"), data, "image/png") for name, data in list(PICTURES.items())[:3]]
    app.file_uploader[0].set_value(files)
    app.run()
    press(app, "Judge")
    [run, *_] = invoke_runs.list_runs(ws.db, function.id)
    assert app.query_params["run"] in (run.id, [run.id])
    assert run.title == "3 pictures"
    assert "Waiting for its turn. You may leave this page." in words(app)
    worked_off(ws)
    app = page(function, run.id)
    assert "3 pictures, 0 chosen" in words(app)
    assert "Waiting" not in words(app)
    assert invoke_runs.get_run(ws.db, run.id).total == 3


def test_progress_is_said_in_words_with_the_time_left_and_it_can_be_stopped(ws: Workspace, function: Function) -> None:
    run_id = given(ws, function.id, PICTURES)
    job = claimed(ws)
    jobs.report(ws.db, job.id, "invoke", 240, 1000, "Judging pictures", 6.3)
    app = page(function, run_id)
    assert "Judging, 240 of 1,000, 2 min left. You may leave this page." in words(app)
    press(app, "Stop here")
    assert invoke_runs.get_run(ws.db, run_id).state == "failed"
    assert jobs.get_job(ws.db, job.id).state == "cancelled"
    assert STOPPED in words(app)
    assert "No picture was judged." in words(app)


def test_a_run_shows_counts_and_what_is_chosen_goes_to_the_samples(ws: Workspace, function: Function) -> None:
    run_id = given(ws, function.id, {**PICTURES, "notes.txt": b"x", "known.png": make_image(1)}, "<i>a</i>.zip")
    worked_off(ws)
    app = page(function, run_id)
    said = html(app)
    assert "&lt;i&gt;a&lt;/i&gt;.zip" in said
    for part in ("can't tell</span> <b>9</b>", "not read</span> <b>1</b>", "real</span> <b>0</b>"):
        assert part in said.replace("&#x27;", "'")
    assert "10 pictures, 0 chosen" in words(app)
    assert AS_THEY_ARE in words(app)
    assert [item.label for item in app.multiselect] == ["Verdict", "Flag"]
    # The file that was not read can be chosen by nobody.
    press(app, "Choose all 9")
    assert "10 pictures, 9 chosen" in words(app)
    press(app, "Add 8 to samples")
    [said] = app.toast
    assert "8 pictures are being added to the samples" in said.value
    [job] = [job for job in jobs.list_jobs(ws.db, function.id) if job.kind == IMPORT]
    [known] = invoke_runs.sample_positions(ws.db, run_id)
    assert len(job.payload["positions"]) == 8
    assert known not in job.payload["positions"]
    assert "10 pictures, 0 chosen" in words(app)
    press(app, "Delete now")
    assert "some are being added to the samples" in words(app)
    jobs.finish(ws.db, job.id, "cancelled")
    press(app, "Delete now")
    assert "run" not in app.query_params
    with pytest.raises(NotFound):
        invoke_runs.get_run(ws.db, run_id)


def test_what_is_shown_is_filtered_and_another_limit_counts_at_once(ws: Workspace, function: Function) -> None:
    run_id = given(ws, function.id, PICTURES)
    worked_off(ws)
    try:
        set_false_accusation_limit(ws, function.id, 0.2)
        app = page(function, run_id)
        assert "can't tell</span> <b>0</b>" in html(app).replace("&#x27;", "'")
        assert "at most 20 % wrongly labelled" in words(app)
        app.multiselect[0].set_value(["real"]).run()
        assert "4 pictures, 0 chosen" in words(app)
        app.text_input[0].set_value("3.png").run()
        assert "1 picture, 0 chosen" in words(app)
    finally:
        set_false_accusation_limit(ws, function.id, function.false_accusation_limit)
    app.run()
    assert "can't tell</span> <b>8</b>" in html(app).replace("&#x27;", "'")


def test_many_pictures_have_pages(ws: Workspace, function: Function) -> None:
    run_id = given(ws, function.id, {f"{n:03}.png": make_image(2000 + n, size=40) for n in range(61)})
    worked_off(ws)
    app = page(function, run_id)
    assert "1 to 60 of 61" in words(app)
    press(app, "Next")
    assert "61 to 61 of 61" in words(app)
    [back] = [button for button in app.button if button.label == "Previous"]
    assert not back.disabled
    # Fewer match than before: the page that there is.
    app.text_input[0].set_value("00").run()
    assert "10 pictures, 0 chosen" in words(app)


def test_an_earlier_run_is_opened_again_and_one_of_another_function_is_not(ws: Workspace, function: Function) -> None:
    run_id = given(ws, function.id, {"a.png": make_image(820)}, "summer_*.zip")
    worked_off(ws)
    app = page(function)
    [line] = [button for button in app.button if button.key == f"open-run-{run_id}"]
    line.click().run()
    assert not app.exception, app.exception
    assert "1 picture, 0 chosen" in words(app)
    assert run_picture(function.id, run_id, 0) == ("a.png", make_image(820))
    with pytest.raises(NotFound):
        run_picture(function.id, run_id, 1)
    other = labelled_function(ws, 2, "Other")
    with pytest.raises(NotFound):
        run_picture(other.id, run_id, 0)
    app = page(other, run_id)
    assert app.error
    assert "1 picture, 0 chosen" not in words(app)
    assert "Judge other pictures" in labels(app)


def test_from_one_picture_one_goes_on_in_the_order_of_the_tiles_and_back(ws: Workspace, function: Function) -> None:
    run_id = given(ws, function.id, {"a.png": make_image(830), "b.txt": b"x", "c.png": make_image(831, "synthetic")})
    worked_off(ws)
    app = page(function, run_id)
    app.selectbox[0].set_value(Order.VERDICT).run()
    app.multiselect[0].set_value(["can't tell"]).run()
    places = app.session_state[f"run-{run_id}-order"]
    assert sorted(places) == [0, 2]
    app.query_params["picture"] = str(places[0])
    app.run()
    names = {0: "a.png", 2: "c.png"}
    assert f"Looking at {names[places[0]]}" in words(app)
    assert "1 of 2" in words(app)
    press(app, "Next")
    assert f"Looking at {names[places[1]]}" in words(app)
    press(app, "All pictures")
    assert "2 pictures, 0 chosen" in words(app)
    assert app.selectbox[0].value == Order.VERDICT
    app.text_input[0].set_value("nowhere").run()
    assert "No picture matches." in words(app)
    # Whoever comes by the address alone has no order of tiles yet.
    app = AppTest.from_file(str(CHECKOUT / "tests" / "pages" / "run_page.py"), default_timeout=PATIENCE)
    for key, value in {"function": function.id, "run": run_id, "picture": "2"}.items():
        app.query_params[key] = value
    app.run()
    assert "3 of 3" in words(app)


def test_what_is_ticked_counts_until_the_page_chooses_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kind: a report of the browser that is still on its way undoes "Choose none"."""
    reports: dict[str, object] = {}
    monkeypatch.setattr(st, "session_state", reports)
    choice = Choice("tiles", {7}, frozenset({1, 2, 3}))
    reports["tiles"] = {"ticked": {"stamp": choice.stamp, "positions": [1, 3, 9]}}
    choice.hear()
    assert choice.positions == {1, 3, 7}
    choice.set(())
    choice.hear()
    assert choice.positions == set()
    reports["tiles"] = {"ticked": {"stamp": choice.stamp, "positions": [2]}}
    choice.shown = frozenset({2})
    choice.hear()
    assert choice.positions == set()
