"""What is taken away of a run: hostile names are text, the table opens in a spreadsheet, the page asks no network."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from detector.evidence import run_report
from detector.evidence.evidence import FIND_THE_FIRST, NOT_ALONE
from detector.evidence.run_report import AS_THEY_ARE, run_csv, run_html
from detector.evidence.runs import read_run
from detector.operations.false_accusations import set_false_accusation_limit
from detector.pipeline.build import build
from detector.storage import invoke_runs
from detector.storage.invoke_runs import RunPicture
from detector.workspace import Workspace
from tests.factories import labelled_function, make_image, workspace
from tests.runs import PICTURES, given, worked_off

pytestmark = pytest.mark.slow

HOSTILE = "<script>alert(1)</script>&\u202e\x1b[31m.png"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, str]]:
    """A judged run with a picture that is a sample, one of a hostile name, and a file that is none."""
    ws = workspace(tmp_path_factory.mktemp("report"))
    function = labelled_function(ws, 40)
    build(ws, function.id)
    set_false_accusation_limit(ws, function.id, 0.2)
    files = {**PICTURES, "=1+1.txt": b"no picture", "known.png": make_image(1), HOSTILE: make_image(810)}
    run_id = given(ws, function.id, files, "<b>title</b>.zip")
    worked_off(ws)
    yield ws, run_id
    ws.close()


class _Reading(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_table_has_a_row_for_each_file_and_nothing_that_a_spreadsheet_would_run(
    made: tuple[Workspace, str],
) -> None:
    ws, run_id = made
    data = run_csv(ws, run_id)
    assert data.startswith(b"\xef\xbb\xbf")
    rows = {row["File"]: row for row in csv.DictReader(io.StringIO(data.decode("utf-8-sig")))}
    run = read_run(ws, run_id)
    assert len(rows) == len(run.pictures)
    bad = rows["'=1+1.txt"]
    assert (bad["Says"], bad["Confidence"]) == ("", "")
    assert "=1+1.txt" in bad["Problem"]
    for picture in run.pictures:
        if picture.scores:
            row = rows[picture.file_name]
            assert (row["Says"], row["Grade"], row["Leaning towards"]) == (
                *(picture.verdict, picture.grade, picture.label),
            )
            assert float(row[picture.label]) == float(row["Confidence"]) == picture.confidence
            assert row["SHA-256"] == picture.sha256
    assert rows["known.png"]["Flags"] == "among your samples"


def test_the_report_is_one_file_that_asks_for_nothing_and_runs_nothing(made: tuple[Workspace, str]) -> None:
    ws, run_id = made
    text = run_html(ws, run_id)
    read = _Reading(text)
    assert AS_THEY_ARE in read.words
    names = [tag for tag, _ in read.tags]
    assert not {"script", "link", "iframe", "object", "a", "form"}.intersection(names)
    [policy] = [attributes for tag, attributes in read.tags if attributes.get("http-equiv")]
    assert policy["content"] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    images = [attributes for tag, attributes in read.tags if tag == "img"]
    assert len(images) == len(PICTURES) + 2
    assert all(str(image["src"]).startswith("data:image/jpeg;base64,") for image in images)
    assert not re.search(r"https?://|@import|url\(", text)


def test_the_report_says_what_there_is_to_say(made: tuple[Workspace, str]) -> None:
    ws, run_id = made
    words = _Reading(run_html(ws, run_id)).words
    run = read_run(ws, run_id)
    assert "<b>title</b>.zip" in words
    assert "<script>alert(1)</script>&" in words
    assert "\u202e" not in words
    assert "\x1b" not in words
    for sentence in (FIND_THE_FIRST, NOT_ALONE, "1 not read", "at most 20 % wrongly labelled", "version 1", run_id):
        assert sentence in words
    for picture in run.pictures:
        if picture.unlike:
            assert picture.unlike in words
    for why, _ in run.reasons():
        assert why in words


def test_a_report_of_very_many_files_leaves_further_pictures_out_and_says_so(
    made: tuple[Workspace, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ws, run_id = made
    monkeypatch.setattr(run_report, "MOST_SHOWN", 3)
    read = _Reading(run_html(ws, run_id))
    assert len([tag for tag, _ in read.tags if tag == "img"]) == 3
    assert f"Of {len(PICTURES) + 3} files the first 3 are shown with their picture." in read.words


def test_a_label_that_is_called_like_a_column_has_one_of_its_own(tmp_path: Path) -> None:
    ws = workspace(tmp_path / "data")
    function = labelled_function(ws, 6, labels=("Says", "Grade"))
    model = build(ws, function.id).model
    assert model is not None
    run_id = invoke_runs.create_run(ws.db, function.id, "x", model.id)
    scores = dict(zip(model.label_ids, (0.25, 0.75), strict=True))
    invoke_runs.add_pictures(ws.db, run_id, [(RunPicture(0, "a.png", "0" * 64, scores), None)])
    [row] = csv.DictReader(io.StringIO(run_csv(ws, run_id).decode("utf-8-sig")))
    assert (row["File"], row["Says"], row["Leaning towards"]) == ("a.png", "can't tell", "Grade")
    assert (float(row["Says (2)"]), float(row["Grade (2)"])) == (0.25, 0.75)
    ws.close()
