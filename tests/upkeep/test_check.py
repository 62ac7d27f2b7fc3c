"""The check of a folder that is well, beside those who are at work in it, and what it remembers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from detector.importing.pending import pending_zip
from detector.jobs import request_build
from detector.operations import runs as run_operations
from detector.operations.deletion import empty_bin
from detector.operations.labels import delete_label, give_label, merge_labels
from detector.operations.samples import delete_samples, restore_samples
from detector.storage import functions
from detector.storage.blobs import SET_ASIDE
from detector.storage.schema import samples
from detector.storage.upkeep_runs import last_run
from detector.upkeep import findings
from detector.upkeep.check import check_all
from detector.upkeep.last_checks import CHECK
from detector.workspace import Workspace
from tests.command_line import CHECKOUT, environment, run_here
from tests.databases import sqlite_only
from tests.factories import add_images, empty_function, make_image, workspace, write_zip
from tests.factories import images as pictures
from tests.stored_data.folders import FOLDERS, unpack
from tests.upkeep.damages import DAMAGES, HOUR, age, flip, image_file, some_hash


def _problems(ws: Workspace) -> list[str]:
    return [
        f"{problem.kind}: {problem.what}" for problem in (*check_all(ws).problems, *check_all(ws, quick=True).problems)
    ]


def _sample_ids(ws: Workspace) -> list[str]:
    with ws.db.read() as connection:
        return list(connection.scalars(select(samples.c.id).order_by(samples.c.sequence)))


def test_a_new_folder_is_well(tmp_path: Path) -> None:
    fresh = workspace(tmp_path / "new")
    assert check_all(fresh).to_json()["problems"] == []
    empty_function(fresh)
    assert _problems(fresh) == []
    fresh.close()


def test_what_people_do_is_no_problem(ws: Workspace, tmp_path: Path) -> None:
    """Trained, relabelled, merged, binned, emptied, imported again and in part, in a run, queued."""
    assert _problems(ws) == []
    ids = _sample_ids(ws)
    [summary] = functions.list_functions(ws.db)
    function = summary.function
    labels = functions.list_labels(ws.db, function.id)
    give_label(ws, function.id, ids[:2], labels[1])
    give_label(ws, function.id, ids[2:3], None)
    delete_samples(ws, function.id, ids[3:6])
    restore_samples(ws, function.id, ids[3:4])
    assert _problems(ws) == []
    empty_bin(ws, function.id)
    add_images(ws, function, [*pictures(2), ("new.png", make_image(77), None)])
    assert _problems(ws) == []
    run_operations.start_run(
        ws, function.id, pending_zip(ws, write_zip(ws.spool / "abc.zip", {"n.png": make_image(900)}), "n.zip")
    )
    assert _problems(ws) == []
    request_build(ws, function.id)
    merge_labels(ws, [labels[0]], labels[1])
    delete_label(ws, labels[1])
    assert _problems(ws) == []
    functions.delete_function(ws.db, function.id)
    assert _problems(ws) == []


@sqlite_only("it was written by an earlier version")
@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_of_an_earlier_version_is_well(tmp_path: Path, name: str) -> None:
    old = workspace(unpack(name, tmp_path))
    found = check_all(old)
    assert found.problems == ()
    assert found.looked_at["pictures"] > 0
    # Nothing of it was written with a checksum; from now on it is.
    assert check_all(old, repair=True).problems == ()
    DAMAGES["a bit of an embedding flips"].do(old, np.random.default_rng(1))
    assert [problem.kind for problem in check_all(old).problems] == [findings.EMBEDDINGS]
    old.close()


def test_it_says_since_when_something_is_wrong(ws: Workspace) -> None:
    assert check_all(ws).since is None
    well = last_run(ws.db, CHECK)
    assert well is not None
    assert well.ok
    DAMAGES["a bit of a picture flips"].do(ws, np.random.default_rng(1))
    # A quick look cannot see it, and does not count as one that could.
    assert check_all(ws, quick=True).ok
    found = check_all(ws)
    assert not found.ok
    assert found.since == well.at
    assert "Everything was well on" in found.sentence()
    assert found.to_json()["since"] is not None
    assert check_all(ws).since == well.at


def test_a_picture_that_is_imported_again_gives_its_bytes_to_the_one_that_was_damaged(ws: Workspace) -> None:
    [summary] = functions.list_functions(ws.db)
    data = make_image(0, "real")
    with ws.db.read() as connection:
        image_hash = connection.scalar(select(samples.c.image_hash).where(samples.c.file_name == "real-0.png"))
    assert isinstance(image_hash, str)
    flip(image_file(ws, image_hash), np.random.default_rng(5))
    [problem] = check_all(ws, repair=True).problems
    assert (problem.kind, problem.repaired) == (findings.LOST, False)
    assert "real-0.png in Press photos" in problem.what
    assert f"{SET_ASIDE}/{image_hash}" in problem.what
    assert [file.name for file in ws.blobs.stored.files(SET_ASIDE)] == [f"{SET_ASIDE}/{image_hash}"]
    [again] = check_all(ws).problems
    assert f"{SET_ASIDE}/{image_hash}" in again.what
    before = _sample_ids(ws)
    add_images(ws, summary.function, [("real-0.png", data, "real")])
    assert check_all(ws).problems == ()
    assert _sample_ids(ws) == before
    assert ws.blobs.image(image_hash) == data


def test_orphans_are_kept_aside_and_the_younger_ones_left_to_their_import(ws: Workspace) -> None:
    rng = np.random.default_rng(2)
    DAMAGES["bytes without a row"].do(ws, rng)
    young = image_file(ws, rng.bytes(32).hex())
    young.parent.mkdir(parents=True, exist_ok=True)
    young.write_bytes(b"its row is about to come")
    assert check_all(ws, repair=True).ok
    [kept] = ws.blobs.stored.files(SET_ASIDE)
    assert (ws.settings.data_dir / "blobs" / kept.name).read_bytes() == b"of an import that was killed"
    assert young.exists()
    age(young, 2 * HOUR)
    assert [problem.kind for problem in check_all(ws).problems] == [findings.ORPHANS]


@pytest.mark.long
def test_pictures_in_place_that_changed_or_vanished_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "photos" / "real"
    folder.mkdir(parents=True)
    for seed in range(3):
        (folder / f"{seed}.png").write_bytes(make_image(seed))
    data = tmp_path / "data"
    assert run_here(data, "train", folder.parent, "--in-place", "--backbone", "efficientnet-lite0").code in (0, 1)
    ws = workspace(data)
    assert _problems(ws) == []
    (folder / "0.png").write_bytes(make_image(40))
    (folder / "1.png").unlink()
    for quick in (False, True):
        found = check_all(ws, quick=quick)
        assert sorted(problem.kind for problem in found.problems) == [findings.PLACES, findings.PLACES]
        told = " ".join(problem.what for problem in found.problems)
        assert "has changed since it was imported" in told
        assert "is not there any more" in told
    (folder / "0.png").write_bytes(make_image(0))
    (folder / "1.png").write_bytes(make_image(1))
    assert check_all(ws).problems == ()
    ws.close()


def test_twenty_random_damages_are_all_found(ws: Workspace) -> None:
    """Several at once: none hides another of its kind or of another one."""
    rng = np.random.default_rng(20261127)
    # Where there is no live model any more, another damage finds no file of it.
    names = [name for name in DAMAGES if name != "the live model is not there"]
    chosen = [names[place] for place in rng.choice(len(names), 20, replace=False)]
    alone = ("a model is lost", "a model is cut", "a bit of a model flips", "a picture is cut", "a picture is lost")
    done = []
    for name in sorted(chosen, key=lambda name: name in alone):
        try:
            DAMAGES[name].do(ws, rng)
        except (FileNotFoundError, IndexError, ValueError):
            # What was to be damaged is gone already, by another one.
            continue
        done.append(name)
    assert len(done) >= 18
    found = {problem.kind for problem in check_all(ws).problems}
    assert found >= {DAMAGES[name].kind for name in done}
    check_all(ws, repair=True)
    left = {problem.kind for problem in check_all(ws).problems}
    assert left <= {findings.PICTURES, findings.LOST}


def test_no_more_than_a_hundred_of_a_kind_are_named(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "MOST_NAMED", 3)
    for image_hash in {some_hash(ws, np.random.default_rng(seed)) for seed in range(40)}:
        image_file(ws, image_hash).unlink()
    found = check_all(ws)
    assert len(found.problems) == 4
    assert "more problems of this kind, not repaired" in found.problems[-1].what


def test_a_hostile_file_name_is_shown_as_text_and_short(ws: Workspace) -> None:
    [summary] = functions.list_functions(ws.db)
    name = "a\x1b[31m\u202e<script>" + "x" * 500 + ".png"
    add_images(ws, summary.function, [(name, make_image(55), None)])
    with ws.db.read() as connection:
        image_hash = connection.scalar(select(samples.c.image_hash).where(samples.c.file_name == name))
    image_file(ws, str(image_hash)).unlink()
    [problem] = check_all(ws).problems
    assert problem.what.isprintable()
    assert len(problem.what) < 500


@pytest.mark.slow
def test_the_command_says_what_is_wrong_and_its_exit_code_too(ws: Workspace, tmp_path: Path) -> None:
    folder = ws.settings.data_dir
    well = run_here(folder, "check", "--json")
    assert (well.code, well.json["ok"], well.json["problems"], well.json["since"]) == (0, True, [], None)
    DAMAGES["a thumbnail is lost"].do(ws, np.random.default_rng(1))
    wrong = run_here(folder, "check", "--quick")
    assert wrong.code == 1
    assert "thumbnails:" in wrong.out
    assert "quick look" in wrong.err
    mended = run_here(folder, "check", "--repair", "--json")
    assert mended.code == 0
    assert [problem["repaired"] for problem in mended.json["problems"]] == [True]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "detector.sqlite").write_bytes(b"no database at all " * 300)
    refused = subprocess.run(
        [sys.executable, "-m", "detector", "check", "--json"],
        cwd=CHECKOUT,
        env={**environment(tmp_path / "other"), "DETECTOR_DATABASE_URL": ""},
        capture_output=True,
        text=True,
    )
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "could not be checked" in refused.stderr
    assert "Traceback" not in refused.stderr
