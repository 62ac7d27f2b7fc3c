"""What Metrics and Invoke say of the two promises: of a function tried on unseen sources, a small one, others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from detector.pipeline.build import build
from detector.storage import functions
from detector.storage.functions import Function
from detector.training.thresholds import NOT_MEASURED, STRONG
from detector.workspace import Workspace
from tests.factories import LABELS, add_images_of_sources, empty_function, make_image, try_unseen
from tests.page_app import dashboard, opened_by_pages, page, words

pytestmark = pytest.mark.slow

EACH = 20


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        opened_by_pages(tmp_path_factory.mktemp("promises"), monkeypatch) as opened,
    ):
        yield opened


def made(ws: Workspace, name: str, sources: int, each: int = EACH, labels: Sequence[str] = LABELS) -> Function:
    """A trained function whose images of each label come from so many sources; 0: from none."""
    function = empty_function(ws, name, labels)
    named = [f"source {number} of {{label}}" for number in range(sources)]
    add_images_of_sources(ws, function, each, named or [None], labels)
    functions.set_false_accusation_limit(ws.db, function.id, 0.25)
    assert build(ws, function.id).trained
    return function


def invoked(function: Function, label: str) -> str:
    app = page("invoke.py", function.id)
    app.file_uploader[0].set_value([("new.png", make_image(907, label), "image/png")])
    app.run()
    assert not app.exception, app.exception
    return words(app)


def metrics(function: Function) -> str:
    """What Metrics says, without the marks of what is bold."""
    return words(dashboard("metrics.py", function.id)).replace("**", "")


@pytest.mark.long
def test_both_promises_are_said_in_counts_once_they_are_measured(ws: Workspace) -> None:
    function = made(ws, "Tried", 3)
    said = metrics(function)
    assert "How far a verdict can be trusted" in said
    assert "Moderate: for pictures like your samples, at most 25 % wrongly labelled." in said
    assert f"Strong: {NOT_MEASURED}" in said
    try_unseen(ws, function)
    said = metrics(function)
    for name, other in zip(LABELS, reversed(LABELS), strict=True):
        assert f"Strong {name}: 3 sources of {other}, each left out in turn: " in said
    assert "all sources of real go beyond the limit. Of images labelled " in said
    assert "Images labelled real: strong " in said
    found = " ".join(invoked(function, label) for label in LABELS)
    assert f"Grade: {STRONG}. The limit, at most 25 % wrongly labelled, was also kept on sources" in found
    assert "each left out in turn" in found


def test_a_function_with_too_few_sources_says_how_many_it_takes(ws: Workspace) -> None:
    function = made(ws, "Two sources", 2)
    try_unseen(ws, function)
    said = metrics(function)
    assert "Strong synthetic: It takes 3 sources of each other label, with 20 different images each" in said
    assert "(you have 2 of real). Import images of further sources." in said
    assert "Grade: moderate. The limit, at most 25 % wrongly labelled, is kept for pictures like your samples." in (
        " ".join(invoked(function, label) for label in LABELS)
    )


def test_a_function_without_sources_says_that_they_are_missing(ws: Workspace) -> None:
    function = made(ws, "No sources", 0)
    try_unseen(ws, function)
    said = metrics(function)
    assert "20 of 20 images labelled real have no source" in said
    assert "Give them one in Review." in said


def test_a_small_function_promises_nothing_and_claims_nothing(ws: Workspace) -> None:
    function = made(ws, "Small", 3, each=2)
    functions.set_false_accusation_limit(ws.db, function.id, 0.02)
    try_unseen(ws, function)
    said = metrics(function)
    assert "How far a verdict can be trusted" not in said
    assert "149 different images" in said
    said = invoked(function, "real")
    assert "Grade:" not in said
    # However confident it is: it is the images that are too few.
    assert "Leaning towards real. Confidence" in said
    assert "not confident enough" not in said


def test_of_three_labels_each_is_measured_against_both_others(ws: Workspace) -> None:
    function = made(ws, "Three", 3, labels=(*LABELS, "drawing"))
    try_unseen(ws, function)
    said = metrics(function)
    assert "Strong drawing: 3 sources of real, each left out in turn: " in said
    assert "3 sources of synthetic, each left out in turn: " in said


def test_names_in_these_sentences_are_shown_as_they_are(ws: Workspace, tmp_path: Path) -> None:
    """Kind: a source's name is anybody's text, and Markdown, links and directions in it are none of the page's."""
    function = empty_function(ws, "Odd")
    add_images_of_sources(ws, function, EACH, [f"**x** https://evil.example/{number} <b>" for number in range(3)])
    functions.set_false_accusation_limit(ws.db, function.id, 0.25)
    build(ws, function.id)
    try_unseen(ws, function)
    raw = "\n".join(item.value for item in dashboard("metrics.py", function.id).markdown)
    assert "one source" in raw
    assert "https://evil.example" not in raw
    assert "(**x**" not in raw
