from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from detector.errors import InvalidInput
from detector.operations.false_accusations import set_false_accusation_limit
from detector.pipeline.build import build, put_back
from detector.serving.invoke import Verdict, invoke
from detector.serving.thresholds import why_never_sure, with_thresholds
from detector.storage import functions, models
from detector.training.model_file import read_model
from detector.training.thresholds import CANT_TELL, Thresholds
from tests.factories import label_ids, labelled_function, make_image, workspace

#: Nine images of another label vouch for a threshold at this share.
GENEROUS = 0.3


def verdicts_of(ws, function, labels=("real", "synthetic")) -> list[Verdict]:
    answers = invoke(ws, function.id, [(f"{label}.png", make_image(500, label)) for label in labels])
    assert all(isinstance(answer, Verdict) for answer in answers)
    return [answer for answer in answers if isinstance(answer, Verdict)]


@pytest.mark.slow
def test_a_change_of_the_limit_changes_the_verdict_without_a_new_model(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = labelled_function(ws, 14)
    first = build(ws, function.id).model
    assert first is not None
    # Fourteen images of each label vouch for no threshold at 2 %.
    assert [answer.verdict for answer in verdicts_of(ws, function)] == [CANT_TELL, CANT_TELL]
    assert [answer.label for answer in verdicts_of(ws, function)] == ["real", "synthetic"]
    assert "149" in Thresholds.from_json(first.thresholds or {}).notes[0]

    set_false_accusation_limit(ws, function.id, GENEROUS)
    answers = verdicts_of(ws, function)
    assert [answer.verdict for answer in answers] == ["real", "synthetic"]
    assert [answer.model_id for answer in answers] == [first.id, first.id]
    assert not build(ws, function.id).trained
    assert len(models.list_models(ws.db, function.id)) == 1

    with pytest.raises(InvalidInput):
        set_false_accusation_limit(ws, function.id, 0.9)
    assert functions.get_function(ws.db, function.id).false_accusation_limit == GENEROUS


@pytest.mark.slow
def test_thresholds_are_stored_with_every_version_and_come_back_with_it(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = labelled_function(ws, 12)
    functions.set_false_accusation_limit(ws.db, function.id, GENEROUS)
    first = build(ws, function.id).model
    functions.set_sweep_settings(ws.db, function.id, {"seed": 1})
    second = build(ws, function.id).model
    assert first is not None
    assert second is not None
    assert read_model(models.model_file(ws.blobs, second.id)).thresholds == (second.thresholds or {})["above"]

    set_false_accusation_limit(ws, function.id, 0.5)
    put_back(ws, function.id, first.id)
    stored = models.get_model(ws.db, first.id).thresholds
    assert stored is not None
    assert stored["tolerated"] == 0.5
    assert [answer.verdict for answer in verdicts_of(ws, function)] == ["real", "synthetic"]


def test_a_model_that_is_not_validated_is_never_sure(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = functions.create_function(ws.db, "Test", backbone_id="efficientnet-lite0")
    from tests.factories import add_images, near_duplicate

    real, synthetic = make_image(0), make_image(0, "synthetic")
    pairs = [("real", real), ("real", near_duplicate(real)), ("synthetic", synthetic)]
    pairs.append(("synthetic", near_duplicate(synthetic)))
    add_images(ws, function, [(f"{index}.png", data, label) for index, (label, data) in enumerate(pairs)])
    functions.set_false_accusation_limit(ws.db, function.id, 0.5)
    model = build(ws, function.id).model
    assert model is not None
    assert model.cross_validation is None
    assert model.thresholds is None
    assert [answer.verdict for answer in verdicts_of(ws, function)] == [CANT_TELL, CANT_TELL]
    # Pages ask at every run: looking at it must not wait for whoever writes.
    with closing(sqlite3.connect(tmp_path / "detector.sqlite")) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert with_thresholds(ws, model).thresholds is None
        assert "not been validated" in why_never_sure(ws, model)


@pytest.mark.slow
def test_when_one_of_three_labels_is_deleted_the_others_keep_thresholds_of_their_own(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = labelled_function(ws, 12, labels=("real", "synthetic", "drawing"))
    functions.set_false_accusation_limit(ws.db, function.id, GENEROUS)
    build(ws, function.id)
    assert {answer.verdict for answer in verdicts_of(ws, function)} <= {"real", "synthetic", CANT_TELL}
    functions.delete_label(ws.db, label_ids(ws, function)["drawing"])
    answers = verdicts_of(ws, function)
    assert [len(answer.scores) for answer in answers] == [2, 2]
    assert [answer.verdict for answer in answers] == ["real", "synthetic"]
