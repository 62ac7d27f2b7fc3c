"""Runs of invokes as rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from detector.errors import JobCancelled, NotFound
from detector.storage import functions, invoke_runs, trash
from detector.storage import samples as stored_samples
from detector.storage.invoke_runs import RunPicture
from detector.workspace import Workspace
from tests.factories import add_images, empty_function, make_image, workspace
from tests.stored import number

SCORES = {"a": 0.25, "b": 0.75}


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    opened = workspace(tmp_path / "data")
    yield opened
    opened.close()


def _a_run(ws: Workspace) -> tuple[str, str]:
    function = empty_function(ws)
    return function.id, invoke_runs.create_run(ws.db, function.id, "holiday.zip", "model")


def test_a_run_is_found_again_with_all_that_was_noted_of_its_pictures(ws: Workspace) -> None:
    function_id, run_id = _a_run(ws)
    invoke_runs.set_total(ws.db, run_id, 3)
    good = RunPicture(0, "a.png", "ab" * 32, SCORES, "It is small.", ("stated",))
    bad = RunPicture(2, "b/c.txt", problem="b/c.txt is no image.")
    invoke_runs.add_pictures(ws.db, run_id, [(bad, None), (good, b"small")])
    run = invoke_runs.get_run(ws.db, run_id)
    assert (run.function_id, run.title, run.state, run.total, run.model_id) == (
        *(function_id, "holiday.zip", "running", 3, "model"),
    )
    assert invoke_runs.stored_pictures(ws.db, run_id) == [good, bad]
    assert invoke_runs.count_pictures(ws.db, run_id) == 2
    assert invoke_runs.names(ws.db, run_id) == {0: "a.png", 2: "b/c.txt"}
    assert invoke_runs.names(ws.db, run_id, [2, 7]) == {2: "b/c.txt"}
    assert invoke_runs.thumbnails(ws.db, run_id, [0, 1, 2]) == {0: b"small"}
    assert invoke_runs.thumbnail(ws.db, run_id, 0) == b"small"
    with pytest.raises(NotFound):
        invoke_runs.thumbnail(ws.db, run_id, 2)


def test_a_run_that_has_ended_takes_no_more_pictures_and_ends_once(ws: Workspace) -> None:
    """Kind: a worker that was in the middle of a step writes into a run that somebody has stopped."""
    _, run_id = _a_run(ws)
    invoke_runs.finish_run(ws.db, run_id, "failed", "Stopped.")
    invoke_runs.finish_run(ws.db, run_id, "done")
    assert (invoke_runs.get_run(ws.db, run_id).state, invoke_runs.get_run(ws.db, run_id).note) == ("failed", "Stopped.")
    with pytest.raises(JobCancelled):
        invoke_runs.add_pictures(ws.db, run_id, [(RunPicture(0, "a.png"), None)])
    invoke_runs.delete_run(ws.db, run_id)
    with pytest.raises(JobCancelled):
        invoke_runs.add_pictures(ws.db, run_id, [(RunPicture(0, "a.png"), None)])
    assert number(ws.settings.data_dir, "SELECT COUNT(*) FROM invoke_run_pictures") == 0


def test_the_latest_runs_of_a_function_come_first_and_go_with_it(ws: Workspace) -> None:
    function_id, first = _a_run(ws)
    second = invoke_runs.create_run(ws.db, function_id, "more.zip", "model")
    _, of_another = _a_run(ws)
    invoke_runs.add_pictures(ws.db, first, [(RunPicture(0, "a.png"), None)])
    assert [run.id for run in invoke_runs.list_runs(ws.db, function_id)] == [second, first]
    assert [run.id for run in invoke_runs.list_runs(ws.db, function_id, limit=1)] == [second]
    assert invoke_runs.delete_run(ws.db, second)
    assert not invoke_runs.delete_run(ws.db, second)
    functions.delete_function(ws.db, function_id)
    assert invoke_runs.run_ids(ws.db) == {of_another}
    assert number(ws.settings.data_dir, "SELECT COUNT(*) FROM invoke_run_pictures") == 0


def test_the_pictures_that_are_samples_of_the_function_now_are_known(ws: Workspace) -> None:
    function = empty_function(ws)
    other = empty_function(ws, "Other")
    add_images(ws, function, [("a.png", make_image(1), None), ("b.png", make_image(2), None)])
    add_images(ws, other, [("c.png", make_image(3), None)])
    [a, b] = sorted(stored_samples.find_samples(ws.db, function.id, limit=9), key=lambda sample: sample.file_name)
    [c] = stored_samples.find_samples(ws.db, other.id, limit=9)
    run_id = invoke_runs.create_run(ws.db, function.id, "x", "model")
    hashes = [b.image_hash, c.image_hash, a.image_hash, None]
    found = [(RunPicture(place, f"{place}.png", key), None) for place, key in enumerate(hashes)]
    invoke_runs.add_pictures(ws.db, run_id, found)
    assert invoke_runs.sample_positions(ws.db, run_id) == {0, 2}
    trash.delete_samples(ws.db, function.id, [a.id])
    assert invoke_runs.sample_positions(ws.db, run_id) == {0}
