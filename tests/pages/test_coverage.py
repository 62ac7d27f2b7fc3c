"""What Invoke says of pictures unlike the samples, its switch, and what Metrics shows of what the samples cover."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import pytest

from detector.pipeline.build import build
from detector.storage import functions, models
from detector.storage.functions import Function
from detector.training.coverage import FEWEST
from detector.training.thresholds import MODERATE
from detector.workspace import Workspace
from tests.factories import LABELS, add_images_of_sources, empty_function, make_image
from tests.page_app import dashboard, opened_by_pages, page, words

pytestmark = pytest.mark.slow

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
    [switch] = app.toggle
    assert (switch.label, switch.value) == ("Judge such pictures all the same", False)
    switch.set_value(True).run()
    assert not app.exception, app.exception
    try:
        assert functions.get_function(ws.db, covered.id).judge_unlike
        said = words(app)
        assert f"Grade: {MODERATE}. The limit, at most 25 % wrongly labelled, is kept for pictures like your" in said
        assert f"{SAID} The function was never tried on such pictures, so the verdict is moderate at most." in said
    finally:
        functions.set_judge_unlike(ws.db, covered.id, False)


def test_a_page_that_is_open_does_not_switch_back_what_was_switched_elsewhere(ws: Workspace, covered: Function) -> None:
    app = page("invoke.py", covered.id)
    assert not app.toggle[0].value
    functions.set_judge_unlike(ws.db, covered.id, True)
    try:
        app.run()
        assert app.toggle[0].value
        assert functions.get_function(ws.db, covered.id).judge_unlike
    finally:
        functions.set_judge_unlike(ws.db, covered.id, False)


def test_of_many_pictures_it_says_how_many_are_unlike_and_the_table_says_why(covered: Function) -> None:
    app = page("invoke.py", covered.id)
    app.file_uploader[0].set_value([large(1), large(2), ("like.png", make_image(950), "image/png")])
    app.run()
    assert not app.exception, app.exception
    assert f"2 of 3 are unlike your samples, such as large 1.png: {SAID}" in words(app)
    [table] = app.dataframe
    reasons = dict(zip(table.value["File"], table.value["Reason"], strict=True))
    assert reasons["large 2.png"].startswith(SAID)
    assert "Your samples" not in reasons["like.png"]


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
    assert not app.toggle
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


def test_the_csv_has_the_reason_of_each_file(covered: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    import streamlit as st

    written: list[bytes] = []
    offered = st.download_button
    monkeypatch.setattr(st, "download_button", lambda *args, **kw: (written.append(args[1]), offered(*args, **kw))[1])
    app = page("invoke.py", covered.id)
    app.file_uploader[0].set_value([large(4), large(5)])
    app.run()
    assert not app.exception, app.exception
    rows = list(csv.DictReader(io.StringIO(written[-1].decode("utf-8-sig"))))
    assert [row["Grade"] for row in rows] == ["can't tell"] * 2
    assert all(row["Reason"].startswith(SAID) for row in rows)
