"""The table of an audit's parts: what each is called, how it is measured, and what its result is. No torch.

A part that is added to `PARTS` runs in every audit, is stored when it is finished, is read back as
`Audit.results`, and stands in what ``audit --json`` prints. Its figure is no matter of this room: see
``pages/_metrics_figures.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from detector.evaluation.duplicates import Duplicates, measure_duplicates
from detector.evaluation.results import STRESSES, LearningCurve, Sources, StressScore, UnseenSources
from detector.evaluation.shortcut import FileFactsRow, ShortcutAudit, shortcut_audit
from detector.progress import Report
from detector.storage.evaluations import COVERAGE, DUPLICATES, LEARNING_CURVE, SHORTCUT, SOURCES, UNSEEN, Flip
from detector.training.coverage import Coverage

if TYPE_CHECKING:
    from detector.evaluation.examination import Examination


class Result(Protocol):
    """What a part found, to and from plain JSON types."""

    def to_json(self) -> dict[str, Any]: ...

    @classmethod
    def from_json(cls, data: dict[str, Any], /) -> Result: ...


#: What a part found, None where there was nothing to measure, and the verdicts that flipped on changed copies.
Measured = tuple[Result | None, list[Flip]]


@dataclass(frozen=True)
class AuditPart:
    """One part of an audit; each is finished and stored by itself.

    Attributes
    ----------
    name : str
        Under which it is stored; it must never change.
    run : callable
        (examination, report) -> (result, flips). Imports what brings torch when it is called, not before.
    result : type
        Of what it finds.
    under : str
        Key of the stored JSON under which the result lies, None among them; without one, the JSON is the result.
    outdated : callable, optional
        (examination) -> whether what it looked at was changed while it ran, so that its result is not stored.
    """

    name: str
    run: Callable[[Examination, Report], Measured]
    result: type[Result]
    under: str = "result"
    outdated: Callable[[Examination], bool] | None = None

    def to_json(self, found: Result | None) -> dict[str, Any]:
        """The form in which a result is stored."""
        data = found.to_json() if found is not None else None
        return {self.under: data} if self.under else data or {}

    def from_json(self, stored: dict[str, Any]) -> Result | None:
        """The inverse of ``to_json``."""
        data = stored[self.under] if self.under else stored
        return self.result.from_json(data) if data else None


def stress_part(stress: str) -> str:
    """The part that holds one change: each is finished by itself, since copies take long."""
    return f"stress/{stress}"


def _shortcut(examination: Examination, report: Report) -> Measured:
    from detector.operations.normalisation import file_facts

    audit_data = examination.audit_data
    facts = file_facts(examination.ws, [row.image_hash for row in audit_data.rows], audit_data.model.normalise, report)
    rows = [
        FileFactsRow(row.image_hash, int(label), found, group)
        for row, label, found, group in zip(audit_data.rows, audit_data.y, facts, audit_data.groups, strict=True)
    ]
    chosen = audit_data.model.hyperparameters
    found = shortcut_audit(
        rows,
        audit_data.label_names,
        max(chosen["folds"], 2),
        chosen["seed"],
        lambda done, total: report("evaluate", done, total, "Checking whether file properties reveal the label", None),
    )
    return found, []


def _duplicates(examination: Examination, report: Report) -> Measured:
    return measure_duplicates(examination.ws, examination.audit_data, report), []


def _sources(examination: Examination, report: Report) -> Measured:
    from detector.evaluation.sources import measure_sources

    return measure_sources(examination.audit_data, report), []


def _unseen(examination: Examination, report: Report) -> Measured:
    from detector.evaluation.sources import measure_unseen

    return measure_unseen(examination, report), []


def _coverage(examination: Examination, report: Report) -> Measured:
    from detector.evaluation.coverage import measure_coverage

    return measure_coverage(examination, report), []


def _learning_curve(examination: Examination, report: Report) -> Measured:
    from detector.evaluation.learning_curve import measure_learning_curve

    return measure_learning_curve(examination.audit_data, report), []


def _stress(stress: str, examination: Examination, report: Report) -> Measured:
    if examination.audit_data.folds is None:
        # Without folds every verdict would be of a model that knows the sample.
        return None, []
    return examination.stress_test.measure(stress, report)


_BUILT_IN = (
    AuditPart(SHORTCUT, _shortcut, ShortcutAudit, under="shortcut"),
    AuditPart(DUPLICATES, _duplicates, Duplicates, under=""),
    AuditPart(
        # Sources may be given by hand meanwhile; whoever does so asks for this part again.
        SOURCES,
        _sources,
        Sources,
        under="",
        outdated=lambda examination: examination.sources_are_others_now(),
    ),
    AuditPart(UNSEEN, _unseen, UnseenSources, outdated=lambda examination: examination.sources_are_others_now()),
    AuditPart(COVERAGE, _coverage, Coverage),
    AuditPart(LEARNING_CURVE, _learning_curve, LearningCurve, under=""),
    *(AuditPart(stress_part(stress), partial(_stress, stress), StressScore, under="score") for stress in STRESSES),
)

#: By name, in the order in which they are run: what matters most first, what takes longest last.
PARTS: dict[str, AuditPart] = {part.name: part for part in _BUILT_IN}
