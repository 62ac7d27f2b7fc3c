"""``explain`` in lines and as JSON, its exit codes, what it keeps, and ``records`` that lists, exports and deletes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from detector.cli.explain import exit_code
from detector.pipeline.build import build
from detector.storage import functions, records
from detector.workspace import Workspace
from tests.command_line import Ran, run_here
from tests.factories import labelled_function, make_image, workspace
from tests.made_evidence import FULL, kept

KEYS = FULL.keys()


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    opened = workspace(tmp_path_factory.mktemp("explain") / "data")
    function = labelled_function(opened, 12, "Known")
    functions.set_false_accusation_limit(opened.db, function.id, 0.3)
    assert build(opened, function.id).trained
    yield opened
    opened.close()


@pytest.fixture
def function_id(ws: Workspace) -> str:
    found = functions.find_function(ws.db, "Known").id
    records.delete_records(ws.db, found, None)
    return found


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture with a grade: it is one of the samples."""
    path = tmp_path / "somewhere" / "seen.png"
    path.parent.mkdir()
    path.write_bytes(make_image(3, "synthetic"))
    return path


def explain(ws: Workspace, *arguments: str | Path) -> Ran:
    return run_here(ws.settings.data_dir, "explain", "Known", *arguments)


def kept_ones(ws: Workspace, *arguments: str | Path) -> Ran:
    return run_here(ws.settings.data_dir, "records", "Known", *arguments)


def lines(ran: Ran) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ran.out.splitlines()]


@pytest.mark.slow
def test_one_json_line_a_file_in_the_form_of_the_api(ws: Workspace, function_id: str, picture: Path) -> None:
    (picture.parent / "broken.png").write_bytes(make_image(4)[:300])
    (picture.parent / "Thumbs.db").write_bytes(b"x")
    ran = explain(ws, picture.parent, "--json")
    assert ran.code == 1
    broken, good = sorted(lines(ran), key=lambda line: line["file"])
    assert set(broken) == {"file", "error"}
    assert good.keys() == KEYS
    assert good["file"] == str(picture)
    assert good["verdict"] in ("real", "synthetic", "can't tell")
    assert "1 file of systems and programs passed over" in ran.err
    assert records.count_records(ws.db, function_id) == 0


@pytest.mark.slow
def test_without_json_there_are_lines_to_read(ws: Workspace, function_id: str, picture: Path) -> None:
    ran = explain(ws, picture, picture)
    assert ran.code == 0
    first, second = ran.out.strip().split("\n\n")
    assert first == second
    assert first.startswith(f"{picture}: The function ")
    assert "Find the first published copy" in first
    assert records.count_records(ws.db, function_id) == 0


@pytest.mark.slow
def test_the_grade_decides_the_exit_code(ws: Workspace, picture: Path) -> None:
    [found] = lines(explain(ws, picture, "--json"))
    assert found["grade"] == "moderate"
    assert explain(ws, picture, "--min-grade", "moderate").code == 0
    assert explain(ws, picture, "--min-grade", "strong").code == 3
    missing = picture.parent / "missing.png"
    assert explain(ws, picture, missing, "--min-grade", "strong").code == 1
    with pytest.raises(SystemExit) as wrong:
        explain(ws, picture, "--min-grade", "weak")
    assert wrong.value.code == 2


@pytest.mark.parametrize(
    ("grades", "least", "failed", "code"),
    [
        (["strong", "can't tell", "strong"], "moderate", False, 3),
        (["strong", "moderate"], "moderate", False, 0),
        (["strong", "moderate"], "strong", False, 3),
        (["can't tell"], None, False, 0),
        (["can't tell"], "strong", True, 1),
        ([], "moderate", False, 1),
    ],
)
def test_one_verdict_below_the_grade_is_enough_and_a_failed_file_comes_first(
    grades: list[str], least: str | None, failed: bool, code: int
) -> None:
    assert exit_code(grades, least, failed) == code


def test_a_folder_without_a_picture_does_not_pass_for_a_good_one(ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ran = explain(ws, tmp_path / "empty", "--min-grade", "moderate")
    assert ran.code == 1
    assert "no image to explain" in ran.err


@pytest.mark.slow
def test_keep_keeps_each_verdict_once_under_the_files_own_name(ws: Workspace, function_id: str, picture: Path) -> None:
    [first] = lines(explain(ws, picture, "--json", "--keep"))
    [again] = lines(explain(ws, picture, "--json", "--keep"))
    assert first["record"] == again["record"]
    record = records.get_record(ws.db, function_id, first["record"])
    assert record.door == "command line"
    assert record.thumbnail is not None
    # Where it lay on this machine is nobody's business who gets the report.
    assert str(picture.parent) not in json.dumps(record.to_json())
    assert record.file_name == "seen.png"
    assert records.count_records(ws.db, function_id) == 1


def test_records_are_listed_exported_and_deleted(ws: Workspace, function_id: str, tmp_path: Path) -> None:
    assert "no records" in kept_ones(ws).err
    old, young = kept(ws, function_id), kept(ws, function_id, model_id="f" * 32)
    records.mark_disputed(ws.db, function_id, old.id, "real")
    with ws.db.write() as connection:
        connection.execute(text("UPDATE records SET created_at = created_at - 864000 WHERE id = :id"), {"id": old.id})
    listed = kept_ones(ws).out.splitlines()
    assert [line.split()[0] for line in listed] == [young.id, old.id]
    assert "synthetic (strong)  meadow.jpg  disputed: real" in listed[1]
    found = kept_ones(ws, "--json").json
    assert [item["record"] for item in found["records"]] == [young.id, old.id]
    assert [item["record"] for item in kept_ones(ws, "--older-than", "5", "--json").json["records"]] == [old.id]

    ran = kept_ones(ws, "--export", tmp_path / "out" / "all")
    assert "2 records written" in ran.err
    written = sorted(path.name for path in (tmp_path / "out" / "all").iterdir())
    assert len(written) == 4
    [exported] = (tmp_path / "out" / "all").glob(f"*{old.id}.json")
    assert json.loads(exported.read_text())["disputed"]["labelName"] == "real"

    assert kept_ones(ws, "--delete", "all", "--older-than", "5", "--json").json["deleted"] == 1
    assert kept_ones(ws, "--delete", old.id).code == 1
    assert "1 record deleted." in kept_ones(ws, "--delete", young.id).err
    assert records.count_records(ws.db, function_id) == 0


def test_a_folder_that_cannot_be_written_and_an_age_that_cannot_be_are_said(
    ws: Workspace, function_id: str, tmp_path: Path
) -> None:
    kept(ws, function_id)
    (tmp_path / "file").write_text("x")
    ran = kept_ones(ws, "--export", tmp_path / "file")
    assert ran.code == 1
    assert "cannot be written" in ran.sentence
    assert "expected 0 to" in kept_ones(ws, "--older-than", "-1").sentence
    assert records.count_records(ws.db, function_id) == 1
