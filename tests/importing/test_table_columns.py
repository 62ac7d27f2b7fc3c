"""What the columns of a table mean, and what its rows say of the files."""

from __future__ import annotations

import random

import pytest

from detector.errors import InvalidInput
from detector.importing.table_columns import Columns, Matched, Row, combine, guess_columns, match
from detector.importing.tables import LabelTable, read_table

PATHS = [f"images/{number:03d}.jpg" for number in range(30)]


def table_of(columns: list[str], *cells: list[str]) -> LabelTable:
    return LabelTable("labels.csv", tuple(columns), tuple(zip(*cells, strict=True)))


def pattern(*values: str) -> list[str]:
    return [values[number % len(values)] for number in range(len(PATHS))]


NAMES = [path.rpartition("/")[2] for path in PATHS]
NUMBERS = [str(number) for number in range(len(PATHS))]
SCORES = [f"0.{number}7" for number in range(len(PATHS))]


@pytest.mark.parametrize("file", ["file_name", "image", "path", "filename", "id", "main_file_name", "Bilddatei", "x"])
@pytest.mark.parametrize("label", ["label", "Label", "class", "is_ai", "isFake", "ground-truth", "Kategorie", "target"])
def test_columns_go_by_what_is_in_them_and_by_their_names(file: str, label: str) -> None:
    table = table_of(
        ["row", label, file, "score", "Generator", "split"],
        NUMBERS, pattern("1", "0"), NAMES, SCORES, pattern("sd", "mj", "real"), pattern("train", "test"),
    )  # fmt: skip
    assert guess_columns(table, PATHS) == Columns(file, label, "Generator", "split")


def test_the_only_column_with_a_few_values_is_the_label_and_no_split_or_size() -> None:
    table = table_of(
        ["column 1", "column 2", "column 3", "width"],
        PATHS, pattern("val", "train"), pattern("ja", "nein"), pattern("512", "1024"),
    )  # fmt: skip
    assert guess_columns(table, PATHS) == Columns("column 1", "column 3", None, "column 2")
    two = table_of(["file", "smile", "hat"], PATHS, pattern("1", "0"), pattern("1", "0", "0"))
    assert guess_columns(two, PATHS) == Columns("file")


def test_a_named_column_that_holds_something_else_is_not_taken() -> None:
    table = table_of(
        ["file", "subset", "set", "source", "y", "label"],
        PATHS, pattern("CelebA", "FFHQ"), pattern("0", "1"), [f"https://x/{n}" for n in NUMBERS], SCORES,
        pattern("real", "fake"),
    )  # fmt: skip
    assert guess_columns(table, PATHS) == Columns("file", "label", None, "set")
    without_splits = table_of(["file", "set", "label"], PATHS, pattern("CelebA", "FFHQ"), pattern("real", "fake"))
    assert guess_columns(without_splits, PATHS) == Columns("file", "label")


def test_a_column_of_numbers_is_not_mistaken_for_files_of_these_numbers() -> None:
    paths = [f"{number}.jpg" for number in range(30)]
    table = table_of(["index", "label", "name"], NUMBERS, pattern("0", "1"), paths)
    assert guess_columns(table, paths) == Columns("name", "label")
    by_number = table_of(["label", "id"], pattern("0", "1"), NUMBERS)
    assert guess_columns(by_number, paths) == Columns("id", "label")


def test_the_column_that_tells_files_of_one_name_apart_is_taken() -> None:
    paths = [f"{kind}/{number}.jpg" for kind in ("real", "fake") for number in range(10)]
    table = table_of(["filename", "where"], [path.split("/")[1] for path in paths], [f"/d/{path}" for path in paths])
    assert guess_columns(table, paths) == Columns("where")


def test_a_table_about_something_else_is_not_guessed() -> None:
    assert guess_columns(table_of(["name", "score"], NUMBERS, SCORES), ["a.jpg", "b.jpg"]) is None
    assert guess_columns(table_of(["name"], ["a.jpg", "x.jpg", "y.jpg"]), ["a.jpg", "b.jpg", "c.jpg"]) is None
    assert guess_columns(table_of(["name"], ["a.jpg"]), []) is None


@pytest.mark.parametrize("seed", [0, 1])
def test_a_table_may_list_many_more_files_than_were_imported_or_fewer(seed: int) -> None:
    names = [f"{number:05d}.jpg" for number in range(20_000)]
    random.Random(seed).shuffle(names)
    values = [str(number % 2) for number in range(20_000)]
    paths = [f"x/{name}" for name in names[777:780]]
    assert guess_columns(table_of(["label", "file"], values, names), paths) == Columns("file", "label")
    few = table_of(["file", "label"], PATHS[:3], ["a", "b", "a"])
    assert guess_columns(few, PATHS) == Columns("file", "label")


def test_columns_travel_as_json() -> None:
    columns = Columns("file", "label", None, "split")
    assert Columns.from_json(columns.to_json()) == columns
    for wrong in ({}, {"file": None}, {"file": "a", "label": 3}, {"file": "a", "other": "b"}):
        with pytest.raises(InvalidInput) as caught:
            Columns.from_json(wrong)
        assert "cannot be read" in str(caught.value)


