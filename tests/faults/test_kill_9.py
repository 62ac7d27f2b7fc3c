"""``kill -9`` at seeded moments of everything that writes: what was acknowledged stays, nothing is there twice.

The moments are drawn over the length that each part of the same work takes when nothing disturbs it, so that they hit
all of it however fast the machine is.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests
from sqlalchemy import select

from detector.storage.schema import labels, samples
from tests.api.server import Caller, Server
from tests.command_line import OFFLINE
from tests.databases import sqlite_only
from tests.factories import LABELS, make_image
from tests.faults.killing import (
    Lives,
    assert_checked,
    assert_nothing_half,
    assert_nothing_over,
    rows,
    stage,
)
from tests.stored_data.folders import FOLDERS, unpack

pytestmark = [
    pytest.mark.faults,
    pytest.mark.slow,
    sqlite_only("what is left after a kill is read from the database's file; of a server see tests/cluster"),
]

#: 100 moments in all.
OF_A_TRAINING, OF_AN_UPGRADE, OF_A_SERVER, OF_A_BACKUP, OF_A_RESTORE = 48, 16, 16, 10, 10
PER_LABEL = 40
#: Of a training: what its jobs say that they are at.
STAGES = ("import", "embed", "train")


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lives]:
    made = Lives(tmp_path_factory.mktemp("lives"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for label in LABELS:
        (folder / label).mkdir()
        for seed in range(PER_LABEL):
            (folder / label / f"{seed}.png").write_bytes(make_image(seed, label, 48))
    return folder


def _what_came_of_it(data_dir: Path) -> list[tuple[object, ...]]:
    """Every sample with its label and its score, and the model's settings."""
    found = rows(
        data_dir,
        "SELECT samples.file_name, samples.image_hash, labels.name, round(samples.confidence, 9), models.version "
        "FROM samples JOIN labels ON labels.id = samples.label_id "
        "JOIN functions ON functions.id = samples.function_id LEFT JOIN models ON models.id = functions.live_model_id "
        "WHERE samples.deleted_at IS NULL ORDER BY 1, 2, 3",
    )
    return [*found, *rows(data_dir, "SELECT count(*) FROM models")]


def test_a_training_that_is_killed_again_and_again_ends_as_one_that_was_not(
    lives: Lives, pictures: Path, tmp_path: Path
) -> None:
    """Import, embedding and training; the same command again goes on with what is left."""
    command = ("train", pictures, *OFFLINE, "--json")
    lives.run(tmp_path / "first", *command)
    undisturbed = lives.run(tmp_path / "undisturbed", *command)
    assert undisturbed.code == 0, undisturbed.err
    expected = _what_came_of_it(tmp_path / "undisturbed")
    assert len(expected) == 2 * PER_LABEL + 1
    chance, aims = random.Random(19), itertools.cycle(STAGES)
    killed: Counter[str] = Counter()
    number = 0
    while killed.total() < OF_A_TRAINING:
        number += 1
        data_dir = tmp_path / f"killed-{number}"
        while killed.total() < OF_A_TRAINING:
            aim = next(aims)
            length = next(seconds for name, seconds in undisturbed.stages.items() if aim in name)
            life = lives.run(data_dir, *command, kill_after=chance.uniform(0.0, length), of_stage=aim)
            assert_nothing_half(data_dir)
            if not life.killed:
                break
            killed[stage(data_dir)] += 1
            # What is half done is no damage, but work that waits.
            if (data_dir / "detector.sqlite").exists():
                assert_checked(lives, data_dir, waits=True)
        life = lives.run(data_dir, *command)
        assert life.code == 0, life.err
        assert _what_came_of_it(data_dir) == expected
        assert_nothing_over(data_dir)
        assert_checked(lives, data_dir)
        shutil.rmtree(data_dir)
    for aim in STAGES:
        assert any(aim in name for name in killed), killed


def test_an_upgrade_that_is_killed_is_done_by_the_next_start(lives: Lives, tmp_path: Path) -> None:
    """A data folder of the oldest version that is kept whole; what it held is there afterwards, once."""
    name = FOLDERS[0]
    counts = "SELECT (SELECT count(*) FROM samples), (SELECT count(*) FROM images), (SELECT count(*) FROM models)"
    given = "SELECT id, label_id, image_hash FROM samples ORDER BY id"
    whole = unpack(name, tmp_path / "whole")
    before = rows(whole, counts), rows(whole, given)
    undisturbed = lives.run(whole, "functions", "--json")
    assert undisturbed.code == 0, undisturbed.err
    schema = "SELECT type, name, tbl_name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY 1, 2"
    expected = rows(whole, schema)
    chance = random.Random(24)
    killed = number = 0
    while killed < OF_AN_UPGRADE:
        number += 1
        data_dir = unpack(name, tmp_path / str(number))
        while killed < OF_AN_UPGRADE:
            life = lives.run(data_dir, "functions", "--json", kill_after=chance.uniform(0.0, undisturbed.seconds))
            assert rows(data_dir, "PRAGMA integrity_check") == [("ok",)]
            assert (rows(data_dir, counts), rows(data_dir, given)) == before
            if not life.killed:
                break
            killed += 1
        life = lives.run(data_dir, "functions", "--json")
        assert life.code == 0, life.err
        assert life.json == undisturbed.json
        assert rows(data_dir, schema) == expected
        assert (rows(data_dir, counts), rows(data_dir, given)) == before
        assert_checked(lives, data_dir)
        shutil.rmtree(data_dir.parent)


