"""Several files of one picture: one verdict, in which the better ones count more."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace

import pytest
from PIL import Image

from detector.evidence.copies_together import is_one_picture, judge_together
from detector.evidence.explain import Seen, look_through, open_picture
from detector.pipeline.build import build
from detector.serving.model import ServingModel, load_serving_model, serving_backbone
from detector.storage import functions
from detector.training.thresholds import CANT_TELL
from detector.workspace import Workspace
from tests.factories import add_images, empty_function, images, make_image, workspace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, ServingModel]]:
    ws = workspace(tmp_path_factory.mktemp("copies"))
    function = empty_function(ws, "Copies")
    add_images(ws, function, images(24))
    functions.set_false_accusation_limit(ws.db, function.id, 0.25)
    functions.set_judge_unlike(ws.db, function.id, True)
    assert build(ws, function.id).trained
    yield ws, load_serving_model(ws, function.id)
    ws.close()


def see(ready: tuple[Workspace, ServingModel], data: bytes) -> Seen:
    ws, serving = ready
    return look_through(ws, serving, serving_backbone(ws, serving), open_picture(ws, "x", data))


def saved(data: bytes, quality: int, side: int | None = None) -> bytes:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    if side:
        image = image.resize((side, side))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def test_the_file_that_holds_more_counts_more_and_all_shares_are_one(ready: tuple[Workspace, ServingModel]) -> None:
    whole = make_image(501, "synthetic")
    poor = [saved(whole, 30), saved(whole, 80, side=40)]
    seen = [(f"{number}", see(ready, data)) for number, data in enumerate([*poor, whole])]
    found = judge_together(ready[1], seen)
    assert found.copies[0].name == "2"
    assert sum(copy.weight for copy in found.copies) == pytest.approx(1)
    assert found.copies[0].weight > 0.5
    # Which file it is: names are no help where all are "image.jpg".
    assert [seen[copy.position][0] for copy in found.copies] == [copy.name for copy in found.copies]


@pytest.mark.usefixtures("nothing_remembered")
def test_one_file_alone_is_judged_as_by_itself(ready: tuple[Workspace, ServingModel]) -> None:
    seen = see(ready, make_image(502, "real"))
    found = judge_together(ready[1], [("one", seen)])
    assert found.verdict.label == seen.verdict.label
    assert found.verdict.confidence == pytest.approx(seen.verdict.confidence)
    assert found.verdict.grade == seen.verdict.grade


def test_together_they_never_earn_more_than_the_best_of_them(ready: tuple[Workspace, ServingModel]) -> None:
    """Kind: thresholds were measured on single pictures; a mean of ten equal can't-tells must stay one."""
    seen = see(ready, make_image(503, "synthetic"))
    assert seen.verdict.sure
    unsure = replace(seen, verdict=replace(seen.verdict, grade=CANT_TELL))
    assert judge_together(ready[1], [(str(n), unsure) for n in range(10)]).verdict.grade == CANT_TELL


def test_what_is_said_of_copies_that_disagree_names_each_verdict(ready: tuple[Workspace, ServingModel]) -> None:
    seen = [("a", see(ready, make_image(504, "real"))), ("b", see(ready, make_image(504, "synthetic")))]
    found = judge_together(ready[1], seen)
    said = {copy.verdict.verdict for copy in found.copies}
    assert len(said) > 1
    assert all(word in found.sentence for word in said)


def test_other_pictures_are_not_taken_for_copies(ready: tuple[Workspace, ServingModel]) -> None:
    whole = make_image(505, "real")
    hashes = [see(ready, data).perceptual_hash for data in (whole, saved(whole, 60), make_image(506, "real"))]
    assert is_one_picture(hashes[:2])
    assert not is_one_picture(hashes)
