"""Whether what is invoked is still like the samples: said where it is not, and nothing where it is or few are known."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from detector.evaluation.drift import FEWEST, by_chance, compare, drift_of, stability_index
from detector.imaging.file_look import FileLook
from detector.pipeline.build import build
from detector.serving.invoke_counts import (
    CONFIDENCE,
    FORMAT,
    QUALITY,
    SAID,
    SIDE,
    confidence_bin,
    file_bins,
)
from detector.serving.thresholds import with_thresholds
from detector.storage.invoke_days import InvokeDay, add_invokes
from detector.storage.models import ModelRow
from detector.storage.scored_files import scored_files
from detector.training.thresholds import CANT_TELL
from detector.workspace import Workspace
from tests.factories import labelled_function, workspace

pytestmark = pytest.mark.slow

TODAY = date(2026, 11, 26)
PNG_80 = FileLook(80, lossless=True, format="PNG")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, ModelRow]:
    """Sixty PNG files of 80 pixels, and a model; only to be read."""
    ws = workspace(tmp_path_factory.mktemp("drift"))
    function = labelled_function(ws, 30)
    model = build(ws, function.id).model
    assert model is not None
    return ws, with_thresholds(ws, model)


def invoke(
    trained: tuple[Workspace, ModelRow], days_ago: int, n: int, look: FileLook, said: str = CANT_TELL, model: str = ""
) -> None:
    """As if so many pictures of one kind had been judged that day."""
    ws, row = trained
    bins = file_bins(look) | {"said": said}
    day = (TODAY - timedelta(days=days_ago)).isoformat()
    counts = {part: {name: n} for part, name in bins.items()}
    add_invokes(ws.db, [InvokeDay(row.function_id, day, "api", model or row.id, n, counts)])


def test_smaller_pictures_are_said_with_both_shares_and_what_follows() -> None:
    samples = {"7": 30, "8": 500, "9": 470}
    change = compare(SIDE, {"6": 100, "7": 98, "8": 60, "9": 52}, samples, 7)
    assert change is not None
    assert change.sentence == (
        "Of 310 invokes in the last 7 days 64 % are of pictures smaller than 256 px (shorter side); of your samples "
        "3 %. The figures on this page are not of such pictures."
    )
    assert change.index > change.bound >= 0.25


@pytest.mark.parametrize(
    ("part", "invoked", "samples", "words"),
    [
        (
            SIDE,
            {"10": 100},
            {"8": 100},
            "100 % are of pictures of 1,024 px or more (shorter side); of your samples 0 %",
        ),
        (QUALITY, {"30": 80, "90": 20}, {"90": 90, "80": 10}, "80 % are of JPEG files of a quality below 80;"),
        (QUALITY, {"90": 80, "70": 20}, {"70": 90, "60": 10}, "80 % are of JPEG files of quality 90 or better;"),
        (QUALITY, {"lossless": 70, "90": 30}, {"90": 100}, "70 % are of files saved without loss, such as PNG;"),
        (FORMAT, {"WEBP": 60, "JPEG": 40}, {"JPEG": 100}, "60 % are of WebP files; of your samples 0 %"),
        (CONFIDENCE, {"5": 50, "9": 50}, {"9": 95, "8": 5}, "50 % got a confidence below 80 %; of your samples 0 %"),
        (CONFIDENCE, {"9": 100}, {"6": 80, "9": 20}, "100 % got a confidence of 90 % or more; of your samples 20 %"),
        (
            SAID,
            {"strong ab": 20, CANT_TELL: 80},
            {"ab": 50, CANT_TELL: 10},
            "80 % got can't tell; of your samples 17 %",
        ),
    ],
)
def test_each_kind_of_change_has_its_own_words(
    part: str, invoked: dict[str, int], samples: dict[str, int], words: str
) -> None:
    change = compare(part, invoked, samples, 30)
    assert change is not None
    assert f"Of 100 invokes in the last 30 days {words}" in change.sentence
    held = "may not hold for these pictures" if part in (SAID, CONFIDENCE) else "are not of such pictures"
    assert change.sentence.endswith(f"{held}.")


def test_the_share_of_each_label_is_no_change() -> None:
    assert compare(SAID, {"strong ab": 10, "moderate cd": 190}, {"ab": 150, "cd": 50}, 7) is None


def test_below_fifty_invokes_or_samples_nothing_is_said() -> None:
    other = {"10": 1000}
    assert compare(SIDE, {"6": FEWEST - 1}, other, 7) is None
    assert compare(SIDE, other, {"6": FEWEST - 1}, 7) is None
    assert compare(SIDE, {"6": FEWEST}, other, 7) is not None
    assert compare(SIDE, {}, {}, 7) is None


def test_pictures_like_the_samples_hardly_ever_raise_a_warning() -> None:
    """Of one population, split by chance, a few in a thousand at most."""
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(1000):
        values = rng.choice(10, size=(2, 400), p=rng.dirichlet(np.ones(10)))
        first, second = (
            Counter(map(str, row.tolist())) for row in (values[0, : int(rng.integers(50, 400))], values[1])
        )
        wrong += compare(CONFIDENCE, first, second, 7) is not None
    assert wrong <= 5


def test_the_bound_by_chance_is_what_chance_does() -> None:
    rng = np.random.default_rng(1)
    share = np.full(5, 0.2)
    found = [
        stability_index(rng.multinomial(100, share).tolist(), rng.multinomial(500, share).tolist()) for _ in range(4000)
    ]
    # One in a thousand is asked for; the distribution is that of large samples.
    assert np.mean(np.array(found) > by_chance(100, 500, 5)) < 0.004
    assert np.mean(np.array(found) > by_chance(100, 500, 5) / 3) > 0.02


def test_the_samples_are_read_with_their_files_and_confidences_on_images_not_seen(
    trained: tuple[Workspace, ModelRow],
) -> None:
    ws, model = trained
    found = list(scored_files(ws.db, model.function_id, model.id))
    assert {(item.width, item.height, item.format, item.quality) for item in found} == {(80, 80, "PNG", None)}
    assert len(found) == 60
    assert all(item.confidence is not None and item.predicted_label_id in model.label_ids for item in found)
    assert all(item.confidence is None for item in scored_files(ws.db, model.function_id, "another model"))


def test_the_last_week_is_compared_first_then_the_month_and_older_days_and_other_models_are_not(
    tmp_path: Path, trained: tuple[Workspace, ModelRow]
) -> None:
    ws, model = trained
    assert drift_of(ws, model, TODAY).changes == ()
    invoke(trained, 40, 500, FileLook(20, 50, format="JPEG"))
    invoke(trained, 2, 500, FileLook(20, 50, format="JPEG"), model="another")
    found = drift_of(ws, model, TODAY)
    assert (found.invokes, found.decides, found.changes) == (0, False, ())
    # Of this month, but not of this week.
    invoke(trained, 20, 90, FileLook(1200, lossless=True, format="PNG"))
    [size] = [change for change in drift_of(ws, model, TODAY).changes if change.part == SIDE]
    assert (size.days, size.n, size.invoked) == (30, 90, 1.0)
    # And this week others.
    invoke(trained, 3, 60, FileLook(20, 50, format="JPEG"))
    found = drift_of(ws, model, TODAY)
    assert (found.invokes, found.compared, found.decides) == (150, 60, True)
    by_part = {change.part: change for change in found.changes}
    assert (by_part[SIDE].days, by_part[SIDE].n) == (7, 60)
    assert "100 % are of pictures smaller than 64 px" in by_part[SIDE].sentence
    assert "100 % are of JPEG files; of your samples 0 %" in by_part[QUALITY].sentence
    # How they were saved says it already.
    assert FORMAT not in by_part
    assert len(found.days) == 3
    # Each change once, and once what follows.
    assert all(found.warning.count(change.said) == 1 for change in found.changes)
    assert found.warning.count("The figures on this page are not of such pictures.") == 1


@pytest.mark.slow
def test_pictures_like_the_samples_are_no_change(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = labelled_function(ws, 30)
    model = build(ws, function.id).model
    assert model is not None
    model = with_thresholds(ws, model)
    today = datetime.now(UTC).date()
    for item in scored_files(ws.db, function.id, model.id):
        assert item.confidence is not None
        bins = file_bins(PNG_80) | {"confidence": confidence_bin(item.confidence)}
        counts = {part: {name: 2} for part, name in bins.items()}
        add_invokes(ws.db, [InvokeDay(function.id, today.isoformat(), "page", model.id, 2, counts)])
    found = drift_of(ws, model)
    assert (found.invokes, found.decides, found.changes, found.warning) == (120, True, (), "")
