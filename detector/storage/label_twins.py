"""Labels of one name in two spellings, stored before names were compared by ``label_key``, and making one of them.

They were made as two labels, so each keeps its own samples and both are trained, against each other, until a person
merges them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from unicodedata import is_normalized

from sqlalchemy import Text, case, delete, func, insert, literal, select, update

from detector.errors import InvalidInput, NotFound
from detector.storage.acting import actor_now
from detector.storage.annotating import MERGE, moment_of_change
from detector.storage.audit_log import note_with
from detector.storage.database import Database, new_id
from detector.storage.functions import Label
from detector.storage.label_names import label_key
from detector.storage.predictions import NO_PREDICTION
from detector.storage.revisions import next_revision
from detector.storage.schema import annotation_history, jobs, labels, samples


def twins_among(found: Iterable[Label]) -> list[tuple[Label, ...]]:
    """Those of a function's labels that share a name; the groups, and each group, in order of making."""
    groups: dict[str, list[Label]] = {}
    for label in found:
        groups.setdefault(label_key(label.name), []).append(label)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def spelling_note(name: str) -> str:
    """What tells a spelling apart that looks like others: "accents apart from their letters", empty in the usual form.

    On screens NFC and NFD are the same letters.
    """
    return "" if is_normalized("NFC", name) else "accents apart from their letters"


def merge_labels(db: Database, from_label_id: str, into_label_id: str) -> int:
    """Give all samples of one label the other one and delete the first; returns how many samples moved.

    Those in the locked test set and in the bin move too. Each keeps when and by whom it was labelled, and its history
    says that it was merged; what models said of the vanished label goes, as in ``delete_label``. It cannot be undone,
    as the label is gone: undoing an earlier change of these samples leaves them as they are. The new model is asked for
    by ``detector.operations.labels``.

    Raises
    ------
    InvalidInput
        Both are one label, they belong to two functions, or an import runs, which may be bringing samples of the first.
    NotFound
        There is no such label.
    """
    if from_label_id == into_label_id:
        raise InvalidInput("A label cannot be merged into itself. Name two labels.")
    with db.write() as connection:
        rows = {
            row.id: row
            for row in connection.execute(select(labels).where(labels.c.id.in_((from_label_id, into_label_id))))
        }
        for label_id in (from_label_id, into_label_id):
            if label_id not in rows:
                raise NotFound("label", label_id)
        gone, kept = rows[from_label_id], rows[into_label_id]
        if gone.function_id != kept.function_id:
            raise InvalidInput("The two labels belong to two functions. Only labels of one function can be merged.")
        running = select(func.count()).where(
            jobs.c.function_id == gone.function_id, jobs.c.kind == "import", jobs.c.state == "running"
        )
        if connection.scalar(running):
            # It knows its labels by id: whatever it still brought for this one would come in without a label.
            raise InvalidInput("An import into this function is running. Merge the labels when it has ended.")
        revision = next_revision(connection, gone.function_id)
        actor = actor_now()
        fields = {
            "sample_id": samples.c.id,
            "label_id": literal(kept.id),
            "previous_label_id": samples.c.label_id,
            "at": literal(moment_of_change(connection)),
            "by": literal(MERGE),
            "who": literal(actor.shown if actor is not None else None, Text),
            "operation": literal(new_id()),
            "previous_at": samples.c.annotated_at,
            "previous_by": samples.c.annotated_by,
        }
        connection.execute(
            insert(annotation_history).from_select(
                list(fields), select(*fields.values()).where(samples.c.label_id == gone.id).order_by(samples.c.sequence)
            )
        )
        moved = connection.execute(
            update(samples)
            .where(samples.c.label_id == gone.id)
            .values(
                label_id=kept.id,
                agrees=case(
                    (samples.c.predicted_label_id.is_(None), None), else_=samples.c.predicted_label_id == kept.id
                ),
                label_quality=None,
                revision=revision,
            )
        ).rowcount
        connection.execute(
            update(samples).where(samples.c.predicted_label_id == gone.id).values(**NO_PREDICTION, revision=revision)
        )
        # What was said about the vanished spelling is not lost where nothing was said about the other.
        said: dict[str, Any] = {}
        if gone.description and not kept.description:
            said["description"] = gone.description
        if gone.metadata and not kept.metadata:
            said["metadata"] = gone.metadata
        if said:
            connection.execute(update(labels).where(labels.c.id == kept.id).values(**said))
        connection.execute(delete(labels).where(labels.c.id == gone.id))
        facts = {"function": gone.function_id, "samples": moved, "merged into": kept.name}
        note_with(connection, "label deleted", gone.name, facts)
    return moved
