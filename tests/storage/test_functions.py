"""Functions and labels as rows."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unicodedata import normalize

import pytest

from detector.errors import Conflict, InvalidInput, NotFound
from detector.storage import annotating, functions, predictions, samples, trash
from detector.storage.predictions import PredictionRow
from detector.workspace import Workspace
from tests.factories import empty_function, label_ids, labelled_function, workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


def test_a_new_function_has_its_labels_in_the_order_given(ws: Workspace) -> None:
    function = empty_function(ws, "  My   detector ", ["b", "a", "c"])
    assert function.name == "My   detector"
    assert [label.name for label in functions.list_labels(ws.db, function.id)] == ["b", "a", "c"]
    assert functions.get_function(ws.db, function.id) == function
    assert function.live_model_id is None


@pytest.mark.parametrize("name", ["", "   ", "\n\t\x00", "\u200b\u2060", "\u3164", "\u00a0 \ufe0f", "x" * 121])
def test_a_name_of_no_or_too_many_characters_is_refused(ws: Workspace, name: str) -> None:
    with pytest.raises(InvalidInput):
        empty_function(ws, name)
    assert functions.list_functions(ws.db) == []


@pytest.mark.parametrize("second", [" real ", "Real", "re\u200bal", "REAL\u00a0"])
def test_the_same_label_twice_is_refused(ws: Workspace, second: str) -> None:
    """The kind: two labels that an eye cannot tell apart would be trained against each other."""
    with pytest.raises(InvalidInput):
        empty_function(ws, "Test", ["real", second])
    function = empty_function(ws)
    with pytest.raises(Conflict):
        functions.create_label(ws.db, function.id, second)
    assert functions.ensure_labels(ws.db, function.id, [second])[second] == label_ids(ws, function)["real"]
    with pytest.raises(Conflict):
        functions.rename_label(ws.db, label_ids(ws, function)["synthetic"], second)
    assert [label.name for label in functions.list_labels(ws.db, function.id)] == ["real", "synthetic"]


@pytest.mark.parametrize("name", ["can't tell", "Can\u2019t  tell", "CAN'T TELL\u200b", "\u202ecan't tell"])
def test_no_label_is_called_like_the_verdict_that_is_none(ws: Workspace, name: str) -> None:
    """The kind: a name that means something else on the pages, where both were counted as one."""
    function = empty_function(ws)
    with pytest.raises(InvalidInput, match="No label can be called"):
        empty_function(ws, "Test", ["real", name])
    with pytest.raises(InvalidInput):
        functions.create_label(ws.db, function.id, name)
    with pytest.raises(InvalidInput):
        functions.ensure_labels(ws.db, function.id, [name])
    with pytest.raises(InvalidInput):
        functions.rename_label(ws.db, label_ids(ws, function)["synthetic"], name)
    assert [label.name for label in functions.list_labels(ws.db, function.id)] == ["real", "synthetic"]


@pytest.mark.parametrize("turning", [*"\u202a\u202b\u202d\u202e\u2066\u2067\u2068"])
def test_no_name_turns_the_sentence_around_it(ws: Workspace, turning: str) -> None:
    """The kind: a character of a name that changes what stands after it. Letters of other scripts need none."""
    function = empty_function(ws, f"{turning}Cats\u202c", [f"re{turning}al", "\u05d0\u05de\u05d9\u05ea\u05d9"])
    assert functions.get_function(ws.db, function.id).name == "Cats"
    assert list(label_ids(ws, function)) == ["real", "\u05d0\u05de\u05d9\u05ea\u05d9"]
    functions.rename_function(ws.db, function.id, f"Dogs{turning}")
    assert functions.get_function(ws.db, function.id).name == "Dogs"
    with pytest.raises(InvalidInput):
        functions.rename_function(ws.db, function.id, turning)


def test_more_labels_than_are_possible_make_no_function(ws: Workspace) -> None:
    with pytest.raises(InvalidInput):
        empty_function(ws, "Test", [f"label {n}" for n in range(functions.MAX_LABELS + 1)])
    assert functions.list_functions(ws.db) == []


def test_equal_names_are_numbered_in_the_order_of_their_making(ws: Workspace) -> None:
    """The kind: what a person chooses by its name was any of those that have it."""
    made = [empty_function(ws, name) for name in ("Cats", "Cats (2)", "Cats", "Dogs", "Cats\u200b", "CATS", "Cats ")]
    shown = functions.shown_names(ws.db)
    assert [shown[function.id] for function in made] == [
        *("Cats", "Cats (2)", "Cats (3)", "Dogs", "Cats\u200b (4)", "CATS", "Cats (5)")
    ]
    assert {item.function.id: item.shown for item in functions.list_functions(ws.db)} == shown
    functions.rename_function(ws.db, made[0].id, "Dogs")
    assert [functions.shown_names(ws.db)[function.id] for function in made[:4]] == [
        *("Dogs", "Cats (2)", "Cats", "Dogs (2)")
    ]


def test_a_function_is_found_by_id_before_name_and_a_name_of_several_is_none(ws: Workspace) -> None:
    """The kind: of two functions with one name the newest was taken without a word."""
    first, second = empty_function(ws, "Same"), empty_function(ws, "Same")
    named_like_an_id = empty_function(ws, first.id)
    with pytest.raises(InvalidInput, match=f"{first.id}.*{second.id}"):
        functions.find_function(ws.db, "Same")
    assert functions.find_function(ws.db, "Same (2)").id == second.id
    assert functions.find_function(ws.db, first.id).id == first.id
    assert functions.find_function(ws.db, named_like_an_id.id).name == first.id
    with pytest.raises(NotFound):
        functions.find_function(ws.db, "Other")


def test_renaming_trims_and_misses_what_is_not_there(ws: Workspace) -> None:
    function = empty_function(ws)
    functions.rename_function(ws.db, function.id, " New  name ")
    assert functions.get_function(ws.db, function.id).name == "New  name"
    with pytest.raises(NotFound):
        functions.rename_function(ws.db, "none", "New name")


def test_another_backbone_has_its_precision_measured_anew(ws: Workspace) -> None:
    function = empty_function(ws)
    functions.set_precision(ws.db, function.id, "bfloat16")
    functions.set_backbone(ws.db, function.id, "other", "because")
    changed = functions.get_function(ws.db, function.id)
    assert (changed.backbone_id, changed.backbone_reason, changed.precision) == ("other", "because", None)


def test_the_list_counts_samples_and_annotations_but_not_deleted_ones(ws: Workspace) -> None:
    function = labelled_function(ws, 3)
    ids = [sample.id for sample in samples.find_samples(ws.db, function.id)]
    annotating.annotate(ws.db, ids[:1], None)
    trash.delete_samples(ws.db, function.id, ids[1:2])
    [line] = functions.list_functions(ws.db)
    assert (line.sample_count, line.annotated_count, line.model_version, line.accuracy) == (5, 4, None, None)
    assert not line.busy


def test_deleting_a_function_deletes_its_rows_and_no_other_functions(ws: Workspace) -> None:
    kept, gone = labelled_function(ws, 2, "Kept"), labelled_function(ws, 2, "Gone")
    functions.delete_function(ws.db, gone.id)
    assert [line.function.id for line in functions.list_functions(ws.db)] == [kept.id]
    assert samples.count_samples(ws.db, gone.id) == 0
    assert samples.count_samples(ws.db, kept.id) == 4
    assert functions.list_labels(ws.db, gone.id) == []
    assert functions.find_live(ws.db, gone.id) is None
    with pytest.raises(NotFound):
        functions.delete_function(ws.db, gone.id)


def test_a_label_of_the_same_name_is_a_conflict_that_names_the_other(ws: Workspace) -> None:
    function = empty_function(ws)
    ids = label_ids(ws, function)
    with pytest.raises(Conflict) as made:
        functions.create_label(ws.db, function.id, " real ")
    assert made.value.existing_id == ids["real"]
    with pytest.raises(Conflict) as renamed:
        functions.rename_label(ws.db, ids["synthetic"], "real")
    assert renamed.value.existing_id == ids["real"]
    assert functions.create_label(ws.db, function.id, "drawn", "By hand", {"a": 1}).metadata == {"a": 1}


#: One name in two spellings each: case, and an accented letter as one character (NFC) or two (NFD).
ONE_NAME = (
    ("real", "REAL"),
    ("k\u00fcnstlich", "ku\u0308nstlich"),
    ("k\u00fcnstlich", "KU\u0308NSTLICH"),
    ("Stra\u00dfe", "STRASSE"),
    ("\u03b5\u03b9\u03ba\u03cc\u03bd\u03b1\u03c2", "\u0395\u0399\u039a\u039f\u0301\u039d\u0391\u03a3"),
    ("\uff52\uff45\uff41\uff4c", "\uff32\uff25\uff21\uff2c"),
)
#: Two names: the Turkish dotless i is another letter, and full-width letters are others too, as NFKC is not applied.
TWO_NAMES = (("\u0131s\u0131", "isi"), ("ISI", "\u0131s\u0131"), ("real", "\uff52\uff45\uff41\uff4c"), ("a", "\u00e4"))


@pytest.mark.parametrize(("first", "second"), [pair for one in ONE_NAME for pair in (one, one[::-1])])
def test_one_name_in_two_spellings_is_one_label_however_it_comes(ws: Workspace, first: str, second: str) -> None:
    """The kind: the same label in two Unicode forms, or cases, became two labels trained against each other."""
    with pytest.raises(InvalidInput) as twice:
        empty_function(ws, labels=[first, second])
    assert str(twice.value).endswith("Give each label a name of its own.")

    function = empty_function(ws, labels=[first, "other"])
    ids = label_ids(ws, function)
    stored = normalize("NFC", first)
    assert list(ids) == [stored, "other"]
    with pytest.raises(Conflict) as made:
        functions.create_label(ws.db, function.id, f" {second} ")
    assert made.value.existing_id == ids[stored]
    with pytest.raises(Conflict) as renamed:
        functions.rename_label(ws.db, ids["other"], second)
    assert renamed.value.existing_id == ids[stored]
    found = functions.ensure_labels(ws.db, function.id, [second, f"{second} ", first])
    assert {found[second], found[f"{second} "], found[first]} == {ids[stored]}
    by_name = functions.find_label(ws.db, function.id, second)
    assert by_name is not None
    assert by_name.id == ids[stored]
    assert label_ids(ws, function) == ids


@pytest.mark.parametrize(("first", "second"), TWO_NAMES)
def test_letters_that_only_look_alike_make_two_names(ws: Workspace, first: str, second: str) -> None:
    function = empty_function(ws, labels=[first, second])
    assert list(label_ids(ws, function)) == [first, second]
    with pytest.raises(Conflict):
        functions.rename_label(ws.db, label_ids(ws, function)[second], first)


def test_names_that_come_together_in_two_spellings_make_one_label(ws: Workspace) -> None:
    """The kind: the folders of one archive, one packed on macOS (NFD)."""
    function = empty_function(ws, labels=[])
    found = functions.ensure_labels(ws.db, function.id, ["ku\u0308nstlich", "K\u00dcNSTLICH", "k\u00fcnstlich"])
    [label] = functions.list_labels(ws.db, function.id)
    assert label.name == "k\u00fcnstlich"
    assert set(found.values()) == {label.id}


def test_a_label_may_be_given_another_spelling_of_its_own_name(ws: Workspace) -> None:
    function = empty_function(ws, labels=["real", "k\u00fcnstlich"])
    ids = label_ids(ws, function)
    assert functions.rename_label(ws.db, ids["real"], "Real").name == "Real"
    assert functions.rename_label(ws.db, ids["k\u00fcnstlich"], "KU\u0308NSTLICH").name == "K\u00dcNSTLICH"
    assert functions.rename_label(ws.db, ids["real"], None, "Photographs").name == "Real"


def test_of_one_name_made_by_eight_threads_at_once_one_label_comes(tmp_path: Path) -> None:
    """The kind: whether a name is taken must be decided in the transaction that takes it.

    The threads share two workspaces, as a server and a command line do.
    """
    places = [workspace(tmp_path / "data"), workspace(tmp_path / "data")]
    function = empty_function(places[0], labels=[])
    spellings = ["k\u00fcnstlich", "ku\u0308nstlich", "K\u00dcNSTLICH", "KU\u0308NSTLICH"]
    start = threading.Barrier(8)

    def make(number: int) -> str:
        place, name = places[number % 2], spellings[number // 2]
        start.wait()
        if number % 4 < 2:
            return functions.ensure_labels(place.db, function.id, [name])[name]
        try:
            return functions.create_label(place.db, function.id, name).id
        except Conflict as error:
            return error.existing_id

    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(make, range(8)))
    [label] = functions.list_labels(places[0].db, function.id)
    assert set(made) == {label.id}
    assert label.name in {normalize("NFC", name) for name in spellings}


def test_of_renamings_to_one_name_at_once_one_wins(tmp_path: Path) -> None:
    places = [workspace(tmp_path / "data"), workspace(tmp_path / "data")]
    names = [f"label {number}" for number in range(8)]
    ids = label_ids(places[0], function := empty_function(places[0], labels=names))
    start = threading.Barrier(8)

    def rename(number: int) -> bool:
        start.wait()
        try:
            functions.rename_label(places[number % 2].db, ids[names[number]], ("Real", "REAL")[number % 2])
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(rename, range(8)))
    assert sum(won) == 1
    assert sum(name.casefold() == "real" for name in label_ids(places[0], function)) == 1


def test_renaming_a_label_keeps_its_description_unless_given(ws: Workspace) -> None:
    function = empty_function(ws, labels=[])
    label = functions.create_label(ws.db, function.id, "a", "first", {"x": 1})
    assert functions.rename_label(ws.db, label.id, "b").description == "first"
    assert functions.rename_label(ws.db, label.id, "b", "second").metadata == {"x": 1}


def test_missing_labels_are_made_once_and_known_ones_kept(ws: Workspace) -> None:
    function = empty_function(ws)
    before = label_ids(ws, function)
    found = functions.ensure_labels(ws.db, function.id, ["other", "real", "other"])
    assert {name: found[name] for name in before} == before
    assert functions.ensure_labels(ws.db, function.id, ["other"]) == found


def test_a_folder_name_with_odd_spaces_finds_its_trimmed_label(ws: Workspace) -> None:
    """An import looks its labels up by the folder's own name; "my  class " used to end in a KeyError."""
    function = empty_function(ws)
    found = functions.ensure_labels(ws.db, function.id, ["my  class "])
    assert found["my  class "] == found["my  class"]


