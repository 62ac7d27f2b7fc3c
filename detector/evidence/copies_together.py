"""Several files of one picture, as they are found on several sites: one verdict, in which the better copies count more.

Each copy has lost other traces on its way. The scores' logarithms are averaged, each weighed by how much of the picture
its file still holds; whatever the mean says, its grade is never above the best that one of the copies has earned by
itself, since the thresholds were measured on single pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from detector.evidence.explain import Seen
from detector.formatting import count
from detector.imaging.file_look import FileLook
from detector.imaging.fingerprint import near_duplicate_groups, shows_nothing
from detector.serving.invoke import Score, Verdict
from detector.serving.model import ServingModel
from detector.training.thresholds import CANT_TELL, GRADES

#: What a lossy file of unknown quality is taken for.
_USUAL_QUALITY = 90.0


@dataclass(frozen=True)
class Copy:
    """One file of the picture.

    Attributes
    ----------
    name : str
        Others may have the same.
    verdict : Verdict
        Of it by itself.
    weight : float
        Its share of the one verdict; all of them sum to 1.
    position : int
        Its place among the files as they were given, from 0.
    """

    name: str
    verdict: Verdict
    weight: float
    position: int


@dataclass(frozen=True)
class Together:
    """The one verdict, and the files that it comes from, the weightiest first."""

    verdict: Verdict
    copies: tuple[Copy, ...]

    @property
    def sentence(self) -> str:
        """How far the copies agree."""
        said = [copy.verdict.verdict for copy in self.copies]
        n = len(said)
        if len(set(said)) == 1:
            return f"All {count(n, 'copy', 'copies')} get the same verdict by themselves."
        parts = ", ".join(f"{said.count(word):,} {word}" for word in dict.fromkeys(said))
        return f"By themselves the {count(n, 'copy', 'copies')} get different verdicts: {parts}."


def is_one_picture(hashes: Sequence[str]) -> bool:
    """Whether files are near-duplicates of each other, by their perceptual hashes."""
    return not any(map(shows_nothing, hashes)) and len(set(near_duplicate_groups(hashes).tolist())) == 1


def judge_together(serving: ServingModel, copies: Sequence[tuple[str, Seen]]) -> Together:
    """One verdict on several files of a picture.

    Parameters
    ----------
    copies : sequence of (name, Seen)
        At least one, all by the model at hand.
    """
    weights = np.array([_held(seen.verdict.look) for _, seen in copies])
    # What does not compare with the samples says nothing, as long as another copy does.
    compares = np.array([not seen.verdict.unlike for _, seen in copies])
    if compares.any():
        weights = weights * compares
    weights = weights / weights.sum()
    ids = [label.id for label in serving.labels]
    scores = np.array([[_by_label(seen.verdict)[label_id] for label_id in ids] for _, seen in copies])
    logs = weights @ np.log(np.maximum(scores, 1e-12))
    pooled = np.exp(logs - logs.max())
    pooled /= pooled.sum()
    [grade] = serving.grades(pooled[None])
    order = np.argsort(-weights, kind="stable").tolist()
    best = copies[order[0]][1].verdict
    names = {label.id: label.name for label in serving.labels}
    ranked = tuple(Score(names[ids[i]], ids[i], float(pooled[i])) for i in np.argsort(-pooled, kind="stable").tolist())
    leading = ranked[0].label_id
    earned = [seen.verdict.grade for _, seen in copies if seen.verdict.label_id == leading and seen.verdict.sure]
    # The later in the list, the lower.
    grade = max(grade, min(earned, key=GRADES.index, default=CANT_TELL), key=GRADES.index)
    reason = _reason([copies[i][1].verdict for i in order], grade)
    verdict = replace(best, scores=ranked, grade=grade, reason=reason)
    shown = tuple(Copy(copies[i][0], copies[i][1].verdict, float(weights[i]), i) for i in order)
    return Together(verdict, shown)


def _reason(verdicts: Sequence[Verdict], grade: str) -> str:
    """Of the weightiest copy that earned this grade; where none did, why the weightiest one says nothing."""
    if grade == CANT_TELL:
        return verdicts[0].reason if not verdicts[0].sure else "Together the copies are not enough for a verdict."
    return next((verdict.reason for verdict in verdicts if verdict.grade == grade), "")


def _by_label(verdict: Verdict) -> dict[str, float]:
    return {score.label_id: score.confidence for score in verdict.scores}


def _held(look: FileLook | None) -> float:
    """How much of the picture a file still holds, in no unit: its real pixels along a side, and how it was saved."""
    if look is None:
        return 1.0
    quality = 100.0 if look.lossless else look.quality or _USUAL_QUALITY
    return look.side / max(look.rescaling or 1.0, 1.0) * (quality / 100) ** 2
