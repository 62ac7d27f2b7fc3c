"""Review leads to the captured pictures that wait for a label, and shows them alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from detector.gallery.filters import GalleryFilter
from detector.gallery.selection import matching_ids
from detector.operations.capture import capture_now
from detector.operations.labels import give_label
from detector.storage import functions
from detector.workspace import Workspace
from tests.factories import labelled_function, make_image
from tests.page_app import opened_by_pages, page, words

pytestmark = pytest.mark.slow


@pytest.fixture
def ws(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    with opened_by_pages(tmp_path_factory.mktemp("inbox"), monkeypatch) as opened:
        yield opened


def test_captured_pictures_are_announced_and_shown_until_they_have_a_label(ws: Workspace) -> None:
    function = labelled_function(ws, 3)
    assert "captured picture" not in words(page("review.py", function.id))
    for seed in (20, 21):
        capture_now(ws, function.id, f"{seed}.png", make_image(seed))
    app = page("review.py", function.id)
    assert "2 captured pictures wait for a label." in words(app)
    app.button(key="inbox-show").click().run()
    assert not app.exception, app.exception
    assert "2 of 8 samples · newest import first" in words(app)
    # Who looks at them need not be told that they are there.
    assert "captured pictures wait" not in words(app)
    [choice] = [box for box in app.selectbox if box.label == "Captured from invokes"]
    assert choice.options == ["any", "for any reason (2)", "asked for (2)"]
    label = functions.list_labels(ws.db, function.id)[0]
    waiting = matching_ids(ws, function.id, GalleryFilter(captured="asked"))
    give_label(ws, function.id, waiting[:1], label)
    assert "1 captured picture waits for a label." in words(page("review.py", function.id))
    give_label(ws, function.id, waiting, label)
    assert "captured picture" not in words(page("review.py", function.id))
