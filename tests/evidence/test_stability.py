from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from detector.backbones import Backbone
from detector.errors import JobCancelled
from detector.evidence import stability as module
from detector.evidence.stability import CHANGES, Copy, Stability, capped_grade, examine_stability, rejudged
from detector.imaging import DecodedImage, decode_image
from detector.operations.false_accusations import set_false_accusation_limit
from detector.pipeline.build import build
from detector.serving.invoke import Verdict, answer, examine
from detector.serving.model import ServingModel, load_serving_model, serving_backbone
from detector.storage import functions
from detector.training.thresholds import CANT_TELL, MODERATE, STRONG
from detector.workspace import Workspace
from tests.factories import label_ids, labelled_function, make_image, workspace

pytestmark = pytest.mark.slow


@dataclass
class Known:
    """A function that can say a label: 60 different images of each at a limit of 10 %."""

    ws: Workspace
    function_id: str
    backbone: Backbone

    @property
    def serving(self) -> ServingModel:
        return load_serving_model(self.ws, self.function_id)

    def look(self, data: bytes) -> tuple[DecodedImage, Verdict]:
        decoded = decode_image(data, "picture", self.ws.limits)
        return decoded, examine(self.ws, self.serving, self.backbone, "picture", decoded).verdict

    def stability(self, data: bytes) -> Stability:
        return examine_stability(self.ws, self.serving, self.backbone, *self.look(data))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    ws = workspace(tmp_path_factory.mktemp("stability"))
    function = labelled_function(ws, 60)
    functions.set_false_accusation_limit(ws.db, function.id, 0.1)
    build(ws, function.id)
    yield Known(ws, function.id, serving_backbone(ws, load_serving_model(ws, function.id)))
    ws.close()


@pytest.fixture
def known(trained: Known) -> Iterator[Known]:
    yield trained
    set_false_accusation_limit(trained.ws, trained.function_id, 0.1)


@pytest.mark.usefixtures("nothing_remembered")
def test_each_copy_is_judged_as_the_same_file_would_be_by_an_invoke(known: Known) -> None:
    data = make_image(900, "synthetic", 400)
    found = known.stability(data)
    assert [copy.name for copy in found.copies] == list(CHANGES)
    assert [copy.words for copy in found.copies] == [
        "as it is",
        "JPEG 75",
        "JPEG 50",
        "half size",
        "cropped",
        "messenger",
    ]
    picture = Image.open(io.BytesIO(data))
    by_hand = {
        "as-it-is": data,
        "jpeg-75": _file(picture, "JPEG", quality=75),
        "jpeg-50": _file(picture, "JPEG", quality=50),
        "half-size": _file(picture.resize((200, 200), Image.Resampling.BICUBIC), "PNG"),
        "crop": _file(picture.crop((40, 40, 360, 360)), "PNG"),
        "messenger": _file(picture, "JPEG", quality=70),
    }
    files = [(name, by_hand[name]) for name in CHANGES]
    for copy, said in zip(found.copies, answer(known.ws, known.serving, known.backbone, files), strict=True):
        assert isinstance(said, Verdict)
        assert copy.probabilities == pytest.approx({s.label_id: s.confidence for s in said.scores}, abs=1e-5)
        assert (copy.label, copy.label_id) == (said.label, said.label_id)


def test_a_messenger_shrinks_a_large_picture(known: Known) -> None:
    assert CHANGES["messenger"].apply(Image.new("RGB", (3000, 1500))).size == (1280, 640)
    assert CHANGES["messenger"].apply(Image.new("RGB", (300, 150))).size == (300, 150)
    assert all(change.apply(Image.new("RGB", (1, 1))).size == (1, 1) for change in CHANGES.values())


def test_a_copy_is_judged_by_its_score_alone_and_not_by_its_file(known: Known) -> None:
    # All samples are PNG of 80 pixels: a picture of 300 is unlike them, and its verdict is can't tell.
    decoded, verdict = known.look(make_image(901, "synthetic", 300))
    found = examine_stability(known.ws, known.serving, known.backbone, decoded, verdict)
    assert verdict.unlike
    assert verdict.grade == CANT_TELL
    rows = np.array([[copy.probabilities[label.id] for label in known.serving.labels] for copy in found.copies])
    assert [copy.grade for copy in found.copies] == known.serving.grades(rows)


def test_another_limit_judges_the_same_copies_at_once_and_looks_at_none(known: Known) -> None:
    data = make_image(902, "synthetic")
    before = known.stability(data)
    set_false_accusation_limit(known.ws, known.function_id, 0.001)
    never = rejudged(known.serving, before)
    assert never is not None
    assert {copy.grade for copy in never.copies} == {CANT_TELL}
    assert never.copies == known.stability(data).copies
    set_false_accusation_limit(known.ws, known.function_id, 0.1)
    assert rejudged(known.serving, never) == before


