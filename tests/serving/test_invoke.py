"""Verdicts for new images, equal to what training would say of the same image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from detector.errors import EmptyFile, ImageError, ImageTooManyPixels, NoModel, NotAnImage, NotFound
from detector.imaging import sha256_hex
from detector.pipeline.build import build
from detector.serving.invoke import Verdict, invoke
from detector.serving.model import load_serving_model, what_is_missing
from detector.storage import embeddings, functions, samples
from detector.storage.functions import Function
from detector.storage.models import ModelRow
from detector.workspace import Workspace
from tests.factories import add_images, empty_function, images, make_image, near_duplicate, png, workspace


@dataclass(frozen=True)
class Trained:
    ws: Workspace
    function: Function
    model: ModelRow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Small pictures, and a few large enough for the detail view."""
    ws = workspace(tmp_path_factory.mktemp("invoke"), max_megapixels=1)
    function = empty_function(ws)
    add_images(ws, function, images(6))
    large = [(f"large-{label}.png", make_image(30, label, 400), label) for label in ("real", "synthetic")]
    add_images(ws, function, large)
    functions.set_sweep_settings(ws.db, function.id, {"views": ["both"]})
    model = build(ws, function.id).model
    assert model is not None
    return Trained(ws, functions.get_function(ws.db, function.id), model)


def _verdict(trained: Trained, data: bytes, name: str = "image.png") -> Verdict:
    [answer] = invoke(trained.ws, trained.function.id, [(name, data)])
    assert isinstance(answer, Verdict)
    return answer


@pytest.mark.parametrize(("seed", "size"), [(3, 80), (30, 400)])
def test_the_bytes_of_a_sample_get_the_refit_models_own_probability(trained: Trained, seed: int, size: int) -> None:
    data = make_image(seed, "synthetic", size)
    serving = load_serving_model(trained.ws, trained.function.id)
    assert serving.model.views == ("whole", "detail")
    views = embeddings.read_embeddings(trained.ws.db, trained.model.backbone_key, [sha256_hex(data)])
    expected = serving.probabilities(views)[0]
    verdict = _verdict(trained, data)
    assert [score.confidence for score in verdict.scores] == sorted(expected.tolist(), reverse=True)
    assert verdict.label == serving.labels[int(np.argmax(expected))].name


def test_new_images_are_told_apart(trained: Trained) -> None:
    new = [(f"{label}-{n}.png", make_image(n, label)) for n in (60, 61, 62) for label in ("real", "synthetic")]
    answers = invoke(trained.ws, trained.function.id, new)
    assert [answer.label for answer in answers if isinstance(answer, Verdict)] == ["real", "synthetic"] * 3


def test_a_verdict_names_every_label_most_confident_first(trained: Trained) -> None:
    verdict = _verdict(trained, make_image(60), "holiday.png")
    assert (verdict.name, verdict.model_id, verdict.model_version) == ("holiday.png", trained.model.id, 1)
    confidences = [score.confidence for score in verdict.scores]
    assert confidences == sorted(confidences, reverse=True)
    assert sum(confidences) == pytest.approx(1.0)
    ids = {label.id: label.name for label in functions.list_labels(trained.ws.db, trained.function.id)}
    assert {score.label_id: score.label for score in verdict.scores} == ids
    assert verdict.seconds > 0


@pytest.mark.usefixtures("nothing_remembered")
@pytest.mark.slow
def test_a_verdict_does_not_depend_on_the_images_beside_it(trained: Trained) -> None:
    data = [make_image(n, "real" if n % 2 else "synthetic", 80 if n % 3 else 400) for n in range(70, 78)]
    together = invoke(trained.ws, trained.function.id, [("x.png", item) for item in data])
    for item, answer in zip(data, together, strict=True):
        assert isinstance(answer, Verdict)
        assert answer.scores == _verdict(trained, item).scores


def test_a_bad_file_is_an_error_in_its_place(trained: Trained) -> None:
    files = [
        ("a.png", make_image(60)),
        ("notes.txt", b"words"),
        ("empty.png", b""),
        ("b.png", make_image(61, "synthetic")),
        ("huge.png", png(np.zeros((1100, 1000, 3)))),
    ]
    answers = invoke(trained.ws, trained.function.id, files)
    kinds = [Verdict, NotAnImage, EmptyFile, Verdict, ImageTooManyPixels]
    assert [type(answer) for answer in answers] == kinds
    assert [answer.name for answer in answers] == [name for name, _ in files]
    assert [answer.label for answer in answers if isinstance(answer, Verdict)] == ["real", "synthetic"]


def test_only_bad_files_and_no_files_are_answered_too(trained: Trained) -> None:
    assert invoke(trained.ws, trained.function.id, []) == []
    [answer] = invoke(trained.ws, trained.function.id, [("notes.txt", b"words")])
    assert isinstance(answer, ImageError)


def test_an_invoke_leaves_no_trace(trained: Trained) -> None:
    before = samples.count_samples(trained.ws.db, trained.function.id)
    _verdict(trained, make_image(63))
    assert samples.count_samples(trained.ws.db, trained.function.id) == before
    with pytest.raises(NotFound):
        trained.ws.blobs.image(sha256_hex(make_image(63)))


def test_renamed_labels_are_answered_by_their_new_name(trained: Trained) -> None:
    ws = trained.ws
    label = next(item for item in functions.list_labels(ws.db, trained.function.id) if item.name == "real")
    functions.rename_label(ws.db, label.id, "photograph")
    try:
        assert _verdict(trained, make_image(60)).label == "photograph"
    finally:
        functions.rename_label(ws.db, label.id, "real")


@pytest.mark.slow
def test_an_older_version_answers_when_asked_for(trained: Trained) -> None:
    ws = trained.ws
    function = empty_function(ws, "Versions")
    add_images(ws, function, images(4))
    first = build(ws, function.id).model
    add_images(ws, function, [("more.png", make_image(5, "real"), "real")])
    second = build(ws, function.id).model
    assert first is not None
    assert second is not None
    data = [("a.png", make_image(60))]
    [live], [old] = invoke(ws, function.id, data), invoke(ws, function.id, data, first.id)
    assert isinstance(live, Verdict)
    assert isinstance(old, Verdict)
    assert (live.model_version, old.model_version) == (2, 1)
    assert live.scores != old.scores


def test_a_model_of_another_function_is_not_found(trained: Trained) -> None:
    other = empty_function(trained.ws, "Other")
    with pytest.raises(NotFound):
        invoke(trained.ws, other.id, [("a.png", make_image(60))], trained.model.id)
    with pytest.raises(NotFound):
        invoke(trained.ws, "none", [("a.png", make_image(60))])


def test_without_a_model_the_sentence_says_what_is_missing(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = empty_function(ws)
    with pytest.raises(NoModel) as caught:
        invoke(ws, function.id, [("a.png", make_image(60))])
    assert "real 0, synthetic 0" in str(caught.value)
    add_images(ws, function, images(2))
    assert what_is_missing(ws, function.id) == "The first training has not ended yet. Wait until it is done."


def test_a_near_duplicate_gets_nearly_the_same_verdict(trained: Trained) -> None:
    data = make_image(60, "synthetic")
    first, second = _verdict(trained, data), _verdict(trained, near_duplicate(data))
    assert first.label == second.label == "synthetic"
    assert first.confidence == pytest.approx(second.confidence, abs=0.05)
