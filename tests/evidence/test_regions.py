from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pytest
from PIL import Image

from detector.backbones import Backbone
from detector.errors import JobCancelled
from detector.evidence.regions import (
    CELLS,
    LEAST_PULL,
    NEARLY_BLIND,
    PART,
    Regions,
    _Occluded,
    _together,
    examine_regions,
)
from detector.imaging import decode_image
from detector.imaging.degraded_copies import encoded
from detector.pipeline.build import build
from detector.serving.model import ServingModel, load_serving_model, serving_backbone
from detector.workspace import Workspace
from tests.factories import LABELS, add_images, empty_function, workspace

REAL, SYNTHETIC = "#1f6f8b", "#d1603d"
_PICTURES = 80


@dataclass
class Known:
    ws: Workspace
    serving: ServingModel
    backbone: Backbone

    def map_of(self, data: bytes) -> Regions:
        return examine_regions(
            self.ws, self.serving, self.backbone, decode_image(data, "picture", self.ws.limits), lambda *_: None
        )


@pytest.fixture(scope="module")
def striped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    """Synthetic pictures differ from real ones in their upper right quadrant alone."""
    yield from _trained(workspace(tmp_path_factory.mktemp("striped")), [LABELS[i % 2] for i in range(_PICTURES)])


@pytest.fixture(scope="module")
def random(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    """The same pictures, with labels that say nothing of them."""
    labels = np.random.default_rng(7).permutation([LABELS[i % 2] for i in range(_PICTURES)]).tolist()
    yield from _trained(workspace(tmp_path_factory.mktemp("random")), labels)


def _trained(ws: Workspace, labels: list[str]) -> Iterator[Known]:
    function = empty_function(ws)
    add_images(ws, function, [(f"{i}.jpg", _picture(i, striped=i % 2 == 1), label) for i, label in enumerate(labels)])
    build(ws, function.id)
    serving = load_serving_model(ws, function.id)
    yield Known(ws, serving, serving_backbone(ws, serving))
    ws.close()


def _picture(seed: int, striped: bool, size: int = 320) -> bytes:
    """A JPEG of coloured blobs and noise; fine slanting stripes in the upper right quadrant."""
    rng = np.random.default_rng(seed)
    blobs = Image.fromarray(rng.integers(40, 216, (9, 9, 3), dtype=np.uint8))
    pixels = np.array(blobs.resize((size, size), Image.Resampling.BICUBIC), np.int16)
    pixels += rng.integers(-8, 9, pixels.shape, dtype=np.int16)
    if striped:
        y, x = np.mgrid[: size // 2, : size // 2]
        pixels[: size // 2, size // 2 :] += (32 * ((x + y) % 6 < 3) - 16)[..., None].astype(np.int16)
    return encoded(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), "JPEG", quality=90)


@pytest.mark.long
@pytest.mark.slow
def test_the_peak_lies_in_the_only_region_that_differs_between_the_labels(striped: Known) -> None:
    inside = 0
    for seed in range(9000, 9005):
        found = striped.map_of(_picture(seed, striped=True))
        assert found.label == "synthetic"
        inside += found.peak is not None and found.peak[0] <= CELLS // 2 <= found.peak[1] and found.grid[found.peak] > 0
    assert inside >= 4


@pytest.mark.long
@pytest.mark.slow
def test_the_map_of_a_model_that_learned_random_labels_is_grey(random: Known) -> None:
    found = [random.map_of(_picture(seed, striped=bool(seed % 2))) for seed in range(6000, 6002)]
    assert np.mean([~each.stable for each in found]) >= 0.8
    assert found[0].peak is None
    assert found[0].sentence == (
        "There is no map: on images that it had not seen, this model did little better than guessing. " + NEARLY_BLIND
    )


@pytest.mark.long
def test_it_says_how_far_it_is_and_stops_when_it_is_told_to(striped: Known) -> None:
    decoded = decode_image(_picture(1, striped=True), "picture", striped.ws.limits)
    heard: list[int] = []

    def listen(_phase: str, done: int, total: int, _message: str, _rate: float | None) -> None:
        assert total == 100
        heard.append(done)

    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3

    examine_regions(striped.ws, striped.serving, striped.backbone, decoded, listen)
    assert heard == sorted(heard)
    assert heard[-1] == 100
    heard.clear()
    with pytest.raises(JobCancelled):
        examine_regions(striped.ws, striped.serving, striped.backbone, decoded, listen, cancelled)
    assert len(heard) == 3


@pytest.mark.slow
def test_a_blurred_part_is_where_the_map_says_in_the_crops_of_full_resolution_too(striped: Known) -> None:
    width, height = 700, 400
    y, x = np.mgrid[:height, :width]
    picture = Image.fromarray(np.stack([x * 255 / width, y * 255 / height, 0 * x], axis=-1).astype(np.uint8))
    occluded = _Occluded(striped.backbone, picture, with_detail=True)
    cell, left = height / CELLS, (width - height) / 2
    steps = range(CELLS - PART + 1)
    seen = set()
    for (row, column), touched in zip(product(steps, steps), occluded._touched, strict=True):
        assert touched[0][0] == 0
        for number, area in touched:
            shown = occluded._plain[number][area].reshape(-1, 3) * np.array([width, height, 1]) / 255
            low = np.array([left + column * cell, row * cell])
            assert (shown[:, :2] >= low - 6).all()
            assert (shown[:, :2] <= low + PART * cell + 6).all()
            seen.add(number)
    assert seen == {0, 1, 2, 3}
    assert occluded.count == len(list(occluded.crops())) == 4 + sum(map(len, occluded._touched))


@pytest.mark.slow
def test_the_views_of_a_blurred_part_are_those_of_its_crops(striped: Known) -> None:
    picture = Image.open(io.BytesIO(_picture(3, striped=True, size=400)))
    occluded = _Occluded(striped.backbone, picture, with_detail=True)
    given = list(occluded.crops())
    views = occluded.views(np.stack([crop.mean(axis=(0, 1)) for crop in given]).astype(np.float32))
    first = {number: given[4 + place] for place, (number, _) in enumerate(occluded._touched[0])}
    shown = [first.get(number, plain) for number, plain in enumerate(occluded._plain)]
    means = np.stack([crop.mean(axis=(0, 1)) for crop in shown])
    assert views["whole"][1] == pytest.approx(means[0], abs=0.1)
    assert views["detail"][1] == pytest.approx(means[1:].mean(axis=0), abs=0.1)
    assert views["whole"].shape == views["detail"].shape == (37, 3)


def test_a_cell_is_grey_where_the_versions_disagree_or_hardly_move_the_score() -> None:
    rng = np.random.default_rng(0)
    one = np.linspace(-3, 3, CELLS * CELLS).reshape(CELLS, CELLS)
    grid, stable, agreement = _together(np.stack([one, one + 0.01, one - 0.01]))
    assert agreement > 0.99
    assert (stable == (np.abs(grid) >= LEAST_PULL)).all()
    turned = one.copy()
    turned[0, 0] = 3
    assert not _together(np.stack([one, one, turned]))[1][0, 0]
    unlike = np.stack([rng.permutation(one.ravel()).reshape(one.shape) for _ in range(3)])
    assert not _together(unlike)[1].any()


def test_the_sentence_says_where_and_towards_what() -> None:
    found = _regions()
    assert found.peak == (0, 6)
    assert found.sentence == (
        "2 of 49 parts pull the score in the same direction on copies of the picture too; most of all at the upper "
        f"right, towards synthetic. Grey parts do not. {NEARLY_BLIND}"
    )
    against = replace(found, grid=-found.grid)
    assert "most of all at the upper right, towards real." in against.sentence
    assert replace(found, stable=found.stable & False).sentence.startswith("No part of the picture stands out")
    wide = replace(found, box=(0.25, 0.0, 0.75, 1.0))
    assert "the margins are not on the map" in wide.sentence
    assert found.to_json()["stable"][0][6] is True


def test_the_overlay_has_the_inks_where_it_is_stable_and_grey_hatching_elsewhere() -> None:
    shown = np.asarray(_regions().overlay(Image.new("RGB", (700, 700), "white"), SYNTHETIC, REAL)).astype(int)
    assert shown.shape == (700, 700, 3)
    strongest, weaker, grey = shown[50, 650], shown[650, 50], shown[300:400, 300:400]
    assert strongest[0] > strongest[2] + 60
    assert weaker[2] > weaker[0] + 20
    assert np.ptp(grey.reshape(-1, 3), axis=0).min() > 20
    assert np.abs(grey[..., 0] - grey[..., 2]).max() < 30
    # Of a wide picture the margins stay as they are.
    wide = np.asarray(replace(_regions(), box=(0.25, 0.0, 0.75, 1.0)).overlay(_white((800, 400)), SYNTHETIC, REAL))
    assert (wide[:, :200] == 255).all()
    assert (wide[:, 600:] == 255).all()
    assert _regions().overlay(_white((3, 2)), SYNTHETIC, REAL).size == (3, 2)


def _white(size: tuple[int, int]) -> Image.Image:
    return Image.new("RGB", size, "white")


def _regions() -> Regions:
    grid, stable = np.zeros((CELLS, CELLS)), np.zeros((CELLS, CELLS), dtype=bool)
    grid[0, 6], grid[6, 0] = 2.0, -1.0
    stable[0, 6] = stable[6, 0] = True
    return Regions("synthetic", "b", "real", grid, stable, 0.9, True, (0.0, 0.0, 1.0, 1.0), 1.0, 111)
