"""A picture unlike the samples gets can't tell, whatever its score: for models old and new, and through every door."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from detector.evaluation.measure import measure
from detector.imaging import decode_image
from detector.operations.deletion import delete_function, empty_bin
from detector.operations.unlike_pictures import set_judge_unlike
from detector.pipeline.build import build
from detector.serving import likeness as serving_likeness
from detector.serving.invoke import COMPARED_ALL_THE_SAME, NOT_COMPARED, Verdict, examine, invoke, rejudge
from detector.serving.likeness import LIKENESS, likeness_model
from detector.serving.model import load_serving_model, serving_backbone
from detector.storage import functions, models, samples, trash
from detector.storage.functions import Function
from detector.storage.models import ModelRow
from detector.training.likeness import FEWEST_SAMPLES
from detector.workspace import Workspace
from tests.command_line import run_here
from tests.factories import LABELS, labelled_function, make_image, png, workspace

pytestmark = pytest.mark.slow

#: Forty images of another label vouch for a threshold at this share.
LIMIT = 0.2
EACH = 40


@dataclass(frozen=True)
class Made:
    ws: Workspace
    function: Function

    @property
    def live(self) -> ModelRow:
        live = functions.get_function(self.ws.db, self.function.id).live_model_id
        assert live is not None
        return models.get_model(self.ws.db, live)

    @property
    def file(self) -> Path:
        return self.ws.settings.data_dir / "blobs" / "models" / f"{self.live.id}.likeness.safetensors"

    def ask(self, *files: bytes) -> list[Verdict]:
        found = invoke(self.ws, self.function.id, [(f"{n}.png", data) for n, data in enumerate(files)])
        assert all(isinstance(item, Verdict) for item in found)
        return [item for item in found if isinstance(item, Verdict)]

    def forget(self) -> None:
        """As after a restart."""
        serving_likeness._cache.clear()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """A trained function of PNG files of 80 px; not to be changed but for what a test puts back."""
    ws = workspace(tmp_path_factory.mktemp("likeness"))
    function = labelled_function(ws, EACH, "Known")
    functions.set_false_accusation_limit(ws.db, function.id, LIMIT)
    assert build(ws, function.id).trained
    yield Made(ws, function)
    ws.close()


def usual(n: int = 24) -> list[bytes]:
    return [make_image(900 + number, LABELS[number % 2]) for number in range(n)]


def strange() -> list[bytes]:
    """Of the same size and kind of file as the samples, so that nothing but the picture tells them apart."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (80, 80, 3))
    gradient = np.broadcast_to(np.linspace(0, 255, 80)[None, :, None], (80, 80, 3))
    return [png(noise), png(np.full((80, 80, 3), 120)), png(gradient)]


def test_a_picture_unlike_the_samples_gets_cant_tell_and_the_reason_comes_first(made: Made) -> None:
    """Whether it comes alone or among others, and through the road of the Invoke page."""
    together = made.ask(*strange(), *usual())[:3]
    for data, item in zip(strange(), together, strict=True):
        assert not item.sure
        assert item.reason.startswith("Unlike your samples: ")
        assert NOT_COMPARED in item.reason
        assert [miss.fact for miss in item.unlike] == [LIKENESS]
        assert item.likeness is not None
        assert item.likeness.flagged
        assert item.likeness.distance > item.likeness.threshold
        assert item.likeness.count == 2 * EACH
        [alone] = made.ask(data)
        assert (alone.likeness, alone.reason, alone.grade) == (item.likeness, item.reason, item.grade)
        serving = load_serving_model(made.ws, made.function.id)
        backbone = serving_backbone(made.ws, serving)
        looked = examine(made.ws, serving, backbone, "one.png", decode_image(data, "one.png", made.ws.limits)).verdict
        assert (looked.likeness, looked.reason, looked.grade) == (item.likeness, item.reason, item.grade)


def test_pictures_like_the_samples_are_judged_as_before_but_for_few(made: Made) -> None:
    found = made.ask(*usual(60))
    flagged = [item for item in found if item.unlike]
    assert len(flagged) <= 8
    assert sum(item.sure for item in found) >= 30
    assert all(item.likeness is not None for item in found)


def test_the_sentence_says_how_rare_such_a_distance_is(made: Made) -> None:
    known = likeness_model(made.ws, made.live)
    assert known is not None
    [flat] = made.ask(strange()[1])
    assert flat.likeness is not None
    assert flat.likeness.share == 0
    assert flat.likeness.reason == (
        "Unlike your samples: not one of 80 of them is as far from the others as this picture."
    )
    rare = serving_likeness.Likeness(3.0, 2.0, True, 0.04, 2000)
    assert rare.reason == (
        "Unlike your samples: among 2,000 of them only 1 in 25 is as far from the others as this picture."
    )
    assert serving_likeness.Likeness(1.0, 2.0, False, 0.4, 2000).reason == ""


