"""Labels that can be nobody's: their files are refused with a sentence, and all others come in."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.errors import InvalidInput
from detector.importing.batch import zip_payload
from detector.importing.labelling import LabelPlan, TableChoice
from detector.jobs import IMPORT, request_import
from detector.storage import functions, imports, jobs, samples
from detector.storage.functions import Function
from detector.storage.imports import ImportCounts
from detector.worker.running import run_job
from detector.workspace import Workspace
from tests.factories import empty_function, make_image, stored_batch, workspace, write_zip
from tests.faulty_disk import image_files


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return workspace(tmp_path / "data")


@pytest.fixture
def function(ws: Workspace) -> Function:
    return empty_function(ws)


def _import(ws: Workspace, function: Function, files: dict[str, bytes], plan: LabelPlan) -> str:
    path = write_zip(ws.spool / "ab12.zip", files)
    batch, _ = request_import(ws, function.id, zip_payload(path, plan, "files"), "zip")
    job = jobs.claim(ws.db, (IMPORT,))
    assert job is not None
    run_job(ws, job)
    return batch


@pytest.mark.parametrize("label", ["x" * 5000, "y" * 121, "\N{GRINNING FACE}" * 200, "   ", "can't tell"])
@pytest.mark.parametrize("mode", ["folders", "table"])
def test_a_label_that_cannot_be_used_costs_its_own_files_only(
    ws: Workspace, function: Function, label: str, mode: str
) -> None:
    """Kind: a label folder whose name has 5,000 characters ended a whole import; so did such a cell of a table."""
    good, bad = make_image(1), make_image(2)
    if mode == "folders":
        files = {"real/a.png": good, f"{label}/b.png": bad, "synthetic/c.png": make_image(3)}
        plan = LabelPlan("folders", level=0)
    else:
        files = {"a.png": good, "b.png": bad, "c.png": make_image(3)}
        # As in the table, where a cell of spaces is an empty one; here the mapping of a person gives the name.
        files["labels.csv"] = b"file,label\na.png,real\nb.png,odd\nc.png,synthetic\n"
        plan = LabelPlan("table", table=TableChoice("file", ("labels.csv",), label="label"), mapping={"odd": label})
    batch = _import(ws, function, files, plan)
    assert imports.batch_counts(ws.db, batch) == ImportCounts(imported=2, rejected=1)
    line = imports.batch_rows(ws.db, batch, ["rejected"])[0]
    assert line.file.endswith("b.png")
    assert "its label cannot be used" in line.reason
    assert stored_batch(ws, batch).state == "done"
    assert [item.name for item in functions.list_labels(ws.db, function.id)] == ["real", "synthetic"]
    # Nor do bytes lie there that nobody names.
    assert len(image_files(ws.settings.data_dir / "blobs")) == samples.count_samples(ws.db, function.id) == 2


@pytest.mark.parametrize(("label", "stored"), [("re\x07al x", "re al x"), ("a\x00b", "a b"), ("a\ud800b", "a b")])
def test_control_characters_nul_and_halves_of_characters_become_spaces(
    ws: Workspace, function: Function, label: str, stored: str
) -> None:
    """Kind: as above; half a character, which JSON can say, is nothing that a database stores."""
    batch = _import(ws, function, {"a.png": make_image(1)}, LabelPlan("one", label=label))
    assert imports.batch_counts(ws.db, batch) == ImportCounts(imported=1)
    assert functions.find_label(ws.db, function.id, stored) is not None


def test_one_label_for_all_that_cannot_be_used_is_said_once(ws: Workspace, function: Function) -> None:
    """Kind: as above; here it is every file."""
    with pytest.raises(InvalidInput, match="more than 120"):
        _import(ws, function, {"a.png": make_image(1)}, LabelPlan("one", label="x" * 5000))
    assert samples.count_samples(ws.db, function.id) == 0
    assert image_files(ws.settings.data_dir / "blobs") == set()


def test_files_of_very_long_names_have_a_line_each(ws: Workspace, function: Function) -> None:
    """Kind: as above; a report's lines are found by the file's name, which PostgreSQL cannot index at any length."""
    folder = "f" * 5000
    files = {f"{folder}/{number}/{folder}.txt": b"no picture" for number in range(3)}
    batch = _import(ws, function, files | {"a.png": make_image(1)}, LabelPlan("none"))
    lines = imports.batch_rows(ws.db, batch, ["rejected"])
    assert len({line.file for line in lines}) == 3
    assert all(len(line.file) < 400 for line in lines)