def test_copies_speak_the_labels_names_of_today(known: Known) -> None:
    before = known.stability(make_image(903))
    ids = label_ids(known.ws, functions.get_function(known.ws.db, known.function_id))
    functions.rename_label(known.ws.db, ids["real"], "photograph")
    try:
        after = rejudged(known.serving, before)
    finally:
        functions.rename_label(known.ws.db, ids["real"], "real")
    assert after is not None
    assert {copy.label for copy in before.copies} - {copy.label for copy in after.copies} == {"real"}
    assert {copy.label for copy in after.copies} <= {"photograph", "synthetic"}


def test_small_pictures_come_with_the_verdicts(known: Known) -> None:
    found = known.stability(make_image(904, size=400))
    sizes = [Image.open(io.BytesIO(copy.preview)).size for copy in found.copies]
    assert sizes == [(160, 160), (160, 160), (160, 160), (80, 80), (160, 160), (160, 160)]
    assert {Image.open(io.BytesIO(copy.preview)).format for copy in found.copies} == {"WEBP"}


def test_it_says_how_far_it_is_and_ends_where_the_listener_raises(known: Known) -> None:
    decoded, verdict = known.look(make_image(905))
    heard: list[tuple[str, int, int]] = []

    def listen(_phase: str, done: int, total: int, message: str, _rate: float | None) -> None:
        heard.append((message, done, total))
        if done == 2 and len(heard) > 20:
            raise JobCancelled

    examine_stability(known.ws, known.serving, known.backbone, decoded, verdict, listen)
    assert [done for message, done, _ in heard if message.startswith("Making")] == list(range(7))
    assert heard[-1] == ("Judging the copies", 6, 6)
    heard.extend(heard * 2)
    with pytest.raises(JobCancelled):
        examine_stability(known.ws, known.serving, known.backbone, decoded, verdict, listen)


def test_copies_of_huge_pictures_are_the_same_made_one_after_the_other(
    known: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_image(906)
    at_once = known.stability(data)
    monkeypatch.setattr(module, "_MOST_PIXELS_AT_ONCE", 1)
    assert known.stability(data).copies == at_once.copies


def test_the_sentence_names_the_copies_on_which_something_else_is_said() -> None:
    assert _stability("synthetic", *["synthetic"] * 5).sentence == "Steady on 5 of 5 copies."
    some = _stability("synthetic", "synthetic", "synthetic", "synthetic", CANT_TELL, "real")
    assert some.sentence == "On 2 of 5 copies the function says something else: cropped, messenger."
    assert (some.steady, some.flips) == (False, 2)
    assert _stability(CANT_TELL, *[CANT_TELL] * 5).sentence == "The function can't tell on any of the 5 copies either."
    assert _stability(CANT_TELL, "real", *[CANT_TELL] * 4).steady is False


def test_its_json_has_one_object_a_copy() -> None:
    first = _stability("synthetic", *["synthetic"] * 4, CANT_TELL).to_json()
    assert [(copy["name"], copy["verdict"]) for copy in first][-2:] == [("crop", "synthetic"), ("messenger", CANT_TELL)]


def test_a_grade_is_never_above_what_survives_on_the_copies() -> None:
    all_strong = _stability("real", *["real"] * 5, grades=[STRONG] * 6)
    assert capped_grade(STRONG, all_strong) == (STRONG, "")
    assert capped_grade(MODERATE, all_strong) == (MODERATE, "")
    one_moderate = _stability("real", *["real"] * 5, grades=[STRONG, STRONG, MODERATE, STRONG, STRONG, MODERATE])
    assert capped_grade(STRONG, one_moderate) == (
        MODERATE,
        "On copies of this picture the verdict is only moderate: JPEG 50, messenger.",
    )
    assert capped_grade(MODERATE, one_moderate) == (MODERATE, "")
    another = _stability("real", "real", "synthetic", "real", "real", CANT_TELL, grades=[STRONG] * 5 + [CANT_TELL])
    assert capped_grade(STRONG, another) == (
        CANT_TELL,
        "The verdict does not hold on every copy of this picture: JPEG 50 (synthetic), messenger (can't tell).",
    )
    assert capped_grade(CANT_TELL, all_strong) == (CANT_TELL, "")


def _stability(*said: str, grades: list[str] | None = None) -> Stability:
    copies = []
    for place, ((name, change), word) in enumerate(zip(CHANGES.items(), said, strict=True)):
        label = "real" if word == CANT_TELL else word
        grade = grades[place] if grades else CANT_TELL if word == CANT_TELL else MODERATE
        copies.append(Copy(name, change.words, {label: 0.9, "other": 0.1}, label, label, grade, b""))
    return Stability(tuple(copies), 1.0)


def _file(picture: Image.Image, file_format: str, **options: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()
