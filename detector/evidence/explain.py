"""From a picture to its evidence: first what is known at once, then what takes a moment longer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.errors import ImageError
from detector.evidence.evidence import Evidence
from detector.evidence.known import known_samples
from detector.evidence.known_records import known_records
from detector.evidence.model_facts import model_facts, promise_of
from detector.evidence.quality import Quality, audit_says, quality_of
from detector.evidence.stability import Stability, capped_grade, examine_stability, rejudged
from detector.gallery.neighbours import nearest_to
from detector.imaging import DecodedImage, decode_image
from detector.imaging.fingerprint import perceptual_hash, sha256_hex
from detector.imaging.provenance import Provenance, read_provenance
from detector.progress import Report, silent
from detector.serving.invoke import Verdict, examine, rejudge
from detector.serving.model import ServingModel, load_serving_model, serving_backbone
from detector.storage.database import now
from detector.workspace import Workspace

if TYPE_CHECKING:
    from detector.backbones import Backbone


@dataclass(frozen=True, eq=False)
class Opened:
    """A picture that was decoded, before any network looks at it.

    Attributes
    ----------
    name, sha256 : str
    decoded : DecodedImage
    provenance : Provenance
        What its file says about where it comes from.
    """

    name: str
    sha256: str
    decoded: DecodedImage
    provenance: Provenance


@dataclass(frozen=True, eq=False)
class Seen:
    """What a model made of a picture: whatever the limit is that it is judged by, this stays.

    Attributes
    ----------
    sha256, perceptual_hash : str
    facts : dict
        Of the file, as `ImageFacts.to_json`.
    views : dict of str to (dimension,) float32
    verdict : Verdict
        As it was judged when the picture was looked at.
    quality : Quality
    provenance : Provenance
    """

    sha256: str
    perceptual_hash: str
    facts: dict[str, Any]
    views: dict[str, np.ndarray]
    verdict: Verdict
    quality: Quality
    provenance: Provenance


def explain(
    ws: Workspace,
    function_id: str,
    name: str,
    data: bytes,
    model_id: str | None = None,
    report: Report = silent,
) -> Evidence:
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
    opened = open_picture(ws, name, data)
    seen = look_through(ws, serving, backbone, opened)
    stability = examine_stability(ws, serving, backbone, opened.decoded, seen.verdict, report)
    return evidence_of(ws, serving, seen, name, stability)


def open_picture(ws: Workspace, name: str, data: bytes) -> Opened:
    """Decode a picture and read what its file says. Raises ImageError."""
    decoded = decode_image(data, name, ws.limits)
    return Opened(name, sha256_hex(data), decoded, read_provenance(data, ws.settings.c2pa_trust))


def look_through(ws: Workspace, serving: ServingModel, backbone: Backbone, opened: Opened) -> Seen:
    """Let the network look at a picture once. Raises ImageError."""
    examined = examine(ws, serving, backbone, opened.name, opened.decoded)
    return Seen(
        sha256=opened.sha256,
        perceptual_hash=perceptual_hash(opened.decoded.pixels),
        facts=opened.decoded.facts.to_json(),
        views=examined.views,
        verdict=examined.verdict,
        quality=quality_of(opened.decoded, examined.verdict.look),
        provenance=opened.provenance,
    )


def judged_today(ws: Workspace, serving: ServingModel, seen: Seen) -> Seen | None:
    """The same under the limit and the labels' names of now; None where the model or its labels are others."""
    judged = rejudge(ws, serving.row.function_id, [seen.verdict], serving.row.id)
    if judged is None or isinstance(judged[0], ImageError):
        return None
    return replace(seen, verdict=judged[0])


def evidence_of(
    ws: Workspace, serving: ServingModel, seen: Seen, name: str, stability: Stability | None = None
) -> Evidence:
    """All that is known of a picture, as one whole. Reads the database, but looks at no picture.

    Parameters
    ----------
    name : str
        What the file is called this time.
    stability : Stability, optional
        The verdicts on its copies; the grade is never above what survives on them.
    """
    verdict = replace(seen.verdict, name=name)
    grade, reason = verdict.grade, verdict.reason
    stability = None if stability is None else rejudged(serving, stability)
    if stability is not None:
        grade, why = capped_grade(grade, stability)
        reason = why or reason
    model, audit = model_facts(ws, serving, promise_of(verdict, grade, serving.thresholds))
    labels = {label.id: label.name for label in serving.labels}
    function_id = serving.row.function_id
    near = nearest_to(ws, function_id, seen.views, backbone_key=serving.row.backbone_key)
    known = known_samples(ws, function_id, seen.sha256, seen.perceptual_hash)
    invoked = known_records(ws, function_id, seen.sha256, seen.perceptual_hash)
    return Evidence(
        file=name,
        sha256=seen.sha256,
        perceptual_hash=seen.perceptual_hash,
        verdict=verdict,
        grade=grade,
        reason=reason,
        model=model,
        facts=seen.facts,
        at=now(),
        quality=seen.quality,
        quality_says=tuple(audit_says(audit.stress, seen.quality, labels)),
        stability=stability,
        provenance=seen.provenance,
        nearest=tuple(item.to_json() for item in near),
        known=(*(item.to_json() for item in known), *invoked),
    )
