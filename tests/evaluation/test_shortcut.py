from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from detector.evaluation.shortcut import FileFactsRow, ShortcutAudit, auc_interval, shortcut_audit
from detector.imaging import ImageFacts, ImageLimits, inspect_image, near_duplicate_groups
from tests.shared_data import require

pytestmark = pytest.mark.slow

LIMITS = ImageLimits(max_bytes=50_000_000, max_pixels=100_000_000)


def facts(width: int = 256, height: int = 256, file_format: str = "JPEG", byte_count: int = 20_000) -> ImageFacts:
    return ImageFacts(file_format, width, height, "RGB", byte_count, extra={"has_exif": False, "has_icc": False})


def made_rows(counts: tuple[int, ...], fact_of: Callable[[int, np.random.Generator], ImageFacts]) -> list[FileFactsRow]:
    rng = np.random.default_rng(0)
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    keys = [f"{index:04d}" for index in range(len(labels))]
    return [FileFactsRow(key, label, fact_of(label, rng), key) for key, label in zip(keys, labels, strict=True)]


def rows_of_set(name: str, every: int = 1) -> list[FileFactsRow]:
    """Every so-many-th file of a development set, once per content, grouped like samples."""
    folder = require(name)
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file())[::every]:
        inspected = inspect_image(path.read_bytes(), path.name, LIMITS)
        found[inspected.sha256] = (int(path.relative_to(folder).parts[0] == "synthetic"), inspected)
    keys = sorted(found)
    groups = near_duplicate_groups([found[key][1].perceptual_hash for key in keys])
    return [
        FileFactsRow(key, found[key][0], found[key][1].facts, keys[int(group)])
        for key, group in zip(keys, groups, strict=True)
    ]


def audited(rows: list[FileFactsRow], names: tuple[str, ...] = ("real", "synthetic")) -> ShortcutAudit:
    audit = shortcut_audit(rows, names)
    assert audit is not None
    return audit


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "above", "fact"), [("confounded_png_vs_jpeg", 0.95, "format"), ("confounded_size", 0.9, "height")]
)
def test_a_set_whose_files_give_the_label_away_is_warned_of(name: str, above: float, fact: str) -> None:
    audit = audited(rows_of_set(name))
    assert audit.roc_auc > above
    assert audit.warning
    assert fact in [item.name for item in audit.facts if item.roc_auc > above]


@pytest.mark.long
@pytest.mark.parametrize(("name", "every"), [("genimage_mini", 1), ("mixed2000", 4)])
def test_a_set_whose_files_are_alike_is_not(name: str, every: int) -> None:
    audit = audited(rows_of_set(name, every))
    assert not audit.warning
    assert 0.4 < audit.roc_auc < 0.62


@pytest.mark.long
def test_a_size_that_lies_between_the_others_is_found_where_a_linear_model_finds_nothing() -> None:
    rows = made_rows(
        (100, 100), lambda label, rng: facts(width=512 if label else int(rng.choice([300, 400, 700, 800])))
    )
    audit = audited(rows)
    assert audit.roc_auc == 1.0
    assert audit.facts[0].words in ("width 512: 100 of 100 synthetic, 0 of 100 real",)


def test_the_words_of_a_fact_count_the_files_of_each_label() -> None:
    rows = made_rows((40, 60), lambda label, _rng: facts(file_format="PNG" if label else "JPEG"))
    (fact,) = audited(rows).facts
    assert fact.name == "format"
    assert fact.words == "JPEG: 40 of 40 real, 0 of 60 synthetic"


@pytest.mark.long
def test_three_labels_are_compared_each_with_the_rest() -> None:
    names = ("camera", "scanner", "generator")
    rows = made_rows(
        (60, 60, 60), lambda label, rng: facts(width=(640, 800)[label == 2], byte_count=rng.integers(1e4, 2e4))
    )
    audit = audited(rows, names)
    # The generator is told apart for sure, the other two only by guessing.
    assert (audit.label, audit.roc_auc) == ("generator", 1.0)
    assert audit.warning
    assert "60 of 60 camera, 60 of 60 scanner, 0 of 60 generator" in next(
        f.words for f in audit.facts if f.name == "width"
    )


@pytest.mark.long
def test_one_label_of_ten_that_the_files_give_away_is_not_averaged_away() -> None:
    """The mean of the areas, one of 1.0 and nine of about 0.55, gave no warning."""
    names = tuple(f"label {index}" for index in range(10))
    widths = {7: 640}
    audit = audited(made_rows((30,) * 10, lambda label, _rng: facts(width=widths.get(label, 512))), names)
    assert audit.warning
    assert audit.label == "label 7"
    assert audit.roc_auc == 1.0
    assert [fact.name for fact in audit.telling][:1] == ["width"]
    assert ShortcutAudit.from_json(json.loads(json.dumps(audit.to_json()))) == audit


def test_ten_labels_whose_files_are_alike_are_no_warning() -> None:
    names = tuple(f"label {index}" for index in range(10))
    assert not audited(
        made_rows((30,) * 10, lambda _label, rng: facts(width=int(rng.integers(300, 900)))), names
    ).warning


def test_files_without_any_difference_predict_nothing() -> None:
    audit = audited(made_rows((30, 30), lambda _label, _rng: facts()))
    assert (audit.roc_auc, audit.warning, audit.facts) == (0.5, False, ())


def test_a_handful_of_files_that_differ_by_chance_is_no_warning() -> None:
    audit = audited(made_rows((3, 3), lambda label, _rng: facts(width=256 + label)))
    assert not audit.warning
    assert shortcut_audit(made_rows((5, 0), lambda _label, _rng: facts()), ("real", "synthetic")) is None


def test_near_duplicates_are_one_observation_and_share_a_fold() -> None:
    """Random widths, every picture ten times: apart, its twins would give the label away."""
    rng = np.random.default_rng(1)
    rows = []
    for picture in range(40):
        width, label = int(rng.integers(100, 10_000)), int(rng.integers(2))
        rows += [FileFactsRow(f"{picture}-{copy}", label, facts(width=width), str(picture)) for copy in range(10)]
    audit = audited(rows)
    assert audit.roc_auc < 0.8
    assert audit.interval[1] - audit.interval[0] > 0.25
    assert not audit.warning


@pytest.mark.long
def test_the_order_of_rows_does_not_matter_and_json_keeps_everything() -> None:
    rows = made_rows((50, 50), lambda label, rng: facts(width=int(rng.integers(200, 300 + 100 * label))))
    audit = audited(rows)
    assert audited(rows[::-1]) == audit
    assert ShortcutAudit.from_json(json.loads(json.dumps(audit.to_json()))) == audit


@pytest.mark.parametrize(("shift", "positives", "negatives"), [(0.5, 40, 60), (2.5, 10, 15), (0.0, 25, 25)])
def test_the_interval_holds_the_true_area_about_as_often_as_it_says(
    shift: float, positives: int, negatives: int
) -> None:
    from scipy.stats import norm

    truth = norm.cdf(shift / np.sqrt(2))
    rng = np.random.default_rng(2)
    y = np.repeat([1, 0], [positives, negatives])
    inside = 0
    for _ in range(400):
        auc = roc_auc_score(y, rng.normal(size=len(y)) + shift * y)
        low, high = auc_interval(auc, positives, negatives)
        inside += low <= truth <= high
    assert inside >= 0.925 * 400
