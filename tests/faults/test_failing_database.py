"""A database that fails: each commit of an import and a training in turn, and the disk below a server as people label.

What was acknowledged is stored, what failed changed nothing, and the work goes on by itself.
"""

from __future__ import annotations

import errno
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import event, func, select
from sqlalchemy.exc import OperationalError

from detector.errors import DetectorError
from detector.importing.batch import zip_payload
from detector.importing.labelling import LabelPlan
from detector.jobs import BUILD, IMPORT, request_import
from detector.operations.labels import create_label, give_label
from detector.operations.samples import delete_samples
from detector.storage import functions, jobs
from detector.storage.functions import Label
from detector.storage.schema import annotation_history, labels, samples
from detector.storage.schema import images as images_table
from detector.worker.running import run_job
from detector.workspace import Workspace
from tests.api.server import SETTINGS, Caller, Server
from tests.databases import sqlite_only
from tests.factories import LABELS, empty_function, labelled_function, make_image, workspace, write_zip
from tests.faulty_disk import image_files, left_over, library

pytestmark = [
    pytest.mark.faults,
    pytest.mark.slow,
    sqlite_only("it fails as SQLite's driver and its file do"),
]

FILES = {f"{label}/{seed}.png": make_image(seed, label, 32) for label in LABELS for seed in range(4)}


class Commits:
    """Counts the commits of a database, and has the n-th one fail as a disk has it fail."""

    def __init__(self, fails: int) -> None:
        self.count, self._fails = 0, fails

    def __call__(self, _connection: object) -> None:
        self.count += 1
        if self.count == self._fails:
            failure = sqlite3.OperationalError("disk I/O error")
            # As the driver sets it.
            failure.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise OperationalError("COMMIT", {}, failure)


@contextmanager
def failing(ws: Workspace, number: int) -> Iterator[Commits]:
    """Have the n-th commit from now on fail, once; 0: none."""
    commits = Commits(number)
    event.listen(ws.db.engine, "commit", commits)
    try:
        yield commits
    finally:
        event.remove(ws.db.engine, "commit", commits)


