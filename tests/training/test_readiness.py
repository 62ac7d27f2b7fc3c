from __future__ import annotations

import pytest

from detector.training.readiness import missing_sentence

START = "Training needs two labels with at least 2 samples each; so far: "


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"real": 40, "synthetic": 1}, "real 40, synthetic 1. Label at least 1 more image as synthetic."),
        ({"real": 40, "synthetic": 0}, "real 40, synthetic 0. Label at least 2 more images as synthetic."),
        ({"real": 0, "synthetic": 40}, "real 0, synthetic 40. Label at least 2 more images as real."),
        (
            {"real": 0, "synthetic": 0},
            "real 0, synthetic 0. Label at least 2 more images as real and 2 more images as synthetic.",
        ),
        ({"real": 5}, "real 5. Label at least 2 more images with another label."),
        ({"a": 0, "b": 1, "c": 1}, "a 0, b 1, c 1. Label at least 1 more image as b and 1 more image as c."),
        ({"a": 0, "b": 1, "c": 9}, "a 0, b 1, c 9. Label at least 1 more image as b."),
    ],
)
def test_what_is_missing_is_said_precisely(counts, expected):
    assert missing_sentence(counts) == START + expected


@pytest.mark.parametrize("counts", [{"real": 2, "synthetic": 2}, {"a": 0, "b": 2, "c": 300}])
def test_nothing_is_missing_from_two_samples_a_label_on(counts):
    assert missing_sentence(counts) is None
