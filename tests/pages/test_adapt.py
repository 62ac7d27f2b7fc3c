"""Invoke's fold "Adapt to my pictures": before and after, use, the standing note, and undo."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from streamlit.testing.v1 import AppTest

from detector.operations import recentring
from detector.operations.labels import delete_label
from detector.pipeline.build import build
from detector.storage import functions, models
from detector.storage.functions import Function
from detector.storage.models import ModelRow
from detector.workspace import Workspace
from tests.factories import LABELS, add_images, labelled_function, make_image
from tests.operations.another_place import picture, pictures
from tests.page_app import dashboard, opened_by_pages, page, words

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        opened_by_pages(tmp_path_factory.mktemp("adapting"), monkeypatch) as opened,
    ):
        yield opened


@pytest.fixture(scope="module")
def function(ws: Workspace) -> Function:
    made = labelled_function(ws, 12, "Adapted")
    functions.set_false_accusation_limit(ws.db, made.id, 0.3)
    assert build(ws, made.id).trained
    return made


def live(ws: Workspace, function: Function) -> ModelRow:
    model_id = functions.get_function(ws.db, function.id).live_model_id
    assert model_id is not None
    return models.get_model(ws.db, model_id)


def give(app: AppTest, each: dict[str, int]) -> None:
    """Drop pictures of that place into the field of each label."""
    for field, (label, n) in zip(app.file_uploader[-2:], each.items(), strict=True):
        assert label in field.label
        field.set_value([(f"{label}-{seed}.png", picture(seed, label), "image/png") for seed in range(500, 500 + n)])
    app.run()


def press(app: AppTest, label: str) -> None:
    [button] = [button for button in app.button if button.label == label]
    button.click().run()
    assert not app.exception, app.exception


def test_before_and_after_are_shown_then_used_then_undone(ws: Workspace, function: Function) -> None:
    app = page("invoke.py", function.id)
    assert "up to 26 % of all such pictures may be accused" in words(app)
    assert not [button for button in app.button if button.label in ("Compare before and after", "Undo")]
    give(app, dict.fromkeys(LABELS, 12))
    press(app, "Compare before and after")
    said = words(app)
    assert "Of your 12 synthetic pictures 12 were called real, now 0." in said
    assert "Each was judged by a border found from the others." in said
    assert live(ws, function).recentring is None
    press(app, "Use this")
    assert live(ws, function).recentring is not None
    assert "Model 1 is adapted to 24 pictures of yours (just now): moderate at most." in words(app)
    assert "Invoke and the API answer adapted to 24 pictures of yours" in words(dashboard("metrics.py", function.id))
    # Nothing is left to be used twice.
    assert "Use this" not in [button.label for button in app.button]
    app.file_uploader[0].set_value([("new.png", picture(701, "synthetic"), "image/png")])
    app.run()
    said = words(app)
    assert "adapted to pictures of yours." in said
    assert "calibrated" not in said
    press(app, "Undo")
    assert live(ws, function).recentring is None
    said = words(app)
    assert "is adapted to" not in said
    # What was asked before is looked at again, by the model as it was trained.
    assert "calibrated" in said
    assert "adapted to pictures of yours" not in said


def test_too_few_pictures_are_a_sentence_and_what_was_left_out_is_named(ws: Workspace, function: Function) -> None:
    app = page("invoke.py", function.id)
    give(app, {"real": 12, "synthetic": 3})
    press(app, "Compare before and after")
    assert "There are 12 real and 3 synthetic pictures; it takes 10 of each label to adapt to them." in words(app)
    field = app.file_uploader[-1]
    files = [(f"s{seed}.png", picture(seed, "synthetic"), "image/png") for seed in range(500, 509)]
    field.set_value([*files, ("a sample.png", make_image(3, "synthetic"), "image/png")])
    app.run()
    # These are other pictures: what was said of the ones before is not theirs.
    assert "3 synthetic pictures" not in words(app)
    press(app, "Compare before and after")
    said = words(app)
    assert "9 synthetic pictures after 1 were left out" in said
    assert "1 picture left out:" in said
    assert "a sample.png is a sample of this function already" in said
    assert "Use this" not in [button.label for button in app.button]


def test_the_next_version_says_that_the_one_before_was_adapted(ws: Workspace) -> None:
    function = labelled_function(ws, 6, "Two versions")
    build(ws, function.id)
    recentring.adapt(ws, recentring.try_on(ws, function.id, pictures(10)))
    add_images(ws, function, [("more.png", make_image(50), "real")])
    build(ws, function.id)
    said = words(page("invoke.py", function.id))
    assert "Model 1 was adapted to 20 pictures of yours; model 2 is not." in said
    assert "give them again to adapt this one too" in said


def test_a_function_of_three_labels_says_why_not(ws: Workspace) -> None:
    function = labelled_function(ws, 3, "Three", (*LABELS, "drawing"))
    build(ws, function.id)
    app = page("invoke.py", function.id)
    assert "This function tells 3 labels apart." in words(app)
    assert len(app.file_uploader) == 1


def test_with_one_of_its_labels_deleted_the_page_still_opens(ws: Workspace) -> None:
    function = labelled_function(ws, 3, "One left")
    build(ws, function.id)
    delete_label(ws, functions.list_labels(ws.db, function.id)[1])
    app = page("invoke.py", function.id)
    assert len(app.file_uploader) == 1