def test_the_switch_lifts_it_to_moderate_at_most_and_answers_that_are_shown_follow(made: Made) -> None:
    before = made.ask(*strange())
    set_judge_unlike(made.ws, made.function.id, True)
    try:
        after = rejudge(made.ws, made.function.id, before)
        assert after is not None
        assert [(item.likeness, item.reason) for item in after] == [
            (item.likeness, item.reason) for item in made.ask(*strange())
        ]
        assert {item.grade for item in after if isinstance(item, Verdict)} <= {"moderate", "can't tell"}
        sure = [item for item in after if isinstance(item, Verdict) and item.sure]
        assert sure
        for item in sure:
            assert item.reason.startswith("Unlike your samples: ")
            assert item.reason.endswith(COMPARED_ALL_THE_SAME)
    finally:
        set_judge_unlike(made.ws, made.function.id, False)
    again = rejudge(made.ws, made.function.id, after)
    assert again == before


def test_a_disk_that_neither_gives_nor_takes_the_file_keeps_nobody_from_an_answer(made: Made) -> None:
    before = made.ask(*strange())
    data = made.file.read_bytes()
    made.file.unlink()
    # Neither reading nor replacing works on a folder.
    made.file.mkdir()
    try:
        made.forget()
        after = made.ask(*strange())
    finally:
        made.file.rmdir()
        made.file.write_bytes(data)
    assert [item.likeness for item in after] == [item.likeness for item in before]


@pytest.mark.parametrize("damage", ["deleted", "cut off"])
def test_what_is_usual_is_found_again_where_its_file_is_gone_or_a_model_is_from_before(made: Made, damage: str) -> None:
    before = made.ask(*strange(), *usual())
    data = made.file.read_bytes()
    assert len(data) < 100_000
    if damage == "deleted":
        made.file.unlink()
    else:
        made.file.write_bytes(data[:100])
    made.forget()
    after = made.ask(*strange(), *usual())
    assert [(item.likeness, item.reason) for item in after] == [(item.likeness, item.reason) for item in before]
    assert made.file.read_bytes() == data


def test_a_model_from_before_whose_samples_are_partly_gone_is_asked_of_the_rest(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = labelled_function(ws, EACH)
    build(ws, function.id)
    old = Made(ws, function)
    old.file.unlink()
    old.forget()
    gone = [row.id for row in samples.find_samples(ws.db, function.id)][:10]
    trash.delete_samples(ws.db, function.id, gone)
    assert empty_bin(ws, function.id) == 10
    [found] = old.ask(strange()[0])
    assert found.likeness is not None
    assert found.likeness.flagged
    assert found.likeness.count == 2 * EACH - 10
    ws.close()


def test_a_function_with_few_samples_flags_nothing(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = labelled_function(ws, FEWEST_SAMPLES // 2 - 1)
    build(ws, function.id)
    small = Made(ws, function)
    assert likeness_model(ws, small.live) is None
    assert not small.file.exists()
    assert all(item.likeness is None and not item.unlike for item in small.ask(*strange()))
    ws.close()


def test_three_labels_are_one_set_of_samples(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = labelled_function(ws, 25, labels=("real", "synthetic", "drawn"))
    build(ws, function.id)
    three = Made(ws, function)
    assert all(item.likeness is not None and item.likeness.flagged for item in three.ask(*strange()))
    assert likeness_model(ws, three.live).count == 75  # type: ignore[union-attr]
    ws.close()


def test_a_deleted_function_takes_it_along(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = labelled_function(ws, EACH)
    build(ws, function.id)
    file = Made(ws, function).file
    assert file.exists()
    delete_function(ws, function.id)
    assert not file.exists()
    ws.close()


def test_command_line_and_measure_take_the_same_road(made: Made, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    for number, data in enumerate(strange()):
        (tmp_path / "real" / f"{number}.png").write_bytes(data)
    ran = run_here(made.ws.settings.data_dir, "invoke", "Known", tmp_path / "real" / "0.png")
    assert ran.json["grade"] == "can't tell"
    assert ran.json["reason"].startswith("Unlike your samples: ")
    found = measure(made.ws, made.function.id, tmp_path)
    assert sum(row.unlike.get(LIKENESS, 0) for row in found.sources) == 3
