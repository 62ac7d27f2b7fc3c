"""The report of an import as a file."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from detector.importing.report import report_csv
from detector.storage import imports
from tests.factories import add_images, empty_function, make_image, workspace


def test_all_lines_are_in_the_file_however_many(tmp_path: Path) -> None:
    """The kind: a list that is cut for display was taken for the whole; 1,234 rejected files were 1,000."""
    ws = workspace(tmp_path)
    function = empty_function(ws)
    add_images(ws, function, [("first.png", make_image(1), "real")])
    rejected = [(f"broken-{number:04}.png", "It is broken.") for number in range(1_234)]
    batch = add_images(ws, function, [("same.png", make_image(1), "real"), ("other.png", make_image(1), "synthetic")])
    imports.add_samples(ws.db, function.id, batch, [], rejected)
    assert imports.batch_counts(ws.db, batch).rejected == 1_234
    assert len(imports.batch_rows(ws.db, batch, ["rejected"])) == 1_000
    assert len(imports.batch_rows(ws.db, batch, ["rejected"], limit=None)) == 1_234
    data = report_csv(ws.db, batch)
    assert data.startswith(b"\xef\xbb\xbf")
    head, *lines = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
    assert head == ["file", "outcome", "reason"]
    assert [line[:2] for line in lines] == [
        *([name, "rejected"] for name, _ in rejected),
        ["same.png", "already there"],
        ["other.png", "other label"],
    ]


def test_no_file_name_is_run_as_a_formula_and_every_name_comes_back(tmp_path: Path) -> None:
    """The kind: names are strangers' text, with formulas, quotes, line breaks and any script."""
    ws = workspace(tmp_path)
    function = empty_function(ws)
    formulas = ["=1+1.png", "@A1.png", "-2.png", "+3.png"]
    others = ['a "b", c.png', "two\nlines.png", "u\u0308.png", "\u56f3.png"]
    names = [*formulas, *others]
    batch = imports.create_batch(ws.db, function.id, "upload", "Test")
    imports.add_samples(ws.db, function.id, batch, [], [(name, f"{name} is damaged.") for name in names])
    _, *lines = csv.reader(io.StringIO(report_csv(ws.db, batch).decode("utf-8-sig"), newline=""))
    assert {line[0] for line in lines} == {*(f"'{name}" for name in formulas), *others}
    assert all(line[2][0] not in "=@-+" for line in lines)
