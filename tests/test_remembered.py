"""What the tests remember of a backbone is what it says."""

from __future__ import annotations

import numpy as np
import pytest

from detector.backbones.network import Backbone
from detector.backbones.offline import load_offline
from tests.remembered import embeddings_calculated, embeddings_remembered


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_offline("float32")


@pytest.fixture(scope="module")
def crops(backbone: Backbone) -> list[np.ndarray]:
    side = backbone.input_size
    return list(np.random.default_rng(0).integers(0, 256, (7, side, side, 3), dtype=np.uint8))


def test_numbers_that_are_remembered_are_those_that_are_calculated(backbone: Backbone, crops: list[np.ndarray]) -> None:
    with embeddings_calculated():
        expected = backbone.embed_crops(crops)
    with embeddings_remembered():
        # First those of other batches, so that some of the next are new and some are not.
        assert np.array_equal(backbone.embed_crops(crops[2:6]), expected[2:6])
        assert np.array_equal(backbone.embed_crops(crops), expected)
        assert np.array_equal(backbone.embed_crops(crops[::-1] + crops[:1]), expected[[*range(6, -1, -1), 0]])


def test_another_network_has_numbers_of_its_own(backbone: Backbone, crops: list[np.ndarray]) -> None:
    other = load_offline("bfloat16")
    with embeddings_calculated():
        expected = other.embed_crops(crops[:1])
    with embeddings_remembered():
        assert np.array_equal(other.embed_crops(crops[:1]), expected)
        assert not np.array_equal(backbone.embed_crops(crops[:1]), expected)
