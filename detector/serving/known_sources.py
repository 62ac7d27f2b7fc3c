"""Whether what is known of a function's sources proves anything about sources that a model has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from detector.formatting import count, share
from detector.storage import functions, models, samples
from detector.storage.samples import TrainingRow
from detector.storage.stored_names import TRAIN
from detector.workspace import Workspace

#: With more of a label than this without a source, too much may be of the very sources that are left out.
MOST_WITHOUT_SOURCE = 0.1


def why_sources_prove_nothing(
    ws: Workspace, function_id: str, label_names: Mapping[str, str], rows: Sequence[TrainingRow]
) -> str:
    """One sentence, which says what to do about it; empty where they do.

    Parameters
    ----------
    label_names : dict of str to str
        Of the labels that count, by their ids.
    rows : sequence of TrainingRow
        All samples of the function.
    """
    guessed = sum(item.guessed for item in samples.count_sources(ws.db, function_id) if item.source)
    if guessed:
        return (
            f"The sources of {count(guessed, 'image')} are only guessed from folder names. Confirm them on the Metrics "
            "page, or give the right ones in Review."
        )
    for label_id, name in label_names.items():
        mine = [item for item in rows if item.split == TRAIN and item.label_id == label_id]
        without = sum(not item.source for item in mine)
        if without > MOST_WITHOUT_SOURCE * len(mine):
            return (
                f"{share(without, len(mine))} images labelled {name} have no source, so it cannot be tried on sources "
                "it has not seen. Give them one in Review."
            )
    return ""


def training_looks_at_sources(ws: Workspace, function_id: str) -> bool:
    """Whether the live model's settings were chosen by sources, or those of the next may be."""
    live = functions.get_function(ws.db, function_id).live_model_id
    if live is None:
        return False
    row = models.get_model(ws.db, live)
    if any(tried.get("unseen_log_loss") is not None for tried in row.sweep):
        return True
    names = dict(zip(row.label_ids, row.label_names, strict=True))
    return not why_sources_prove_nothing(ws, function_id, names, samples.training_rows(ws.db, function_id))
