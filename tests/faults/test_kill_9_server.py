"""``kill -9`` of a server and its worker while people label: what was acknowledged stays, and the training goes on."""

from __future__ import annotations

import contextlib
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select

from detector.storage.schema import labels, samples
from tests.api.server import CUT_OFF, Caller, Server
from tests.command_line import run_here
from tests.databases import sqlite_only
from tests.factories import LABELS, make_image
from tests.faults.killing import assert_clean, assert_nothing_half

pytestmark = [
    pytest.mark.faults,
    pytest.mark.slow,
    sqlite_only("what is left after a kill is read from the database's file; of a server see tests/cluster"),
]

#: Moments; the other ones of the 100 are in tests/faults/test_kill_9.py.
OF_A_SERVER = 12


class _People:
    """Three clients that label and post over HTTP until nobody answers, and what was acknowledged to them."""

    def __init__(self, server: Server, token: str, path: str, posted: dict[str, str], seed: int) -> None:
        self._server, self._token, self._path, self._seed = server, token, path, seed
        #: The label that was acknowledged last, by sample.
        self.given = posted
        #: The label that was asked for without an answer: it may be there or not.
        self.open: dict[str, str] = {}
        ids = sorted(posted)
        self._pool = ThreadPoolExecutor(3)
        self._lives = [self._pool.submit(self._live, n, ids[n::3]) for n in range(3)]

    def _live(self, number: int, ids: list[str]) -> None:
        chance = random.Random(self._seed * 10 + number)
        caller = Caller(self._server.address, self._token)
        with contextlib.suppress(*CUT_OFF):
            for turn in range(10_000):
                if turn % 6 == 5:
                    answer = caller.post_image(
                        self._path, make_image(1000 * self._seed + 10_000 * number + turn, "real", 32), "real"
                    )
                    assert answer.status_code == 200, answer.text
                    self.given[answer.json()["id"]] = "real"
                    continue
                sample_id, label = chance.choice(ids), chance.choice(LABELS)
                self.open[sample_id] = label
                answer = caller.put(f"{self._path}/samples/{sample_id}/annotation", json={"labelName": label})
                if answer.status_code == 200:
                    self.given[sample_id] = label
                    del self.open[sample_id]

    def wait(self) -> None:
        """Until nobody answers any more; an answer that must not be is raised here."""
        for life in self._lives:
            life.result()
        self._pool.shutdown()


def _stored_labels(server: Server) -> dict[str, str]:
    statement = select(samples.c.id, labels.c.name).join(labels, labels.c.id == samples.c.label_id)
    with server.workspace.db.read() as connection:
        found = connection.execute(statement.where(samples.c.deleted_at.is_(None))).all()
    return {row.id: row.name for row in found}


def _worker(server: Server) -> psutil.Process | None:
    children = psutil.Process(server.pid).children()
    found = [child for child in children if child.status() != psutil.STATUS_ZOMBIE and "worker" in child.cmdline()]
    return found[0] if found else None


def test_people_label_while_their_server_and_its_worker_are_killed(tmp_path: Path) -> None:
    """Three people label and post; each acknowledged change is there after the kill, and the training goes on.

    The worker alone is killed in every other moment, so that half the moments leave the server up.
    """
    server = Server(tmp_path)
    try:
        token = server.caller().token
        path = Caller(server.address, token).create_function()
        given: dict[str, str] = {}
        for seed in range(24):
            answer = Caller(server.address, token).post_image(
                path, make_image(seed, LABELS[seed % 2], 32), LABELS[seed % 2]
            )
            given[answer.json()["id"].removeprefix("sample_")] = LABELS[seed % 2]
        chance = random.Random(22)
        for number in range(1, OF_A_SERVER // 2 + 1):
            people = _People(server, token, path, {f"sample_{key}": label for key, label in given.items()}, number)
            time.sleep(chance.uniform(0.1, 1.5))
            if worker := _worker(server):
                worker.kill()
            time.sleep(chance.uniform(0.1, 1.5))
            server.kill()
            people.wait()
            assert_nothing_half(server.data)
            server.start()
            stored = _stored_labels(server)
            given = {key.removeprefix("sample_"): label for key, label in people.given.items()}
            asked = {key.removeprefix("sample_"): label for key, label in people.open.items()}
            for sample_id, label in given.items():
                assert stored[sample_id] in (label, asked.get(sample_id)), "an acknowledged change is lost"
            # What was stored without an answer: at most one post of each of the three.
            assert len(stored) <= len(given) + 3
            given = stored
        assert "Traceback" not in server.log, server.log[-3000:]
        Caller(server.address, token).wait_until_trained(path)
        assert_nothing_half(server.data)
        assert_clean(run_here(server.data, "check", "--json"))
    finally:
        server.stop()
