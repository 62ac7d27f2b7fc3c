"""Counts of invokes, and the samples that they are compared with, in both databases."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from detector.operations.capture import CaptureSettings, capture_now, change_capture, maybe_capture
from detector.serving.invoke import Score, Verdict
from detector.storage import functions
from detector.storage.captured import captured_this_month
from detector.storage.database import now
from detector.storage.invoke_days import InvokeDay, add_counts, add_invokes, read_invokes
from detector.storage.scored_files import ScoredFile, scored_files
from detector.training.thresholds import STRONG
from detector.workspace import Workspace
from tests.databases import names_database, postgresql_url
from tests.factories import add_images, empty_function, make_image, workspace

pytestmark = names_database("each test is run on both")

SAID = Verdict("a.png", (Score("real", "1", 0.9),), "model", 1, 0.1, STRONG)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """What names the database of a data folder."""
    return {"database_url": "" if request.param == "sqlite" else postgresql_url(tmp_path / "data")}


@pytest.fixture
def ws(tmp_path: Path, settings: dict[str, str]) -> Iterator[Workspace]:
    opened = workspace(tmp_path / "data", **settings)
    yield opened
    opened.close()


def day(function_id: str, date: str, n: int, door: str = "api") -> InvokeDay:
    return InvokeDay(function_id, date, door, "model", n, {"side": {"8": n}})


def _jpeg(data: bytes, quality: int) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(data)).save(file, "JPEG", quality=quality)
    return file.getvalue()


def test_two_counts_are_one_with_the_bins_of_both() -> None:
    first = {"side": {"8": 1, "9": 2}}
    assert add_counts(first, {"side": {"9": 1}, "format": {"PNG": 4}}) == {
        "side": {"8": 1, "9": 3},
        "format": {"PNG": 4},
    }
    assert first == {"side": {"8": 1, "9": 2}}


def test_days_are_read_in_their_order_from_a_day_on(ws: Workspace) -> None:
    function = empty_function(ws)
    other = empty_function(ws, "Other")
    add_invokes(ws.db, [])
    some = [day(function.id, "2026-11-03", 2), day(function.id, "2026-10-31", 1), day(other.id, "2026-11-03", 9)]
    add_invokes(ws.db, some)
    add_invokes(ws.db, [day(function.id, "2026-11-03", 3), day("gone", "2026-11-03", 5)])
    found = read_invokes(ws.db, function.id)
    assert [(item.day, item.count, item.counts["side"]) for item in found] == [
        ("2026-10-31", 1, {"8": 1}),
        ("2026-11-03", 5, {"8": 5}),
    ]
    assert [item.day for item in read_invokes(ws.db, function.id, "2026-11-01")] == ["2026-11-03"]
    functions.delete_function(ws.db, function.id)
    assert read_invokes(ws.db, function.id) == []
    assert [item.count for item in read_invokes(ws.db, other.id)] == [9]


def test_several_processes_lose_nothing_that_they_add_to_one_day(tmp_path: Path, settings: dict[str, str]) -> None:
    """Each with the data folder opened for itself, from the first row on."""
    opened = [workspace(tmp_path / "data", **settings) for _ in range(4)]
    function = empty_function(opened[0])
    together = threading.Barrier(len(opened))

    def add(mine: Workspace) -> None:
        together.wait()
        for _ in range(10):
            add_invokes(mine.db, [day(function.id, "2026-11-03", 1)])

    threads = [threading.Thread(target=add, args=(mine,)) for mine in opened]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [found] = read_invokes(opened[0].db, function.id)
    assert (found.count, found.counts) == (40, {"side": {"8": 40}})
    for mine in opened:
        mine.close()


def test_samples_are_read_as_their_files_are(ws: Workspace) -> None:
    function = empty_function(ws)
    add_images(ws, function, [("a.png", make_image(1), "real"), ("none.png", make_image(3), None)])
    add_images(ws, function, [("b.jpg", _jpeg(make_image(2), 70), "real")])
    found = sorted(scored_files(ws.db, function.id, "model"), key=lambda item: item.format)
    assert found[1] == ScoredFile(80, 80, "PNG", None, None, None)
    assert (found[0].format, found[0].quality, len(found)) == ("JPEG", 70, 2)


def test_captures_are_counted_against_the_bound(ws: Workspace) -> None:
    function = empty_function(ws)
    change_capture(ws, function.id, CaptureSettings(random_share=1.0, a_month=2))
    kept = [maybe_capture(ws, function.id, "a.png", make_image(seed), SAID) for seed in range(3)]
    assert kept == ["random", "random", None]
    assert capture_now(ws, function.id, "a.png", make_image(9)).changed == 1
    assert captured_this_month(ws.db, function.id, now()) == 2
