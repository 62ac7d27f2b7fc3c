"""The kind: what ``train`` makes of a set before it begins. A live detector of the wrong thing is the worst answer."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest

from detector.cli.train import add_train_command
from detector.cli.train_plan import plan_of
from detector.errors import InvalidInput
from detector.importing.entries import Entry
from detector.importing.label_tables import read_rows
from detector.importing.labelling import TableChoice, planned_counts
from detector.importing.pending import pending_path
from detector.importing.plan_sentences import plan_sentences
from detector.workspace import Workspace
from tests.factories import workspace, write_zip


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    opened = workspace(tmp_path / "data")
    yield opened
    opened.close()


def files(*folders: str, n: int = 3) -> dict[str, str]:
    """``n`` files in each folder; no plan looks into them."""
    return {f"{folder}/{number}.jpg": "x" for folder in folders for number in range(n)}


def table(head: str, *rows: str) -> str:
    return "\n".join([head, *rows]) + "\n"


def planned(
    ws: Workspace, content: Mapping[str, str], *options: str, known: Sequence[str] = (), archive: bool = False
) -> tuple[dict[tuple[str | None, str], int], str]:
    """What a set's files become, and the sentences said before the work begins."""
    root = ws.settings.data_dir.parent / "set"
    if archive:
        root = write_zip(root.with_suffix(".zip"), {path: text.encode() for path, text in content.items()})
    for path, text in content.items() if not archive else ():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    parser = argparse.ArgumentParser()
    add_train_command(parser.add_subparsers())
    given = parser.parse_args(["train", str(root), *options])
    pending = pending_path(ws, root)
    found = plan_of(ws, pending, known, given)
    rows = found.said.rows if found.said is not None else pending.rows
    return (
        dict(planned_counts(pending.paths, found.plan, rows)),
        " ".join(plan_sentences(pending, found.plan, found.said)),
    )


@pytest.mark.parametrize(
    ("content", "part"),
    [
        # CNNDetection's test set: some generators are divided by category, others not.
        (
            files("biggan/0_real", "biggan/1_fake", "stylegan/car/0_real", "stylegan/car/1_fake"),
            "not for all files on one level",
        ),
        # DiffusionDB and the folders of cameras: names that number the parts of one set.
        (files("part-000001", "part-000002"), "'part-000001' only numbers something"),
        (files("2023-01", "2023-02"), "'2023-01' only numbers something"),
        (files("AI_LD_baroque", "baroque"), "'baroque' is not plain"),
        (files("true", "false"), "'true' does not say to which question"),
    ],
)
def test_folders_that_nobody_may_have_meant_as_labels_are_asked_about(
    content: dict[str, str], part: str, ws: Workspace
) -> None:
    with pytest.raises(InvalidInput, match="the labels are not clear") as refused:
        planned(ws, content)
    assert part in str(refused.value)


@pytest.mark.parametrize("values", [("True", "False"), ("1.0", "0.0"), ("yes", "no"), ("-1", "1"), ("N", "Y")])
def test_values_that_only_answer_their_columns_question_are_asked_about(values: tuple[str, str], ws: Workspace) -> None:
    rows = [f"{n}.jpg,{values[n % 2]}" for n in range(6)]
    content = {**{f"{n}.jpg": "x" for n in range(6)}, "list.csv": table("file,is_ai", *rows)}
    with pytest.raises(InvalidInput, match="Say what it means") as refused:
        planned(ws, content, "--labels", "list.csv")
    # As the sentence has it, "-1" included, which begins like an option.
    sign = "=" if values[0].startswith("-") else " "
    assert f"--map{sign}'{values[0]}=real' or --map{sign}'{values[0]}=synthetic'" in str(refused.value)
    chosen = (f"--map={values[0]}=synthetic", f"--map={values[1]}=real")
    counts, _ = planned(ws, content, "--labels", "list.csv", *chosen)
    assert counts == {("synthetic", "train"): 3, ("real", "train"): 3}


