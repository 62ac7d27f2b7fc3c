"""Records: verdicts kept, disputed and deleted. Nothing is kept that nobody has asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from detector.errors import InvalidInput
from detector.formatting import DAY, count
from detector.imaging import sha256_hex
from detector.importing.batch import Incoming, import_items
from detector.jobs import request_retraining
from detector.operations.labels import give_label
from detector.operations.outcome import Outcome
from detector.storage import functions, imports, records
from detector.storage.acting import LABEL, MANAGE, needs, reads
from detector.storage.captured import DISPUTED, note_captured
from detector.storage.database import now
from detector.storage.posted_samples import find_sample_id
from detector.storage.records import Record
from detector.storage.samples import get_sample
from detector.workspace import Workspace

if TYPE_CHECKING:
    from typing import Any, Protocol

    class _Model(Protocol):
        @property
        def id(self) -> str: ...

    class Kept(Protocol):
        """What a record is made of: `detector.evidence.Evidence`, which lies in a room above this one."""

        @property
        def perceptual_hash(self) -> str: ...

        @property
        def model(self) -> _Model: ...

        def to_json(self) -> dict[str, Any]: ...


#: Longest age limit of records, in days: a hundred years.
MOST_DAYS = 36_500
BATCH_TITLE = "Disputed verdicts"


def _kept_by_itself(ws: Workspace, function_id: str, *_evidence: object, **_more: object) -> bool:
    """Whether the function keeps each verdict, whoever asks for it: somebody who manages it has said so."""
    return functions.get_function(ws.db, function_id).keep_records


@needs(LABEL, "keeping a record", unless=_kept_by_itself)
def keep_record(ws: Workspace, function_id: str, evidence: Kept, thumbnail: bytes | None, door: str) -> Record:
    """Keep a verdict with all that stands beside it; the same one again is the record that is there. Nothing follows.

    Parameters
    ----------
    thumbnail : bytes, optional
        The picture small (`detector.imaging.make_thumbnail`).
    door : str
        ``PAGE``, ``API`` or ``COMMAND_LINE`` of `detector.storage.records`.

    Raises
    ------
    InvalidInput, NotFound
    """
    return records.add_record(
        ws.db,
        function_id,
        evidence=evidence.to_json(),
        perceptual_hash=evidence.perceptual_hash,
        model_id=evidence.model.id,
        thumbnail=thumbnail,
        door=door,
    )


@needs(LABEL, "disputing a verdict")
def dispute_record(
    ws: Workspace, function_id: str, record_id: str | None, label_id: str, data: bytes, name: str
) -> Outcome:
    """Say that a verdict is wrong: the picture is a sample with the right label, and the record is marked.

    A picture that is a sample already takes the label, as in Review; one that lies in the bin is taken out of it. A new
    model follows where anything changed.

    Parameters
    ----------
    record_id : str, optional
        The record of the verdict; None: it was not kept, and is not kept because of this either.
    data, name : bytes, str
        The file: a record does not keep it.

    Raises
    ------
    InvalidInput
        The label is not the function's, or the file is not that of the record.
    NotFound
        There is no such record or label.
    """
    record = records.get_record(ws.db, function_id, record_id) if record_id is not None else None
    label = functions.get_label(ws.db, label_id)
    if label.function_id != function_id:
        raise InvalidInput(f"The label {label.name!r} belongs to another function. Choose one of this one.")
    sha256 = sha256_hex(data)
    if record is not None and sha256 != record.sha256:
        raise InvalidInput("This is not the file of the record: its bytes are others. Open the record's own file.")
    sample_id = find_sample_id(ws.db, function_id, sha256)
    is_new = sample_id is None
    said = "The picture is now a sample"
    if sample_id is None:
        sample_id = _new_sample(ws, function_id, name, data)
        note_captured(ws.db, sample_id, DISPUTED)
    elif get_sample(ws.db, sample_id).label_id == label.id:
        said = "The picture was a sample already"
    else:
        said = "The picture was a sample already and has another label now"
    changed = give_label(ws, function_id, [sample_id], label).changed
    if is_new and not changed:
        # It came out of the bin with that label: the next model learns from it again.
        changed = 1
        request_retraining(ws, function_id)
    marked = ""
    if record is not None:
        records.mark_disputed(ws.db, function_id, record.id, label.name)
        marked = " The record is marked as disputed."
    follows = " A new model follows by itself." if changed else ""
    return Outcome(changed, f"{said}: {label.name}.{marked}{follows}")


@needs(MANAGE, "deleting records")
def delete_records(ws: Workspace, function_id: str, record_ids: Sequence[str] | None) -> Outcome:
    """Delete records for good: these, or all of a function with None. Nothing follows."""
    return _deleted(records.delete_records(ws.db, function_id, record_ids))


@needs(MANAGE, "deleting records")
def delete_records_older(ws: Workspace, function_id: str, days: float) -> Outcome:
    """Delete for good what was kept more than so many days ago. Nothing follows. Raises InvalidInput."""
    if not 0 <= days <= MOST_DAYS:
        raise InvalidInput(f"The age is {days:g} days; expected 0 to {MOST_DAYS:,}.")
    return _deleted(records.delete_older(ws.db, function_id, now() - days * DAY))


@needs(MANAGE, "deleting records")
def sweep_records(ws: Workspace) -> int:
    """Delete what is older than its function's age limit; returns how many records. Nothing follows."""
    limits = records.age_limits(ws.db)
    return sum(records.delete_older(ws.db, function_id, now() - days * DAY) for function_id, days in limits)


@reads
def older_words(ws: Workspace, function_id: str, days: int) -> str:
    """What an age limit of so many days will delete of the records that there are, in words."""
    older, disputed = records.count_older(ws.db, function_id, now() - days * DAY)
    if not older:
        return "No record is older than that. Each is deleted for good when it is."
    verb = "is" if older == 1 else "are"
    of_them = f", {disputed:,} of them disputed" if disputed else ""
    return (
        f"{count(older, 'record')} {verb} older than that and will be deleted for good{of_them}: download them first "
        "where somebody may ask for them."
    )


@needs(MANAGE, "changing what is kept")
def set_keeping(ws: Workspace, function_id: str, keep_records: bool, keep_days: int | None) -> None:
    """Have each verdict of the Invoke page kept by itself, or not; records go after so many days. Nothing follows.

    Parameters
    ----------
    keep_days : int, optional
        For all records of the function, whoever kept them; None: until somebody deletes them.

    Raises
    ------
    InvalidInput
        Less than a day, or more than `MOST_DAYS`.
    NotFound
        There is no such function.
    """
    if keep_days is not None and not 1 <= keep_days <= MOST_DAYS:
        raise InvalidInput(f"Records cannot be kept for {keep_days:,} days; choose 1 to {MOST_DAYS:,}.")
    functions.set_keeping(ws.db, function_id, keep_records, keep_days)


def _new_sample(ws: Workspace, function_id: str, name: str, data: bytes) -> str:
    batch = imports.create_batch(ws.db, function_id, "upload", BATCH_TITLE)
    looked = import_items(ws, function_id, batch, [Incoming(name, lambda: data)], 1)
    imports.finish_batch(ws.db, batch, "done", looked)
    sample_id = find_sample_id(ws.db, function_id, sha256_hex(data))
    if sample_id is None:
        raise InvalidInput(f"{name} could not be put among the samples. See the report of the import.")
    return sample_id


def _deleted(gone: int) -> Outcome:
    return Outcome(gone, f"{count(gone, 'record')} deleted." if gone else "There was no record to delete.")
