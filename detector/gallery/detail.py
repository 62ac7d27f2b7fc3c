"""Everything that the large view of one sample shows, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from detector.errors import StoredFileDamaged, StoredFileMissing
from detector.evaluation.results import STRESSES, stress_title
from detector.formatting import day, file_size, moment
from detector.storage import annotating, embeddings, evaluations, functions, models
from detector.storage.annotating import HistoryEntry
from detector.storage.captured import ASKED, DISPUTED, LOW_GRADE, RANDOM, UNLIKE
from detector.storage.sample_records import SampleRecord, find_record
from detector.storage.stored_names import TEST
from detector.workspace import Workspace

_BY = {
    "person": "by hand",
    "import": "by the import",
    "api": "over the API",
    annotating.MERGE: "by merging two labels",
}
_DELETED_LABEL = "a label that was deleted since"

_CAPTURED = {
    LOW_GRADE: "because it got can't tell when it was invoked",
    UNLIKE: "because it is unlike the samples there were when it was invoked",
    RANDOM: "drawn at random from what was invoked",
    ASKED: "because somebody asked for it",
    DISPUTED: "because its verdict was called wrong",
}

_FORMATS = {"WEBP": "WebP", "HEIF": "HEIC"}
_MODES = {
    "RGBA": "RGB with transparency",
    "L": "grey",
    "LA": "grey with transparency",
    "P": "palette",
    "PA": "palette with transparency",
    "1": "black and white",
}


@dataclass(frozen=True)
class SampleDetail:
    """One sample in full.

    Attributes
    ----------
    width, height : pixels of the upright picture
    label : the annotation's name; None where there is none
    annotated_at : seconds since the epoch
    annotated_by : "by hand", "by the import" or "over the API"
    prediction, confidence : None before the first prediction
    out_of_fold : whether the model that predicted was trained without this sample
    confidences : (label name, fraction), in the model's order; a label that was deleted since is left out
    facts : (name, value) of the file and of where it came from
    history : a sentence for each annotation, newest first
    flips : (change, label name) for each change of the stress strip under which the verdict is another one
    failure : why there is no embedding, and so no prediction; None where there is one, or it was not tried yet
    deleted_at : when it was put into the bin; None outside
    """

    id: str
    function_id: str
    image_hash: str
    file_name: str
    width: int
    height: int
    label: str | None
    annotated_at: float | None
    annotated_by: str | None
    prediction: str | None
    confidence: float | None
    out_of_fold: bool | None
    agrees: bool | None
    confidences: tuple[tuple[str, float], ...]
    facts: tuple[tuple[str, str], ...]
    history: tuple[str, ...]
    flips: tuple[tuple[str, str], ...]
    failure: str | None
    deleted_at: float | None


def sample_detail(ws: Workspace, sample_id: str) -> SampleDetail:
    """Everything about a sample, in the bin or outside. Raises NotFound."""
    record = find_record(ws.db, sample_id)
    names = {label.id: label.name for label in functions.list_labels(ws.db, record.function_id)}
    return SampleDetail(
        id=record.id,
        function_id=record.function_id,
        image_hash=record.image_hash,
        file_name=record.file_name,
        width=record.width,
        height=record.height,
        label=record.label,
        annotated_at=record.annotated_at,
        annotated_by=_by(record.annotated_by) if record.annotated_by else None,
        prediction=record.prediction,
        confidence=record.confidence,
        out_of_fold=record.out_of_fold,
        agrees=record.agrees,
        confidences=record.confidences,
        facts=tuple(_facts(record)),
        history=tuple(_sentence(entry, names) for entry in annotating.history(ws.db, sample_id)),
        flips=tuple(_flips(ws, record, names)),
        failure=_failure(ws, record),
        deleted_at=record.deleted_at,
    )


def _facts(record: SampleRecord) -> list[tuple[str, str]]:
    file = record.facts
    extra: dict[str, Any] = file.get("extra", {})
    found = [
        ("Format", _FORMATS.get(record.format, record.format)),
        ("Size", f"{record.width:,} x {record.height:,} px"),
        ("File size", file_size(record.byte_count)),
    ]
    if mode := file.get("mode"):
        found.append(("Colour mode", _MODES.get(mode, mode)))
    if extra.get("jpeg_quality") is not None:
        found.append(("JPEG quality", f"about {extra['jpeg_quality']}"))
    if "subsampling" in extra:
        found.append(("Chroma subsampling", extra["subsampling"]))
    if "progressive" in extra:
        found.append(("Progressive", "yes" if extra["progressive"] else "no"))
    for key, name in (("has_exif", "EXIF"), ("has_icc", "Colour profile"), ("has_xmp", "XMP")):
        if key in extra:
            found.append((name, "present" if extra[key] else "none"))
    if extra.get("text_keys"):
        found.append(("Text in the file", ", ".join(extra["text_keys"])))
    if file.get("animated"):
        found.append(("Frames", "several; the first one is used"))
    if file.get("orientation", 1) != 1:
        found.append(("Orientation", "turned upright, as its EXIF says"))
    imported = _day(record.created_at)
    if record.batch is not None:
        imported += f", {record.batch} ({record.batch_origin})"
    found.append(("Imported", imported))
    if record.captured is not None:
        found.append(("Captured", f"{_day(record.created_at)}, {_CAPTURED.get(record.captured, record.captured)}"))
    if record.source:
        found.append(("Source", record.source))
    if record.external_id:
        found.append(("External id", record.external_id))
    found.append(("Split", "locked test set" if record.split == TEST else "training"))
    found.append(("SHA-256", f"{record.image_hash[:12]}…"))
    return found


def _sentence(entry: HistoryEntry, names: Mapping[str, str]) -> str:
    given = "label removed" if entry.label_id is None else names.get(entry.label_id, _DELETED_LABEL)
    before = names.get(entry.previous_label_id, _DELETED_LABEL) if entry.previous_label_id else None
    was = f" (was {before})" if before else ""
    who = f" ({entry.who})" if entry.who else ""
    undoer = f" ({entry.undone_who})" if entry.undone_who else ""
    undone = f"; undone {_moment(entry.undone_at)}{undoer}" if entry.undone_at is not None else ""
    return f"{_moment(entry.at)}: {given}, {_by(entry.by)}{who}{was}{undone}"


def _flips(ws: Workspace, record: SampleRecord, names: Mapping[str, str]) -> list[tuple[str, str]]:
    model_id = functions.get_function(ws.db, record.function_id).live_model_id
    if model_id is None:
        return []
    says = {flip.stress: flip.label_id for flip in evaluations.flips_of(ws.db, model_id, record.id)}
    order = [*STRESSES, *sorted(set(says) - set(STRESSES))]
    return [(stress_title(name), names.get(says[name], _DELETED_LABEL)) for name in order if name in says]


def _failure(ws: Workspace, record: SampleRecord) -> str | None:
    function = functions.get_function(ws.db, record.function_id)
    # Without a model the exact key is not at hand: finding it would mean loading the backbone.
    key = f"{function.backbone_id}:"
    if function.live_model_id is not None:
        key = models.get_model(ws.db, function.live_model_id).backbone_key
    reason = embeddings.failure(ws.db, record.image_hash, key)
    if reason is None:
        return _damage(ws, record)
    # Embedding knows images by their hash only.
    return reason.replace(record.image_hash, record.file_name)


def _damage(ws: Workspace, record: SampleRecord) -> str | None:
    """What is wrong with the stored file, which is read for it as whoever looks at the sample does."""
    try:
        ws.blobs.image(record.image_hash)
    except (StoredFileMissing, StoredFileDamaged) as error:
        return str(error)
    except OSError:
        # Of the whole disk: that is no fact about this picture.
        return None
    return None


def _by(who: str) -> str:
    return _BY.get(who, f"by {who}")


def _day(at: float) -> str:
    return day(datetime.fromtimestamp(at, UTC))


def _moment(at: float) -> str:
    return moment(datetime.fromtimestamp(at, UTC))
