"""Whether what is known of a function's sources proves anything about sources that a model has not seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from detector.formatting import count, share
from detector.storage import functions, models, samples
from detector.storage.samples import TrainingRow
from detector.storage.stored_names import TRAIN
from detector.training.readiness import MIN_SAMPLES
from detector.training.source_units import units_for_a_choice
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


def sources_choose(
    ws: Workspace,
    function_id: str,
    label_names: Mapping[str, str],
    rows: Sequence[TrainingRow],
    groups: Sequence[str] | None = None,
) -> bool:
    """Whether a training would choose among settings by sources left out (see ``detector.training.outward``).

    Parameters are those of `why_sources_prove_nothing`; ``groups`` are the near-duplicates of each row. Without them
    every image counts as a different one, which may say yes where there are too few.
    """
    named = [row.sample_id for row in rows] if groups is None else groups
    chosen = [(row, group) for row, group in zip(rows, named, strict=True) if row.split == TRAIN]
    counts = Counter(row.label_id for row, _ in chosen)
    # A label with too few samples is left out of the training.
    names = {label_id: name for label_id, name in label_names.items() if counts[label_id] >= MIN_SAMPLES}
    chosen = [(row, group) for row, group in chosen if row.label_id in names]
    if not chosen or why_sources_prove_nothing(ws, function_id, names, rows):
        return False
    place = {label_id: index for index, label_id in enumerate(names)}
    y = np.array([place[row.label_id or ""] for row, _ in chosen], dtype=np.int64)
    sources = [row.source or "" for row, _ in chosen]
    return bool(units_for_a_choice(y, len(place), sources, [group for _, group in chosen]))


def training_looks_at_sources(ws: Workspace, function_id: str) -> bool:
    """Whether the live model's settings were chosen by sources, or those of the next may be."""
    live = functions.get_function(ws.db, function_id).live_model_id
    if live is None:
        return False
    row = models.get_model(ws.db, live)
    if any(tried.get("unseen_log_loss") is not None for tried in row.sweep):
        return True
    names = {label.id: label.name for label in functions.list_labels(ws.db, function_id)}
    return sources_choose(ws, function_id, names, samples.training_rows(ws.db, function_id))
