"""A detector adapted to a place: better there, honest about it, kept, and undone to the last digit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from detector.errors import AdaptingMakesWorse, InvalidInput, NotAnImage, NotTwoLabels, TooFewPictures
from detector.evaluation.measure import measure
from detector.operations import recentring
from detector.operations.labels import delete_label, rename_label
from detector.pipeline.build import build, predict_all, put_back
from detector.serving.invoke import Verdict, invoke, rejudge
from detector.storage import functions, models, samples
from detector.storage.functions import Function
from detector.storage.models import ModelRow
from detector.training.thresholds import CANT_TELL, MODERATE, STRONG
from detector.workspace import Workspace
from tests.databases import names_database
from tests.factories import (
    LABELS,
    add_images,
    add_images_of_sources,
    empty_function,
    labelled_function,
    make_image,
    near_duplicate,
    try_unseen,
    workspace,
)
from tests.operations.another_place import picture, pictures

pytestmark = [
    pytest.mark.slow,
    names_database("about what a model says; tests/operations/test_every_write.py has its operations on both"),
]

#: Twelve images of a label vouch for a threshold at this share.
LIMIT = 0.3


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, Function]]:
    ws = workspace(tmp_path_factory.mktemp("adapting"))
    function = labelled_function(ws, 12, "Adapted")
    functions.set_false_accusation_limit(ws.db, function.id, LIMIT)
    assert build(ws, function.id).trained
    yield ws, function
    ws.close()


@pytest.fixture
def place(made: tuple[Workspace, Function]) -> Iterator[tuple[Workspace, Function]]:
    """The function, as it was trained when a test begins and when it ends."""
    yield made
    recentring.undo(made[0], made[1].id)


def adapted(ws: Workspace, function: Function, each: int = 12) -> recentring.Trial:
    trial = recentring.try_on(ws, function.id, pictures(each))
    recentring.adapt(ws, trial)
    return trial


def asked(ws: Workspace, function: Function, model_id: str | None = None) -> list[Verdict]:
    """Of six pictures of each label from that place, none of which it is adapted to."""
    files = [(f"{label}.png", picture(seed, label)) for label in LABELS for seed in range(700, 706)]
    found = invoke(ws, function.id, files, model_id)
    return [item for item in found if isinstance(item, Verdict)]


def right(answers: list[Verdict]) -> int:
    return sum(item.label == item.name.removesuffix(".png") for item in answers)


def live(ws: Workspace, function: Function) -> ModelRow:
    model_id = functions.get_function(ws.db, function.id).live_model_id
    assert model_id is not None
    return models.get_model(ws.db, model_id)


def without_time(answers: list[Verdict]) -> list[Verdict]:
    return [replace(item, seconds=0.0) for item in answers]


def test_pictures_of_a_place_make_it_right_there_and_their_counts_say_so(place: tuple[Workspace, Function]) -> None:
    ws, function = place
    assert right(asked(ws, function)) == 6
    trial = recentring.try_on(ws, function.id, pictures())
    assert live(ws, function).recentring is None
    real, synthetic = trial.checked
    assert synthetic.sentence == "Of your 12 synthetic pictures 12 were called real, now 0."
    assert (real.right, real.n) == ((12, 12), 12)
    assert trial.accuracy == (0.5, 1.0)
    assert trial.refused == ()
    recentring.adapt(ws, trial)
    assert right(asked(ws, function)) == 12


def test_undoing_it_gives_exactly_what_was_said_before(place: tuple[Workspace, Function]) -> None:
    ws, function = place
    before, row = asked(ws, function), live(ws, function)
    adapted(ws, function)
    assert asked(ws, function) != before
    assert recentring.undo(ws, function.id)
    assert without_time(asked(ws, function)) == without_time(before)
    assert live(ws, function) == row
    assert not recentring.undo(ws, function.id)


def test_a_verdict_is_moderate_at_most_and_says_how_little_so_few_pictures_show(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = empty_function(ws)
    add_images_of_sources(ws, function, 22, [f"{{label}} {number}" for number in range(3)])
    functions.set_false_accusation_limit(ws.db, function.id, 0.2)
    build(ws, function.id)
    try_unseen(ws, function)
    known = [(f"{label}-{n}.png", make_image(900 + n, label)) for label in LABELS for n in range(6)]
    assert STRONG in {item.grade for item in invoke(ws, function.id, known) if isinstance(item, Verdict)}
    given = {label: [(f"{label}-{n}", partial(make_image, 600 + n, label)) for n in range(12)] for label in LABELS}
    trial = recentring.try_on(ws, function.id, given)
    recentring.adapt(ws, trial)
    found = [item for item in invoke(ws, function.id, known) if isinstance(item, Verdict)]
    sure = [item for item in found if item.sure]
    assert sure
    assert {item.grade for item in sure} == {MODERATE}
    for item in sure:
        other = next(checked for checked in trial.checked if checked.label != item.label)
        assert item.reason == f"Adapted to 24 pictures of yours, and so moderate at most. {other.support}"
        assert "So few pictures only show that at most 22 % of all such pictures get it." in item.reason
    ws.close()


def test_a_label_that_the_pictures_speak_against_is_not_said_any_more(place: tuple[Workspace, Function]) -> None:
    """Thresholds stay where they are and are checked: two in three real pictures here are as striped as can be."""
    ws, function = place
    given = pictures()
    given["real"] = [*given["real"][:4], *((f"{n}.png", partial(make_image, 800 + n, "synthetic")) for n in range(8))]
    given["synthetic"] = [(f"s{n}.png", partial(make_image, 820 + n, "synthetic")) for n in range(12)]
    trial = recentring.try_on(ws, function.id, given)
    recentring.adapt(ws, trial)
    answers = invoke(ws, function.id, [(f"{n}.png", make_image(850 + n, "synthetic")) for n in range(6)])
    found = [item for item in answers if isinstance(item, Verdict) and item.label == "synthetic"]
    assert trial.checked[0].refuted
    assert found
    assert {item.verdict for item in found} == {CANT_TELL}
    assert {item.reason for item in found} == {
        f"Adapted to 24 pictures of yours, and so moderate at most. {trial.checked[0].support}"
    }


def test_what_is_stored_of_samples_stays_as_it_was_trained(place: tuple[Workspace, Function]) -> None:
    ws, function = place
    add_images(ws, function, [("unlabelled.png", picture(990, "synthetic"), None)])
    build(ws, function.id)

    def stored() -> list[tuple[str | None, float | None]]:
        found = samples.find_samples(ws.db, function.id, limit=100)
        return [(item.predicted_label_id, item.confidence) for item in sorted(found, key=lambda item: item.id)]

    before = stored()
    assert all(confidence is not None for _, confidence in before)
    validation, thresholds = live(ws, function).cross_validation, live(ws, function).thresholds
    adapted(ws, function)
    predict_all(ws, function.id)
    assert stored() == before
    assert (live(ws, function).cross_validation, live(ws, function).thresholds) == (validation, thresholds)


def test_samples_near_duplicates_and_what_is_given_twice_count_for_nothing(place: tuple[Workspace, Function]) -> None:
    ws, function = place
    given = pictures()
    again, twice, both = picture(501, "real"), picture(502, "real"), picture(555, "synthetic")
    given["real"] += [
        ("sample.png", partial(make_image, 3)),
        ("nearly a sample.png", lambda: near_duplicate(make_image(4))),
        ("again.png", lambda: again),
        ("nearly again.png", lambda: near_duplicate(twice)),
        ("both.png", lambda: both),
        ("no image.png", lambda: b"words"),
    ]
    given["synthetic"] += [("both too.png", lambda: both)]
    trial = recentring.try_on(ws, function.id, given)
    assert trial.recentring.counts == (12, 12)
    assert trial.recentring.offset == recentring.try_on(ws, function.id, pictures()).recentring.offset
    said = {error.name: str(error) for error in trial.refused}
    assert said.keys() == {
        *("sample.png", "nearly a sample.png", "again.png", "nearly again.png", "both.png", "both too.png"),
        "no image.png",
    }
    assert said["sample.png"].startswith("sample.png is a sample of this function already")
    assert said["nearly a sample.png"].startswith("nearly a sample.png is nearly the same as a sample")
    assert said["again.png"] == "again.png is the same picture as real-501.png, or nearly; it counts once."
    assert (
        said["nearly again.png"] == "nearly again.png is the same picture as real-502.png, or nearly; it counts once."
    )
    for name in ("both.png", "both too.png"):
        assert said[name].startswith(f"{name} was given as real and as synthetic, itself or nearly.")
    assert any(isinstance(error, NotAnImage) for error in trial.refused)


def test_nine_pictures_of_a_label_are_too_few_however_many_were_given(place: tuple[Workspace, Function]) -> None:
    ws, function = place
    given = pictures(12)
    given["synthetic"] = given["synthetic"][:9] * 3
    with pytest.raises(TooFewPictures) as caught:
        recentring.try_on(ws, function.id, given)
    assert str(caught.value).startswith(
        "There are 12 real and 9 synthetic pictures after 18 were left out; it takes 10"
    )
    assert len(caught.value.refused) == 18
    with pytest.raises(TooFewPictures):
        recentring.try_on(ws, function.id, {"real": given["real"]})


def test_labels_are_known_in_any_spelling_and_others_are_refused(place: tuple[Workspace, Function]) -> None:
    ws, function = place
    given = pictures()
    spelled = recentring.try_on(ws, function.id, {"REAL": given["real"], "Synthetic": given["synthetic"]})
    assert spelled.recentring.counts == (12, 12)
    with pytest.raises(InvalidInput) as caught:
        recentring.try_on(ws, function.id, {**given, "drawing": []})
    assert "Expected pictures of real and synthetic; found 'drawing'." in str(caught.value)
    with pytest.raises(InvalidInput) as caught:
        recentring.try_on(ws, function.id, {**given, "real": given["real"] * 50})
    assert "There are 600 pictures of real; adapting takes at most 500 of each label." in str(caught.value)


def test_where_it_makes_things_worse_nothing_is_changed(place: tuple[Workspace, Function]) -> None:
    ws, function = place
    trial = recentring.try_on(ws, function.id, pictures())
    real, synthetic = trial.checked
    worse = replace(trial, checked=(replace(real, right=(12, 3)), replace(synthetic, right=(6, 12))))
    assert not worse.helps
    with pytest.raises(AdaptingMakesWorse) as caught:
        recentring.adapt(ws, worse)
    assert "Of your 12 real pictures 0 were called synthetic, now 9." in str(caught.value)
    assert live(ws, function).recentring is None


def test_three_labels_are_refused_with_a_sentence(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = labelled_function(ws, 4, "Three", (*LABELS, "drawing"))
    build(ws, function.id)
    with pytest.raises(NotTwoLabels) as caught:
        recentring.try_on(ws, function.id, pictures())
    assert str(caught.value).startswith("This function tells 3 labels apart.")
    # With one of them deleted there are two, of a model that still knows three.
    [gone] = [label for label in functions.list_labels(ws.db, function.id) if label.name == "drawing"]
    delete_label(ws, gone)
    with pytest.raises(NotTwoLabels):
        recentring.try_on(ws, function.id, pictures())
    ws.close()


def test_it_outlives_the_process_and_a_renamed_label(place: tuple[Workspace, Function]) -> None:
    ws, function = place
    adapted(ws, function)
    before = asked(ws, function)
    reopened = workspace(ws.settings.data_dir)
    assert without_time(asked(reopened, function)) == without_time(before)
    [real] = [label for label in functions.list_labels(ws.db, function.id) if label.name == "real"]
    rename_label(reopened, real.id, "photo")
    try:
        found = asked(reopened, function)
        assert [item.confidence for item in found] == [item.confidence for item in before]
        assert any("of your 12 photo pictures" in item.reason for item in found if item.label == "synthetic")
    finally:
        rename_label(reopened, real.id, "real")
        reopened.close()


def test_answers_that_a_page_has_kept_are_not_taken_for_those_of_an_adapted_model(
    place: tuple[Workspace, Function],
) -> None:
    ws, function = place
    before = asked(ws, function)
    assert rejudge(ws, function.id, before) == before
    adapted(ws, function)
    assert rejudge(ws, function.id, before) is None
    after = asked(ws, function)
    assert rejudge(ws, function.id, after) == after
    recentring.undo(ws, function.id)
    assert rejudge(ws, function.id, after) is None


def test_pictures_that_it_is_adapted_to_are_no_test_of_it(place: tuple[Workspace, Function], tmp_path: Path) -> None:
    ws, function = place
    adapted(ws, function)
    for name, data in {"used": picture(500, "real"), "new": picture(720, "real")}.items():
        (tmp_path / "real").mkdir(exist_ok=True)
        (tmp_path / "real" / f"{name}.png").write_bytes(data)
    found = measure(ws, function.id, tmp_path)
    assert [(row.label, row.n) for row in found.labels] == [("real", 1)]
    [(name, why)] = found.not_read
    assert name == "real/used.png"
    assert why == f"{name} is one of the pictures that this model is adapted to, so it shows nothing about others."


def test_the_next_version_starts_as_trained_and_the_one_before_comes_back_adapted(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = labelled_function(ws, 6)
    first = build(ws, function.id).model
    assert first is not None
    trial = adapted(ws, function)
    before = asked(ws, function)
    add_images(ws, function, [("more.png", make_image(50), "real")])
    second = build(ws, function.id).model
    assert second is not None
    assert second.recentring is None
    assert {item.offset for item in asked(ws, function)} == {None}
    assert without_time(asked(ws, function, first.id)) == without_time(before)
    with pytest.raises(InvalidInput) as caught:
        recentring.adapt(ws, trial)
    assert str(caught.value).startswith("Model 1 is not the live one any more.")
    put_back(ws, function.id, first.id)
    assert without_time(asked(ws, function)) == without_time(before)
    ws.close()