@pytest.fixture(scope="module")
def whole(lives: Lives, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a trained function."""
    data_dir = tmp_path_factory.mktemp("whole") / "data"
    life = lives.run(data_dir, "train", pictures, *OFFLINE, "--json")
    assert life.code == 0, life.err
    return data_dir


def test_a_backup_that_is_killed_is_whole_or_not_there(lives: Lives, whole: Path, tmp_path: Path) -> None:
    """And the folder that it was made of is as before."""
    expected = _what_came_of_it(whole)
    undisturbed = lives.run(whole, "backup", tmp_path / "whole.backup", "--json")
    assert undisturbed.code == 0, undisturbed.err
    chance = random.Random(6)
    killed = number = 0
    while killed < OF_A_BACKUP:
        number += 1
        file = tmp_path / f"{number}.backup"
        life = lives.run(whole, "backup", file, "--json", kill_after=chance.uniform(0.0, undisturbed.seconds))
        killed += life.killed
        assert_nothing_half(whole)
        assert _what_came_of_it(whole) == expected
        if file.exists():
            restored = tmp_path / f"restored-{number}"
            assert lives.run(restored, "restore", file, "--json").code == 0
            assert _what_came_of_it(restored) == expected
            shutil.rmtree(restored)
    assert_checked(lives, whole)


def test_a_restore_that_is_killed_is_whole_or_done_by_the_next_one(lives: Lives, whole: Path, tmp_path: Path) -> None:
    expected, file = _what_came_of_it(whole), tmp_path / "whole.backup"
    assert lives.run(whole, "backup", file, "--json").code == 0
    undisturbed = lives.run(tmp_path / "undisturbed", "restore", file, "--json")
    assert undisturbed.code == 0, undisturbed.err
    chance = random.Random(7)
    killed = number = 0
    while killed < OF_A_RESTORE:
        number += 1
        data_dir = tmp_path / str(number)
        while killed < OF_A_RESTORE:
            moment = chance.uniform(0.0, undisturbed.seconds)
            life = lives.run(data_dir, "restore", file, "--json", kill_after=moment)
            killed += life.killed
            if (data_dir / "detector.sqlite").exists():
                break
            assert life.killed, life.err
        if not (data_dir / "detector.sqlite").exists():
            life = lives.run(data_dir, "restore", file, "--json")
            assert life.code == 0, life.err
        assert _what_came_of_it(data_dir) == expected
        assert_nothing_half(data_dir)
        assert_checked(lives, data_dir)
        shutil.rmtree(data_dir)


class _People:
    """Three clients that label and post over HTTP until nobody answers, and what was acknowledged to them."""

    def __init__(self, server: Server, token: str, path: str, posted: dict[str, str], seed: int) -> None:
        self._server, self._token, self._path, self._seed = server, token, path, seed
        #: The label that was acknowledged last, by sample.
        self.given = posted
        #: The label that was asked for without an answer: it may be there or not.
        self.open: dict[str, str] = {}
        ids = sorted(posted)
        self._threads = [threading.Thread(target=self._live, args=(n, ids[n::3])) for n in range(3)]
        for thread in self._threads:
            thread.start()

    def _live(self, number: int, ids: list[str]) -> None:
        chance = random.Random(self._seed * 10 + number)
        caller = Caller(self._server.address, self._token)
        with contextlib.suppress(requests.ConnectionError):
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
        for thread in self._threads:
            thread.join()


def _stored_labels(server: Server) -> dict[str, str]:
    statement = select(samples.c.id, labels.c.name).join(labels, labels.c.id == samples.c.label_id)
    with server.workspace.db.read() as connection:
        found = connection.execute(statement.where(samples.c.deleted_at.is_(None))).all()
    return {row.id: row.name for row in found}


def _worker(server: Server) -> psutil.Process | None:
    children = psutil.Process(server.pid).children()
    found = [child for child in children if child.status() != psutil.STATUS_ZOMBIE and "worker" in child.cmdline()]
    return found[0] if found else None


def test_people_label_while_their_server_and_its_worker_are_killed(lives: Lives, tmp_path: Path) -> None:
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
        assert_checked(lives, server.data)
    finally:
        server.stop()
