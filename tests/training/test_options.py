from __future__ import annotations

import subprocess
import sys

import pytest

from detector.errors import InvalidInput
from detector.training.options import SweepSettings, sweep_options
from tests.training.factories import clouds

FEATURES = {"projected": slice(0, 8), "pre_projection": slice(8, 20)}


def _set(counts=(30, 30)):
    x, y = clouds(counts, 20)
    return {"whole": x, "detail": x + 1}, y


def test_everything_is_tried_by_default():
    views, y = _set((30, 20))
    options = sweep_options(SweepSettings(), views, FEATURES, y)
    assert options.views == ("whole", "detail", "both")
    assert options.features == ("projected", "pre_projection", "all")
    assert options.slices["all"] == ((0, 8), (8, 20))
    assert options.scaling == ("standardise", "unit-length")
    assert options.class_weight == ("none", "balanced")
    assert options.settings_count == 3 * 3 * 2 * 2 * len(options.c)


def test_what_makes_no_difference_is_skipped():
    views, y = _set((30, 30))
    options = sweep_options(SweepSettings(), {"whole": views["whole"]}, {"statistics": slice(0, 20)}, y)
    assert options.views == ("whole",)
    assert options.features == ("statistics",)
    assert options.class_weight == ("none",)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        (SweepSettings(views=("both",)), "views"),
        (SweepSettings(features=("statistics",)), "features"),
        (SweepSettings(scaling=("whiten",)), "scaling"),
        (SweepSettings(class_weight=("some",)), "class_weight"),
        (SweepSettings(c=(0.0,)), "c"),
        (SweepSettings(c=()), "c"),
        (SweepSettings(views=()), "views"),
    ],
)
def test_settings_that_these_samples_do_not_offer_are_refused(settings, word):
    views, y = _set()
    with pytest.raises(InvalidInput) as caught:
        sweep_options(settings, {"whole": views["whole"]}, FEATURES, y)
    assert f"The setting {word} is" in str(caught.value)


def test_what_pages_need_does_not_load_torch():
    code = (
        "import sys, detector.training.options, detector.training.metrics, detector.training.readiness;"
        "raise SystemExit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
