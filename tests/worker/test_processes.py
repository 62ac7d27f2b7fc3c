"""Jobs in a process of their own: killed, hanging, without its server, and started again; all with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy import update

from detector.jobs import COPIES, EVALUATE, as_known, request_build
from detector.storage import functions, jobs, models
from detector.storage.functions import Function
from detector.storage.jobs import Job
from detector.storage.schema import jobs as table
from detector.worker import supervisor
from detector.worker.running import MOST_CRASHES
from detector.worker.supervisor import Supervisor
from detector.workspace import Workspace
from tests.app_server import CHECKOUT, AppServer
from tests.command_line import environment
from tests.factories import add_images, empty_function, images, labelled_function, workspace

pytestmark = [pytest.mark.slow, pytest.mark.long]

SETTINGS = {"DETECTOR_PRECISION": "float32", "DETECTOR_BACKBONE": "efficientnet-lite0"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[AppServer]:
    running = AppServer(tmp_path, SETTINGS)
    yield running
    running.stop()


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A data folder which processes that are started here open as well."""
    for name, value in {**SETTINGS, "DETECTOR_DATA_DIR": str(tmp_path / "data")}.items():
        monkeypatch.setenv(name, value)
    opened = workspace(tmp_path / "data")
    yield opened
    opened.close()


