"""What is said of a handful of images: counts and not rates, on every figure, page and command."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from streamlit.testing.v1 import AppTest

from detector.charts import audit as audit_charts
from detector.charts import training as training_charts
from detector.charts import validation as validation_charts
from detector.evaluation.results import LearningCurve, LearningPoint, SourceScore, StressScore
from detector.operations.holdout import put_aside_share
from detector.operations.sample_function import SAMPLE_FALSE_ACCUSATION_LIMIT, SAMPLE_NAME, find_sample_function
from detector.pipeline.build import build
from detector.storage import functions, jobs
from detector.training.metrics import CrossValidation, cross_validation_metrics
from detector.training.sweep import SweepRow
from detector.training.thresholds import DEFAULT_FALSE_ACCUSATION_LIMIT, find_thresholds, how_many_images
from detector.workspace import Workspace
from tests.command_line import run_here
from tests.factories import add_images, empty_function, labelled_function, make_image, near_duplicate
from tests.page_app import opened_by_pages, page

pytestmark = pytest.mark.slow

NAMES = ("real", "synthetic")
#: A rate, or a place in which Plotly writes one.
RATE = re.compile(r"\d+(?:\.\d+)? %|:[^}]*%\}")


def measured(per_label: int) -> tuple[CrossValidation, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    y = np.repeat([0, 1], per_label)
    score = np.clip(0.35 + 0.3 * y + rng.normal(0, 0.2, len(y)), 0.01, 0.99)
    prob = np.column_stack([1 - score, score])
    return cross_validation_metrics(prob, y, NAMES, 5), prob, y


def source(name: str, n: int, seen: float | None, unseen: float | None) -> SourceScore:
    return SourceScore(name, "synthetic", n, seen, unseen, (0.4, 0.9), (0.5, 0.9) if seen is not None else None)


def figures(n: int) -> dict[str, go.Figure]:
    """Every figure that quotes rates, of ``n`` images a label."""
    cv, prob, y = measured(n)
    row = SweepRow("whole", "statistics", "standardise", 1.0, 0.1, "none", 0.3, 0.8, 0.8, True)
    points = (LearningPoint(4, 0.7, (0.6, 0.8)), LearningPoint(8, 0.8, (0.7, 0.9)))
    curve = LearningCurve(points, 5, 5, n, 5, None, None, "")
    history = training_charts.HistoryPoint(1, 0.8, n, (0.5, 0.9), True)
    return {
        "labels": validation_charts.label_accuracy(cv),
        "confusion": validation_charts.confusion(cv),
        "roc": validation_charts.roc(cv),
        "precision": validation_charts.precision_recall(cv),
        "sources": audit_charts.unseen_sources([source("a", n, 0.8, 0.6), source("b", n, None, None)], NAMES),
        "stress": audit_charts.stress([StressScore("webp", n, n, 0.8, (0.5, 0.9), 0.9, 0.1)]),
        "verdicts": audit_charts.verdict_shares(find_thresholds(prob, y, NAMES, 0.3)),
        "learning": audit_charts.learning_curve(curve),
        "sweep": training_charts.sweep([row], n=n),
        "ranking": training_charts.sweep_ranking([row], n=n),
        "history": training_charts.training_history([history]),
    }


def texts(figure: go.Figure) -> list[str]:
    """Annotations and hover texts; ticks are a scale and quote nothing."""
    found = [annotation.text for annotation in figure.layout.annotations]
    for trace in figure.data:
        found += [str(trace.hovertemplate or ""), *map(str, np.ravel(np.array(trace.customdata, dtype=object)))]
    return [text.replace("95 % interval", "").replace("95 % of repeats", "") for text in found]


@pytest.mark.parametrize("name", sorted(figures(12)))
def test_no_figure_quotes_a_rate_on_a_handful_of_images(name: str) -> None:
    """Kind: a rate on fewer than 30 images, in the words on a figure and in what appears under the mouse."""
    few = texts(figures(12)[name])
    assert not [text for text in few if RATE.search(text)]
    assert [text for text in texts(figures(60)[name]) if RATE.search(text)]


def test_each_bin_of_the_reliability_figure_is_judged_by_its_own_images() -> None:
    """Kind: a rate on few images inside a figure of many."""
    cv, _, _ = measured(60)
    for found, words in zip(
        (b for b in cv.reliability if b.n), validation_charts.reliability(cv).data[0].customdata, strict=True
    ):
        assert (" % right" in words) == (found.n >= 30)
        if found.n < 30:
            assert f"{round(found.accuracy * found.n)} of {found.n} right" in words


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    with opened_by_pages(tmp_path, monkeypatch) as opened:
        yield opened


def said(app: AppTest) -> str:
    """All text of a page; without what explains an interval, which is no rate of anything measured here."""
    kinds: list[Any] = [app.markdown, app.caption, app.error, app.info, app.warning, app.get("html")]
    parts = [item.value if hasattr(item, "value") else item.proto.body for kind in kinds for item in kind]
    return " ".join(parts).replace("\\", "")


@pytest.mark.long
def test_pages_and_commands_say_counts_of_a_function_of_few_images(ws: Workspace, tmp_path: Path) -> None:
    """Kind: a rate on fewer than 30 images, and can't tell without the number of images that it takes.

    Brothers of the tiles on Metrics: the locked test set, the versions, the list of functions, three sentences, CLI.
    """
    function = labelled_function(ws, 12)
    put_aside_share(ws, function.id, 0.25)
    build(ws, function.id)
    needed = "149 different images of each label (you have 9 of each; near-duplicates count once)"
    metrics = page("metrics.py", function.id)
    words = said(metrics)
    rates = RATE.findall(words.replace("a limit of 2 % false", "").replace("its 95 % interval", ""))
    explained = [rate for rate in rates if rate not in ("95 %", "90 %")]
    assert not explained, (explained, words)
    assert words.count(needed) == 2
    assert re.search(r"[6-9] of 9", words)
    assert "of 6 right · model 1 · evaluation 1 on this set" in words
    assert [button for button in metrics.button if button.label == "Import more images"]

    invoke = page("invoke.py", function.id)
    assert needed in said(invoke)
    assert [button for button in invoke.button if button.label == "Import more images"]
    review = page("review.py", function.id, verdict="unsure")
    assert needed in said(review)
    listed = said(page("functions.py", function.id))
    assert re.search(r"\*\*\d+ of 18\*\* right", listed)
    assert "cross-validated on 18 images" in listed
    assert not RATE.search(listed)

    ran = run_here(tmp_path, "functions")
    assert re.search(r"24 samples  model 1, \d+ of 18 right", ran.out), ran.out
    ran = run_here(tmp_path, "audit", function.id)
    assert not RATE.search(ran.out.replace("100%", "").replace("limit of 2 %", "")), ran.out
    picture = tmp_path / "a.png"
    picture.write_bytes(make_image(500))
    ran = run_here(tmp_path, "invoke", function.id, str(picture), str(picture))
    assert ran.err.count(needed) == 1


def test_the_sample_of_the_page_is_made_as_that_of_the_command_line(ws: Workspace) -> None:
    """Kind: one thing made in two places. Only one of them would start with the limit at which it can say a label."""
    start = page("functions.py")
    assert "It starts with a limit of 20 % false accusations" in said(start)
    assert how_many_images() in said(start)
    _try_sample_of(ws)
    [sample] = functions.list_functions(ws.db)
    assert (sample.function.name, sample.function.false_accusation_limit) == (
        SAMPLE_NAME,
        SAMPLE_FALSE_ACCUSATION_LIMIT,
    )
    assert find_sample_function(ws) == sample.function
    own = functions.create_function(ws.db, "Mine", backbone_id="efficientnet-lite0")
    assert own.false_accusation_limit == DEFAULT_FALSE_ACCUSATION_LIMIT
    assert how_many_images(own.false_accusation_limit) in said(page("import_images.py", own.id))


def _try_sample_of(ws: Workspace) -> None:
    """Press the button; in a test the page that follows is not there to be shown."""
    app = page("functions.py")
    next(button for button in app.button if button.label == "Try the built-in sample").click().run()
    [job] = jobs.list_jobs(ws.db)
    assert job.payload["from"] == "sample"


def test_near_duplicates_alone_say_how_many_different_images_they_are(ws: Workspace) -> None:
    """Kind: can't tell for lack of images, here without any folds: one picture twice is one of the 149."""
    function = empty_function(ws)
    pairs = [("real", make_image(0)), ("synthetic", make_image(0, "synthetic"))]
    files = [
        (f"{label}{n}.png", data, label) for label, one in pairs for n, data in enumerate((one, near_duplicate(one)))
    ]
    add_images(ws, function, files)
    build(ws, function.id)
    for name in ("metrics.py", "invoke.py"):
        app = page(name, function.id)
        assert "149 different images of each label (you have 1 of each;" in said(app), name
        assert [button for button in app.button if button.label == "Import more images"]
