"""What a cross-validation found, as plain data that survives a trip through JSON.

Every figure stands beside the number of samples that it was measured on; shares of samples carry Wilson intervals.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.arrays import Floats, Ints
from detector.training.calibration import ReliabilityBin, expected_calibration_error, reliability_bins

HISTOGRAM_BINS = 20
# Curves are thinned to this many points: more cannot be seen, and they are stored with every model.
CURVE_POINTS = 201
#: A label with less than this part of an even share of the samples is rare: nearly even shares are no reason for
#: anything.
RARE = 0.7
# Two-sided 95 %.
Z95 = 1.959963984540054


@dataclass(frozen=True)
class LabelScore:
    """Of the ``n`` samples annotated with a label, how many were given it. ``interval``: Wilson, 95 %."""

    n: int
    correct: int
    accuracy: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class LabelCurves:
    """One label against all others, from the most to the least confident sample.

    ``false_positive_rate``/``true_positive_rate`` and ``recall``/``precision`` are pairs of equal length, each thinned
    to at most 201 points; ``roc_auc`` and ``average_precision`` come from all samples.
    """

    false_positive_rate: tuple[float, ...]
    true_positive_rate: tuple[float, ...]
    recall: tuple[float, ...]
    precision: tuple[float, ...]
    roc_auc: float
    average_precision: float


@dataclass(frozen=True)
class ConfidenceHistogram:
    """Samples annotated with one label, counted by the confidence of their prediction: right and wrong ones."""

    correct: tuple[int, ...]
    wrong: tuple[int, ...]


@dataclass(frozen=True)
class CrossValidation:
    """Out-of-fold figures of one model.

    Attributes
    ----------
    folds, n : int
        Number of folds, and of samples measured.
    accuracy : float; interval : its 95 % Wilson interval
    balanced_accuracy : float
        Mean of the labels' accuracies.
    log_loss, ece : float
        Of the calibrated probabilities.
    roc_auc : float
        Two labels: of the second one. More: mean over the labels, each against the rest.
    temperature : float
    label_names : the labels, in the order of every array and of the confusion matrix
    labels : LabelScore by label name
    confusion : rows are annotated labels, columns predicted ones
    curves : LabelCurves by label name
    histogram_edges : 21 edges of the bins over 0..1
    histograms : ConfidenceHistogram by annotated label name
    reliability : ten bins of confidence against accuracy
    """

    folds: int
    n: int
    accuracy: float
    interval: tuple[float, float]
    balanced_accuracy: float
    log_loss: float
    roc_auc: float
    ece: float
    temperature: float
    label_names: tuple[str, ...]
    labels: dict[str, LabelScore]
    confusion: tuple[tuple[int, ...], ...]
    curves: dict[str, LabelCurves]
    histogram_edges: tuple[float, ...]
    histograms: dict[str, ConfidenceHistogram]
    reliability: tuple[ReliabilityBin, ...]

    def is_rare(self, label_name: str) -> bool:
        """Whether there are few samples of a label beside the others."""
        return self.labels[label_name].n < RARE * self.n / len(self.labels)

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and strings."""
        plain: dict[str, Any] = _without_tuples(asdict(self))
        return plain

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> CrossValidation:
        """The inverse of ``to_json``."""
        values = {key: _tuples(value) if isinstance(value, list) else value for key, value in data.items()}
        values["labels"] = {
            name: LabelScore(**(score | {"interval": _tuples(score["interval"])}))
            for name, score in data["labels"].items()
        }
        values["curves"] = {name: LabelCurves(**_tupled(curves)) for name, curves in data["curves"].items()}
        values["histograms"] = {name: ConfidenceHistogram(**_tupled(h)) for name, h in data["histograms"].items()}
        values["reliability"] = tuple(ReliabilityBin(**b) for b in data["reliability"])
        return cls(**values)