def test_each_file_gets_what_its_row_says() -> None:
    table = read_table(
        b"file,label,model,split\nb.jpg,fake,sd,test\na.jpg,real,,train\nz.jpg,fake,sd,test\nx/c.jpg,,mj,\n,real,,\n",
        "l.csv",
    )
    paths = ["images/a.jpg", "images/b.jpg", "images/x/c.jpg", "images/d.jpg"]
    columns = Columns("file", "label", "model", "split")
    assert match(table, columns, paths) == Matched(
        {
            "images/b.jpg": Row("fake", "sd", "test"),
            "images/a.jpg": Row("real", None, "train"),
            "images/x/c.jpg": Row(None, "mj", None),
        },
        unmatched_rows=2,
        unlisted_files=1,
        contradictions=(),
    )
    only_labels = match(table, Columns("file", "label"), paths)
    assert only_labels.rows["images/b.jpg"] == Row("fake", None, None)


@pytest.mark.parametrize("again", ["a.jpg", "./a.jpg", "A.JPG", "a"])
def test_a_file_with_two_labels_gets_none_and_is_named(again: str) -> None:
    table = table_of(
        ["file", "label", "source"],
        ["a.jpg", again, "b.jpg", "b.jpg", "c.jpg", "c.jpg"],
        ["real", "fake", "Real", "real", "", "fake"],
        ["s", "s", "s", "t", "", "u"],
    )
    matched = match(table, Columns("file", "label", "source"), ["images/a.jpg", "images/b.jpg", "images/c.jpg"])
    assert matched.rows["images/a.jpg"] == Row(None, "s", None)
    assert matched.contradictions == ("images/a.jpg",)
    assert matched.rows["images/b.jpg"] == Row("Real", None, None)
    assert matched.rows["images/c.jpg"] == Row("fake", "u", None)


def test_contradictions_are_listed_in_order() -> None:
    table = table_of(["f", "l"], ["b.jpg", "a.jpg", "a.jpg", "b.jpg"], ["x", "y", "x", "y"])
    matched = match(table, Columns("f", "l"), ["a.jpg", "b.jpg"])
    assert matched.contradictions == ("a.jpg", "b.jpg")
    assert (matched.unmatched_rows, matched.unlisted_files) == (0, 0)


def test_several_tables_say_what_they_say_together() -> None:
    paths = ["train/0.png", "train/1.png", "test/0.png", "test/1.png"]
    tables = {
        "train/metadata.csv": table_of(["file_name", "label"], ["0.png", "1.png"], ["real", "fake"]),
        "test/metadata.csv": table_of(["file_name", "label"], ["0.png", "9.png"], ["fake", "real"]),
        "all.csv": table_of(["file_name", "source"], ["train/0.png"], ["sd"]),
    }
    columns = {"all.csv": Columns("file_name", None, "source")}
    parts = [match(table, columns.get(at, Columns("file_name", "label")), paths, at) for at, table in tables.items()]
    assert combine(parts, paths) == Matched(
        {
            "train/0.png": Row("real", "sd", None),
            "train/1.png": Row("fake", None, None),
            "test/0.png": Row("fake", None, None),
        },
        unmatched_rows=1,
        unlisted_files=1,
        contradictions=(),
    )
    other = Matched({"train/0.png": Row("fake", None, None)}, 0, 3, ())
    against = combine([*parts, other], paths)
    assert against.contradictions == ("train/0.png",)
    assert against.rows["train/0.png"] == Row(None, "sd", None)


def test_rows_whose_name_fits_several_files_are_counted() -> None:
    table = table_of(["f", "l"], ["a.jpg", "b.jpg", "c.jpg"], ["x", "y", "z"])
    matched = match(table, Columns("f", "l"), ["1/a.jpg", "2/a.jpg", "1/b.jpg"])
    assert set(matched.rows) == {"1/b.jpg"}
    assert (matched.unmatched_rows, matched.ambiguous_rows, matched.unlisted_files) == (2, 1, 2)


def test_a_label_with_line_ends_becomes_one_line() -> None:
    table = table_of(["f", "l"], ["a.jpg"], ["not\n\treal\x07 "])
    assert match(table, Columns("f", "l"), ["a.jpg"]).rows["a.jpg"].label == "not real"


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(InvalidInput) as caught:
        match(table_of(["f"], ["a.jpg"]), Columns("f", "label"), ["a.jpg"])
    assert "labels.csv has no column 'label'" in str(caught.value)


def test_metadata_of_hugging_face_lies_in_the_folder_of_its_split() -> None:
    paths = ["train/0.png", "train/1.png", "test/0.png"]
    table = read_table(b'{"file_name": "0.png", "label": 1}\n{"file_name": "1.png", "label": 0}\n', "metadata.jsonl")
    columns = guess_columns(table, paths, "train/metadata.jsonl")
    assert columns == Columns("file_name", "label")
    matched = match(table, columns, paths, "train/metadata.jsonl")
    assert {path: row.label for path, row in matched.rows.items()} == {"train/0.png": "1", "train/1.png": "0"}
    assert matched.unlisted_files == 1
