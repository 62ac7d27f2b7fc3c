"""The locked test set: samples put aside before training, on which each model version is scored once.

Cross-validation chooses the settings and then judges them on the same samples, which flatters a little. Samples that no
choice has ever seen do not, as long as nobody chooses by them: each further look at them uses them up.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from detector.errors import InvalidInput, NothingLeftToTrain
from detector.formatting import count
from detector.imaging.groups import sample_groups
from detector.jobs import request_build
from detector.serving.stored_models import fitting_model
from detector.storage import embeddings, functions, models, samples
from detector.storage.acting import LOOK, MANAGE, needs, reads
from detector.storage.models import ModelRow
from detector.storage.sample_counts import sample_counts
from detector.storage.samples import TrainingRow
from detector.storage.stored_names import TEST, TRAIN, WHOLE
from detector.training.calibration import expected_calibration_error
from detector.training.metrics import LabelScore, wilson_interval
from detector.training.readiness import MIN_SAMPLES
from detector.workspace import Workspace

#: From so many scored versions on, the best of them is best partly by luck.
MANY_USES = 10
_LARGEST_SHARE = 0.9


@dataclass(frozen=True)
class HoldoutScore:
    """How one model version fared on the locked test set.

    Attributes
    ----------
    n, correct : int
    accuracy : float; interval : its 95 % Wilson interval
    log_loss, ece : float
        Of the calibrated probabilities.
    label_names : the model's labels, in the order of the confusion matrix
    labels : LabelScore by label name
    confusion : rows are annotated labels, columns predicted ones
    look : int
        The how-manieth version this was that these samples scored.
    left_out : int
        Samples of the set that could not be used: the model was trained on them or on near-duplicates of them, or does
        not know their label.
    fingerprint : str
        Of the samples and labels scored.
    """

    n: int
    correct: int
    accuracy: float
    interval: tuple[float, float]
    log_loss: float
    ece: float
    label_names: tuple[str, ...]
    labels: dict[str, LabelScore]
    confusion: tuple[tuple[int, ...], ...]
    look: int
    left_out: int
    fingerprint: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, after a trip through ``json``."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> HoldoutScore:
        """The inverse of ``to_json``."""
        labels = {
            name: LabelScore(**{**score, "interval": tuple(score["interval"])})
            for name, score in data["labels"].items()
        }
        return cls(
            **{
                **data,
                "interval": tuple(data["interval"]),
                "label_names": tuple(data["label_names"]),
                "labels": labels,
                "confusion": tuple(map(tuple, data["confusion"])),
            }
        )


@dataclass(frozen=True)
class Holdout:
    """The set as it stands. ``warning`` is empty until it has been looked at too often."""

    n: int
    by_label: dict[str, int]
    unlabelled: int
    uses: int
    warning: str


@needs(MANAGE, "putting samples aside")
def put_aside_share(ws: Workspace, function_id: str, share: float, seed: int = 0) -> int:
    """Put aside this share of the labelled samples of every label, at random; those put aside before count.

    Groups of near-duplicates go together. The same samples, share and seed give the same choice. A new model is trained
    on the rest, which keeps at least two samples of every label.

    Returns
    -------
    int
        How many samples moved; 0 where the share is aside already, or is less than one sample of every label.

    Raises
    ------
    InvalidInput
        The share is not within 0..0.9: something must be left to train on.
    """
    if not 0 < share <= _LARGEST_SHARE:
        raise InvalidInput(f"The share to put aside is {share:g}; expected more than 0 and at most {_LARGEST_SHARE:g}.")
    rows = samples.training_rows(ws.db, function_id)
    members = _members(rows)
    wanted = Counter(row.label_id for row in rows if row.label_id is not None)
    room = {label: min(math.floor(share * n + 1e-9), n - MIN_SAMPLES) for label, n in wanted.items()}
    for row in rows:
        if row.split == TEST and row.label_id is not None:
            room[row.label_id] -= 1
    order = sorted(members, key=lambda name: hashlib.sha256(f"locked test {seed}:{name}".encode()).digest())
    chosen: list[str] = []
    for name in order:
        labels = Counter(row.label_id for row in members[name] if row.split == TRAIN and row.label_id is not None)
        if labels and all(room[label] >= n for label, n in labels.items()):
            chosen += [row.sample_id for row in members[name]]
            for label, n in labels.items():
                room[label] -= n
    return _move(ws, function_id, chosen, TEST)


@needs(MANAGE, "putting samples aside")
def put_aside_samples(ws: Workspace, function_id: str, sample_ids: Sequence[str]) -> int:
    """Put these samples aside, with their near-duplicates; returns how many moved. A new model follows.

    Raises
    ------
    NothingLeftToTrain
        A label that can be trained now could not be any more.
    """
    wanted = set(sample_ids)
    rows = samples.training_rows(ws.db, function_id)
    groups = [group for group in _members(rows).values() if any(row.sample_id in wanted for row in group)]
    chosen = {row.sample_id for group in groups for row in group}
    _check_what_is_left(ws, function_id, rows, chosen)
    return _move(ws, function_id, list(chosen), TEST)


@needs(MANAGE, "putting samples aside")
def put_aside_source(ws: Workspace, function_id: str, source: str) -> int:
    """Put all samples of a source aside, with their near-duplicates; returns how many moved. A new model follows.

    Raises
    ------
    NothingLeftToTrain
        All samples of a label come from this source.
    """
    rows = samples.training_rows(ws.db, function_id)
    return put_aside_samples(ws, function_id, [row.sample_id for row in rows if row.source == source])


@needs(MANAGE, "giving back what was put aside")
def give_back(ws: Workspace, function_id: str, sample_ids: Sequence[str] | None = None) -> int:
    """Let samples (default: all of the set) be trained on again; returns how many moved. A new model follows."""
    if sample_ids is None:
        sample_ids = [row.sample_id for row in samples.training_rows(ws.db, function_id) if row.split == TEST]
    return _move(ws, function_id, sample_ids, TRAIN)


@reads
def read_holdout(ws: Workspace, function_id: str) -> Holdout:
    """What is in the set, and how often it was looked at."""
    names = {label.id: label.name for label in functions.list_labels(ws.db, function_id)}
    aside = [item for item in sample_counts(ws.db, function_id) if item.split == TEST]
    total = sum(item.samples for item in aside)
    by_label = Counter(dict.fromkeys(names.values(), 0))
    for item in aside:
        if item.label_id is not None:
            by_label[names[item.label_id]] += item.samples
    by_label = +by_label
    looked = np.repeat([item.holdout_uses for item in aside], [item.samples for item in aside])
    # Typical of the set, not the largest: a few old samples among many new ones have not used them up.
    uses = int(np.median(looked)) if total else 0
    return Holdout(
        n=total,
        by_label=dict(by_label),
        unlabelled=total - by_label.total(),
        uses=uses,
        warning=_warning(uses, by_label.total()),
    )


@needs(LOOK, "measuring")
def score_holdout(
    ws: Workspace, model: ModelRow, rows: Sequence[TrainingRow], groups: Sequence[str], trained_on: set[str]
) -> HoldoutScore | None:
    """Score a version on the locked test set and store that with it, once; again only where the set itself changed.

    Parameters
    ----------
    rows : all samples of the function that are embedded as the model needs them
    groups : the group of each
    trained_on : set of image hashes
        What the model has seen: these and their near-duplicates are left out.

    Returns
    -------
    HoldoutScore or None
        None without samples to score.
    """
    seen = {group for row, group in zip(rows, groups, strict=True) if row.image_hash in trained_on}
    index = {label_id: place for place, label_id in enumerate(model.label_ids)}
    labelled = [
        (row, group) for row, group in zip(rows, groups, strict=True) if row.split == TEST and row.label_id is not None
    ]
    chosen = [row for row, group in labelled if row.label_id in index and group not in seen]
    if not chosen:
        return None
    facts = "\n".join(f"{row.image_hash} {row.label_id}" for row in chosen)
    fingerprint = hashlib.sha256(facts.encode()).hexdigest()
    stored = models.get_model(ws.db, model.id).holdout_score
    if stored is not None and stored["fingerprint"] == fingerprint:
        return HoldoutScore.from_json(stored)
    linear = fitting_model(ws, model)
    views = embeddings.read_embeddings(ws.db, model.backbone_key, [row.image_hash for row in chosen])
    prob = linear.predict_proba({view: views.get(view, views[WHOLE]) for view in linear.views})
    y = np.array([index[row.label_id] for row in chosen if row.label_id is not None])
    looked = samples.holdout_uses(ws.db, model.function_id)
    look = 1 + int(np.median([looked[row.sample_id] for row in chosen]))
    score = _score(prob, y, model.label_names, look, len(labelled) - len(chosen), fingerprint)
    models.set_holdout_score(ws.db, model.id, score.to_json(), [row.sample_id for row in chosen])
    return score


@reads
def accuracy_difference(correct: int, n: int, other_correct: int, other_n: int) -> tuple[float, float, float]:
    """First accuracy minus the other, and the combined 95 % interval of that difference.

    Newcombe, "Interval estimation for the difference between independent proportions", 1998, method 10: Wilson's
    intervals of both, squared and added.

    Returns
    -------
    (difference, low, high)
    """
    first, other = correct / n, other_correct / other_n
    low, high = wilson_interval(correct, n)
    other_low, other_high = wilson_interval(other_correct, other_n)
    difference = first - other
    return (
        difference,
        difference - math.hypot(first - low, other_high - other),
        difference + math.hypot(high - first, other - other_low),
    )


def _check_what_is_left(ws: Workspace, function_id: str, rows: Sequence[TrainingRow], chosen: set[str]) -> None:
    training = [row for row in rows if row.split == TRAIN and row.label_id is not None]
    now = Counter(row.label_id for row in training)
    left = Counter(row.label_id for row in training if row.sample_id not in chosen)
    for label in functions.list_labels(ws.db, function_id):
        if left[label.id] < MIN_SAMPLES <= now[label.id]:
            raise NothingLeftToTrain(label.name, now[label.id], left[label.id])


def _members(rows: Sequence[TrainingRow]) -> dict[str, list[TrainingRow]]:
    members: dict[str, list[TrainingRow]] = {}
    for row, group in zip(rows, sample_groups(rows), strict=True):
        members.setdefault(group, []).append(row)
    return members


def _move(ws: Workspace, function_id: str, sample_ids: Sequence[str], split: str) -> int:
    moved = samples.set_split(ws.db, function_id, sample_ids, split)
    if moved:
        request_build(ws, function_id)
    return moved


def _score(
    prob: np.ndarray, y: np.ndarray, names: Sequence[str], look: int, left_out: int, fingerprint: str
) -> HoldoutScore:
    n, k = prob.shape
    confusion = np.zeros((k, k), dtype=np.int64)
    np.add.at(confusion, (y, prob.argmax(axis=1)), 1)
    labels = {}
    for place, name in enumerate(names):
        right, of = int(confusion[place, place]), int(confusion[place].sum())
        labels[name] = LabelScore(of, right, right / of if of else 0.0, wilson_interval(right, of))
    right = int(np.trace(confusion))
    likelihood = np.maximum(prob[np.arange(n), y], np.finfo(np.float64).eps)
    return HoldoutScore(
        n=n,
        correct=right,
        accuracy=right / n,
        interval=wilson_interval(right, n),
        log_loss=float(-np.log(likelihood).mean()),
        ece=expected_calibration_error(prob, y),
        label_names=tuple(names),
        labels=labels,
        confusion=tuple(map(tuple, confusion.tolist())),
        look=look,
        left_out=left_out,
        fingerprint=fingerprint,
    )


def _warning(uses: int, n: int) -> str:
    if uses < MANY_USES or n == 0:
        return ""
    # Blom's approximation of the largest of so many normal deviates; half the samples right is the widest spread.
    # Here, not above: pages import this module, and the first one must not wait for scipy.
    from scipy.special import ndtri

    luck = float(ndtri((uses - 0.375) / (uses + 0.25))) * 0.5 / math.sqrt(n)
    return (
        f"{count(uses, 'model version')} were scored on this locked test set. Choosing the best of them can "
        f"overstate accuracy by up to {100 * luck:.1f} points. Put new images aside."
    )
