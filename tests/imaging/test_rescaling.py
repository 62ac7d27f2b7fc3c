"""How much pictures were enlarged: known factors on made pictures, and on photographs where those are."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from detector.imaging.rescaling import SMALLEST_SIDE, estimate_rescaling
from tests.shared_data import require

SIDE = 384


def detailed(seed: int, side: int = SIDE) -> Image.Image:
    """A picture with as much power in each octave, as photographs have."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    frequency[0, 0] = 1
    pixels = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((side, side))) / frequency, (side, side))
    pixels = 128 + 45 * pixels / pixels.std()
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).convert("RGB")


def enlarged(picture: Image.Image, factor: float, how: Image.Resampling = Image.Resampling.BICUBIC) -> Image.Image:
    small = picture.resize((round(SIDE / factor),) * 2, Image.Resampling.LANCZOS)
    return small.resize((SIDE, SIDE), how)


def saved(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


@pytest.mark.parametrize("quality", [92, 75])
@pytest.mark.parametrize(("factor", "low", "high"), [(1, 1.0, 1.1), (2, 1.4, 2.2), (3, 2.1, 2.8)])
def test_a_known_factor_is_found_again_after_compression(quality: int, factor: int, low: float, high: float) -> None:
    for seed in range(3):
        picture = detailed(seed)
        found = estimate_rescaling(saved(picture if factor == 1 else enlarged(picture, factor), quality))
        assert found is not None
        assert low <= found <= high


@pytest.mark.parametrize("side", [SMALLEST_SIDE, SMALLEST_SIDE + 7, 100, 129, 255])
def test_small_pictures_are_looked_at_too(side: int) -> None:
    """At 80 pixels half of the rings were empty, and the estimate ended in an error."""
    picture = detailed(1, side)
    assert estimate_rescaling(picture) == 1.0
    soft = picture.resize((side // 3,) * 2, Image.Resampling.LANCZOS).resize((side, side), Image.Resampling.BICUBIC)
    assert (estimate_rescaling(soft) or 0) > 1.5


@pytest.mark.parametrize(
    "picture",
    [
        detailed(0, SMALLEST_SIDE - 2),
        Image.new("RGB", (300, 300), (90, 120, 40)),
        Image.new("RGB", (1, 2000)),
    ],
)
def test_where_it_cannot_be_told_it_says_so(picture: Image.Image) -> None:
    assert estimate_rescaling(picture) is None


@pytest.mark.long
def test_photographs_enlarged_twice_are_told_from_those_that_were_not() -> None:
    from sklearn.metrics import roc_auc_score

    folder = require("confounded_size") / "real"
    other = require("confounded_png_vs_jpeg") / "real"
    photographs = [*sorted(folder.rglob("*.*"))[:25], *sorted(other.rglob("*.*"))[:25]]
    found: dict[float, list[float]] = {1: [], 1.5: [], 2: [], 3: []}
    for path in photographs:
        whole = Image.open(path).convert("RGB")
        side = min(whole.size)
        left, top = (whole.width - side) // 2, (whole.height - side) // 2
        box = (left, top, left + side, top + side)
        square = whole.resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=box)
        for factor, estimates in found.items():
            for how in (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR)[: 1 if factor == 1 else 2]:
                for quality in (92, 75):
                    changed = square if factor == 1 else enlarged(square, factor, how)
                    estimates.append(estimate_rescaling(saved(changed, quality)) or 1.0)

    def area(factor: float) -> float:
        told = [0] * len(found[1]) + [1] * len(found[factor])
        return float(roc_auc_score(told, [*found[1], *found[factor]]))

    print({factor: (round(area(factor), 3), float(np.median(items))) for factor, items in found.items()})
    assert area(2) > 0.96
    assert area(3) > 0.97
    assert np.median(found[1]) == 1.0
    assert 1.8 < np.median(found[2]) < 2.4
