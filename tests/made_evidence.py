"""Evidence as `Evidence.to_json` writes it, with everything in it that a picture's file can bring along."""

from __future__ import annotations

import json
from typing import Any

from detector.storage.records import PAGE, Record, add_record
from detector.workspace import Workspace

#: What a file may call itself, or say of itself, to be run on a page, to break a line, or to turn the text round.
HOSTILE = '<script>alert("x")</script>\x00\x1b[31m\n\u202egnp.exe'

FULL: dict[str, Any] = {
    "file": "meadow.jpg",
    "sha256": "ab" * 32,
    "verdict": "synthetic",
    "grade": "strong",
    "reason": "It keeps to the limit on sources that were left out of the training.",
    "labelConfidences": [
        {"labelName": "synthetic", "confidence": 0.987},
        {"labelName": "real", "confidence": 0.013},
    ],
    "model": {
        "id": "c" * 32,
        "version": 7,
        "backbone": "efficientnet-lite0",
        "weights": "efficientnet-lite0/0123456789abcdef/float32",
        "falseAccusationLimit": 0.02,
        "promise": "At most 2 % of the pictures of any label are wrongly given another one.",
        "warnings": ["This model was tried on 60 images only: its figures are rough."],
        "sources": ["midjourney", "phone"],
    },
    "quality": {"jpegQuality": 82, "scale": 1.0, "says": ["Saved as JPEG at quality 82."]},
    "stability": [
        {"name": "as-it-is", "words": "as it is", "verdict": "synthetic", "grade": "strong"},
        {"name": "jpeg-75", "words": "saved as JPEG at quality 75", "verdict": "synthetic", "grade": "strong"},
        {"name": "half", "words": "at half the size", "verdict": "can't tell", "grade": "can't tell"},
    ],
    "unlike": {"flagged": False, "reason": ""},
    "nearest": [
        {"sample": "d" * 32, "label": "synthetic", "distance": 0.21, "file": "field.png"},
        {"sample": "e" * 32, "label": "real", "distance": 0.34, "file": "wood.png"},
    ],
    "provenance": [
        {"tier": "signed", "kind": "C2PA", "name": "issuer", "value": "Test", "proves": "Who signed the file."},
        {"tier": "stated", "kind": "PNG text", "name": "parameters", "value": "Steps: 20, Sampler: Euler a"},
        {"tier": "hint", "kind": "EXIF", "name": "Software", "value": "GIMP 2.10"},
    ],
    "known": [{"kind": "sample", "sentence": "This very picture is one of your samples.", "sample": "d" * 32}],
    "blindSpots": ["photographs of a screen or a print", "small changes within a photograph"],
    "at": "2026-11-03T10:00:00+00:00",
}


def evidence_json(**changes: Any) -> dict[str, Any]:
    """A copy of `FULL` with other values."""
    return {**json.loads(json.dumps(FULL)), **changes}


def hostile_json() -> dict[str, Any]:
    """The same with `HOSTILE` wherever a file, a label or a sample can put it."""
    return evidence_json(
        file=HOSTILE * 9,
        verdict=HOSTILE,
        reason=HOSTILE,
        labelConfidences=[{"labelName": HOSTILE, "confidence": 1.0}],
        quality={"says": [HOSTILE]},
        stability=[{"name": HOSTILE, "words": HOSTILE, "verdict": HOSTILE, "grade": "moderate"}],
        unlike={"flagged": True, "reason": HOSTILE},
        nearest=[{"sample": HOSTILE, "label": HOSTILE, "distance": 0.1, "file": HOSTILE}],
        provenance=[
            {"tier": tier, "kind": HOSTILE, "name": HOSTILE, "value": HOSTILE, "proves": HOSTILE}
            for tier in ("signed", "stated", "hint")
        ],
        known=[{"kind": "sample", "sentence": HOSTILE}],
        blindSpots=[HOSTILE],
    )


def kept(ws: Workspace, function_id: str, evidence: dict[str, Any] | None = None, **changes: Any) -> Record:
    """A record of it."""
    values: dict[str, Any] = {
        "evidence": evidence or evidence_json(),
        "perceptual_hash": "0" * 32,
        "model_id": "c" * 32,
        "thumbnail": None,
        "door": PAGE,
    }
    return add_record(ws.db, function_id, **values | changes)
