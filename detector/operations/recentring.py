"""Adapting a detector to the place where it is used, by a few labelled pictures from there, and undoing that.

Nothing is trained: one offset moves the border between its two labels (`detector.training.recentring`). It belongs to
the version that it was found for; the next one starts without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detector.errors import (
    AdaptingMakesWorse,
    ImageError,
    InvalidInput,
    NotTwoLabels,
    PictureRefused,
    TooFewPictures,
)
from detector.imaging import Inspected, inspect_image, near_duplicate_groups
from detector.progress import Pace, Report, silent
from detector.serving.invoke import Verdict, answer
from detector.serving.model import ServingModel, load_serving_model, serving_backbone
from detector.storage import functions, models, samples
from detector.storage.acting import MANAGE, needs
from detector.storage.database import now
from detector.storage.label_names import label_key
from detector.training.recentring import (
    FEWEST_PICTURES,
    MOST_PICTURES,
    Checked,
    Recentring,
    balanced_accuracy,
    check,
    log_odds,
    recentre,
)
from detector.workspace import Workspace

_BATCH = 32

#: A picture's name, and how to read its bytes: it may be read twice, and is not kept in between.
Picture = tuple[str, Callable[[], bytes]]


@dataclass(frozen=True)
class Trial:
    """What adapting would change; nothing is stored yet.

    Attributes
    ----------
    model_id, version : whom it is for
    checked : how the given pictures of each label fare before and after
    refused : pictures that count for nothing, each with a sentence
    """

    function_id: str
    model_id: str
    version: int
    recentring: Recentring
    checked: tuple[Checked, Checked]
    refused: tuple[ImageError, ...]

    @property
    def accuracy(self) -> tuple[float, float]:
        """Mean of both labels' shares of right pictures, before and after."""
        return balanced_accuracy(self.checked)

    @property
    def sentence(self) -> str:
        """Before and after, in counts."""
        return " ".join(item.sentence for item in self.checked)

    @property
    def helps(self) -> bool:
        """Whether at least as many pictures are right as before."""
        before, after = self.accuracy
        return after >= before

    def to_json(self) -> dict[str, Any]:
        """The form that ``adapt --json`` prints."""
        before, after = self.accuracy
        return {
            "function": self.function_id,
            "model": self.version,
            "offset": self.recentring.offset,
            "balancedAccuracy": {"before": before, "after": after},
            "labels": [item.to_json() for item in self.checked],
            "refused": [{"file": error.name, "error": str(error)} for error in self.refused],
        }


@dataclass(frozen=True)
class _Given:
    name: str
    read: Callable[[], bytes]
    label: int
    found: Inspected


@needs(MANAGE, "adapting a function")
def try_on(
    ws: Workspace, function_id: str, pictures: Mapping[str, Sequence[Picture]], report: Report = silent
) -> Trial:
    """What adapting the live model to these pictures would change. Nothing is stored.

    Samples of the function, what is nearly the same, what is given twice and what is given with both labels count for
    nothing, as does what is no image: each is refused with a sentence, and the others are gone on with.

    Parameters
    ----------
    pictures : by label name, of both labels

    Raises
    ------
    NotTwoLabels, TooFewPictures
    InvalidInput
        A label is none of the function's, or there are more than `MOST_PICTURES` of it.
    NoModel, NotFound, BackboneUnavailable
    """
    serving = load_serving_model(ws, function_id).without_recentring()
    if len(serving.row.label_ids) != 2:
        raise NotTwoLabels(len(serving.row.label_ids))
    names = [label.name for label in serving.labels]
    given = _by_column(names, pictures)
    refused: list[ImageError] = []
    usable = _usable(ws, function_id, names, given, refused)
    _check_enough(names, usable, refused)
    used, scores = _scored(ws, serving, usable, refused, report)
    _check_enough(names, used, refused)
    by_label = [np.array([score for item, score in zip(used, scores, strict=True) if item.label == n]) for n in (0, 1)]
    first, second = serving.row.label_ids
    recentring = recentre(by_label, (first, second), [item.found.sha256 for item in used], now())
    return Trial(
        function_id,
        serving.row.id,
        serving.row.version,
        recentring,
        check(recentring, names, serving.thresholds),
        tuple(refused),
    )