def _work(ws: Workspace, seconds: float = 60) -> None:
    """Do what waits, as the worker does: an error of the database is met by trying again."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            # None of them runs: what is marked as running was given up.
            jobs.requeue_orphans(ws.db, ())
            job = jobs.claim(ws.db, (IMPORT, BUILD))
            if job is not None:
                run_job(ws, job)
            elif not [job for job in jobs.list_jobs(ws.db) if job.kind in (IMPORT, BUILD)]:
                return
        except (OperationalError, DetectorError):
            continue
    raise AssertionError(f"the work does not end: {jobs.list_jobs(ws.db)}")


def _outcome(ws: Workspace) -> dict[str, Any]:
    with ws.db.read() as connection:
        found = connection.execute(
            select(samples.c.file_name, samples.c.image_hash, labels.c.name, func.round(samples.c.confidence, 6))
            .join(labels, labels.c.id == samples.c.label_id)
            .order_by(samples.c.file_name, labels.c.name)
        ).all()
        hashes = set(connection.scalars(select(images_table.c.hash)))
    blobs = ws.settings.data_dir / "blobs"
    assert image_files(blobs) == hashes
    assert left_over(blobs) == []
    assert list(ws.spool.iterdir()) == []
    return {"samples": [tuple(row) for row in found]}


def _import_and_train(folder: Path, number: int) -> tuple[int, dict[str, Any]]:
    ws = workspace(folder)
    try:
        function = empty_function(ws)
        path = write_zip(ws.spool / "ab12.zip", FILES)
        request_import(ws, function.id, zip_payload(path, LabelPlan("folders", level=0), "files"), "zip")
        with failing(ws, number) as commits:
            _work(ws)
            assert functions.get_function(ws.db, function.id).live_model_id is not None
            return commits.count, _outcome(ws)
    finally:
        ws.close()


def test_whichever_commit_of_an_import_and_a_training_fails_it_ends_as_if_none_had(tmp_path: Path) -> None:
    count, expected = _import_and_train(tmp_path / "whole", 0)
    assert len(expected["samples"]) == len(FILES)
    assert count > 10
    for number in range(1, count + 1):
        _, found = _import_and_train(tmp_path / str(number), number)
        assert found == expected, f"commit {number} of {count} failed"


def _tables(ws: Workspace) -> list[Any]:
    """Everything that people have given."""
    wanted = (samples.c.id, samples.c.label_id, samples.c.deleted_at)
    with ws.db.read() as connection:
        return [
            [tuple(row) for row in connection.execute(select(*wanted).order_by(samples.c.id))],
            [tuple(row) for row in connection.execute(select(labels.c.id, labels.c.name).order_by(labels.c.id))],
            connection.scalar(select(func.count()).select_from(annotation_history)),
        ]


WRITES: dict[str, Callable[[Workspace, str, list[str], Label], object]] = {
    "label": lambda ws, function, ids, label: give_label(ws, function, ids[:2], label),
    "delete": lambda ws, function, ids, label: delete_samples(ws, function, ids[:2]),
    "add a label": lambda ws, function, ids, label: create_label(ws, function, "third"),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_write_whose_commit_fails_changes_nothing_and_can_be_done_again(name: str, tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = labelled_function(ws, 3)
    with ws.db.read() as connection:
        ids = list(connection.scalars(select(samples.c.id).order_by(samples.c.sequence)))
    label = next(label for label in functions.list_labels(ws.db, function.id) if label.name == "synthetic")
    before = _tables(ws)
    with failing(ws, 1), pytest.raises((OperationalError, DetectorError)):
        WRITES[name](ws, function.id, ids, label)
    assert _tables(ws) == before
    WRITES[name](ws, function.id, ids, label)
    assert _tables(ws) != before
    ws.close()


def test_a_disk_that_fails_again_and_again_below_a_server_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """The real server: every write and flush of the database is refused for moments, while three people label."""
    flag = tmp_path / "the disk fails"
    faults = {
        "LD_PRELOAD": str(library(tmp_path)),
        "FAULT_PATH": "detector.sqlite",
        "FAULT_ERRNO": str(errno.EIO),
        "FAULT_FLAG": str(flag),
    }
    server = Server(tmp_path, {**SETTINGS, **faults})
    try:
        token = server.caller().token
        path = Caller(server.address, token).create_function()
        given: dict[str, set[str]] = {}
        for seed in range(12):
            label = LABELS[seed % 2]
            posted = Caller(server.address, token).post_image(path, make_image(seed, label, 32), label)
            given[posted.json()["id"]] = {label}
        ids, said = sorted(given), {200: 0, 500: 0}
        over = threading.Event()

        def people(number: int) -> None:
            chance = random.Random(number)
            caller = Caller(server.address, token)
            # An answer of 500 ends the connection.
            caller.headers["Connection"] = "close"
            while not over.is_set():
                sample_id, label = chance.choice(ids[number::3]), chance.choice(LABELS)
                answer = caller.put(f"{path}/samples/{sample_id}/annotation", json={"labelName": label})
                if answer.status_code == 200:
                    given[sample_id] = {label}
                    said[200] += 1
                else:
                    assert answer.status_code >= 500, answer.text
                    assert answer.json()["message"].endswith(".")
                    assert "Traceback" not in answer.text
                    # Whether a commit that failed in the middle is there, only the disk knows.
                    given[sample_id] |= {label}
                    said[500] += 1

        threads = [threading.Thread(target=people, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        chance = random.Random(20)
        for _ in range(8):
            time.sleep(chance.uniform(0.2, 0.7))
            flag.touch()
            time.sleep(chance.uniform(0.1, 0.5))
            flag.unlink()
        time.sleep(0.5)
        over.set()
        for thread in threads:
            thread.join()
        assert said[200] > 8
        assert said[500] > 2
        statement = select(samples.c.id, labels.c.name).join(labels, labels.c.id == samples.c.label_id)
        with server.workspace.db.read() as connection:
            stored = {f"sample_{row.id}": row.name for row in connection.execute(statement)}
        for sample_id, possible in given.items():
            assert stored[sample_id] in possible, "an acknowledged change is lost"
        assert requests.get(f"{server.address}/_stcore/health", timeout=120).status_code == 200
        Caller(server.address, token).wait_until_trained(path)
    finally:
        server.stop()
