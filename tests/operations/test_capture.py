"""Which invoked pictures are put among the samples, how many a month, and that nobody who invokes notices a failure."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import update

from detector.errors import InvalidInput, NotAnImage, NotFound
from detector.imaging import sha256_hex
from detector.operations import capture
from detector.operations.capture import (
    CaptureSettings,
    capture_now,
    capture_reason,
    change_capture,
    maybe_capture,
)
from detector.serving.invoke import Score, Verdict
from detector.storage import functions, imports, samples, trash
from detector.storage.captured import ASKED, LOW_GRADE, RANDOM, UNLIKE, captured_this_month, month_start
from detector.storage.database import now
from detector.storage.functions import Function
from detector.storage.schema import samples as rows
from detector.training.coverage import SIZE, Miss
from detector.training.thresholds import CANT_TELL, MODERATE, STRONG
from detector.workspace import Workspace
from tests.factories import empty_function, make_image, workspace

EVERYTHING = CaptureSettings(random_share=1.0)
NO_LABEL = CaptureSettings(low_grade=True)


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


@pytest.fixture
def function(ws: Workspace) -> Function:
    return empty_function(ws)


def said(grade: str = STRONG, unlike: bool = False) -> Verdict:
    """A verdict of that grade."""
    misses = (Miss(SIZE, "Your samples are all 80 px; this is 240 px."),) if unlike else ()
    scores = (Score("real", "1", 0.9), Score("synthetic", "2", 0.1))
    return Verdict("image.png", scores, "model", 1, 0.1, grade, "", misses)


def captured(ws: Workspace, function: Function) -> list[str | None]:
    """Why each sample is there, oldest first; None for one that was not captured."""
    with ws.db.read() as connection:
        query = rows.select().where(rows.c.function_id == function.id).order_by(rows.c.sequence)
        return [row.captured for row in connection.execute(query)]


@pytest.mark.parametrize(
    ("settings", "verdict", "reason"),
    [
        (CaptureSettings(), said(CANT_TELL, unlike=True), None),
        (CaptureSettings(low_grade=True), said(CANT_TELL), LOW_GRADE),
        (CaptureSettings(low_grade=True), said(MODERATE), None),
        (CaptureSettings(low_grade=True), said(CANT_TELL, unlike=True), LOW_GRADE),
        (CaptureSettings(unlike=True), said(CANT_TELL, unlike=True), UNLIKE),
        # Where such pictures are judged all the same.
        (CaptureSettings(unlike=True), said(MODERATE, unlike=True), UNLIKE),
        (CaptureSettings(unlike=True), said(CANT_TELL), None),
        (CaptureSettings(low_grade=True, unlike=True), said(CANT_TELL, unlike=True), UNLIKE),
        (CaptureSettings(random_share=1.0), said(), RANDOM),
        (CaptureSettings(low_grade=True, random_share=1.0), said(CANT_TELL), LOW_GRADE),
    ],
)
def test_the_settings_and_the_verdict_decide_why_a_picture_is_kept(
    settings: CaptureSettings, verdict: Verdict, reason: str | None
) -> None:
    for end in ("0" * 64, "f" * 64):
        assert capture_reason(settings, verdict, end) == reason


def test_the_same_picture_is_always_drawn_or_never_and_the_share_is_kept() -> None:
    settings = CaptureSettings(random_share=0.2)
    hashes = [sha256_hex(str(number).encode()) for number in range(2000)]
    drawn = [name for name in hashes if capture_reason(settings, said(), name)]
    assert drawn == [name for name in hashes if capture_reason(settings, said(), name)]
    assert 330 < len(drawn) < 470
    # A larger share draws these, and others too.
    more = CaptureSettings(random_share=0.4)
    assert all(capture_reason(more, said(), name) for name in drawn)


def test_settings_are_stored_and_read_back_and_none_is_how_every_function_begins(
    ws: Workspace, function: Function
) -> None:
    assert CaptureSettings.of(function) == CaptureSettings()
    assert not CaptureSettings.of(function).on
    wanted = CaptureSettings(low_grade=True, unlike=True, random_share=0.05, a_month=30)
    change_capture(ws, function.id, wanted)
    assert CaptureSettings.of(functions.get_function(ws.db, function.id)) == wanted
    change_capture(ws, function.id, CaptureSettings())
    assert functions.get_function(ws.db, function.id).capture is None


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"random_share": 1.5}, "150 % of the pictures cannot be drawn. Give 0 to 100 percent."),
        ({"random_share": -0.1}, "-10 % of the pictures cannot be drawn. Give 0 to 100 percent."),
        ({"a_month": 0}, "0 pictures a month cannot be kept. Give 1 to 10,000."),
        ({"a_month": 10_001}, "10,001 pictures a month cannot be kept. Give 1 to 10,000."),
    ],
)
def test_settings_that_cannot_be_are_refused_in_a_sentence(wrong: dict[str, float], sentence: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        CaptureSettings(**wrong)  # type: ignore[arg-type]
    assert str(caught.value) == sentence


def test_a_captured_picture_is_a_sample_without_a_label_that_says_why_it_is_there(
    ws: Workspace, function: Function
) -> None:
    change_capture(ws, function.id, NO_LABEL)
    assert maybe_capture(ws, function.id, "photo\n\x1b[31m.png", make_image(1), said(CANT_TELL)) == LOW_GRADE
    assert maybe_capture(ws, function.id, "sure.png", make_image(2), said(STRONG)) is None
    [sample] = samples.find_samples(ws.db, function.id)
    assert (sample.file_name, sample.label_id, captured(ws, function)) == ("photo[31m.png", None, [LOW_GRADE])
    assert [batch.title for batch in imports.list_batches(ws.db, function.id)] == ["Captured from invokes"]


def test_nothing_is_captured_where_nobody_asked_for_it(ws: Workspace, function: Function) -> None:
    assert maybe_capture(ws, function.id, "a.png", make_image(1), said(CANT_TELL, unlike=True)) is None
    assert samples.find_samples(ws.db, function.id) == []


def test_the_same_picture_twice_is_one_sample_and_one_in_the_bin_stays_there(ws: Workspace, function: Function) -> None:
    change_capture(ws, function.id, EVERYTHING)
    assert maybe_capture(ws, function.id, "a.png", make_image(1), said()) == RANDOM
    assert maybe_capture(ws, function.id, "b.png", make_image(1), said()) is None
    [sample] = samples.find_samples(ws.db, function.id)
    assert sample.file_name == "a.png"
    trash.delete_samples(ws.db, function.id, [sample.id])
    assert maybe_capture(ws, function.id, "c.png", make_image(1), said()) is None
    assert samples.find_samples(ws.db, function.id) == []


def test_a_month_brings_no_more_than_its_bound_and_the_next_month_brings_more(
    ws: Workspace, function: Function
) -> None:
    change_capture(ws, function.id, CaptureSettings(random_share=1.0, a_month=3))
    found = [maybe_capture(ws, function.id, f"{seed}.png", make_image(seed), said()) for seed in range(5)]
    assert found == [RANDOM, RANDOM, RANDOM, None, None]
    # Into the bin: they have been captured all the same, or a bin would be a way round the bound.
    trash.delete_samples(ws.db, function.id, [item.id for item in samples.find_samples(ws.db, function.id)])
    assert maybe_capture(ws, function.id, "5.png", make_image(5), said()) is None
    with ws.db.write() as connection:
        connection.execute(update(rows).values(created_at=month_start(now()) - 1))
    assert captured_this_month(ws.db, function.id, now()) == 0
    assert maybe_capture(ws, function.id, "5.png", make_image(5), said()) == RANDOM


def test_many_threads_at_once_keep_to_the_bound(ws: Workspace, function: Function) -> None:
    change_capture(ws, function.id, CaptureSettings(random_share=1.0, a_month=5))
    together = threading.Barrier(8)
    pictures = [[make_image(100 * thread + n) for n in range(3)] for thread in range(8)]

    def invoke_three(mine: list[bytes]) -> None:
        together.wait()
        for data in mine:
            maybe_capture(ws, function.id, "a.png", data, said())

    threads = [threading.Thread(target=invoke_three, args=(mine,)) for mine in pictures]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert captured(ws, function) == [RANDOM] * 5


def test_a_click_captures_whatever_the_bound_and_does_not_count_against_it(ws: Workspace, function: Function) -> None:
    change_capture(ws, function.id, CaptureSettings(random_share=1.0, a_month=1))
    assert maybe_capture(ws, function.id, "0.png", make_image(0), said()) == RANDOM
    done = capture_now(ws, function.id, "1.png", make_image(1))
    assert (done.changed, done.said) == (1, "Added to the samples, without a label: it waits in the inbox of Review.")
    again = capture_now(ws, function.id, "1.png", make_image(1))
    assert (again.changed, again.said) == (
        0,
        "The same image is already a sample of this function. It was left as it is.",
    )
    assert captured(ws, function) == [RANDOM, ASKED]
    assert captured_this_month(ws.db, function.id, now()) == 1


def test_a_click_on_what_is_no_image_or_for_no_function_says_so(ws: Workspace, function: Function) -> None:
    with pytest.raises(NotAnImage):
        capture_now(ws, function.id, "a.png", b"no image")
    with pytest.raises(NotFound):
        capture_now(ws, "0" * 16, "a.png", make_image(1))


def test_a_failed_capture_is_a_line_in_the_log_and_a_deleted_function_not_even_that(
    ws: Workspace, function: Function, caplog: pytest.LogCaptureFixture
) -> None:
    change_capture(ws, function.id, EVERYTHING)
    with caplog.at_level(logging.ERROR):
        assert maybe_capture(ws, function.id, "a.png", b"no image", said()) is None
    [record] = caplog.records
    assert record.message.startswith("A picture could not be captured: ")
    caplog.clear()
    functions.delete_function(ws.db, function.id)
    with caplog.at_level(logging.ERROR):
        assert maybe_capture(ws, function.id, "a.png", make_image(1), said()) is None
    assert caplog.records == []


def test_of_very_many_at_once_only_some_wait_and_none_blocks(ws: Workspace, function: Function) -> None:
    """Kind: work behind an answer that nobody bounded. Each waiting picture held its bytes and a server's thread."""
    change_capture(ws, function.id, EVERYTHING)
    files = [make_image(2000 + n) for n in range(40)]
    with ThreadPoolExecutor(40) as pool, capture._one_at_a_time:
        asked = [pool.submit(maybe_capture, ws, function.id, "a.png", data, said(MODERATE)) for data in files]
        end = time.monotonic() + 300
        while sum(item.done() for item in asked) < len(files) - capture.MOST_WAITING:
            assert time.monotonic() < end
            time.sleep(0.02)
