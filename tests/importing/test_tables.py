"""Tables of labels in the dialects, encodings and shapes in which they come."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.errors import InvalidInput
from detector.importing import tables
from detector.importing.tables import LabelTable, is_hugging_face_metadata, looks_like_table, read_table

HEADER = ("file", "label")
ROWS = (("real/a.jpg", "real"), ("fake/b, 2.png", "fake"))


def written(rows: tuple[tuple[str, ...], ...], delimiter: str = ",", end: str = "\r\n", **options: object) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, lineterminator=end, **options).writerows(rows)  # type: ignore[arg-type]
    return out.getvalue()


def refused(data: bytes, name: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        read_table(data, name)
    return str(caught.value)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_each_dialect_gives_the_same_table(delimiter: str, end: str, quoting: int) -> None:
    text = written((HEADER, *ROWS), delimiter, end, quoting=quoting)
    table = read_table(text.encode(), "labels.csv")
    assert (table.name, table.columns, table.rows) == ("labels.csv", HEADER, ROWS)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_umlauts_arrive_in_each_encoding_that_programs_save(encoding: str) -> None:
    text = "Datei;Label\r\nübung.jpg;für echt – ja\r\n"
    table = read_table(text.encode(encoding), "labels.csv")
    assert table.columns == ("Datei", "Label")
    assert table.rows == (("übung.jpg", "für echt – ja"),)


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_a_byte_order_mark_of_either_order_is_understood(codec: str) -> None:
    data = "\ufefffile,label\na.jpg,real\n".encode(codec)
    assert read_table(data, "a.csv").rows == (("a.jpg", "real"),)


@pytest.mark.parametrize(
    ("text", "columns", "first"),
    [
        ("a.jpg,real\nb.jpg,fake\n", ("column 1", "column 2"), ("a.jpg", "real")),
        ("real,x/a.jpg\nfake,y/b.jpg\n", ("column 1", "column 2"), ("real", "x/a.jpg")),
        ("0001,real\n0002,fake\n", ("column 1", "column 2"), ("0001", "real")),
        ("one,real\ntwo,fake\nthree,real\n", ("column 1", "column 2"), ("one", "real")),
        ("img_001\nimg_002\n", ("column 1",), ("img_001",)),
        ("a.jpg\nb.jpg\n", ("column 1",), ("a.jpg",)),
        (",file,label\n0,a.jpg,real\n1,b.jpg,fake\n", ("column 1", "file", "label"), ("0", "a.jpg", "real")),
        (",0,1\n0,a.jpg,real\n1,b.jpg,fake\n", ("column 1", "0", "1"), ("0", "a.jpg", "real")),
        ("datei,art\na.jpg,echt\n", ("datei", "art"), ("a.jpg", "echt")),
    ],
)
def test_a_line_of_names_is_told_from_the_first_image(text: str, columns: tuple[str, ...], first: object) -> None:
    table = read_table(text.encode(), "a.csv")
    assert table.columns == columns
    assert table.rows[0] == first


def test_names_of_rows_that_r_writes_without_a_name_do_not_shift_the_columns() -> None:
    table = read_table(b'"file","label"\n"1","a.jpg","real"\n"2","b.jpg","fake"\n', "r.csv")
    assert table.columns == ("column 1", "file", "label")
    assert table.rows[0] == ("1", "a.jpg", "real")


@pytest.mark.parametrize("header", ["file,label", "file,label,"])
def test_a_comma_at_the_end_of_each_line_makes_no_column(header: str) -> None:
    assert read_table(f"{header}\na.jpg,real,\nb.jpg,fake,\n".encode(), "a.csv").columns == HEADER


def test_rows_that_are_too_short_or_long_and_empty_lines_do_no_harm() -> None:
    table = read_table(b"file,label,source\na.jpg\n\n,,\nb.jpg,fake,x,y,z\n  \nc.jpg,real,s\n", "a.csv")
    assert table.columns == ("file", "label", "source")
    assert table.rows == (("a.jpg", "", ""), ("b.jpg", "fake", "x"), ("c.jpg", "real", "s"))


def test_names_of_columns_come_once_each_and_all_can_be_chosen() -> None:
    table = read_table(b"label,file,label,,label (2)\nreal,a.jpg,1,x,y\n", "a.csv")
    assert table.columns == ("label", "file", "label (2)", "column 4", "label (2) (2)")
    assert table.index("label (2)") == 2
    with pytest.raises(InvalidInput) as caught:
        table.index("klass")
    assert "a.csv has no column 'klass'" in str(caught.value)


def test_a_repeated_line_of_names_is_no_row() -> None:
    assert len(read_table(b"file,label\na.jpg,real\nfile,label\nb.jpg,fake\n", "a.csv").rows) == 2


def test_a_cell_may_hold_line_ends_quotation_marks_and_spaces() -> None:
    table = read_table(b'file, "label", text\n"a.jpg", real , "one\ntwo ""three"""\nb.jpg,fake,x\n', "a.csv")
    assert table.rows == (("a.jpg", "real", 'one\ntwo "three"'), ("b.jpg", "fake", "x"))


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("score;file\n0,5;a.jpg\n0,7;b.jpg\n", ("0,5", "a.jpg")),
        ("0,5;a.jpg\n0,7;b.jpg\n", ("0,5", "a.jpg")),
        ("file\tprompt\na, b.jpg\tone, two, three\nc.jpg\tone\n", ("a, b.jpg", "one, two, three")),
        ("a, b.jpg\treal\nc, d.jpg\tfake\n", ("a, b.jpg", "real")),
        ("file,prompt\na.jpg,x; y; z\nb.jpg,x; y; z\n", ("a.jpg", "x; y; z")),
        ("sep=;\nfile;label,text\na.jpg;x,y\n", ("a.jpg", "x,y")),
    ],
)
def test_what_separates_the_cells_is_told_by_how_alike_the_rows_come_out(text: str, row: tuple[str, ...]) -> None:
    """csv.Sniffer takes commas in numbers, prompts and file names for what separates the cells."""
    assert read_table(text.encode(), "a.csv").rows[0] == row


