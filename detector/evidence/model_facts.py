"""The model behind a verdict: which one it is, what it promises, and what its own figures warn of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from detector.evaluation.report import Audit, read_audit
from detector.evaluation.summary import ROUGH_BELOW, told_apart, unseen_sources, worst_unseen
from detector.formatting import count, decimal, limit, rate_of
from detector.serving.invoke import Verdict
from detector.serving.model import ServingModel
from detector.storage import functions
from detector.training.thresholds import CANT_TELL, STRONG, Thresholds
from detector.workspace import Workspace

#: A loss of accuracy on sources never seen from which on a verdict needs a word about it.
_NOTABLE_LOSS = 0.03


@dataclass(frozen=True)
class ModelFacts:
    """What a reader must know of a model to weigh its word.

    Attributes
    ----------
    id, version : of the model
    backbone : str
        The id of the network.
    weights : str
        What its embeddings are kept under: network, weights and precision; others mean other numbers.
    false_accusation_limit : float
    promise : str
        What the limit means for the verdict at hand, in words; empty where nothing is promised of it.
    warnings : tuple of str
        What the Metrics page warns of, one sentence each.
    sources : tuple of str
        Names of the known sources, in alphabetical order.
    """

    id: str
    version: int
    backbone: str
    weights: str
    false_accusation_limit: float
    promise: str
    warnings: tuple[str, ...]
    sources: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, in the names of the API."""
        return {
            "id": self.id,
            "version": self.version,
            "backbone": self.backbone,
            "weights": self.weights,
            "falseAccusationLimit": self.false_accusation_limit,
            "promise": self.promise,
            "warnings": list(self.warnings),
            "sources": list(self.sources),
        }


def model_facts(ws: Workspace, serving: ServingModel, promise: str = "") -> tuple[ModelFacts, Audit]:
    """The facts of the model that answers, and what is known so far beyond its cross-validation.

    Parameters
    ----------
    promise : str
        Of the verdict at hand: see `promise_of`.
    """
    row = serving.row
    share = functions.get_function(ws.db, row.function_id).false_accusation_limit
    audit = read_audit(ws.db, row)
    facts = ModelFacts(
        id=row.id,
        version=row.version,
        backbone=row.backbone_id,
        weights=row.backbone_key,
        false_accusation_limit=share,
        promise=promise,
        warnings=tuple(_warnings(audit)),
        sources=tuple(sorted({item.source for item in audit.sources.sources}) if audit.sources else ()),
    )
    return facts, audit


def promise_of(verdict: Verdict, grade: str, thresholds: Thresholds | None) -> str:
    """What the limit means for a verdict, in words; empty where it was not measured for such ones.

    Parameters
    ----------
    grade : str
        What is left of the verdict's own once copies of the picture were looked at.
    thresholds : Thresholds, optional
        Those that the model answers by.
    """
    # An adapted model answers with shifted scores, and a picture unlike the samples says nothing of pictures like them.
    if grade == CANT_TELL or verdict.offset is not None or verdict.unlike or thresholds is None:
        return ""
    kept_for = "also on sources that the model had not seen" if grade == STRONG else "for pictures like your samples"
    share = limit(thresholds.false_accusation_limit)
    return f"At most {share} of the pictures of any label are wrongly given another one, {kept_for}."


def _warnings(audit: Audit) -> list[str]:
    row, found = audit.model, []
    shortcut = audit.shortcut
    if shortcut is not None and shortcut.warning:
        what = "The properties of the files alone" if row.normalise is None else "How well the files compress alone"
        found.append(
            f"{what} told {told_apart(shortcut)} apart (ROC AUC {decimal(shortcut.roc_auc, 2)}), so this model may be "
            "reading the file and not the picture. See the Metrics page before you use this."
        )
    if row.cross_validation is None:
        found.append("This model has not been validated: there were too few different images.")
    elif row.cross_validation["n"] < ROUGH_BELOW:
        found.append(
            f"This model was tried on {count(row.cross_validation['n'], 'image')} only: its figures are rough."
        )
    worst = worst_unseen(unseen_sources(audit))
    if worst is not None and worst.loss >= _NOTABLE_LOSS:
        found.append(
            f"On sources that it had not seen, {rate_of(worst.accuracy, worst.n)} of the {worst.label} images were "
            f"right, {rate_of(worst.seen, worst.n)} on those that it knew."
        )
    return found
