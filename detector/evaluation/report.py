"""The finished parts of a model's audit, read back: for pages, the command line and the summary. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from detector.evaluation.duplicates import MOST_LISTED, Duplicates
from detector.evaluation.results import STRESSES, LearningCurve, Sources, StressScore
from detector.evaluation.shortcut import ShortcutAudit
from detector.storage import evaluations, imports
from detector.storage.database import Database
from detector.storage.evaluations import DUPLICATES, LEARNING_CURVE, SHORTCUT, SOURCES
from detector.storage.imports import ImportRow
from detector.storage.models import ModelRow


def stress_part(stress: str) -> str:
    """The part that holds one change: each is finished by itself, since copies take long."""
    return f"stress/{stress}"


#: In the order in which they are run: what matters most first, what takes longest last.
PARTS = (SHORTCUT, DUPLICATES, SOURCES, LEARNING_CURVE, *map(stress_part, STRESSES))


@dataclass(frozen=True)
class Audit:
    """What is known so far about one model beyond its cross-validation.

    Attributes
    ----------
    model : ModelRow
    done : names of the finished parts, of `PARTS`
    shortcut : None where it is not done or could not be made
    duplicates : None where it is not done
    sources : None where it is not done; empty without source tags
    learning_curve : None where it is not done
    stress : the finished changes, in their order; empty for a model without folds
    flipped : samples whose verdict changes under at least one of them
    seconds : by part
    conflicts : files that are byte for byte a sample's and came with another label, at most `MOST_LISTED`
    """

    model: ModelRow
    done: frozenset[str]
    shortcut: ShortcutAudit | None
    duplicates: Duplicates | None
    sources: Sources | None
    learning_curve: LearningCurve | None
    stress: tuple[StressScore, ...]
    flipped: int
    seconds: dict[str, float]
    conflicts: tuple[ImportRow, ...]

    @property
    def complete(self) -> bool:
        return self.done >= set(PARTS)

    def to_json(self) -> dict[str, Any]:
        """The form that ``audit --json`` prints."""
        return {
            "shortcut": self.shortcut.to_json() if self.shortcut else None,
            "duplicates": self.duplicates.to_json() if self.duplicates else None,
            "same_image_other_label": [{"file": row.file, "reason": row.reason} for row in self.conflicts],
            "locked_test": self.model.locked_test,
            "thresholds": self.model.thresholds,
            **(self.sources.to_json() if self.sources else {"sources": []}),
            "stress": [score.to_json() for score in self.stress],
            "flipped_samples": self.flipped,
            "learning_curve": self.learning_curve.to_json() if self.learning_curve else None,
            "seconds": {part: round(seconds, 2) for part, seconds in self.seconds.items()},
        }


def read_audit(db: Database, model: ModelRow) -> Audit:
    """What is finished of a model's audit."""
    parts = evaluations.read_parts(db, model.id)
    stored = [parts[name]["score"] for name in map(stress_part, STRESSES) if name in parts]
    shortcut = parts.get(SHORTCUT, {}).get("shortcut")
    return Audit(
        model=model,
        done=frozenset(parts),
        shortcut=ShortcutAudit.from_json(shortcut) if shortcut else None,
        duplicates=Duplicates.from_json(parts[DUPLICATES]) if DUPLICATES in parts else None,
        sources=Sources.from_json(parts[SOURCES]) if SOURCES in parts else None,
        learning_curve=LearningCurve.from_json(parts[LEARNING_CURVE]) if LEARNING_CURVE in parts else None,
        stress=tuple(StressScore.from_json(score) for score in stored if score),
        flipped=evaluations.count_flipped(db, model.id),
        seconds=evaluations.part_seconds(db, model.id),
        # No finished part: an import that brings nothing new makes no new model, and so no new audit.
        conflicts=tuple(imports.conflicts(db, model.function_id, MOST_LISTED)),
    )