def test_a_quotation_mark_that_is_never_closed_is_named_and_swallows_no_rows() -> None:
    text = 'file,label\n"a.jpg",real\n"b.jpg,fake\n' + "c.jpg,real\n" * 5
    sentence = refused(text.encode(), "labels.csv")
    assert sentence.startswith("labels.csv cannot be read from line 3 on")
    assert "quotation marks" in sentence


def test_a_table_without_quoting_may_hold_quotation_marks() -> None:
    table = read_table(b'file\tprompt\na.jpg\t"Hello\nb.jpg\t6" pipe\n', "a.tsv")
    assert table.rows == (("a.jpg", '"Hello'), ("b.jpg", '6" pipe'))


JSON_ROWS = [
    {"file_name": "a.jpg", "label": True, "n": 1, "score": 1.0, "meta": {"model": "sd", "size": {"w": 0.5}}},
    {"file_name": "b.jpg", "label": False, "n": None, "tags": ["x", "y"], "meta": {}},
]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", "\n".join(map(json.dumps, JSON_ROWS))),
        ("a.ndjson", "\ufeff\n" + "\r\n\r\n".join(map(json.dumps, JSON_ROWS)) + "\r\n"),
        ("a.json", json.dumps(JSON_ROWS)),
        ("a.json", json.dumps(JSON_ROWS, indent=2)),
        ("a.jsonl", json.dumps(JSON_ROWS)),
        ("labels", json.dumps(JSON_ROWS)),
    ],
)
def test_json_lines_and_lists_become_columns_of_text(name: str, text: str) -> None:
    table = read_table(text.encode(), name)
    assert table.columns == ("file_name", "label", "n", "score", "meta.model", "meta.size.w", "tags", "meta")
    assert table.rows == (
        ("a.jpg", "true", "1", "1", "sd", "0.5", "", ""),
        ("b.jpg", "false", "", "", "", "", '["x", "y"]', ""),
    )


