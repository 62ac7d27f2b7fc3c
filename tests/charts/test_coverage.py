from __future__ import annotations

from math import log10

import plotly.graph_objects as go
import pytest

from detector.charts.coverage import coverage
from detector.charts.palette import Theme, label_ink
from detector.imaging.file_look import FileLook
from detector.training.coverage import QUALITY, RESCALING, SIZE, Coverage, LabelFiles

NAMES = {"r": "real", "s": "syn<b>thetic"}
LABELS = tuple(NAMES.values())


def words(figure: go.Figure) -> str:
    return " ".join(note.text for note in figure.layout.annotations)


def known(real: range, synthetic: range) -> Coverage:
    looks = {"r": [FileLook(side, 92, 1.0) for side in real], "s": [FileLook(side, 85, 1.3) for side in synthetic]}
    return Coverage({label: LabelFiles.of(found) for label, found in looks.items()})


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_each_label_is_a_bar_over_its_range_and_a_band_is_what_all_cover(theme: Theme) -> None:
    found = known(range(200, 1001), range(100, 501))
    figure = coverage(found, SIZE, NAMES, LABELS, theme)
    real, synthetic = figure.data
    low, high = found.labels["r"].side
    assert real.base[0] == pytest.approx(log10(low))
    assert real.base[0] + real.x[0] == pytest.approx(log10(high))
    assert real.marker.color == label_ink("real", LABELS, theme).fill
    assert synthetic.base[0] < real.base[0]
    [band] = figure.layout.shapes
    covered = found.covered(SIZE)
    assert covered is not None
    assert (band.x0, band.x1) == pytest.approx(tuple(log10(value) for value in covered))
    assert "<b>real</b> 208 to 992 px" in words(figure)
    assert "syn&lt;b&gt;thetic" in words(figure)
    assert "256 px" in figure.layout.xaxis.ticktext


def test_labels_without_anything_in_common_have_no_band() -> None:
    figure = coverage(known(range(1000, 1100), range(100, 200)), SIZE, NAMES, LABELS)
    assert not figure.layout.shapes
    assert len(figure.data) == 2


@pytest.mark.parametrize("fact", [SIZE, QUALITY, RESCALING])
def test_samples_that_are_all_the_same_can_still_be_seen(fact: str) -> None:
    looks = {item: LabelFiles.of([FileLook(256, 92, 1.0)] * 30) for item in NAMES}
    figure = coverage(Coverage(looks), fact, NAMES, LABELS)
    low, high = figure.layout.xaxis.range
    assert len(figure.data) == 2
    for bar in figure.data:
        assert bar.x[0] >= 0.01 * (high - low)
        assert low < bar.base[0] < bar.base[0] + bar.x[0] < high