@pytest.mark.parametrize("folders", [("cat", "dog"), ("cat photos", "dog photos"), ("ai_cats", "ai_dogs")])
def test_sets_of_another_kind_need_no_option(folders: tuple[str, str], ws: Workspace) -> None:
    assert {label for label, _ in planned(ws, files(*folders))[0]} == set(folders)


@pytest.mark.parametrize("name", ["metadata.csv", "labels.csv"])
def test_a_table_of_labels_beside_folders_of_scenes_is_a_question(name: str, ws: Workspace) -> None:
    """A table that says real or fake lay there, and the detector told beaches from cities."""
    content = files("beach", "city")
    rows = [f"{path},{('real', 'fake')[at % 2]}" for at, path in enumerate(content)]
    content[name] = table("file_name,label", *rows)
    with pytest.raises(InvalidInput, match=f"--labels '{name}'.*--label-level 1"):
        planned(ws, content)
    assert set(planned(ws, content, "--labels", name)[0]) == {("real", "train"), ("synthetic", "train")}
    assert {label for label, _ in planned(ws, content, "--label-level", "1")[0]} == {"beach", "city"}
    with pytest.raises(InvalidInput, match="Give one of them"):
        planned(ws, content, "--label-level", "1", "--labels", name)


@pytest.mark.parametrize("column", ["license", "text"])
def test_a_column_that_is_no_label_is_not_taken_for_one_without_a_word(column: str, ws: Workspace) -> None:
    content = {f"{n}.jpg": "x" for n in range(6)}
    content["metadata.csv"] = table(f"file_name,{column}", *(f"{n}.jpg,{'ab'[n % 2]}" for n in range(6)))
    with pytest.raises(InvalidInput, match="it was seen and not read"):
        planned(ws, content)


def test_columns_are_named_in_any_case_and_no_column_is_both_file_and_label(ws: Workspace) -> None:
    content = {f"{n}.jpg": "x" for n in range(4)}
    content["list.csv"] = table("File,Kind", *(f"{n}.jpg,{('real', 'fake')[n % 2]}" for n in range(4)))
    counts, _ = planned(ws, content, "--labels", "list.csv", "--columns", "file=file,label=KIND")
    assert counts == {("real", "train"): 2, ("synthetic", "train"): 2}
    with pytest.raises(InvalidInput, match="cannot be their label too"):
        planned(ws, content, "--labels", "list.csv", "--columns", "label=file")


def test_the_sentences_say_what_gets_no_label_and_which_tables_are_not_read(ws: Workspace) -> None:
    loose = {**files("real", "fake", "No Label"), "a.jpg": "x", "b.jpg": "x", "notes/readme.txt": "x"}
    counts, said = planned(ws, loose)
    assert "No Label -> without a label (3)" in said
    assert "2 more files come in without a label" in said
    assert "notes" not in said
    assert counts[None, "train"] == 5


def test_beside_the_table_that_is_read_others_are_mentioned(ws: Workspace) -> None:
    content = files("train", "test", n=4)
    for part, head in (("train", "file_name,label"), ("test", "file_name,label,extra")):
        rows = [f"{n}.jpg,{('real', 'fake')[n % 2]}{',x' if part == 'test' else ''}" for n in range(4)]
        content[f"{part}/metadata.csv"] = table(head, *rows)
    _, said = planned(ws, content)
    assert "4 more files come in without a label: the table gives them none." in said
    assert "metadata.csv lists 4 of these files" in said


