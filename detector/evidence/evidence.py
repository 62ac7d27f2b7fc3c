"""One picture, its verdict, and what stands beside it: the one form that page, API, command line and records share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from detector.evidence.model_facts import ModelFacts
from detector.evidence.quality import Quality
from detector.evidence.stability import Stability
from detector.formatting import count
from detector.imaging.provenance import Provenance
from detector.serving.invoke import Verdict

#: Two sentences that stand beside every verdict, whatever it is.
FIND_THE_FIRST = "Find the first published copy of this picture and test that one: each copy on the way loses traces."
NOT_ALONE = "Never let this be the only ground for a decision about somebody."

#: So many of the known sources are named where it is said that others are not known.
_NAMED = 4
#: What no verdict covers, however strong it is.
BLIND_SPOTS = (
    "photographs of a screen or a print",
    "pictures that were sent by a messenger several times",
    "photographs that were passed through a generator",
    "small changes within a photograph",
)


@dataclass(frozen=True)
class Evidence:
    """What is known of one picture.

    Attributes
    ----------
    file, sha256, perceptual_hash : str
        The name that it came with, and the fingerprints of its bytes and of the picture.
    verdict : Verdict
    grade, reason : str
        Never above what survives on copies of the picture; the verdict's own until these were looked at.
    model : ModelFacts
    facts : dict
        Of the file, as `ImageFacts.to_json`.
    at : float
        Seconds since the epoch.
    quality : Quality
    provenance : Provenance
    stability : Stability or None
        None: not looked at yet.
    quality_says : tuple of str
        What the model's audit found on pictures in such a state.
    nearest : tuple of dict
        ``sample``, ``label``, ``distance``, ``file``; the nearest first.
    known : tuple of dict
        ``kind`` ("sample", "near-duplicate", "record"), ``sentence`` and what it is of.
    """

    file: str
    sha256: str
    perceptual_hash: str
    verdict: Verdict
    grade: str
    reason: str
    model: ModelFacts
    facts: dict[str, Any]
    at: float
    quality: Quality
    provenance: Provenance
    stability: Stability | None = None
    quality_says: tuple[str, ...] = ()
    nearest: tuple[dict[str, Any], ...] = ()
    known: tuple[dict[str, Any], ...] = ()

    @property
    def blind_spots(self) -> tuple[str, ...]:
        """What no verdict of this model covers."""
        sources = self.model.sources
        named = f" ({', '.join(sources[:_NAMED])}{', ...' if len(sources) > _NAMED else ''})" if sources else ""
        known = f"your {count(len(sources), 'source')}{named}" if sources else "your samples"
        return (*BLIND_SPOTS, f"generators and collections that are not among {known}")

    @property
    def said(self) -> str:
        """The verdict in one word: the label's name where the grade is above can't tell."""
        return replace(self.verdict, grade=self.grade).verdict

    def to_json(self) -> dict[str, Any]:
        """What ``explain --json`` prints, the API answers and a record keeps."""
        scores = [{"labelName": score.label, "confidence": score.confidence} for score in self.verdict.scores]
        unlike = [miss.sentence for miss in self.verdict.unlike]
        return {
            "file": self.file,
            "sha256": self.sha256,
            "verdict": self.said,
            "grade": self.grade,
            "reason": self.reason,
            "labelConfidences": scores,
            "model": {**self.model.to_json(), "offset": self.verdict.offset},
            "quality": {**self.quality.to_json(), "says": list(self.quality_says)},
            "stability": self.stability.to_json() if self.stability else [],
            "unlike": {"flagged": bool(unlike), "reason": " ".join(unlike)},
            "nearest": list(self.nearest),
            "provenance": self.provenance.to_json(),
            "known": list(self.known),
            "blindSpots": list(self.blind_spots),
            "at": datetime.fromtimestamp(self.at, UTC).isoformat(timespec="seconds"),
        }
