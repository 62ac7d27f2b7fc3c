"""A function measured on somebody's own labelled images, by source and grade. Nothing is stored."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from detector.errors import ImageError, InvalidInput, PictureRefused
from detector.imaging import sha256_hex
from detector.importing.entries import FolderSource
from detector.progress import Pace, Report, silent
from detector.serving.invoke import Verdict, invoke
from detector.serving.model import load_serving_model
from detector.storage.label_names import label_key
from detector.training.metrics import wilson_interval
from detector.training.thresholds import CANT_TELL, GRADES
from detector.workspace import Workspace

_BATCH = 32
#: With fewer images of the other labels one accused is more than 1 % by far, or none shows nothing.
FEWEST_FOR_ONE_PERCENT = 300

_ADAPTED_TO = "is one of the pictures that this model is adapted to, so it shows nothing about others."


@dataclass(frozen=True)
class Measured:
    """Images of one label, of one source or of all (``source`` None).

    Attributes
    ----------
    right : how many have the label as the most probable one, whatever the grade
    verdicts : dict of (verdict, grade) to how many got it
    unlike : dict of str to int
        How many are unlike the samples, by the first fact of it: size, quality or rescaling of the file, or likeness.
    reason : str
        The reason of the first of these, as its verdict gives it; empty where there is none.
    """

    label: str
    source: str | None
    n: int
    right: int
    verdicts: dict[tuple[str, str], int]
    unlike: dict[str, int] = field(default_factory=dict)
    reason: str = ""

    def said_wrongly(self, grade: str) -> int:
        """How many got another label at this grade: accusations of real pictures, clearances of AI images."""
        return sum(
            n for (said, given), n in self.verdicts.items() if given == grade and said not in (self.label, CANT_TELL)
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, with 95 % intervals (Wilson)."""
        return {
            "label": self.label,
            "source": self.source,
            "n": self.n,
            "accuracy": self.right / self.n,
            "interval": list(wilson_interval(self.right, self.n)),
            "verdicts": [
                {
                    "verdict": said,
                    "grade": grade,
                    "n": n,
                    "share": n / self.n,
                    "interval": list(wilson_interval(n, self.n)),
                }
                for (said, grade), n in sorted(self.verdicts.items())
            ],
            "unlike": self.unlike,
            **({"reason": self.reason} if self.reason else {}),
        }


@dataclass(frozen=True)
class Measurement:
    """What was measured.

    Attributes
    ----------
    model_version : int
    false_accusation_limit : float or None
        None where the model is not validated.
    sources, labels : tuple of Measured
    auc : dict of str to float
        Area under the ROC curve of each label against the others; only where there are images of both.
    caught : dict of str to float
        By label: the share of its images beyond the score that 1 % of the others exceed (TPR at 1 % FPR); only with
        `FEWEST_FOR_ONE_PERCENT` images of the others.
    not_read : (file, why) of each that could not be used
    """

    model_version: int
    false_accusation_limit: float | None
    sources: tuple[Measured, ...]
    labels: tuple[Measured, ...]
    auc: dict[str, float]
    caught: dict[str, float]
    not_read: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """The form that ``measure --json`` prints."""
        return {
            "model": self.model_version,
            "falseAccusationLimit": self.false_accusation_limit,
            "sources": [item.to_json() for item in self.sources],
            "labels": [item.to_json() for item in self.labels],
            "auc": self.auc,
            "tprAt1PercentFpr": self.caught,
            "notRead": [{"file": name, "error": why} for name, why in self.not_read],
        }


def measure(ws: Workspace, function_id: str, folder: Path, report: Report = silent) -> Measurement:
    """Judge the images below ``folder``/<label>/<source>/ with the live model.

    Images that lie in a label's folder itself have the source "".

    Raises
    ------
    InvalidInput
        There is no image below a folder that is called like a label, or a folder that is not.
    NoModel, NotFound, BackboneUnavailable
    """
    serving = load_serving_model(ws, function_id)
    adapted_to = set(serving.recentring.hashes) if serving.recentring is not None else set()
    known = {label_key(label.name): label.name for label in serving.labels}
    found: dict[tuple[str, str], list[Verdict]] = defaultdict(list)
    not_read: list[tuple[str, str]] = []
    with FolderSource(folder, ws.limits.max_bytes, follow_links=True) as source:
        entries = [(entry, entry.path.split("/")) for entry in source.entries()]
        strange = sorted({parts[0] for _, parts in entries if len(parts) < 2 or label_key(parts[0]) not in known})
        if strange or not entries:
            raise InvalidInput(
                f"Expected folders called like the labels ({', '.join(known.values())}) with images in them; found "
                f"{', '.join(strange[:5]) or 'none'}. Give FOLDER/<label>/<source>/."
            )
        pace = Pace(report, "measure", len(entries), "Looking at the images")
        for start in range(0, len(entries), _BATCH):
            read = []
            for entry, parts in entries[start : start + _BATCH]:
                try:
                    data = entry.read()
                    if sha256_hex(data) in adapted_to:
                        raise PictureRefused(entry.path, _ADAPTED_TO)
                    read.append((entry.path, parts, data))
                except ImageError as error:
                    not_read.append((entry.path, str(error)))
            answers = invoke(ws, function_id, [(path, data) for path, _, data in read], serving.row.id) if read else []
            for (path, parts, _), answer in zip(read, answers, strict=True):
                if isinstance(answer, ImageError):
                    not_read.append((path, str(answer)))
                else:
                    found[known[label_key(parts[0])], parts[1] if len(parts) > 2 else ""].append(answer)
            pace.at(min(start + _BATCH, len(entries)))
    by_label: dict[str, list[Verdict]] = defaultdict(list)
    for (label, _), answers_ in found.items():
        by_label[label] += answers_
    auc, caught = _ranked(by_label)
    return Measurement(
        serving.row.version,
        serving.thresholds.false_accusation_limit if serving.thresholds is not None else None,
        tuple(_measured(label, source, items) for (label, source), items in sorted(found.items())),
        tuple(_measured(label, None, items) for label, items in sorted(by_label.items())),
        auc,
        caught,
        tuple(not_read),
    )


def _measured(label: str, source: str | None, answers: Sequence[Verdict]) -> Measured:
    verdicts = Counter((answer.verdict, answer.grade) for answer in answers)
    assert all(grade in GRADES for _, grade in verdicts)
    unlike = [answer for answer in answers if answer.unlike]
    return Measured(
        label,
        source,
        len(answers),
        sum(answer.label == label for answer in answers),
        dict(verdicts),
        dict(Counter(answer.unlike[0].fact for answer in unlike)),
        unlike[0].reason if unlike else "",
    )


def _ranked(by_label: dict[str, list[Verdict]]) -> tuple[dict[str, float], dict[str, float]]:
    """Per label, the area under its ROC curve, and what is caught where 1 % of the others lie beyond."""
    from sklearn.metrics import roc_auc_score

    auc, caught = {}, {}
    everything = [(label, answer) for label, answers in by_label.items() for answer in answers]
    for label in sorted(by_label):
        mine = np.array([name == label for name, _ in everything])
        if mine.all():
            continue
        scores = np.array(
            [
                next((score.confidence for score in answer.scores if score.label == label), 0.0)
                for _, answer in everything
            ]
        )
        auc[label] = float(roc_auc_score(mine, scores))
        others = np.sort(scores[~mine])[::-1]
        if len(others) >= FEWEST_FOR_ONE_PERCENT:
            caught[label] = float((scores[mine] > others[len(others) // 100]).mean())
    return auc, caught
