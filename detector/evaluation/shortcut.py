"""Do facts of the files alone, without a look at a single pixel, predict the label?

Where they do, a detector may be reading the file and not the picture, and its score says nothing about images that
come otherwise. A forest is asked, not a linear model: "exactly 1024 wide" or "small or huge" are typical giveaways that
no weighted sum finds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.arrays import Floats, Ints
from detector.formatting import share
from detector.imaging import ImageFacts
from detector.training.folds import MAX_FOLDS, make_folds
from detector.training.metrics import Z95, label_curves

#: The lower end of the interval from which on the files are said to give the label away.
WARNING_FROM = 0.65
#: More rows change nothing about the answer; the first by key are as good as any, keys being hashes.
MOST_ROWS = 10_000

#: What a fact alone must reach to be named among those that give the label away.
TELLING_FROM = 0.65

# Of 200 and 50 trees the areas differ by at most 0.01 from these, on sets that are alike and on those that are not.
_TREES = 100
_TREES_OF_ONE_FACT = 15
_LEAF = 5
# Candidates for "exactly this value": the most frequent ones.
_COMMON_VALUES = 10
_ABSENT = -1.0

_TITLES = {
    "format": "file format",
    "width": "width",
    "height": "height",
    "aspect": "aspect ratio",
    "megapixels": "megapixels",
    "bytes_per_pixel": "bytes per pixel",
    "jpeg_quality": "JPEG quality",
    "jpeg_subsampling": "JPEG subsampling",
    "progressive": "progressive JPEG",
    "exif": "EXIF data",
    "colour_profile": "colour profile",
    "xmp": "XMP data",
    "mode": "colour mode",
}


@dataclass(frozen=True)
class FileFactsRow:
    """One sample: its lasting key (the image's hash), its label as an index, its group of near-duplicates."""

    sample_key: str
    label: int
    facts: ImageFacts
    group: str


@dataclass(frozen=True)
class FactEvidence:
    """How well one fact alone predicts the label, and the plainest sentence about it.

    Attributes
    ----------
    name : str
        Such as "bytes_per_pixel"; ``title`` is it for people.
    roc_auc : float
        Cross-validated, of a forest that sees this fact only.
    words : str
        Such as "PNG: 100 of 100 synthetic, 0 of 100 real".
    """

    name: str
    roc_auc: float
    words: str

    @property
    def title(self) -> str:
        return _TITLES[self.name]


@dataclass(frozen=True)
class ShortcutAudit:
    """What the file facts together predict.

    Attributes
    ----------
    roc_auc : float
        Cross-validated on grouped folds; with more than two labels that of ``label`` against the rest. Not the mean
        over the labels: one of ten that the files give away wholly would vanish in it.
    interval : (float, float)
        95 %.
    warning : bool
        The lower end of the interval is at least ``WARNING_FROM``.
    facts : tuple of FactEvidence
        Those that vary, the most telling first; theirs is the same ``label``.
    n, folds : int
    label : str or None
        With more than two labels the one whose interval begins highest; None with two.
    """

    roc_auc: float
    interval: tuple[float, float]
    warning: bool
    facts: tuple[FactEvidence, ...]
    n: int
    folds: int
    label: str | None = None

    @property
    def telling(self) -> tuple[FactEvidence, ...]:
        """The facts that would do by themselves."""
        return tuple(fact for fact in self.facts if fact.roc_auc >= TELLING_FROM)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, as ``audit --json`` prints them."""
        return {
            "roc_auc": self.roc_auc,
            "interval": list(self.interval),
            "warning": self.warning,
            "facts": [
                {"name": fact.name, "title": fact.title, "roc_auc": fact.roc_auc, "words": fact.words}
                for fact in self.facts
            ],
            "n": self.n,
            "folds": self.folds,
            "label": self.label,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ShortcutAudit:
        """The inverse of ``to_json``."""
        facts = tuple(FactEvidence(item["name"], item["roc_auc"], item["words"]) for item in data["facts"])
        low, high = data["interval"]
        return cls(data["roc_auc"], (low, high), data["warning"], facts, data["n"], data["folds"], data.get("label"))


def shortcut_audit(
    rows: Sequence[FileFactsRow],
    label_names: Sequence[str],
    max_folds: int = MAX_FOLDS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> ShortcutAudit | None:
    """Cross-validate a forest on file facts.

    Parameters
    ----------
    rows : sequence of FileFactsRow
        Labelled samples in any order. With the groups, ``max_folds`` and ``seed`` of the training, the folds are those
        of the training too.
    label_names : names by index; labels without samples are left out
    progress : callable, optional
        Called with (done, total); may raise to give up.

    Returns
    -------
    ShortcutAudit or None
        None when there are too few samples or groups for two folds. The same rows give the same numbers.
    """
    rows = sorted(rows, key=lambda row: row.sample_key)[:MOST_ROWS]
    present, y = np.unique([row.label for row in rows], return_inverse=True)
    names = [label_names[int(index)] for index in present]
    y = y.astype(np.int64)
    groups = [row.group for row in rows]
    folds = make_folds(y, groups, max_folds, seed) if len(names) > 1 else None
    if folds is None:
        return None
    values = _values([row.facts for row in rows])
    table, varying = _table(values)
    say = progress or (lambda _done, _total: None)
    say(0, len(varying) + 1)
    # Near-duplicates are one observation.
    pairs = set(zip(groups, y.tolist(), strict=True))
    count = [sum(label == index for _, label in pairs) for index in range(len(names))]
    prob = _out_of_fold(table, y, folds, _TREES) if varying else np.zeros((len(y), len(names)))
    interval, together, worst = max(
        (auc_interval(auc, count[label], len(pairs) - count[label]), auc, label)
        for label, auc in ((label, _auc(prob, y, label)) for label in _judged(len(names)))
    )
    evidence = []
    for column, name in enumerate(varying):
        say(column + 1, len(varying) + 1)
        alone = _auc(_out_of_fold(table[:, [column]], y, folds, _TREES_OF_ONE_FACT), y, worst)
        evidence.append(FactEvidence(name, alone, _words(name, values[name], y, names)))
    say(len(varying) + 1, len(varying) + 1)
    return ShortcutAudit(
        roc_auc=together,
        interval=interval,
        warning=interval[0] >= WARNING_FROM,
        facts=tuple(sorted(evidence, key=lambda fact: -fact.roc_auc)),
        n=len(rows),
        folds=int(folds.max()) + 1,
        label=names[worst] if len(names) > 2 else None,
    )


def auc_interval(auc: float, positives: int, negatives: int) -> tuple[float, float]:
    """95 % score interval of a ROC AUC.

    Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic", 2006, method 5:
    Hanley and McNeil's variance, at the end of the interval and not at the estimate. Unlike DeLong's or a bootstrap it
    does not shrink to nothing when a handful of samples happens to be separated perfectly.
    """
    half = (positives + negatives) / 2 - 1

    def deviation(value: float) -> float:
        spread = 1 + half * ((1 - value) / (2 - value) + value / (1 + value))
        return float(np.sqrt(value * (1 - value) * spread / (positives * negatives)))

    def excess(value: float) -> float:
        return abs(auc - value) - Z95 * deviation(value)

    # Here, not above: pages show what is stored of an audit, and must not wait for scipy and sklearn.
    from scipy.optimize import brentq

    # At 0 and 1 the deviation is nothing, which would pass for the end that is looked for.
    inside = min(max(auc, 1e-9), 1 - 1e-9)
    low = 0.0 if excess(0.0) <= 0 else float(brentq(excess, 0.0, inside))
    high = 1.0 if excess(1.0) <= 0 else float(brentq(excess, inside, 1.0))
    return low, high


def _values(facts: Sequence[ImageFacts]) -> dict[str, list[float | str | bool | None]]:
    """Column by name."""
    return {
        "format": [item.format for item in facts],
        "width": [float(item.width) for item in facts],
        "height": [float(item.height) for item in facts],
        "aspect": [item.width / item.height for item in facts],
        "megapixels": [item.width * item.height / 1e6 for item in facts],
        "bytes_per_pixel": [item.byte_count / (item.width * item.height) for item in facts],
        "jpeg_quality": [_number(item.extra.get("jpeg_quality")) for item in facts],
        "jpeg_subsampling": [item.extra.get("subsampling") for item in facts],
        "progressive": [item.extra.get("progressive") for item in facts],
        "exif": [bool(item.extra.get("has_exif")) for item in facts],
        "colour_profile": [bool(item.extra.get("has_icc")) for item in facts],
        "xmp": [bool(item.extra.get("has_xmp")) for item in facts],
        "mode": [item.mode for item in facts],
    }


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _table(values: dict[str, list[float | str | bool | None]]) -> tuple[Floats, list[str]]:
    columns, varying = [], []
    for name, column in values.items():
        if len(set(column)) < 2:
            continue
        if any(isinstance(value, str) for value in column):
            codes = {text: code for code, text in enumerate(sorted({v for v in column if isinstance(v, str)}))}
            columns.append([_ABSENT if value is None else float(codes[str(value)]) for value in column])
        else:
            columns.append([_ABSENT if value is None else float(value) for value in column])
        varying.append(name)
    return np.array(columns, dtype=np.float64).T, varying


def _out_of_fold(table: Floats, y: Ints, folds: Ints, trees: int) -> Floats:
    prob = np.zeros((len(y), int(y.max()) + 1))
    from sklearn.ensemble import RandomForestClassifier

    for fold in range(int(folds.max()) + 1):
        held_out = folds == fold
        forest = RandomForestClassifier(trees, min_samples_leaf=_LEAF, random_state=0)
        prob[held_out] = forest.fit(table[~held_out], y[~held_out]).predict_proba(table[held_out])
    return prob


def _judged(labels: int) -> Sequence[int]:
    """Of two labels one says all."""
    return [1] if labels == 2 else range(labels)


def _auc(prob: Floats, y: Ints, label: int) -> float:
    return label_curves(prob[:, label], y == label).roc_auc


def _words(name: str, column: Sequence[float | str | bool | None], y: Ints, names: Sequence[str]) -> str:
    """The one statement about this fact in which the labels differ most."""
    best: tuple[float, str, NDArray[np.bool_]] | None = None
    for phrase, holds in _statements(name, column):
        shares = [float(holds[y == label].mean()) for label in range(len(names))]
        spread = max(shares) - min(shares)
        if best is None or spread > best[0] + 1e-12:
            best = spread, phrase, holds
    if best is None:
        return ""
    _, phrase, holds = best
    counted = [(int(holds[y == label].sum()), int((y == label).sum())) for label in range(len(names))]
    order = sorted(range(len(names)), key=lambda label: -counted[label][0] / counted[label][1])
    return f"{phrase}: " + ", ".join(f"{share(*counted[label])} {names[label]}" for label in order)


def _statements(name: str, column: Sequence[float | str | bool | None]) -> list[tuple[str, NDArray[np.bool_]]]:
    found: list[tuple[str, NDArray[np.bool_]]] = []
    if any(isinstance(value, bool | str) for value in column):
        for value in sorted({value for value in column if value}, key=str):
            phrase = str(value) if isinstance(value, str) and name != "mode" else f"{_TITLES[name]} {value}"
            phrase = _TITLES[name] if value is True else phrase
            found.append((phrase, np.array([item == value for item in column])))
        return found
    numbers = np.array([_ABSENT if value is None else float(value) for value in column])
    if (numbers == _ABSENT).any():
        found.append((f"no {_TITLES[name]}", numbers == _ABSENT))
    distinct, counts = np.unique(numbers[numbers != _ABSENT], return_counts=True)
    # A number that is hardly ever the same twice has no common values.
    frequent = np.argsort(-counts, kind="stable")[: 0 if name == "bytes_per_pixel" else _COMMON_VALUES]
    found += [
        (f"{_TITLES[name]} {value:.3g}" if value < 100 else f"{_TITLES[name]} {value:g}", numbers == value)
        for value in distinct[frequent]
    ]
    # Hundredths of the way suffice for a sentence.
    for cut in np.unique(distinct[np.linspace(0, len(distinct) - 1, min(len(distinct), 101)).astype(int)])[:-1]:
        rounded = float(f"{cut:.3g}") if name not in ("width", "height", "jpeg_quality") else float(cut)
        found.append((f"{_TITLES[name]} of at most {rounded:g}", (numbers <= rounded) & (numbers != _ABSENT)))
        found.append((f"{_TITLES[name]} above {rounded:g}", numbers > rounded))
    return found