def _until(holds: Callable[[], object], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def _workers(parent: int | None = None) -> list[psutil.Process]:
    """The background processes that a process has started; by default this one."""
    children = psutil.Process(parent).children()
    return [child for child in children if child.status() != psutil.STATUS_ZOMBIE and "worker" in child.cmdline()]


def _long_work(ws: Workspace, per_label: int = 100) -> tuple[Function, str]:
    """A build that takes some seconds; returns its function and the job's id."""
    function = empty_function(ws, "Long")
    add_images(ws, function, images(per_label))
    return function, request_build(ws, function.id)


def _is_running(ws: Workspace, job_id: str) -> bool:
    job = jobs.get_job(ws.db, job_id)
    return job.state == "running" and job.done > 0


def _trained(ws: Workspace, function: Function) -> bool:
    return functions.get_function(ws.db, function.id).live_model_id is not None


def _is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_killed_worker_leaves_the_pages_up_and_its_job_is_resumed(server: AppServer) -> None:
    ws = server.workspace
    function, job_id = _long_work(ws, 40)
    _until(lambda: _is_running(ws, job_id))
    [worker] = _workers(server.pid)
    assert jobs.get_job(ws.db, job_id).owner == jobs._name_of_process(worker.pid)
    worker.kill()
    _until(lambda: _is_gone(worker))
    assert httpx.get(server.address).status_code == 200
    _until(lambda: jobs.get_job(ws.db, job_id).state == "done")
    assert _trained(ws, function)
    assert jobs.get_job(ws.db, job_id).crashes == 1
    [another] = _workers(server.pid)
    assert another.pid != worker.pid
    assert "the background process ended (exit code -9)" in server.log
    assert "Traceback" not in server.log


def test_no_worker_outlives_its_server(server: AppServer) -> None:
    """Kind: an orphan that goes on for hours beside the next server's. Killed in the middle, and stopped in order."""
    ws = server.workspace
    function, job_id = _long_work(ws, 40)
    _until(lambda: _is_running(ws, job_id))
    [worker] = _workers(server.pid)
    server.kill()
    _until(lambda: _is_gone(worker), 20)
    server.start()
    _until(lambda: _is_running(ws, job_id) or _trained(ws, function))
    [worker] = _workers(server.pid)
    server.stop()
    assert _is_gone(worker)
    server.start()
    _until(lambda: _trained(ws, function))
    # That a server was ended is no fault of the job.
    assert jobs.get_job(ws.db, job_id).crashes == 0


def test_a_hanging_worker_is_killed_and_its_job_resumed(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "SILENT_SECONDS", 8.0)
    function, job_id = _long_work(ws)
    keeper = Supervisor(ws)
    keeper.start()
    try:
        _until(lambda: _is_running(ws, job_id))
        [worker] = _workers()
        lease = jobs.get_job(ws.db, job_id).lease
        worker.suspend()
        _until(lambda: _is_gone(worker))
        _until(lambda: jobs.get_job(ws.db, job_id).state == "done")
    finally:
        keeper.stop()
    job = jobs.get_job(ws.db, job_id)
    assert (job.crashes, job.lease) == (1, None)
    assert _trained(ws, function)
    assert lease is not None
    assert not _workers()


def test_a_job_with_which_the_worker_dies_again_and_again_fails_with_a_sentence(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last time is one too many; the server's other work goes on."""
    monkeypatch.setattr(supervisor, "PAUSES", (0.1,))
    function, job_id = _long_work(ws)
    with ws.db.write() as connection:
        connection.execute(update(table).where(table.c.id == job_id).values(crashes=MOST_CRASHES))
    keeper = Supervisor(ws)
    keeper.start()
    try:
        _until(lambda: _is_running(ws, job_id))
        [worker] = _workers()
        worker.kill()
        _until(lambda: jobs.get_job(ws.db, job_id).state == "failed")
        other = labelled_function(ws, 4, "Other")
        request_build(ws, other.id)
        _until(lambda: _trained(ws, other))
    finally:
        keeper.stop()
    job = jobs.get_job(ws.db, job_id)
    assert job.message.startswith(f"The background process stopped unexpectedly {MOST_CRASHES + 1} times")
    assert functions.get_function(ws.db, function.id).training_note == job.message
    assert not _trained(ws, function)


def test_a_worker_that_keeps_dying_is_said_where_jobs_are_shown(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    function = labelled_function(ws, 2)
    job_id = request_build(ws, function.id)
    monkeypatch.setattr(supervisor, "PAUSES", (0.1,))
    python = sys.executable
    monkeypatch.setattr(sys, "executable", "/bin/false")

    def shown() -> Job:
        return as_known(jobs.get_job(ws.db, job_id))

    keeper = Supervisor(ws)
    keeper.start()
    try:
        _until(lambda: "stopped unexpectedly" in shown().message)
        assert shown().state == "queued"
        # What stood in its way is gone: the sentence goes with it.
        monkeypatch.setattr(sys, "executable", python)
        _until(lambda: _trained(ws, function))
        assert "stopped unexpectedly" not in shown().message
    finally:
        keeper.stop()
    assert "stopped unexpectedly" not in shown().message


def test_jobs_can_run_inside_the_server(tmp_path: Path) -> None:
    server = AppServer(tmp_path, {**SETTINGS, "DETECTOR_WORKER": "inside"})
    try:
        function = labelled_function(server.workspace, 4)
        job_id = request_build(server.workspace, function.id)
        _until(lambda: jobs.get_job(server.workspace.db, job_id).state == "done")
        assert _trained(server.workspace, function)
        assert not _workers(server.pid)
    finally:
        server.stop()


@pytest.mark.skipif(os.name == "nt", reason="there a process cannot be asked to end with a signal")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_a_person_starts_runs_jobs_until_a_signal(ws: Workspace, number: signal.Signals) -> None:
    function = labelled_function(ws, 2)
    request_build(ws, function.id)
    command = [sys.executable, "-m", "detector", "worker"]
    given = environment(ws.settings.data_dir)
    process = subprocess.Popen(command, cwd=CHECKOUT, env=given, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        _until(lambda: _trained(ws, function))
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert said.decode().startswith("Running the jobs of this data folder.")
    assert "Traceback" not in said.decode()


def test_copies_follow_the_first_model_by_themselves_and_outlive_a_killed_worker(tmp_path: Path) -> None:
    running = AppServer(tmp_path, {**SETTINGS, "DETECTOR_COPIES": "2"})
    try:
        ws = running.workspace
        function, job_id = _long_work(ws, 20)
        _until(lambda: jobs.get_job(ws.db, job_id).state == "done")
        first = functions.get_function(ws.db, function.id).live_model_id
        assert first is not None

        def copying() -> bool:
            return any(
                job.kind == COPIES and job.state == "running" and job.done > 0
                for job in jobs.list_jobs(ws.db, function.id)
            )

        _until(copying)
        # The first model answers meanwhile.
        assert functions.get_function(ws.db, function.id).live_model_id == first
        [worker] = _workers(running.pid)
        worker.kill()
        _until(lambda: functions.get_function(ws.db, function.id).live_model_id != first)
        second = models.get_model(ws.db, functions.get_function(ws.db, function.id).live_model_id or "")
        assert (second.version, (second.hardening or {}).get("copies")) == (2, 2)
        _until(lambda: not jobs.list_jobs(ws.db, function.id))
        audited = {job.payload["model"] for job in jobs.list_jobs(ws.db, active=False) if job.kind == EVALUATE}
        assert audited == {second.id}
    finally:
        running.stop()
