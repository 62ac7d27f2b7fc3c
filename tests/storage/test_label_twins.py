"""Labels of one name in two spellings: they stay as they are stored, until somebody merges them."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select, update

from detector.errors import InvalidInput, NotFound
from detector.gallery.detail import sample_detail
from detector.jobs import request_retraining
from detector.pipeline.build import build
from detector.serving.invoke import invoke
from detector.storage import annotating, functions, imports, jobs, models, predictions, samples, trash
from detector.storage.functions import Function, list_labels
from detector.storage.label_twins import merge_labels, spelling_note, twins_among
from detector.storage.predictions import PredictionRow
from detector.storage.schema import functions as table
from detector.storage.schema import labels
from detector.worker.running import run_pending
from detector.workspace import Workspace
from tests.factories import add_images, empty_function, images, label_ids, labelled_function, make_image, workspace

NFC, NFD = "k\u00fcnstlich", "ku\u0308nstlich"


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return workspace(tmp_path / "data")


def with_twins(ws: Workspace, per_label: int = 3, first: str = NFC, second: str = NFD) -> Function:
    """A function as older versions left it: ``real``, and one name stored in two spellings."""
    function = labelled_function(ws, per_label, labels=["real", first, "placeholder"])
    with ws.db.write() as connection:
        connection.execute(
            update(labels).where(labels.c.id == label_ids(ws, function)["placeholder"]).values(name=second)
        )
    return function


@pytest.mark.slow
@pytest.mark.parametrize("second", [NFD, "K\u00dcNSTLICH", "KU\u0308NSTLICH"])
def test_stored_twins_open_train_and_stay_two_until_they_are_merged(tmp_path: Path, second: str) -> None:
    """The kind: labels stored before names were compared. No opening of the data folder may break or merge them."""
    with_twins(first := workspace(tmp_path / "data"), 6, second=second)
    first.close()
    ws = workspace(tmp_path / "data")
    [line] = functions.list_functions(ws.db)
    function_id = line.function.id
    model = build(ws, function_id).model
    assert model is not None
    assert sorted(model.label_names) == sorted(["real", NFC, second])
    [verdict] = invoke(ws, function_id, [("image.png", make_image(99))])
    assert not isinstance(verdict, Exception)
    assert {score.label for score in verdict.scores} == {"real", NFC, second}
    [(older, younger)] = twins_among(list_labels(ws.db, function_id))
    assert (older.name, younger.name) == (NFC, second)
    # Each is still found by its own spelling, and any other spelling means the older one.
    found = functions.ensure_labels(ws.db, function_id, [NFC, second, "K\u00fcNSTLICH"])
    assert (found[NFC], found[second], found["K\u00fcNSTLICH"]) == (older.id, younger.id, older.id)

    assert merge_labels(ws.db, younger.id, older.id) == 6
    request_retraining(ws, function_id)
    result = run_pending(ws, function_id)
    assert result is not None
    assert result.model is not None
    assert sorted(result.model.label_names) == sorted(["real", NFC])
    assert twins_among(list_labels(ws.db, function_id)) == []
    counts = samples.count_by(ws.db, function_id)
    assert counts.by_label == {older.id: 12, found["real"]: 6}
    assert counts.predicted == 18
    assert models.get_model(ws.db, model.id).label_names == model.label_names


def test_twins_are_told_by_name_and_listed_in_their_order(ws: Workspace) -> None:
    function = with_twins(ws)
    ids = label_ids(ws, function)
    [pair] = twins_among(list_labels(ws.db, function.id))
    assert [label.id for label in pair] == [ids[NFC], ids[NFD]]
    names = ["a", "b", "\u0131", "i", "real", "\uff52\uff45\uff41\uff4c"]
    assert twins_among(list_labels(ws.db, empty_function(ws, labels=names).id)) == []
    assert (spelling_note(NFC), spelling_note("K\u00dcNSTLICH"), bool(spelling_note(NFD))) == ("", "", True)


def test_a_merge_moves_every_sample_with_a_line_in_its_history(ws: Workspace) -> None:
    """Also those of the locked test set and the bin; each keeps when and by whom it was labelled."""
    function = with_twins(ws)
    ids = label_ids(ws, function)
    before = {row.id: row for row in samples.find_samples(ws.db, function.id)}
    moving = [key for key, row in before.items() if row.label_id == ids[NFD]]
    annotating.annotate(ws.db, moving[2:], None)
    annotating.annotate(ws.db, moving[2:], ids[NFD], by="api")
    samples.set_split(ws.db, function.id, moving[:1], "test")
    trash.delete_samples(ws.db, function.id, moving[1:2])
    given = annotating.history(ws.db, moving[2])
    revision = functions_revision(ws, function)
    assert merge_labels(ws.db, ids[NFD], ids[NFC]) == 3
    assert functions_revision(ws, function) > revision
    trash.restore_samples(ws.db, function.id, moving[1:2])
    after = {row.id: row for row in samples.find_samples(ws.db, function.id)}
    assert {after[key].label_id for key in moving} == {ids[NFC]}
    assert after[moving[0]].split == "test"
    assert (after[moving[0]].annotated_at, after[moving[0]].annotated_by) == (before[moving[0]].annotated_at, "import")
    assert after[moving[2]].annotated_by == "api"
    newest, *older = annotating.history(ws.db, moving[2])
    assert (newest.label_id, newest.previous_label_id, newest.by) == (ids[NFC], ids[NFD], "merge")
    assert older == given
    assert (
        sample_detail(ws, moving[2])
        .history[0]
        .endswith(f"{NFC}, by merging two labels (was a label that was deleted since)")
    )
    # The others are as they were, and have no new line.
    for key in set(before) - set(moving):
        assert after[key] == before[key]
        assert len(annotating.history(ws.db, key)) == 1
    with pytest.raises(NotFound):
        functions.get_label(ws.db, ids[NFD])


def functions_revision(ws: Workspace, function: Function) -> int:
    with ws.db.read() as connection:
        return int(connection.execute(select(table.c.sample_revision).where(table.c.id == function.id)).scalar_one())


def test_a_merge_counts_as_newer_labels_and_is_no_change_that_undo_takes_back(ws: Workspace) -> None:
    """An undo after it is of what a person did before, and leaves merged samples what they have."""
    function = with_twins(ws)
    ids = label_ids(ws, function)
    rows = samples.find_samples(ws.db, function.id)
    reals = [row.id for row in rows if row.label_id == ids["real"]]
    annotating.annotate(ws.db, reals[:1], ids[NFD])
    moment = annotating.moment_between(ws.db)
    merge_labels(ws.db, ids[NFD], ids[NFC])
    assert len(annotating.changed_since(ws.db, moment)) == 4
    undone = annotating.undo_last(ws.db, function.id)
    assert undone is not None
    assert undone.changed == 0
    assert not annotating.can_undo(ws.db, function.id)
    assert samples.count_by(ws.db, function.id).by_label == {ids["real"]: 2, ids[NFC]: 7}


def test_what_was_said_of_the_vanished_label_goes_and_agreement_is_told_anew(ws: Workspace) -> None:
    function = with_twins(ws)
    ids = label_ids(ws, function)
    rows = [row for row in samples.find_samples(ws.db, function.id) if row.label_id == ids[NFD]]
    says = dict(zip((row.id for row in rows), (ids[NFC], ids[NFD], ids["real"]), strict=True))
    predictions.write_predictions(
        ws.db,
        function.id,
        "model",
        [PredictionRow(key, label_id, 0.9, 0.8, True, b"") for key, label_id in says.items()],
    )
    merge_labels(ws.db, ids[NFD], ids[NFC])
    after = {row.id: row for row in samples.find_samples(ws.db, function.id)}
    agree, gone, differ = (after[key] for key in says)
    assert (agree.agrees, agree.predicted_label_id) == (True, ids[NFC])
    assert (gone.agrees, gone.predicted_label_id, gone.confidence, gone.predicted_by) == (None, None, None, None)
    assert (differ.agrees, differ.predicted_label_id) == (False, ids["real"])


def test_a_description_of_the_vanished_label_is_kept_where_the_other_has_none(ws: Workspace) -> None:
    function = with_twins(ws, 1)
    ids = label_ids(ws, function)
    functions.rename_label(ws.db, ids[NFC], None, "Stays")
    functions.rename_label(ws.db, ids[NFD], None, "Goes", {"colour": "red"})
    merge_labels(ws.db, ids[NFD], ids[NFC])
    kept = functions.get_label(ws.db, ids[NFC])
    assert (kept.name, kept.description, kept.metadata) == (NFC, "Stays", {"colour": "red"})


def test_what_cannot_be_merged_is_said_and_left_alone(ws: Workspace) -> None:
    function, other = with_twins(ws, 1), empty_function(ws, "Other")
    ids = label_ids(ws, function)
    with pytest.raises(InvalidInput):
        merge_labels(ws.db, ids[NFC], ids[NFC])
    with pytest.raises(InvalidInput):
        merge_labels(ws.db, label_ids(ws, other)["real"], ids["real"])
    for pair in ((ids[NFC], "none"), ("none", ids[NFC])):
        with pytest.raises(NotFound):
            merge_labels(ws.db, *pair)
    # A running import has its labels by id: what it brings for one that vanished would come without a label.
    jobs.enqueue(ws.db, function.id, "import", {"from": "folder"})
    claimed = jobs.claim(ws.db, ("import",))
    with pytest.raises(InvalidInput, match="import"):
        merge_labels(ws.db, ids[NFD], ids[NFC])
    assert label_ids(ws, function) == ids
    assert claimed is not None
    jobs.finish(ws.db, claimed.id, "done")
    assert merge_labels(ws.db, ids[NFD], ids[NFC]) == 1


def test_an_import_that_names_a_label_in_another_spelling_makes_no_second_one(ws: Workspace) -> None:
    """The kind: an archive packed on macOS names its folders in NFD; the very label became two."""
    function = empty_function(ws, labels=["real", NFC])
    ids = label_ids(ws, function)
    add_images(ws, function, [(f"{n}.png", data, (NFD, "REAL")[n % 2]) for n, (_, data, _) in enumerate(images(2))])
    assert label_ids(ws, function) == ids
    assert samples.count_by(ws.db, function.id).by_label == {ids[NFC]: 2, ids["real"]: 2}
    # And the same files under the other spelling are no conflict of labels.
    batch = add_images(ws, function, [("again.png", images(2)[0][1], NFC)])
    assert imports.batch_counts(ws.db, batch).conflict == 0
