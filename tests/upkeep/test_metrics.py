"""The figures for Prometheus are those of the database, in a form that a reader of the format takes."""

from __future__ import annotations

import re
from pathlib import Path

from detector.importing.posting import Post, SamplePoster
from detector.jobs import BUILD, EVALUATE
from detector.operations.samples import delete_samples
from detector.storage import functions, jobs
from detector.storage.database import now
from detector.storage.invoke_days import InvokeDay, add_invokes
from detector.storage.people_schema import upkeep_runs
from detector.upkeep.metrics import MOST_LABELS, metrics
from detector.workspace import Workspace
from tests.factories import empty_function, label_ids, make_image, workspace

LINE = re.compile(r'^(?P<name>[a-z_]+)(?:\{(?P<labels>(?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*)\})? (?P<value>\S+)$')


def read(ws: Workspace) -> dict[str, float]:
    """By name and labels, as they are written; every line must be one of the format."""
    found, announced = {}, set()
    text = metrics(ws)
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# "):
            announced.add(line.split()[2])
            continue
        match = LINE.match(line)
        assert match is not None, line
        assert match["name"] in announced
        key = match["name"] if match["labels"] is None else f"{match['name']}{{{match['labels']}}}"
        assert key not in found
        found[key] = float(match["value"])
    return found


def test_jobs_samples_and_room_are_those_of_the_data_folder(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = empty_function(ws)
    ids = [SamplePoster(ws).post(Post(function.id, make_image(seed))) for seed in range(3)]
    delete_samples(ws, function.id, ids[:1])
    with ws.db.write() as connection:
        connection.exec_driver_sql("DELETE FROM jobs")
    waiting = jobs.enqueue(ws.db, function.id, BUILD, {"old": 1})
    failed = jobs.enqueue(ws.db, function.id, EVALUATE, {})
    jobs.finish(ws.db, failed, "failed", "so")
    with ws.db.write() as connection:
        connection.exec_driver_sql(
            f"UPDATE jobs SET created_at = {now() - 90}, run_after = {now() - 60} WHERE id = '{waiting}'"
        )
    found = read(ws)
    assert found["detector_samples"] == 2
    assert found["detector_functions"] == 1
    assert found['detector_jobs{state="queued",kind="build"}'] == 1
    assert found['detector_jobs{state="failed",kind="evaluate"}'] == 1
    assert found['detector_jobs{state="running",kind="build"}'] == 0
    assert 60 <= found["detector_queue_age_seconds"] < 89
    assert found["detector_database_bytes"] > 10_000
    assert found["detector_disk_free_bytes"] > 0
    assert jobs.claim(ws.db, (BUILD,)) is not None
    jobs.report(ws.db, waiting, "embedding", 1, 3, "", 12.5)
    found = read(ws)
    assert found['detector_job_images_per_second{kind="build"}'] == 12.5
    assert found["detector_queue_age_seconds"] == 0


def test_invokes_are_told_by_door_grade_and_verdict_and_names_of_labels_cannot_break_the_format(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = empty_function(ws, labels=("real", 'syn"the\\tic'))
    ids = label_ids(ws, function)
    said = {f"strong {ids['real']}": 3, f"weak {ids['syn' + chr(34) + 'the' + chr(92) + 'tic']}": 2, "cant_tell": 1}
    for day in ("2026-11-01", "2026-11-02"):
        add_invokes(ws.db, [InvokeDay(function.id, day, "api", "m", 7, {"said": said})])
    found = read(ws)
    assert found['detector_invokes_total{door="api",grade="strong",verdict="real"}'] == 6
    assert found['detector_invokes_total{door="api",grade="weak",verdict="syn\\"the\\\\tic"}'] == 4
    assert found['detector_invokes_total{door="api",grade="cant_tell",verdict=""}'] == 2
    # Whatever was counted without saying what.
    assert found['detector_invokes_total{door="api",grade="other",verdict="other"}'] == 2


def test_thousands_of_labels_make_some_lines_and_lose_no_count(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = empty_function(ws, labels=[f"label {number}" for number in range(2 * MOST_LABELS)])
    ids = [label.id for label in functions.list_labels(ws.db, function.id)]
    said = {f"strong {label_id}": 1 + position for position, label_id in enumerate(ids)}
    add_invokes(ws.db, [InvokeDay(function.id, "2026-11-01", "page", "m", sum(said.values()), {"said": said})])
    lines = {key: value for key, value in read(ws).items() if key.startswith("detector_invokes_total")}
    assert len(lines) == MOST_LABELS + 1
    assert sum(lines.values()) == sum(said.values())


def test_the_last_good_backup_and_check_have_an_age_and_a_failed_one_is_seen(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    assert not [key for key in read(ws) if "upkeep" in key]
    with ws.db.write() as connection:
        for kind, ago, ok in (("backup", 7200, True), ("backup", 3600, False), ("check", 60, True)):
            connection.execute(upkeep_runs.insert().values(kind=kind, at=now() - ago, ok=ok, facts={}))
    found = read(ws)
    assert 7200 <= found['detector_upkeep_age_seconds{kind="backup"}'] < 7300
    assert found['detector_upkeep_ok{kind="backup"}'] == 0
    assert found['detector_upkeep_ok{kind="check"}'] == 1