def test_splits_taken_for_folders_are_counted_as_levels(ws: Workspace) -> None:
    """The level was counted without them and then applied with them: labels were test and train."""
    content = files("train/real", "train/fake", "test/real", "test/fake")
    both = {("real", "train"): 6, ("synthetic", "train"): 6}
    assert planned(ws, content, "--splits", "folders")[0] == both
    assert planned(ws, content, "--splits", "folders", "--label-level", "2")[0] == both
    said = planned(ws, content, "--splits", "folders", "--label-level", "2", "--source-level", "1")[1]
    assert "Sources from folder level 1: test (6), train (6)." in said
    assert {label for label, _ in planned(ws, content, "--splits", "folders", "--label-level", "1")[0]} == {
        "test",
        "train",
    }


def test_a_limit_leaves_enough_to_train_on_or_nothing_is_put_aside(ws: Workspace) -> None:
    content = files("train/real", "train/fake", "test/real", "test/fake", n=6)
    assert set(planned(ws, content, "--at-most", "2")[0].values()) == {2}
    assert {split for _, split in planned(ws, content, "--at-most", "1")[0]} == {"train"}
    assert {split for _, split in planned(ws, content, "--at-most", "11")[0]} == {"train", "test"}


def test_map_takes_known_spellings_and_refuses_slips(ws: Workspace) -> None:
    usual = ("real", "synthetic")
    content = files("real", "a=b", "sub/deep")
    leave = ("--map", "sub=")
    for known in ((), usual):
        counts, _ = planned(ws, content, *leave, "--map", "A=B=Synthetic", known=known)
        assert counts == {("real", "train"): 3, ("synthetic", "train"): 3}
        with pytest.raises(InvalidInput, match="Did you mean synthetic"):
            planned(ws, content, *leave, "--map", "a=b=syntetic", known=known)
    with pytest.raises(InvalidInput, match="two labels"):
        planned(ws, content, *leave, "--map", "a=b=real", "--map", "a=b=synthetic")
    with pytest.raises(InvalidInput, match="labels come from folder level 1"):
        planned(ws, content, *leave, "--map", "a=b=synthetic", "--map", "deep=real")
    with pytest.raises(InvalidInput, match="leaves out every file"):
        planned(ws, content, *leave, "--map", "a=b=", "--map", "real=")


def test_a_name_that_no_label_can_have_is_refused_before_anything_is_imported(ws: Workspace) -> None:
    for known in ((), ("real", "synthetic")):
        with pytest.raises(InvalidInput, match="5000 characters"):
            planned(ws, files("a" * 5000, "real"), "--map", f"{'a' * 5000}={'a' * 5000}", known=known, archive=True)


def test_numbers_are_no_sources(ws: Workspace) -> None:
    assert "Sources" not in planned(ws, files("real/00", "real/01", "fake/00", "fake/01"))[1]
    assert "Sources" not in planned(ws, files("real/part-1", "real/part-2", "fake/part-1", "fake/part-2"))[1]
    assert "Sources" in planned(ws, files("real/coco", "fake/sd15"))[1]


@pytest.mark.parametrize("name", ["fakeV2", "fake-v2", "AIGenerated", "AIArt"])
def test_versions_and_capitals_in_a_name_do_not_hide_what_it_means(name: str, ws: Workspace) -> None:
    assert set(planned(ws, files("real", name))[0]) == {("real", "train"), ("synthetic", "train")}


def test_a_file_to_which_two_tables_give_different_labels_gets_none() -> None:
    """The kind: tables of one name in several folders that disagree. The last one was believed without a word."""
    found = {f"{n}.jpg": b"x" for n in range(3)} | {
        "a/labels.csv": b"file,label\n0.jpg,real\n1.jpg,real\n",
        "b/labels.csv": b"file,label\n1.jpg,synthetic\n2.jpg,synthetic\n",
    }
    entries = [Entry(path, len(data), partial(bytes, data)) for path, data in found.items()]
    said = read_rows(entries, TableChoice("file", ("a/labels.csv", "b/labels.csv"), label="label"))
    assert {path: row.label for path, row in said.rows.items()} == {
        "0.jpg": "real",
        "1.jpg": None,
        "2.jpg": "synthetic",
    }
    assert said.contradictions == ("1.jpg",)
