"""Labels: given to samples, taken away, undone, made, renamed, merged and deleted. No door writes them in another way.

Whatever changes what a model would learn asks for the next model in the same call: it is trained after the pause of the
settings, so that twenty labels in a row are one retraining.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detector.formatting import count
from detector.jobs import request_retraining
from detector.operations.outcome import Outcome
from detector.storage import annotating, functions, label_twins
from detector.storage.acting import LABEL, MANAGE, needs
from detector.storage.annotating import PERSON
from detector.storage.functions import Label
from detector.workspace import Workspace


@needs(LABEL, "labelling")
def give_label(
    ws: Workspace, function_id: str, sample_ids: Sequence[str], label: Label | None, by: str = PERSON
) -> Outcome:
    """Label samples of a function, or take their labels away with None; a new model follows where any changed.

    Parameters
    ----------
    by : str
        Who gives it, for the history of each sample: only what a person gave can be undone.

    Raises
    ------
    InvalidInput
        The label belongs to another function than a sample.
    NotFound
        There is no such label any more.
    """
    changed = annotating.annotate(ws.db, sample_ids, label.id if label else None, by)
    if not changed:
        return Outcome(0, "Nothing to change.")
    request_retraining(ws, function_id)
    if label is None:
        return Outcome(changed, f"Label removed from {count(changed, 'sample')}. A new model follows by itself.")
    return _labelled(changed, label.name)


@needs(LABEL, "undoing labels")
def undo_labels(ws: Workspace, function_id: str) -> Outcome:
    """Take back the newest change of labels by a person; a new model follows where any sample changed."""
    undone = annotating.undo_last(ws.db, function_id)
    if undone is None:
        return Outcome(0, "There is nothing to undo.")
    if undone.changed:
        request_retraining(ws, function_id)
    return Outcome(undone.changed, f"The last change was undone: {count(undone.changed, 'sample')} as before.")


@needs(LABEL, "adding a label")
def create_label(
    ws: Workspace,
    function_id: str,
    name: str,
    description: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> Label:
    """Add a label. Nothing follows: a label without samples teaches a model nothing.

    Raises
    ------
    Conflict
        The function has a label of that name, in whatever case or Unicode form.
    InvalidInput
        The name cannot be used, or the function has as many labels as are possible.
    NotFound
        There is no such function.
    """
    return functions.create_label(ws.db, function_id, name, description, metadata)


@needs(MANAGE, "changing a label")
def rename_label(
    ws: Workspace,
    label_id: str,
    name: str | None,
    description: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> Label:
    """Change a label's name, description and metadata where given. Nothing follows: models know labels by their ids.

    Raises
    ------
    Conflict
        Another label of the function has that name, in whatever case or Unicode form.
    InvalidInput
        The name cannot be used.
    NotFound
        There is no such label.
    """
    return functions.rename_label(ws.db, label_id, name, description, metadata)


@needs(MANAGE, "merging labels")
def merge_labels(ws: Workspace, gone: Sequence[Label], kept: Label) -> Outcome:
    """Give all samples of some labels the one that is kept, and delete the others; a new model follows.

    It follows without any sample too, as there are fewer labels to choose from, and where one of several cannot be
    merged after others were.

    Raises
    ------
    InvalidInput
        Both are one label, they belong to two functions, or an import runs, which may be bringing samples of the first.
    NotFound
        There is no such label.
    """
    merged: list[int] = []
    try:
        for label in gone:
            merged.append(label_twins.merge_labels(ws.db, label.id, kept.id))
    finally:
        if merged:
            request_retraining(ws, kept.function_id)
    return _labelled(sum(merged), kept.name)


@needs(MANAGE, "deleting a label")
def delete_label(ws: Workspace, label: Label) -> None:
    """Delete a label: its samples are without one, its predictions go at once, and a new model follows.

    Raises
    ------
    NotFound
        There is no such label any more.
    """
    functions.delete_label(ws.db, label.id)
    request_retraining(ws, label.function_id)


def _labelled(changed: int, name: str) -> Outcome:
    return Outcome(changed, f"{count(changed, 'sample')} labelled {name}. A new model follows by itself.")