@needs(MANAGE, "adapting a function")
def adapt(ws: Workspace, trial: Trial) -> None:
    """Use what was tried: from now on the version answers so, to every caller. Nothing is trained.

    Raises
    ------
    AdaptingMakesWorse
        Fewer of the pictures would be right than before.
    InvalidInput
        Another version is live by now.
    NotFound
    """
    if functions.get_function(ws.db, trial.function_id).live_model_id != trial.model_id:
        raise InvalidInput(
            f"Model {trial.version} is not the live one any more. Give the pictures again to adapt the model of now."
        )
    if not trial.helps:
        raise AdaptingMakesWorse(trial.sentence)
    models.set_recentring(ws.db, trial.model_id, trial.recentring.to_json())


@needs(MANAGE, "adapting a function")
def undo(ws: Workspace, function_id: str) -> bool:
    """Let the live model answer as it was trained; returns whether it was adapted. Raises NotFound."""
    live = functions.get_function(ws.db, function_id).live_model_id
    if live is None or models.get_model(ws.db, live).recentring is None:
        return False
    models.set_recentring(ws.db, live, None)
    return True


def _by_column(names: Sequence[str], pictures: Mapping[str, Sequence[Picture]]) -> list[list[Picture]]:
    found: list[list[Picture]] = [[], []]
    keys = [label_key(name) for name in names]
    for label, items in pictures.items():
        if label_key(label) not in keys:
            raise InvalidInput(
                f"Expected pictures of {' and '.join(names)}; found {label!r}. Name them like the labels."
            )
        found[keys.index(label_key(label))] += items
    for name, items in zip(names, found, strict=True):
        if len(items) > MOST_PICTURES:
            raise InvalidInput(
                f"There are {len(items):,} pictures of {name}; adapting takes at most {MOST_PICTURES:,} of each label. "
                "Import so many instead, and the next model learns them."
            )
    return found


def _usable(
    ws: Workspace,
    function_id: str,
    names: Sequence[str],
    given: Sequence[Sequence[Picture]],
    refused: list[ImageError],
) -> list[_Given]:
    """The pictures that prove something."""
    looked: list[_Given] = []
    for label, items in enumerate(given):
        for name, read in items:
            try:
                looked.append(_Given(name, read, label, inspect_image(read(), name, ws.limits)))
            except ImageError as error:
                refused.append(error)
    rows = samples.training_rows(ws.db, function_id)
    known = {row.image_hash for row in rows}
    hashes = [row.perceptual_hash for row in rows] + [item.found.perceptual_hash for item in looked]
    groups = near_duplicate_groups(hashes).tolist()[len(rows) :]
    labels: dict[int, set[int]] = {}
    for item, group in zip(looked, groups, strict=True):
        labels.setdefault(group, set()).add(item.label)
    usable: list[_Given] = []
    first: dict[int, str] = {}
    for item, group in zip(looked, groups, strict=True):
        why = ""
        if item.found.sha256 in known:
            why = "is a sample of this function already, so it shows nothing about other pictures."
        elif group < len(rows):
            why = "is nearly the same as a sample of this function, so it shows nothing about other pictures."
        elif len(labels[group]) > 1:
            why = f"was given as {names[0]} and as {names[1]}, itself or nearly. Give it with the right label only."
        elif group in first:
            why = f"is the same picture as {first[group]}, or nearly; it counts once."
        if why:
            refused.append(PictureRefused(item.name, why))
        else:
            first[group] = item.name
            usable.append(item)
    return usable


def _check_enough(names: Sequence[str], usable: Sequence[_Given], refused: Sequence[ImageError]) -> None:
    counts = {name: sum(item.label == label for item in usable) for label, name in enumerate(names)}
    if min(counts.values()) < FEWEST_PICTURES:
        raise TooFewPictures(counts, FEWEST_PICTURES, refused)


def _scored(
    ws: Workspace, serving: ServingModel, usable: Sequence[_Given], refused: list[ImageError], report: Report
) -> tuple[list[_Given], list[float]]:
    """The pictures again, with the log odds of the second label as the model was trained."""
    backbone = serving_backbone(ws, serving)
    pace = Pace(report, "adapt", len(usable), "Looking at the pictures")
    used: list[_Given] = []
    scores: list[float] = []
    for start in range(0, len(usable), _BATCH):
        batch = usable[start : start + _BATCH]
        answers = answer(ws, serving, backbone, [(item.name, item.read()) for item in batch])
        for item, found in zip(batch, answers, strict=True):
            if isinstance(found, ImageError):
                refused.append(found)
                continue
            used.append(item)
            scores.append(_score(serving, found))
        pace.at(start + len(batch))
    return used, scores


def _score(serving: ServingModel, verdict: Verdict) -> float:
    by_id = {score.label_id: score.confidence for score in verdict.scores}
    return float(log_odds(np.array([[by_id[label.id] for label in serving.labels]]))[0])
