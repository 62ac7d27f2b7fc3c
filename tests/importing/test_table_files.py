"""Which files the cells of a table mean, as tables of other people name them."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.importing.table_files import FileIndex


def meant(values: list[str], paths: list[str], table_path: str = "") -> dict[str, str]:
    return {value: paths[number] for value, number in FileIndex(paths, table_path).find(values).files.items()}


PATHS = ["real/a.jpg", "real/b.jpg", "fake/a.jpg", "fake/Ümläut 1.png"]


@pytest.mark.parametrize(
    "spelled",
    [
        lambda path: path,
        lambda path: f"./{path}",
        lambda path: f"/{path}",
        lambda path: path.replace("/", "\\"),
        lambda path: f"C:\\Users\\me\\set\\{path}".replace("/", "\\"),
        lambda path: f"/home/me/data/set/{path}",
        lambda path: f"file:///home/me/data/{path}",
        lambda path: f"https://example.org/x/{path}?size=large#top",
        lambda path: f"s3://bucket/{path}",
        lambda path: f"../set/{path}",
        str.upper,
        lambda path: unicodedata.normalize("NFD", path),
        lambda path: path.replace(" ", "%20").replace("Ü", "%C3%9C"),
        lambda path: path.rpartition(".")[0],
        lambda path: f"data\\{path.rpartition('.')[0].upper()}",
    ],
)
@pytest.mark.parametrize("above", ["", "upload/", "upload/set 2/"])
def test_each_spelling_of_a_path_finds_its_file(spelled: object, above: str) -> None:
    paths = [above + path for path in PATHS]
    values = {spelled(path): above + path for path in PATHS}  # type: ignore[operator]
    assert meant(list(values), paths) == values


def test_paths_that_came_percent_encoded_or_without_ending_are_found_too() -> None:
    assert meant(["my photo.jpg", "b.png"], ["x/my%20photo.jpg", "x/b"]) == {
        "my photo.jpg": "x/my%20photo.jpg",
        "b.png": "x/b",
    }


def test_a_path_from_the_tables_own_folder_goes_before_one_from_the_root() -> None:
    paths = ["a.jpg", "train/a.jpg", "test/a.jpg", "images/c.jpg"]
    assert meant(["a.jpg"], paths, "train/metadata.csv") == {"a.jpg": "train/a.jpg"}
    assert meant(["a.jpg"], paths, "labels.csv") == {"a.jpg": "a.jpg"}
    assert meant(["A.JPG"], paths, "test/labels.csv") == {"A.JPG": "test/a.jpg"}
    assert meant(["../images/c.jpg"], paths, "train/labels.csv") == {"../images/c.jpg": "images/c.jpg"}


def test_a_table_among_its_files_says_nothing_of_those_in_other_folders() -> None:
    paths = ["real/1.jpg", "real/2.jpg", "fake/2.jpg", "fake/3.jpg"]
    assert meant(["1.jpg", "2.jpg", "3.jpg"], paths, "real/metadata.csv") == {
        "1.jpg": "real/1.jpg",
        "2.jpg": "real/2.jpg",
    }


def test_a_file_name_that_several_folders_have_means_none_and_is_counted() -> None:
    found = FileIndex(PATHS).find(["a.jpg", "b.jpg", "a"])
    assert found.files == {"b.jpg": 1}
    assert found.ambiguous == {"a.jpg", "a"}


def test_files_that_differ_only_in_case_are_told_apart_where_the_table_does() -> None:
    paths = ["x/A.jpg", "x/a.jpg"]
    assert meant(["x/A.jpg", "x/a.jpg"], paths) == {"x/A.jpg": "x/A.jpg", "x/a.jpg": "x/a.jpg"}
    assert FileIndex(paths).find(["X/A.JPG"]).files == {}


def test_a_file_in_the_root_is_not_mistaken_for_one_of_a_folder() -> None:
    paths = ["a.jpg", "x/a.jpg"]
    values = ["/home/me/a.jpg", "/home/me/x/a.jpg"]
    assert meant(values, paths) == {"/home/me/a.jpg": "a.jpg", "/home/me/x/a.jpg": "x/a.jpg"}
    assert meant(["A.jpg", "X/A.jpg"], paths) == {"A.jpg": "a.jpg", "X/A.jpg": "x/a.jpg"}


def test_the_name_of_another_folder_is_never_taken_for_this_one() -> None:
    """Only real/ was imported, the table lists both: fake/1.jpg must not label real/1.jpg."""
    paths = ["real/1.jpg", "real/2.jpg", "real/3.jpg"]
    assert meant(["real/1.jpg", "real/2.jpg", "fake/1.jpg", "fake/3.jpg"], paths) == {
        "real/1.jpg": "real/1.jpg",
        "real/2.jpg": "real/2.jpg",
    }
    absolute = ["/d/real/1.jpg", "/d/real/2.jpg", "/d/fake/1.jpg", "/d/fake/3.jpg"]
    assert meant(absolute, paths) == {"/d/real/1.jpg": "real/1.jpg", "/d/real/2.jpg": "real/2.jpg"}


def test_files_that_were_moved_are_found_by_names_that_are_each_there_once() -> None:
    paths = ["all/1.jpg", "all/2.jpg", "more/3.jpg"]
    assert meant(["real/1.jpg", "fake/2.jpg", "fake/3.jpg"], paths) == {
        "real/1.jpg": "all/1.jpg",
        "fake/2.jpg": "all/2.jpg",
        "fake/3.jpg": "more/3.jpg",
    }


def test_an_ending_that_is_another_one_is_another_file() -> None:
    assert meant(["a.png"], ["a.jpg"]) == {}
    assert meant(["a"], ["a.jpg", "a.png"]) == {}
    assert meant(["a.jpg.png"], ["a.jpg"]) == {}


def test_nothing_is_found_where_there_is_nothing() -> None:
    assert meant(["", ".", "..", "/", "%", "\x00"], ["a.jpg"]) == {}
    assert meant(["a.jpg"], []) == {}


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text("aA/\\.%2E 1?:é", max_size=8), max_size=8),
    st.lists(st.text("aA/.%2E 1é", min_size=1, max_size=8), max_size=8, unique=True),
    st.sampled_from(["", "a/t.csv", "a/1/t.csv"]),
)
def test_whatever_cells_say_each_means_one_path_or_none(values: list[str], paths: list[str], table: str) -> None:
    found = FileIndex(paths, table).find(values)
    assert set(found.files) | found.ambiguous <= set(values)
    assert not set(found.files) & found.ambiguous
    assert all(0 <= number < len(paths) for number in found.files.values())
    assert all(paths[found.files[value]] == value for value in values if value in paths and not table)


@pytest.mark.slow
def test_many_files_of_one_name_take_time_that_grows_with_their_number() -> None:
    """Every folder has an image.jpg: comparing each row with each of them would take hours."""

    def once(count: int) -> float:
        paths = [f"set/{number}/image.jpg" for number in range(count)]
        values = [f"/home/me/{number}/image.jpg" for number in range(count)]
        start = time.process_time()
        assert len(FileIndex(paths).find(values).files) == count
        return time.process_time() - start

    def seconds(count: int) -> float:
        return min(once(count) for _ in range(3))

    once(500)
    assert seconds(20_000) < 40 * seconds(2_000)
