"""Evidence and records as they go over the wire."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import Field

from detector.api.schemas import ApiModel, prefixed
from detector.storage.records import Record


class EvidenceResponse(ApiModel):
    """All that stands with a verdict. What is not there, or was not looked at, is left out."""

    file: str | None = None
    sha256: str | None = None
    verdict: str | None = None
    grade: Annotated[
        str | None, Field(description="Of the verdict, but never above what survives on copies of the picture.")
    ] = None
    reason: str | None = None
    label_confidences: list[dict[str, Any]] | None = None
    model: Annotated[
        dict[str, Any] | None,
        Field(description="Version, backbone, weights, promise, limit, sources, and what its figures warn of."),
    ] = None
    quality: Annotated[
        dict[str, Any] | None, Field(description="The file's quality, and how the model does on such files.")
    ] = None
    stability: Annotated[
        list[dict[str, Any]] | None, Field(description="The verdict on copies of the picture: `name`, `verdict`.")
    ] = None
    unlike: Annotated[
        dict[str, Any] | None, Field(description="`flagged`: the file is unlike the samples; `reason` says in what.")
    ] = None
    nearest: Annotated[
        list[dict[str, Any]] | None, Field(description="The nearest labelled samples: `sample`, `label`, `distance`.")
    ] = None
    provenance: Annotated[
        list[dict[str, Any]] | None,
        Field(
            description="What the file says of itself, in three tiers: `signed`, `stated`, `hint`. It never counts for "
            "the verdict. All of it is text from a stranger's file."
        ),
    ] = None
    known: Annotated[
        list[dict[str, Any]] | None, Field(description="Samples and records of this picture or of nearly the same one.")
    ] = None
    blind_spots: Annotated[list[str] | None, Field(description="What no verdict covers.")] = None
    at: str | None = None

    @classmethod
    def of(cls, evidence: dict[str, Any]) -> EvidenceResponse:
        """As of `Evidence.to_json`; what is empty is left out."""
        return cls(**{name: present for name, value in evidence.items() if (present := _present(value)) is not None})


class Dispute(ApiModel):
    """Somebody says that another label is right."""

    label_name: str
    at: str


class RecordResponse(ApiModel):
    """A kept verdict."""

    id: str
    kept_at: str
    door: Annotated[str, Field(json_schema_extra={"enum": ["page", "api", "command line"]})]
    disputed: Dispute | None = None
    evidence: EvidenceResponse

    @classmethod
    def of(cls, record: Record) -> RecordResponse:
        disputed = None
        if record.disputed_at is not None:
            disputed = Dispute(label_name=record.disputed_label or "", at=_iso(record.disputed_at))
        return cls(
            id=prefixed("record", record.id),
            kept_at=_iso(record.created_at),
            door=record.door,
            disputed=disputed,
            evidence=EvidenceResponse.of(record.evidence),
        )


def _present(value: Any) -> Any:
    """A value without what is empty in it; None where nothing is left."""
    if isinstance(value, dict):
        return {name: there for name, item in value.items() if (there := _present(item)) is not None} or None
    if isinstance(value, list):
        return [there for item in value if (there := _present(item)) is not None] or None
    return None if value == "" else value


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
