"""A Dask cluster shares the work on pictures: real schedulers and workers, killed in the middle and started again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from detector.errors import ClusterUnavailable, InvalidInput, SharedWorkFailed
from detector.evaluation.stress_copies import embed_changed
from detector.jobs import request_build
from detector.pipeline.build import build
from detector.pipeline.copies import embed_copies
from detector.pipeline.embedding import embed_missing, function_backbone
from detector.pipeline.score import ScoreSettings, score
from detector.pipeline.score_parts import Results
from detector.storage import jobs
from detector.system.dask_cluster import DaskCluster
from tests.cluster.dask_processes import DaskProcesses
from tests.cluster.one_machine import (
    SETTINGS,
    embedded,
    failed,
    images_embedded,
    live_model_file,
    stored_embeddings,
    train_alone,
    twins,
    until,
)
from tests.command_line import environment, start
from tests.factories import labelled_function, make_image, workspace

pytestmark = pytest.mark.cluster


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[DaskProcesses]:
    processes = DaskProcesses(tmp_path / "dask", environment(tmp_path / "shared", **SETTINGS))
    yield processes
    processes.stop()


def test_a_worker_then_the_scheduler_is_killed_and_the_model_is_that_of_one_machine(
    tmp_path: Path, dask: DaskProcesses
) -> None:
    alone, shared, function = twins(tmp_path, 120)
    expected = train_alone(alone, function)
    dask.start_scheduler()
    dask.start_workers(2)
    job_id = request_build(shared, function.id)
    runner = start(tmp_path / "shared", "worker", **SETTINGS, DETECTOR_DASK=dask.address)
    try:
        until(lambda: embedded(shared) > 20, "the workers embed")
        dask.kill_worker()
        until(lambda: embedded(shared) > 70, "the other goes on")
        dask.kill_scheduler()
        until(lambda: "Dask cluster" in jobs.get_job(shared.db, job_id).message, "the job says what it waits for")
        waiting = jobs.get_job(shared.db, job_id)
        assert waiting.state == "queued"
        assert dask.address in waiting.message
        assert waiting.message.endswith("This work is tried again by itself.")
        assert embedded(shared) < 240
        dask.start_scheduler()
        dask.start_workers(2)
        until(lambda: jobs.get_job(shared.db, job_id).state == "done", "the job ends")
    finally:
        runner.kill()
        runner.communicate()
    assert (embedded(shared), images_embedded(shared), failed(shared)) == (240, 240, 0)
    assert stored_embeddings(shared) == stored_embeddings(alone)
    assert live_model_file(shared, function) == expected
    assert jobs.get_job(shared.db, job_id).crashes == 0


def test_processes_of_this_machine_share_the_work_without_any_scheduler_of_ones_own(tmp_path: Path) -> None:
    ws = workspace(tmp_path / "data")
    function = labelled_function(ws, 48)
    here = replace(ws, settings=replace(ws.settings, dask="local:2"))
    seen: list[int] = []
    backbone = function_backbone(ws, function)
    done = embed_missing(here, function.id, backbone, lambda _phase, done, *_rest: seen.append(done))
    assert (done, embedded(ws), failed(ws)) == (96, 96, 0)
    assert seen[0] == 0
    assert seen[-1] == 96
    assert seen == sorted(seen)
    before = stored_embeddings(ws)
    with ws.db.write() as connection:
        connection.exec_driver_sql("DELETE FROM embeddings")
    embed_missing(ws, function.id, backbone)
    assert stored_embeddings(ws) == before


def test_copies_to_train_on_and_to_judge_come_out_as_on_one_machine(tmp_path: Path, dask: DaskProcesses) -> None:
    ws = workspace(tmp_path / "shared", copies=1)
    function = labelled_function(ws, 36)
    dask.start_scheduler()
    dask.start_workers(2)
    here = replace(ws, settings=replace(ws.settings, dask=dask.address))
    backbone = function_backbone(ws, function)
    embed_missing(ws, function.id, backbone)
    samples_alone = stored_embeddings(ws)
    assert embed_copies(here, function.id, backbone) == 72
    shared = stored_embeddings(ws)
    assert len(shared) == 144
    with ws.db.write() as connection:
        connection.exec_driver_sql("DELETE FROM embeddings WHERE backbone_key LIKE 'copies-%'")
    assert stored_embeddings(ws) == samples_alone
    assert embed_copies(ws, function.id, backbone) == 72
    assert stored_embeddings(ws) == shared

    hashes = sorted(image_hash for image_hash, _, _ in samples_alone)
    expected = embed_changed(ws, "jpeg-40", hashes, backbone, lambda _done: None)
    told: list[int] = []
    found = embed_changed(here, "jpeg-40", hashes, backbone, told.append)
    assert told[-1] == 72
    assert found.keys() == expected.keys() == set(range(72))
    for place, views in expected.items():
        assert found[place].keys() == views.keys()
        assert all(np.array_equal(found[place][view], row) for view, row in views.items())
    # Nothing of them is kept.
    assert stored_embeddings(ws) == shared


def test_a_worker_with_another_database_is_a_sentence_and_stores_nothing(tmp_path: Path, dask: DaskProcesses) -> None:
    """Its pictures would be looked for in the wrong folder, and its numbers stored in the wrong table."""
    workspace(tmp_path / "shared").close()
    dask.start_scheduler()
    dask.start_workers(1)
    ws = workspace(tmp_path / "data", dask=dask.address)
    function = labelled_function(ws, 40)
    with pytest.raises(SharedWorkFailed) as caught:
        embed_missing(ws, function.id, function_backbone(ws, function))
    assert "it uses another database. Give it the DETECTOR_DATA_DIR or DETECTOR_DATABASE_URL" in str(caught.value)
    assert embedded(ws) == 0


def test_a_worker_without_settings_makes_no_data_folder(tmp_path: Path, dask: DaskProcesses) -> None:
    dask.start_scheduler()
    dask.start_workers(1)
    ws = workspace(tmp_path / "data", dask=dask.address)
    function = labelled_function(ws, 40)
    with pytest.raises(SharedWorkFailed, match="there is no database"):
        embed_missing(ws, function.id, function_backbone(ws, function))
    assert not (tmp_path / "shared").exists()


def test_only_workers_that_have_what_is_asked_for_count(tmp_path: Path, dask: DaskProcesses) -> None:
    dask.start_scheduler()
    dask.start_workers(1)
    with DaskCluster(dask.address) as cluster:
        assert cluster.places == 1
    with pytest.raises(ClusterUnavailable, match="it has no worker that has GPU=1"):
        DaskCluster(dask.address, "GPU=1")
    dask.start_workers(1, "--resources", "GPU=1")
    until(lambda: _places(dask.address, "GPU=1") == 1, "the second worker is there")


def test_where_no_scheduler_answers_it_is_said_and_the_address_that_is_none(dask: DaskProcesses) -> None:
    with pytest.raises(ClusterUnavailable, match="no scheduler answers there"):
        DaskCluster(dask.address)
    with pytest.raises(InvalidInput, match=r"^DETECTOR_DASK is 'somewhere'; expected tcp://HOST:PORT"):
        DaskCluster("somewhere")
    with pytest.raises(InvalidInput, match=r"^DETECTOR_DASK_RESOURCES is 'GPU=many'; expected NAME=NUMBER"):
        DaskCluster(dask.address, "GPU=many")


def _places(address: str, resources: str) -> int:
    try:
        with DaskCluster(address, resources) as cluster:
            return cluster.places
    except ClusterUnavailable:
        return 0


def test_parts_of_a_list_are_scored_by_workers_as_one_machine_scores_them(tmp_path: Path, dask: DaskProcesses) -> None:
    ws = workspace(tmp_path / "shared")
    function = labelled_function(ws, 30)
    assert build(ws, function.id).trained
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(40):
        (pictures / f"{number:02d}.png").write_bytes(make_image(500 + number, ("real", "synthetic")[number % 2]))
    (pictures / "none.png").write_bytes(b"no picture")
    asked = ScoreSettings(function.id, str(pictures), tmp_path / "here.parquet", rows=5)
    alone = score(ws, asked)
    dask.start_scheduler()
    dask.start_workers(2)
    sharing = replace(ws, settings=replace(ws.settings, dask=dask.address))
    shared = score(sharing, replace(asked, out=tmp_path / "shared.parquet"))
    assert (shared.made, shared.verdicts, shared.errors) == (alone.made, alone.verdicts, alone.errors)
    assert (shared.made, shared.errors) == (41, 1)
    here, there = (pq.read_table(tmp_path / name).to_pylist() for name in ("here.parquet", "shared.parquet"))
    assert here == there
    # A part that a killed worker left behind is scored, and nothing else.
    Results(tmp_path / "shared.parquet").part_file(3).unlink()
    again = score(sharing, replace(asked, out=tmp_path / "shared.parquet"))
    assert (again.there, again.made) == (36, 5)
    assert pq.read_table(tmp_path / "shared.parquet").to_pylist() == here
