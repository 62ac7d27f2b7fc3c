"""Invokes are counted in memory and written behind the answers, as counts and nothing else."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from detector.api.app import api_app, stop_api
from detector.imaging.file_look import FileLook
from detector.serving.invoke import Score, Verdict
from detector.serving.invoke_counts import (
    API,
    PAGE,
    confidence_bin,
    quality_bin,
    record_invoke,
    side_bin,
    write_invokes,
)
from detector.storage import functions
from detector.storage.functions import Function
from detector.storage.invoke_days import read_invokes
from detector.training.thresholds import CANT_TELL, MODERATE, STRONG
from detector.workspace import Workspace
from tests.databases import sqlite_only
from tests.factories import empty_function, workspace

NAME = "a private name.jpg"


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


@pytest.fixture
def function(ws: Workspace) -> Function:
    return empty_function(ws)


def said(grade: str = STRONG, confidence: float = 0.97, look: FileLook | None = None, model: str = "model") -> Verdict:
    scores = (Score("real", "ab12", confidence), Score("synthetic", "cd34", 1 - confidence))
    return Verdict(NAME, scores, model, 1, 0.1, grade, look=look)


def test_bins_hold_what_their_names_say() -> None:
    assert [confidence_bin(value) for value in (0.0, 0.49, 0.5, 0.999, 1.0)] == ["0", "4", "5", "9", "9"]
    assert [side_bin(side) for side in (0, 1, 255, 256, 511, 512)] == ["0", "0", "7", "8", "8", "9"]
    assert quality_bin(89, False) == "80"
    assert quality_bin(None, True) == "lossless"
    assert quality_bin(None, False) is None


def test_invokes_are_counted_by_day_door_and_model_and_nothing_of_a_picture_is_kept(
    ws: Workspace, function: Function
) -> None:
    jpeg, png = FileLook(300, 92, format="JPEG"), FileLook(300, lossless=True, format="PNG")
    record_invoke(ws, function.id, API, said(look=jpeg))
    record_invoke(ws, function.id, API, said(MODERATE, 0.91, png))
    record_invoke(ws, function.id, API, said(CANT_TELL, 0.55, FileLook(100, format="WEBP")))
    record_invoke(ws, function.id, PAGE, said(look=jpeg))
    record_invoke(ws, function.id, PAGE, said(model="next"))
    assert read_invokes(ws.db, function.id) == []
    write_invokes()
    found = read_invokes(ws.db, function.id)
    assert [(item.door, item.model_id, item.count) for item in found] == [
        ("api", "model", 3),
        ("page", "model", 1),
        ("page", "next", 1),
    ]
    assert {item.day for item in found} == {datetime.now(UTC).date().isoformat()}
    assert found[0].counts == {
        "said": {"strong ab12": 1, "moderate ab12": 1, "can't tell": 1},
        "confidence": {"9": 2, "5": 1},
        "side": {"8": 2, "6": 1},
        "quality": {"90": 1, "lossless": 1},
        "format": {"JPEG": 1, "PNG": 1, "WEBP": 1},
    }
    assert NAME not in json.dumps([item.counts for item in found])


def test_later_invokes_of_the_day_are_added_to_the_same_row(ws: Workspace, function: Function) -> None:
    for _ in range(3):
        record_invoke(ws, function.id, API, said())
        write_invokes()
    [found] = read_invokes(ws.db, function.id)
    assert found.count == 3
    assert found.counts["confidence"] == {"9": 3}


def test_where_nothing_is_invoked_nothing_is_written(ws: Workspace, function: Function) -> None:
    write_invokes()
    assert read_invokes(ws.db, function.id) == []


@pytest.mark.slow
def test_many_threads_lose_no_count_and_it_is_written_by_itself(ws: Workspace, function: Function) -> None:
    # Threads take turns as often as they can: else each would be through before the next one begins.
    usual = sys.getswitchinterval()

    def some() -> None:
        for _ in range(1000):
            record_invoke(ws, function.id, API, said())

    threads = [threading.Thread(target=some) for _ in range(8)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(usual)
    deadline = time.monotonic() + 300
    while sum(item.count for item in read_invokes(ws.db, function.id)) < 8000 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert sum(item.count for item in read_invokes(ws.db, function.id)) == 8000


def test_a_server_that_stops_writes_what_has_gathered(ws: Workspace, function: Function) -> None:
    app = api_app(ws)
    record_invoke(ws, function.id, API, said())
    stop_api(app)
    assert [item.count for item in read_invokes(ws.db, function.id)] == [1]


def test_a_deleted_function_takes_its_counts_along_and_those_that_come_late_are_dropped(
    ws: Workspace, function: Function, caplog: pytest.LogCaptureFixture
) -> None:
    other = empty_function(ws, "Other")
    record_invoke(ws, function.id, API, said())
    write_invokes()
    record_invoke(ws, function.id, API, said())
    record_invoke(ws, other.id, API, said())
    functions.delete_function(ws.db, function.id)
    with caplog.at_level(logging.ERROR):
        write_invokes()
    assert caplog.records == []
    assert read_invokes(ws.db, function.id) == []
    assert [item.count for item in read_invokes(ws.db, other.id)] == [1]


@sqlite_only("it is moved away")
def test_counts_that_cannot_be_written_are_a_line_in_the_log(
    ws: Workspace, function: Function, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    record_invoke(ws, function.id, API, said())
    record_invoke(ws, function.id, API, said())
    ws.close()
    (tmp_path / "detector.sqlite").rename(tmp_path / "elsewhere.sqlite")
    with caplog.at_level(logging.ERROR):
        write_invokes()
    [record] = caplog.records
    assert record.message.startswith("2 invokes could not be counted: ")
