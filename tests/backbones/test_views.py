from __future__ import annotations

import numpy as np
import open_clip
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from detector.backbones.views import prepare_views
from tests.backbones.pictures import picture


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("shape", [(300, 200), (201, 333), (64, 64), (40, 57), (640, 65)])
def test_whole_is_open_clips_own_preprocessing(shape: tuple[int, int], interpolation: str) -> None:
    image = picture(*shape)
    transform = open_clip.transform.image_transform(
        64, is_train=False, mean=(0, 0, 0), std=(1, 1, 1), resize_mode="shortest", interpolation=interpolation
    )
    expected = transform(image).permute(1, 2, 0).numpy() * 255
    whole = prepare_views(image, 64, interpolation).whole  # type: ignore[arg-type]
    assert whole.dtype == np.uint8
    assert np.abs(whole - expected).max() <= 1.01
    # Pillow keeps the box in single precision, so about one value in a hundred rounds to its neighbour; a shift by one
    # pixel would change the noisy picture by more than ten levels.
    assert np.abs(whole - expected).mean() < 0.05


def test_detail_is_three_native_crops_along_the_diagonal() -> None:
    image = picture(200, 96)
    pixels = np.asarray(image)
    start, centre, end = prepare_views(image, 64).detail
    np.testing.assert_array_equal(start, pixels[:64, :64])
    np.testing.assert_array_equal(centre, pixels[16:80, 68:132])
    np.testing.assert_array_equal(end, pixels[-64:, -64:])


@pytest.mark.parametrize(("shape", "count"), [((95, 400), 0), ((96, 96), 3), ((96, 400), 3), ((30, 30), 0)])
def test_detail_needs_one_and_a_half_input_sizes(shape: tuple[int, int], count: int) -> None:
    assert len(prepare_views(picture(*shape), 64).detail) == count


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300))
def test_every_shape_of_image_gives_full_views(width: int, height: int) -> None:
    views = prepare_views(Image.new("RGB", (width, height), (10, 200, 90)), 32)
    for _, crop in views.crops():
        assert crop.shape == (32, 32, 3)
        assert (crop == (10, 200, 90)).all()


def test_a_very_long_image_costs_no_memory() -> None:
    whole = prepare_views(Image.new("RGB", (60_000, 1), (1, 2, 3)), 256).whole
    assert (whole == (1, 2, 3)).all()
