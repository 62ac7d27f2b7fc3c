"""The check beside those who are at work, and after those who were killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select

from detector.storage.schema import import_batches, jobs, samples
from detector.upkeep import findings
from detector.upkeep.check import check_all
from detector.workspace import Workspace
from tests.command_line import CHECKOUT, environment
from tests.factories import make_image, workspace


def _begin_import(data: Path, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "detector", "train", str(folder), "--backbone", "efficientnet-lite0"]
    return subprocess.Popen(
        command, cwd=CHECKOUT, env=environment(data), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _pictures(folder: Path, each: int) -> Path:
    for label in ("real", "synthetic"):
        (folder / label).mkdir(parents=True)
        for seed in range(each):
            (folder / label / f"{seed}.png").write_bytes(make_image(seed, label))
    return folder


def _count(ws: Workspace) -> int:
    with ws.db.read() as connection:
        return int(connection.scalar(select(func.count()).select_from(samples)) or 0)


def _wait_for_samples(ws: Workspace, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 300
    while not _count(ws):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.long
def test_beside_an_import_of_another_process_there_is_no_false_alarm(tmp_path: Path) -> None:
    folder = _pictures(tmp_path / "photos", 150)
    ws = workspace(tmp_path / "data")
    process = _begin_import(tmp_path / "data", folder)
    try:
        _wait_for_samples(ws, process)
        checked = 0
        while process.poll() is None and checked < 40:
            found = check_all(ws, quick=bool(checked % 2), repair=checked % 5 == 4)
            assert found.problems == ()
            checked += 1
        assert checked >= 3
        assert process.wait(300) == 0
    finally:
        process.kill()
        process.wait()
    assert check_all(ws).problems == ()
    assert _count(ws) == 300
    ws.close()


@pytest.mark.long
def test_an_import_that_was_killed_is_found_and_resumed(tmp_path: Path) -> None:
    folder = _pictures(tmp_path / "photos", 300)
    ws = workspace(tmp_path / "data")
    process = _begin_import(tmp_path / "data", folder)
    try:
        _wait_for_samples(ws, process)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.wait()
    before = _count(ws)
    assert 0 < before < 600
    [problem] = check_all(ws).problems
    assert (problem.kind, problem.repaired) == (findings.JOBS, False)
    assert [problem.repaired for problem in check_all(ws, repair=True).problems] == [True]
    assert check_all(ws, repair=True).problems == ()
    with ws.db.read() as connection:
        assert connection.scalars(select(jobs.c.state).where(jobs.c.kind == "import")).all() == ["queued"]
        assert connection.scalars(select(import_batches.c.state)).all() == ["running"]
    assert _count(ws) == before
    ws.close()
