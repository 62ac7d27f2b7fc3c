"""Concurrent questions share passes, keep their order, and find a full queue closed."""

from __future__ import annotations

import sys
import time
from concurrent.futures import wait
from pathlib import Path

import pytest

from detector.errors import ImageError, InvokeBusy, NoModel
from detector.jobs import request_build
from detector.serving.invoke import Verdict, invoke
from detector.serving.queue import InvokeQueue
from detector.worker.running import run_pending
from tests.factories import empty_function, labelled_function, make_image, workspace


@pytest.mark.usefixtures("nothing_remembered")
@pytest.mark.slow
def test_questions_asked_together_get_the_answers_they_get_alone(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = labelled_function(ws, 2)
    request_build(ws, function.id)
    run_pending(ws, function.id)
    images = [(f"{seed}.png", make_image(seed, "synthetic" if seed % 2 else "real")) for seed in range(20, 26)]
    images.append(("bad.png", b"no image"))
    queue = InvokeQueue(ws, places=4)
    with queue.place():
        asked = [queue.ask(function.id, [image]) for image in images]
        together = [question.result()[0] for question in asked]
    for image, answer in zip(images, together, strict=True):
        [alone] = invoke(ws, function.id, [image])
        if isinstance(alone, ImageError):
            assert str(answer) == str(alone)
        else:
            assert isinstance(answer, Verdict)
            assert (answer.name, answer.scores) == (alone.name, alone.scores)
    # One pass: the share of its time is the same for all.
    assert len({answer.seconds for answer in together if isinstance(answer, Verdict)}) < len(images) - 1
    queue.stop()
    ws.close()


def test_an_error_reaches_only_those_who_asked_for_it(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function, empty = labelled_function(ws, 2), empty_function(ws)
    request_build(ws, function.id)
    run_pending(ws, function.id)
    queue = InvokeQueue(ws, places=4)
    good = queue.ask(function.id, [("a.png", make_image(1))])
    bad = [queue.ask(empty.id, [("a.png", make_image(1))]) for _ in range(2)]
    wait([good, *bad])
    assert isinstance(good.result()[0], Verdict)
    assert [type(question.exception()) for question in bad] == [NoModel, NoModel]
    queue.stop()
    ws.close()


def test_a_full_queue_refuses_until_a_place_is_free(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    queue = InvokeQueue(ws, places=2)
    with queue.place():
        with queue.place(), pytest.raises(InvokeBusy) as refused, queue.place():
            pass
        assert refused.value.places == 2
        with queue.place():
            pass
    ws.close()


def test_what_was_asked_is_not_kept_once_it_is_answered(tmp_path: Path) -> None:
    """Images of the last pass, and those whose question ended in an error, which holds what it came through."""
    ws = workspace(tmp_path)
    function, empty = labelled_function(ws, 2), empty_function(ws)
    request_build(ws, function.id)
    run_pending(ws, function.id)
    queue = InvokeQueue(ws, places=4)
    good, bad = bytes(bytearray(make_image(1))), bytes(bytearray(make_image(2)))
    before = sys.getrefcount(good), sys.getrefcount(bad)
    answered = queue.ask(function.id, [("a.png", good)])
    failed = queue.ask(empty.id, [("a.png", bad)])
    assert isinstance(answered.result()[0], Verdict)
    assert isinstance(failed.exception(), NoModel)
    deadline = time.monotonic() + 300
    while (sys.getrefcount(good), sys.getrefcount(bad)) != before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    queue.stop()
    ws.close()
