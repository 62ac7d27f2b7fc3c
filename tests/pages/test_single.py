"""One picture on Invoke: what stands beside the verdict, and that nothing is looked at twice or kept unasked."""

from __future__ import annotations

import io
from collections.abc import Iterator
from html import escape as escape_html
from pathlib import Path

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from detector.evidence.desk import InBackground
from detector.evidence.evidence import FIND_THE_FIRST, NOT_ALONE
from detector.evidence.model_facts import model_facts
from detector.imaging.provenance import read_provenance
from detector.operations.false_accusations import set_false_accusation_limit
from detector.operations.records import set_keeping
from detector.pipeline.build import build
from detector.serving.invoke_counts import write_invokes
from detector.serving.model import load_serving_model
from detector.storage import functions, invoke_days, records, samples
from detector.storage.functions import Function
from detector.workspace import Workspace
from pages import _single
from pages._single import desk
from tests.factories import labelled_function, make_image, near_duplicate
from tests.page_app import opened_by_pages, page, wait_for_findings, words
from tests.page_words import as_shown
from tests.pictures import with_text_chunk

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        opened_by_pages(tmp_path_factory.mktemp("single"), monkeypatch) as opened,
    ):
        yield opened


@pytest.fixture(scope="module")
def function(ws: Workspace) -> Function:
    made = labelled_function(ws, 40)
    functions.set_false_accusation_limit(ws.db, made.id, 0.25)
    assert build(ws, made.id).trained
    return functions.get_function(ws.db, made.id)


def looked_at(function: Function, *files: tuple[str, bytes]) -> AppTest:
    """The page with these files in its place, after everything that goes on behind it has come to its end."""
    app = page("invoke.py", function.id)
    app.file_uploader[0].set_value([(name, data, "image/png") for name, data in files])
    app.run()
    wait_for_findings()
    app.run()
    assert not app.exception, app.exception
    return app


def html(app: AppTest) -> str:
    return " ".join(element.proto.body for element in app.get("html"))


def test_a_verdict_has_its_evidence_beside_it(function: Function) -> None:
    app = looked_at(function, ("new.png", make_image(800, "synthetic")))
    said, drawn = words(app), html(app)
    assert FIND_THE_FIRST in said
    assert NOT_ALONE in said
    assert "Does it stay?" in said
    for copy in ("as it is", "JPEG 75", "JPEG 50", "half size", "cropped", "messenger"):
        assert copy in drawn
    assert "Like what I know" in said
    assert drawn.count("open in Review") == 5
    assert "What the file says" in said
    assert "No content credentials." in drawn
    assert "What this cannot see" in said
    assert "Model 1, efficientnet-lite0" in said


def test_a_sample_and_its_near_duplicate_are_known(function: Function) -> None:
    known = make_image(3)
    assert "This very picture is one of your samples, labelled real." in words(looked_at(function, ("a.png", known)))
    again = looked_at(function, ("b.png", near_duplicate(known)))
    assert "Nearly the same picture is one of your samples: real-3.png, labelled real." in words(again)


def test_what_a_file_states_is_shown_and_changes_no_verdict(function: Function) -> None:
    plain = make_image(801, "real")
    stating = with_text_chunk(
        plain, "parameters", "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Model: <b>dream</b>"
    )
    before, after = looked_at(function, ("a.png", plain)), looked_at(function, ("b.png", stating))
    assert "The file states that it was made by an AI system" in words(after)
    assert "&lt;b&gt;dream" in html(after)
    assert verdict(before) == verdict(after)


def verdict(app: AppTest) -> str:
    [found] = [element.proto.body for element in app.get("html") if 'class="verdict"' in element.proto.body]
    return found