def test_hundreds_of_labels_are_a_mistake_in_choosing_folders(ws: Workspace) -> None:
    function = empty_function(ws)
    with pytest.raises(InvalidInput) as caught:
        functions.ensure_labels(ws.db, function.id, [f"person {n}" for n in range(functions.MAX_LABELS)])
    assert "folder level" in str(caught.value)
    assert len(label_ids(ws, function)) == 2


def test_deleting_a_label_unlabels_its_samples_and_takes_its_predictions_away(ws: Workspace) -> None:
    function = labelled_function(ws, 2)
    ids = label_ids(ws, function)
    rows = samples.find_samples(ws.db, function.id)
    predictions.write_predictions(
        ws.db,
        function.id,
        "model",
        [PredictionRow(row.id, ids["synthetic"], 0.9, 0.8, True, b"") for row in rows[:3]]
        + [PredictionRow(rows[3].id, ids["real"], 0.7, 0.4, True, b"")],
    )
    functions.delete_label(ws.db, ids["synthetic"])
    after = {row.id: row for row in samples.find_samples(ws.db, function.id)}
    for row in rows:
        now = after[row.id]
        if row.label_id == ids["synthetic"]:
            assert (now.label_id, now.annotated_at, now.annotated_by, now.agrees) == (None, None, None, None)
        else:
            assert (now.label_id, now.annotated_at) == (row.label_id, row.annotated_at)
    for row in rows[:3]:
        now = after[row.id]
        assert (now.predicted_label_id, now.confidence, now.agrees, now.out_of_fold, now.predicted_by) == (None,) * 5
    assert after[rows[3].id].confidence == 0.7
    with pytest.raises(NotFound):
        functions.delete_label(ws.db, ids["synthetic"])
