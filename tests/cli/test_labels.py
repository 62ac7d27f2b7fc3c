"""The command that lists labels and merges two spellings of one name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import update

from detector.storage import functions, jobs, samples
from detector.storage.schema import jobs as table
from tests.command_line import run, run_here
from tests.factories import empty_function, label_ids, labelled_function, workspace
from tests.storage.test_label_twins import NFC, NFD, with_twins

pytestmark = pytest.mark.slow


def test_labels_are_listed_with_their_counts_and_twins_are_marked(tmp_path: Path) -> None:
    """The kind: NFC and NFD look alike on a screen; which is which is said, and how to make them one."""
    ws = workspace(tmp_path)
    function = with_twins(ws, 2)
    ids = label_ids(ws, function)
    ws.close()
    listed = run_here(tmp_path, "labels", function.name)
    assert listed.code == 0, listed.err
    real, first, second = listed.out.splitlines()
    assert (ids["real"] in real, "2 samples" in real, "one name" in real) == (True, True, False)
    assert f"one name with {ids[NFD]}" in first
    assert f"one name with {ids[NFC]}" in second
    assert ("apart" in first, "apart" in second) == (False, True)
    assert "--merge" in listed.sentence
    rows = json.loads(run_here(tmp_path, "labels", function.id, "--json").out)
    assert rows == [
        {"id": ids["real"], "name": "real", "samples": 2, "twins": []},
        {"id": ids[NFC], "name": NFC, "samples": 2, "twins": [ids[NFD]]},
        {"id": ids[NFD], "name": NFD, "samples": 2, "twins": [ids[NFC]]},
    ]


def test_two_spellings_are_merged_by_their_names_or_ids(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = with_twins(ws, 2)
    ids = label_ids(ws, function)
    merged = run(tmp_path, "labels", function.name, "--merge", NFD, "--into", ids[NFC], "--json")
    assert merged.json == {
        "from": {"id": ids[NFD], "name": NFD},
        "into": {"id": ids[NFC], "name": NFC, "samples": 4},
        "moved": 2,
    }
    assert list(label_ids(ws, function)) == ["real", NFC]
    # The model that follows is asked for.
    assert [job.kind for job in jobs.list_jobs(ws.db, function.id)] == ["build"]
    plain = run(tmp_path, "labels", function.name)
    assert (plain.code, plain.err, len(plain.out.splitlines())) == (0, "", 2)
    ws.close()


def test_what_a_killed_import_left_running_does_not_stand_in_the_way(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = with_twins(ws, 1)
    jobs.enqueue(ws.db, function.id, "import", {"from": "folder"})
    assert jobs.claim(ws.db, ("import",)) is not None
    merge = ("labels", function.name, "--merge", NFD, "--into", NFC)
    held = run(tmp_path, *merge)
    assert (held.code, "import" in held.sentence) == (1, True)
    host, number, born = jobs.this_process().rsplit(":", 2)
    with ws.db.write() as connection:
        # Of a process that is no more.
        connection.execute(update(table).values(owner=f"{host}:9{number}:{born}"))
    assert run(tmp_path, *merge).code == 0
    ws.close()


@pytest.mark.long
def test_a_merge_that_is_none_ends_with_one_sentence_and_changes_nothing(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = with_twins(ws, 1)
    ids = label_ids(ws, function)
    for arguments, words in (
        (("--merge", NFC), "--into"),
        (("--into", NFC), "--merge"),
        (("--merge", "real", "--into", NFC), "two names"),
        (("--merge", "K\u00dcNSTLICH", "--into", NFC), "Give the id"),
        (("--merge", NFC, "--into", NFC), "itself"),
        (("--merge", "unknown", "--into", NFC), "unknown"),
    ):
        done = run_here(tmp_path, "labels", function.name, *arguments)
        assert (done.code, done.out) == (1, "")
        assert words in done.sentence
        assert len(done.err.splitlines()) == 1
    assert run_here(tmp_path, "labels", "no such function").code == 1
    assert label_ids(ws, function) == ids
    assert samples.count_by(ws.db, function.id).by_label == dict.fromkeys(ids.values(), 1)
    ws.close()


def test_a_function_without_labels_says_where_they_come_from(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = labelled_function(ws, 1)
    for label_id in label_ids(ws, function).values():
        functions.delete_label(ws.db, label_id)
    ws.close()
    done = run_here(tmp_path, "labels", function.name)
    assert (done.code, done.out) == (0, "")
    assert "import" in done.sentence


@pytest.mark.long
def test_a_name_that_several_functions_have_is_refused_and_the_number_or_the_id_says_which(tmp_path: Path) -> None:
    """The kind: of two functions of one name the newest was read, trained or changed without a word."""
    ws = workspace(tmp_path)
    first, second = empty_function(ws, "Cats"), empty_function(ws, "Cats", ["a", "b"])
    ws.close()
    for command in (("labels", "Cats"), ("sources", "Cats"), ("invoke", "Cats", tmp_path)):
        refused = run_here(tmp_path, *command)
        assert (refused.code != 0, refused.out) == (True, "")
        assert first.id in refused.sentence
        assert second.id in refused.sentence
    by_number, by_id = (json.loads(run_here(tmp_path, "labels", name, "--json").out) for name in ("Cats (2)", first.id))
    assert [row["name"] for row in by_number] == ["a", "b"]
    assert [row["name"] for row in by_id] == ["real", "synthetic"]