def test_another_limit_judges_at_once_and_looks_at_nothing_again(
    ws: Workspace, function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_image(802, "synthetic")
    app = looked_at(function, ("a.png", data))
    assert "can't tell" not in verdict(app)
    looks: list[object] = []
    real = _single.look_through
    monkeypatch.setattr(_single, "look_through", lambda *given: (looks.append(given), real(*given))[1])
    # Elsewhere: the page that is open must not change it back.
    set_false_accusation_limit(ws, function.id, 0.02)
    try:
        app.run()
        assert "can&#x27;t tell" in verdict(app)
    finally:
        set_false_accusation_limit(ws, function.id, 0.25)
    app.run()
    assert "can&#x27;t tell" not in verdict(app)
    assert not looks


def test_nothing_is_kept_of_a_picture_unless_it_is_asked_for(ws: Workspace, function: Function) -> None:
    def left() -> tuple[int, int, int]:
        files = sum(1 for path in ws.settings.data_dir.rglob("*") if path.is_file() and "blobs" in path.parts)
        return samples.count_by(ws.db, function.id).total, records.count_records(ws.db, function.id), files

    before = left()
    looked_at(function, ("a.png", make_image(803, "real")))
    assert left() == before


def test_a_broken_file_gets_one_sentence(function: Function) -> None:
    app = looked_at(function, ("broken.png", make_image(804)[:200]))
    [error] = app.error
    assert "broken.png" in error.value
    assert "Before you use this" not in words(app)


def test_two_files_of_one_picture_get_one_verdict(ws: Workspace, function: Function) -> None:
    whole = make_image(805, "synthetic")
    app = looked_at(function, ("first.png", whole), ("second.png", near_duplicate(whole)))
    assert "copies" in words(app)
    assert "run" not in app.query_params
    assert html(app).count("of the verdict") == 2
    assert FIND_THE_FIRST in words(app)
    assert NOT_ALONE in words(app)
    warnings = model_facts(ws, load_serving_model(ws, function.id))[0].warnings
    assert warnings
    assert all(as_shown(warning) in as_shown(words(app)) for warning in warnings)


def test_two_files_of_one_name_keep_their_own_picture_and_what_each_states(ws: Workspace, function: Function) -> None:
    whole = make_image(811, "synthetic")
    file = io.BytesIO()
    Image.open(io.BytesIO(whole)).resize((48, 48)).save(file, "PNG")
    stating = with_text_chunk(file.getvalue(), "parameters", "a cat\nSteps: 20, Sampler: Euler a")
    files = [("image.png", whole), ("image.png", stating)]
    app = looked_at(function, *files)
    shown = [item.proto.imgs[0].url for item in app.get("image")]
    assert len(set(shown)) == 2, shown
    headlines = {read_provenance(data, ws.settings.c2pa_trust).headline for _, data in files}
    assert len(headlines) == 2
    assert all(escape_html(headline) in html(app) for headline in headlines)


def test_where_is_shown_when_it_is_asked_for(function: Function) -> None:
    app = looked_at(function, ("a.png", make_image(806, "synthetic")))
    [way] = [item for item in app.get("button_group") if "Where" in item.options]
    way.set_value("Where").run()
    wait_for_findings()
    app.run()
    assert "nearly blind to small changes" in words(app)


def test_what_a_file_says_is_read_once_not_again_for_the_copies_and_the_map(
    function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[object] = []
    real = _single.open_picture
    monkeypatch.setattr(_single, "open_picture", lambda *given: (reads.append(given), real(*given))[1])
    app = looked_at(function, ("a.png", make_image(812, "synthetic")))
    [way] = [item for item in app.get("button_group") if "Where" in item.options]
    way.set_value("Where").run()
    wait_for_findings()
    app.run()
    assert "nearly blind to small changes" in words(app)
    assert len(reads) == 1


def test_an_example_is_looked_at_without_a_file_of_ones_own(function: Function) -> None:
    app = page("invoke.py", function.id)
    next(button for button in app.button if button.label == "An imitation 1").click().run()
    assert not app.exception, app.exception
    assert "What this cannot see" in words(app)


def fail(what: str) -> None:
    """Let what is found out of the pictures at hand have failed, as by a disk that is gone."""
    for case in desk()._cases.values():
        failed = InBackground[object](lambda _report: Path("/nowhere/at/all").read_bytes())
        failed.work_off()
        case.finding[what] = failed


def drawn_by_itself(app: AppTest) -> AppTest:
    """The page drawn again as after a wait, without a person."""
    app.session_state["single-waited"] = True
    app.run()
    assert not app.exception, app.exception
    return app


def offered(app: AppTest) -> set[str]:
    """What can be done with the verdict."""
    names = {"Report", "Card", "JSON"}
    taken = {item.proto.label for item in app.get("download_button")} & names
    return taken | {item.label for item in app.button if item.label == "Keep a record" and not item.disabled}


def test_copies_that_failed_are_said_in_words_and_tried_again_when_the_page_is_drawn_again(
    ws: Workspace, function: Function
) -> None:
    data = make_image(807, "synthetic")
    app = looked_at(function, ("a.png", data))
    assert offered(app) == {"Report", "Card", "JSON", "Keep a record"}
    desk()._cases.clear()
    looked_at(function, ("a.png", data))
    fail("stability")
    set_keeping(ws, function.id, True, None)
    try:
        drawn_by_itself(app)
        assert "The copies could not be looked at:" in words(app)
        assert "/nowhere" not in words(app)
        # Neither by a person nor by itself: no copy has been asked whether the grade stays.
        assert records.count_records(ws.db, function.id) == 0
        assert offered(app) == set()
        assert "It can be kept and taken along once its copies were looked at" in words(app)
        # Not tried again by a page that nobody has touched: two that fail would do that without an end.
        drawn_by_itself(app)
        assert not desk().busy
    finally:
        set_keeping(ws, function.id, False, None)
    app.run()
    wait_for_findings()
    app.run()
    assert "could not be looked at" not in words(app)
    assert offered(app) == {"Report", "Card", "JSON", "Keep a record"}


def test_a_map_that_failed_shows_no_words_of_a_program(function: Function) -> None:
    app = looked_at(function, ("a.png", make_image(808, "synthetic")))
    fail("regions")
    [way] = [item for item in app.get("button_group") if "Where" in item.options]
    app.session_state["single-waited"] = True
    way.set_value("Where").run()
    assert "The map could not be made:" in words(app)
    assert "/nowhere" not in words(app)


def test_a_picture_counts_once_a_session_whoever_looked_at_it_before_and_though_it_was_forgotten(
    ws: Workspace, function: Function
) -> None:
    def counted() -> int:
        write_invokes()
        return sum(day.count for day in invoke_days.read_invokes(ws.db, function.id))

    data, before = make_image(809, "real"), counted()
    app = looked_at(function, ("a.png", data))
    assert counted() == before + 1
    looked_at(function, ("a.png", data))
    assert counted() == before + 2
    desk()._cases.clear()
    app.run()
    wait_for_findings()
    assert counted() == before + 2