@pytest.mark.parametrize(
    "content",
    [
        {"a.jpg": "real", "b.jpg": "fake"},
        {"a.jpg": {"label": "real"}, "b.jpg": {"label": "fake"}},
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_names_of_files_may_be_the_keys_of_an_object(content: object, indent: int | None) -> None:
    table = read_table(json.dumps(content, indent=indent).encode(), "labels.json")
    assert table.columns == HEADER
    assert table.rows == (("a.jpg", "real"), ("b.jpg", "fake"))


@pytest.mark.parametrize(
    ("data", "name", "said"),
    [
        (b"", "a.csv", "a.csv is empty"),
        (b"\n \n", "a.csv", "a.csv is empty"),
        ("\ufeff".encode(), "a.jsonl", "a.jsonl is empty"),
        (b"[]", "a.json", "a.json is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a.csv", "a.csv is not a table of text"),
        (b'{"a": 1}\n{"a": }\n', "a.jsonl", "line 2 is not a JSON object"),
        (b'{"a": 1}\n[1]\n', "a.jsonl", "line 2 is not a JSON object"),
        (b'[{"a": 1}, 5]', "a.json", "object 2"),
        (b'[{"a": 1}, {"a"', "a.json", "object 2"),
        (b'[{"a": 1}', "a.json", "not closed after object 1"),
        (b"[" * 100_000, "a.json", "object 1"),
        (b'{"a":' * 100_000, "a.jsonl", "line 1"),
        (",".join(f"c{n}x" for n in range(201)).encode() + b"\n", "a.csv", "more than 200 columns"),
        (json.dumps({f"c{n}": n for n in range(201)}).encode(), "a.jsonl", "more than 200 columns"),
        (b"file,label\n" + b'a.jpg,"' + b"x" * 200_000 + b'"\n', "a.csv", "from line 2 on"),
        (b"file,label\n" + b"a.jpg,x\n" * 3 + b"," * 5_000_000, "a.csv", "line 5 is longer"),
    ],
)
def test_what_is_no_table_is_refused_in_a_sentence_that_names_it(data: bytes, name: str, said: str) -> None:
    sentence = refused(data, name)
    assert sentence.startswith(name)
    assert said in sentence


@pytest.mark.parametrize("text", ["f,l\na.jpg,1\nb.jpg,0\nc.jpg,1\n", '{"f": 1}\n{"f": 2}\n{"f": 3}\n'])
def test_more_rows_or_cells_than_allowed_are_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    name = "a.csv" if text.startswith("f") else "a.jsonl"
    with monkeypatch.context() as bounds:
        bounds.setattr(tables, "MAX_ROWS", 2)
        assert "more than 2 rows" in refused(text.encode(), name)
    with monkeypatch.context() as bounds:
        bounds.setattr(tables, "MAX_CELLS", 2)
        assert "more than 2 cells" in refused(text.encode(), name)
    with monkeypatch.context() as bounds:
        bounds.setattr(tables, "MAX_TABLE_BYTES", 10)
        assert f"{name} has" in refused(text.encode(), name)


def test_a_lone_surrogate_of_json_can_be_stored_as_text() -> None:
    table = read_table(b'{"file": "a.jpg", "l\\udfff": "x\\ud800y"}', "a.jsonl")
    assert table.rows == (("a.jpg", "x\N{REPLACEMENT CHARACTER}y"),)
    assert "".join(table.columns).encode()


@pytest.mark.parametrize(
    ("path", "is_table", "is_metadata"),
    [
        ("labels.CSV", True, False),
        ("x/metadata.csv", True, True),
        ("x\\Metadata.jsonl", True, True),
        ("train/metadata.parquet", False, True),
        ("a.tsv", True, False),
        ("a.ndjson", True, False),
        ("labels.json", True, False),
        ("0001.json", False, False),
        ("csv", False, False),
        ("a.csv/b.jpg", False, False),
        ("my_metadata.csv", True, False),
    ],
)
def test_tables_are_known_by_their_names(path: str, is_table: bool, is_metadata: bool) -> None:
    assert looks_like_table(path) is is_table
    assert is_hugging_face_metadata(path) is is_metadata


def checked(data: bytes, name: str) -> None:
    table = LabelTable(name, (), ())
    with contextlib.suppress(InvalidInput):
        table = read_table(data, name)
    assert len(set(table.columns)) == len(table.columns)
    assert all(len(row) == len(table.columns) for row in table.rows)
    "".join(cell for row in table.rows for cell in row).encode()


names = st.sampled_from(["a.csv", "a.tsv", "a.jsonl", "a.json", "a.txt"])


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), names)
def test_any_bytes_give_a_table_or_a_sentence(data: bytes, name: str) -> None:
    checked(data, name)


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from('{}[]:",;\t|\r\n\\ud8 a.jpg1Ä\ufeff'), max_size=80), names)
def test_any_text_made_of_what_tables_are_made_of_gives_a_table_or_a_sentence(text: str, name: str) -> None:
    checked(text.encode("utf-8", "replace"), name)


words = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(words, words, words), min_size=1, max_size=8), st.sampled_from(",;\t"))
def test_what_is_written_is_read_again(rows: list[tuple[str, str, str]], delimiter: str) -> None:
    named = tuple((f"{number}{first}.jpg", second, third) for number, (first, second, third) in enumerate(rows))
    text = written((("file", "label", "source"), *named), delimiter, quoting=csv.QUOTE_ALL)
    assert read_table(text.encode(), "a.csv").rows == named


def test_a_large_table_is_read_in_time_that_grows_with_its_size() -> None:
    def seconds(count: int) -> float:
        data = "file,label\n" + "".join(f"{n:07d}.jpg,{n % 2}\n" for n in range(count))
        start = time.process_time()
        assert len(read_table(data.encode(), "a.csv").rows) == count
        return time.process_time() - start

    seconds(1_000)
    assert seconds(80_000) < 40 * seconds(8_000)
