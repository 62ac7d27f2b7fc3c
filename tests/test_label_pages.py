"""What the pages say of labels that are one name, and of a report that is longer than its table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from detector.storage import functions as stored
from detector.storage import imports, jobs, samples
from detector.workspace import Workspace
from pages._holdout import _to_choose
from pages._review_filters import _counted
from tests.factories import add_images, empty_function, label_ids, labelled_function, make_image
from tests.page_app import PATIENCE, opened_by_pages, page
from tests.page_words import as_shown
from tests.storage.test_label_twins import NFC, NFD, with_twins


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    with opened_by_pages(tmp_path, monkeypatch) as opened:
        yield opened


def press_in_dialog(app: AppTest, opener: str, button: str) -> None:
    """Press a button of an open dialog.

    In a browser only the dialog runs anew; here the whole page does, which opens it again only by its own button.
    """
    for label in (opener, button):
        next(item for item in app.button if item.label == label).click()
    app.run()
    assert not app.exception, app.exception


def words(app: AppTest) -> str:
    """All text, without the marks that keep Markdown from reading it."""
    parts = [item.value for kind in (app.markdown, app.caption, app.error) for item in kind]
    return as_shown(" ".join(parts))


@pytest.mark.slow
def test_review_offers_a_merge_and_does_nothing_until_it_is_confirmed(ws: Workspace) -> None:
    function = with_twins(ws, 3)
    ids = label_ids(ws, function)
    app = page("review.py", function.id)
    assert "are one name in two spellings: 3 and 3 images" in words(app)
    offers = {button.key: button.label for button in app.button if str(button.key).startswith("merge-into-")}
    assert list(offers) == [f"merge-into-{ids[NFC]}", f"merge-into-{ids[NFD]}"]
    # They look alike on a screen: one says how it is stored.
    assert ["apart" in label for label in offers.values()] == [False, True]
    app.button(key=f"merge-into-{ids[NFC]}").click().run()
    assert "3 images labelled" in words(app)
    assert "This cannot be undone" in words(app)
    assert label_ids(ws, function) == ids

    press_in_dialog(app, f"Merge into {NFC}", "Merge")
    assert list(label_ids(ws, function)) == ["real", NFC]
    assert samples.count_by(ws.db, function.id).by_label == {ids["real"]: 3, ids[NFC]: 6}
    assert [job.kind for job in jobs.list_jobs(ws.db, function.id)] == ["build"]
    assert not [button for button in app.button if str(button.key).startswith("merge-into-")]


def test_review_says_nothing_of_labels_that_are_two_names(ws: Workspace) -> None:
    function = labelled_function(ws, 2)
    app = page("review.py", function.id)
    assert "one name" not in words(app)


@pytest.mark.slow
def test_a_merge_that_must_wait_says_so_and_leaves_both(ws: Workspace) -> None:
    function = with_twins(ws, 1)
    ids = label_ids(ws, function)
    app = page("review.py", function.id)
    app.button(key=f"merge-into-{ids[NFC]}").click().run()
    jobs.enqueue(ws.db, function.id, "import", {"from": "folder"})
    assert jobs.claim(ws.db, ("import",)) is not None
    press_in_dialog(app, f"Merge into {NFC}", "Merge")
    assert "An import into this function is running" in words(app)
    assert label_ids(ws, function) == ids


@pytest.mark.slow
@pytest.mark.parametrize("second", [NFD, "K\u00dcNSTLICH", f" {NFC} "])
def test_the_dialog_for_a_new_function_refuses_one_name_in_two_spellings(ws: Workspace, second: str) -> None:
    """The kind: "real, Real" were two labels."""
    app = page("functions.py")
    next(button for button in app.button if button.label == "Create a function").click().run()
    app.text_input[0].set_value("Twins")
    next(field for field in app.text_input if field.label.startswith("Labels")).set_value(f"{NFC}, real, {second}")
    press_in_dialog(app, "Create a function", "Create function")
    assert "Give each label a name of its own" in words(app)
    assert stored.list_functions(ws.db) == []


def ask_for_a_plan() -> None:
    """The part of the Import page that asks for labels, as a page of its own."""
    from pathlib import Path

    import streamlit as st

    from detector.importing.pending import Pending
    from pages._label_plan import label_plan

    pending = Pending(Path("archive"), "archive", tuple(st.session_state["paths"]))
    st.session_state["plan"] = label_plan(pending, st.session_state["known"], "plan", "efficientnet-lite0")


def test_a_folder_called_like_a_label_in_another_spelling_is_offered_as_this_label(ws: Workspace) -> None:
    """The kind: such a folder was offered, and counted, as a new label."""
    app = AppTest.from_function(ask_for_a_plan, default_timeout=PATIENCE)
    app.session_state["known"] = ["real", NFC]
    app.session_state["paths"] = [f"{name}/{n}.png" for name in ("REAL", NFD, "Drawn") for n in range(3)]
    app.run()
    assert not app.exception
    chosen = {box.label.removeprefix("Label for "): box for box in app.selectbox if box.label.startswith("Label for")}
    assert {name: box.value for name, box in chosen.items()} == {"REAL": "real", NFD: NFC, "Drawn": "Drawn"}
    assert [len(box.options) for box in chosen.values()] == [4, 3, 3]
    assert "3 as real" in words(app)
    assert "3 as Drawn" in words(app)
    # Typed, too.
    app.session_state["plan-label"] = "K\u00dcNSTLICH"
    app.radio[0].set_value("one").run()
    assert app.session_state["plan"].label == NFC
    assert f"9 as {NFC}" in words(app)


@pytest.mark.slow
def test_a_report_longer_than_its_table_says_so(ws: Workspace) -> None:
    """The kind: the page's table ended at 1,000 lines without a word."""
    function = empty_function(ws)
    batch = add_images(ws, function, [("first.png", make_image(1), "real"), ("again.png", make_image(1), "real")])
    rejected = [(f"{number}.png", "It is broken.") for number in range(1_233)]
    imports.add_samples(ws.db, function.id, batch, [], rejected[:400])
    app = page("import_images.py", function.id)
    assert "The first" not in words(app)
    assert len(app.dataframe[0].value) == 401
    imports.add_samples(ws.db, function.id, batch, [], rejected[400:])
    app.run()
    assert "The first 1,000 of 1,234; all of them in the CSV." in words(app)
    assert "**1,233** rejected" in words(app)
    assert len(app.dataframe[0].value) == 1_000
    assert [item.label for item in app.get("download_button")] == ["Table (CSV)"]


def test_two_choices_that_read_the_same_are_told_apart(ws: Workspace) -> None:
    """The kind: the browser tells what was chosen by its text, so that of two imports of one name either was meant."""
    assert _counted({"a": "cats.zip", "b": "no import", "~": "no import"}, {"a": 2, "b": 3, "~": 3}) == {
        "a": "cats.zip (2)",
        "b": "no import (3)",
        "~": "no import (2) (3)",
    }
    function = empty_function(ws)
    for camera, label in enumerate(("real", "real", "synthetic")):
        add_images(ws, function, [("IMG_0001.png", make_image(camera, label), label)])
    assert sorted(_to_choose(function.id).values()) == [
        *("IMG_0001.png (real)", "IMG_0001.png (real) (2)", "IMG_0001.png (synthetic)")
    ]