def wilson_interval(k: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a share: where it may truly lie when ``k`` of ``n`` were seen.

    Wilson, "Probable inference, the law of succession, and statistical inference", 1927. Unlike the textbook interval
    it stays within 0..1 and is honest for 0 or all of a few.

    Parameters
    ----------
    k, n : float
        0 <= k <= n; no whole numbers where samples are not independent. For n = 0 nothing is known: (0, 1).
    z : float
        Normal quantile; 1.96 for 95 %.
    """
    if n == 0:
        return 0.0, 1.0
    share = k / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At the ends the formula is exact but its rounding is not.
    return (0.0 if k <= 0 else centre - half), (1.0 if k >= n else centre + half)


def cross_validation_metrics(
    prob: Floats,
    y: Ints,
    label_names: Sequence[str],
    folds: int,
    temperature: float = 1.0,
    groups: Sequence[str] | None = None,
) -> CrossValidation:
    """Everything that is shown about out-of-fold predictions.

    Parameters
    ----------
    prob : (n, k) array
        Calibrated out-of-fold probabilities.
    y : (n,) int array
        Annotated labels as indices into ``label_names``; each of them occurs.
    label_names : k names
    folds : int
    temperature : float
        The one that the probabilities were calibrated with, for the record.
    groups : n str, optional
        Near-duplicates are right or wrong together, so intervals take each group for one observation. Without, every
        sample is one.
    """
    n, k = prob.shape
    predicted = prob.argmax(axis=1)
    correct = predicted == y
    confidence = prob.max(axis=1)
    confusion = np.zeros((k, k), dtype=np.int64)
    np.add.at(confusion, (y, predicted), 1)
    edges = np.linspace(0.0, 1.0, HISTOGRAM_BINS + 1)
    scores, curves, histograms = {}, {}, {}
    for index, name in enumerate(label_names):
        annotated = y == index
        scores[name] = _label_score(correct[annotated], _some(groups, annotated))
        curves[name] = label_curves(prob[:, index], annotated)
        histograms[name] = ConfidenceHistogram(
            correct=_counts(confidence[annotated & correct], edges),
            wrong=_counts(confidence[annotated & ~correct], edges),
        )
    right = int(correct.sum())
    aucs = [curves[name].roc_auc for name in label_names]
    # A probability of exactly 0 would make the loss infinite, which JSON cannot hold; scikit-learn clips as well.
    likelihood = np.maximum(prob[np.arange(n), y], np.finfo(np.float64).eps)
    return CrossValidation(
        folds=folds,
        n=n,
        accuracy=right / n,
        interval=_interval(right, n, groups),
        balanced_accuracy=float(np.mean([scores[name].accuracy for name in label_names])),
        log_loss=float(-np.log(likelihood).mean()),
        roc_auc=aucs[1] if k == 2 else float(np.mean(aucs)),
        ece=expected_calibration_error(prob, y),
        temperature=temperature,
        label_names=tuple(label_names),
        labels=scores,
        confusion=_tuples(confusion.tolist()),
        curves=curves,
        histogram_edges=tuple(edges.tolist()),
        histograms=histograms,
        reliability=tuple(reliability_bins(prob, y)),
    )


def label_curves(score: Floats, positive: NDArray[np.bool_]) -> LabelCurves:
    """ROC and precision/recall of one score; samples of equal score enter together."""
    order = np.argsort(-score, kind="stable")
    ordered, hits = score[order], positive[order]
    last_of_ties = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    true = np.cumsum(hits)[last_of_ties].astype(np.float64)
    false = last_of_ties + 1.0 - true
    recall, precision = true / true[-1], true / (true + false)
    tpr, fpr = np.append(0.0, recall), np.append(0.0, false / max(false[-1], 1.0))
    # Before the first sample precision is 1 by convention.
    recall_0, precision_1 = np.append(0.0, recall), np.append(1.0, precision)
    kept = np.unique(np.linspace(0, len(tpr) - 1, min(len(tpr), CURVE_POINTS)).round().astype(int))
    return LabelCurves(
        false_positive_rate=tuple(fpr[kept].tolist()),
        true_positive_rate=tuple(tpr[kept].tolist()),
        recall=tuple(recall_0[kept].tolist()),
        precision=tuple(precision_1[kept].tolist()),
        roc_auc=float(np.trapezoid(tpr, fpr)),
        average_precision=float(np.sum(np.diff(recall_0) * precision)),
    )


def _label_score(correct: NDArray[np.bool_], groups: Sequence[str] | None) -> LabelScore:
    right, n = int(correct.sum()), len(correct)
    return LabelScore(n, right, right / n if n else 0.0, _interval(right, n, groups))


def _some(groups: Sequence[str] | None, chosen: NDArray[np.bool_]) -> list[str] | None:
    return None if groups is None else [group for group, mine in zip(groups, chosen.tolist(), strict=True) if mine]


def _interval(right: int, n: int, groups: Sequence[str] | None) -> tuple[float, float]:
    if groups is None or n == 0:
        return wilson_interval(right, n)
    # Kish's effective size: the number of groups where all are equally large, fewer where one outweighs the others.
    effective = n * n / sum(size * size for size in Counter(groups).values())
    return wilson_interval(right / n * effective, effective)


def _counts(confidence: Floats, edges: Floats) -> tuple[int, ...]:
    return tuple(np.histogram(confidence, bins=edges)[0].tolist())


def _without_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_tuples(item) for key, item in value.items()}
    return [_without_tuples(item) for item in value] if isinstance(value, list | tuple) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _tupled(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: _tuples(value) for key, value in fields.items()}
