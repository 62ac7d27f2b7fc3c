"""The finished parts of a model's audit, read back: for pages, the command line and the summary. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from detector.evaluation.duplicates import MOST_LISTED, Duplicates
from detector.evaluation.parts import PARTS, stress_part
from detector.evaluation.results import FORMER_STRESSES, STRESSES, LearningCurve, Sources, StressScore
from detector.evaluation.shortcut import ShortcutAudit
from detector.storage import evaluations, imports
from detector.storage.database import Database
from detector.storage.evaluations import DUPLICATES, LEARNING_CURVE, SHORTCUT, SOURCES
from detector.storage.imports import ImportRow
from detector.storage.models import ModelRow

#: Parts whose results have a field of `Audit` and a place of their own in its JSON.
_WITH_A_FIELD = frozenset({SHORTCUT, DUPLICATES, SOURCES, LEARNING_CURVE, *map(stress_part, STRESSES)})


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
    results : of all finished parts by name, None where there was nothing to measure
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
    results: Mapping[str, Any]
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
            "locked_test": self.model.holdout_score,
            "thresholds": self.model.thresholds,
            **(self.sources.to_json() if self.sources else {"sources": []}),
            "stress": [score.to_json() for score in self.stress],
            "flipped_samples": self.flipped,
            "learning_curve": self.learning_curve.to_json() if self.learning_curve else None,
            **{
                name: found.to_json() if found else None
                for name, found in self.results.items()
                if name not in _WITH_A_FIELD
            },
            "seconds": {part: round(seconds, 2) for part, seconds in self.seconds.items()},
        }


def read_audit(db: Database, model: ModelRow) -> Audit:
    """What is finished of a model's audit."""
    stored = evaluations.read_parts(db, model.id)
    # Whatever a part was called that this version does not know is left alone.
    results: dict[str, Any] = {name: part.from_json(stored[name]) for name, part in PARTS.items() if name in stored}
    return Audit(
        model=model,
        done=frozenset(stored),
        shortcut=results.get(SHORTCUT),
        duplicates=results.get(DUPLICATES),
        sources=results.get(SOURCES),
        learning_curve=results.get(LEARNING_CURVE),
        stress=_stress_scores(results, stored),
        flipped=evaluations.count_flipped(db, model.id),
        seconds=evaluations.part_seconds(db, model.id),
        results=results,
        # No finished part: an import that brings nothing new makes no new model, and so no new audit.
        conflicts=tuple(imports.conflicts(db, model.function_id, MOST_LISTED)),
    )


def _stress_scores(results: dict[str, Any], stored: dict[str, dict[str, Any]]) -> tuple[StressScore, ...]:
    """Those of today; beside those of versions before, which measured other changes, until the audit is done again."""
    former = [
        StressScore.from_json(score)
        for name in FORMER_STRESSES
        if (score := stored.get(stress_part(name), {}).get("score"))
    ]
    scores = [score for name in STRESSES if (score := results.get(stress_part(name)))]
    return tuple(scores if all(stress_part(name) in stored for name in STRESSES) else [*former, *scores])
