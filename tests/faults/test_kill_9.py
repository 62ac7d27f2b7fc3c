"""``kill -9`` at seeded moments of every command that writes: what was acknowledged stays, nothing is there twice.

The moments are drawn over the length that each part of the same work takes when nothing disturbs it, so that they hit
all of it however fast the machine is.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

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

#: 100 moments in all, with those of tests/faults/test_kill_9_server.py.
OF_A_TRAINING, OF_AN_UPGRADE, OF_A_BACKUP, OF_A_RESTORE = 24, 36, 14, 14
PER_LABEL = 24
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
    chance = random.Random(19)
    killed: Counter[str] = Counter()
    number = 0
    while killed.total() < OF_A_TRAINING:
        number += 1
        data_dir = tmp_path / f"killed-{number}"
        life = undisturbed
        # Each stage twice: what was killed in the middle of it goes on with it.
        for aim in sorted(2 * STAGES, key=STAGES.index):
            if aim == "import" and rows(data_dir, "SELECT kind FROM jobs WHERE kind = 'import' AND state = 'done'"):
                continue
            length = next(seconds for name, seconds in undisturbed.stages.items() if aim in name)
            life = lives.run(data_dir, *command, kill_after=chance.uniform(0.0, length), of_stage=aim)
            assert_nothing_half(data_dir)
            if not life.killed:
                break
            killed[stage(data_dir)] += 1
            # What is half done is no damage, but work that waits.
            if (data_dir / "detector.sqlite").exists():
                assert_checked(lives, data_dir, waits=True)
        if life.killed:
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
