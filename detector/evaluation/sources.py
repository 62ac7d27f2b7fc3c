"""Accuracy by source, and on sources that the model has never seen.

A detector that knows a generator does well on it; the question is how it does on the next one. So each source in turn
is taken out of the training, with everything that is nearly the same, and then judged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detector.arrays import Ints
from detector.evaluation.audit_data import AuditData
from detector.evaluation.results import Sources, SourceScore, UnseenSources
from detector.progress import Pace, Report, silent
from detector.serving.thresholds import renew_thresholds
from detector.storage import models
from detector.training.metrics import wilson_interval
from detector.training.refit import fit_without
from detector.training.unseen import judge_unseen

if TYPE_CHECKING:
    from detector.evaluation.examination import Examination

#: Sources beyond this many, the smallest ones, are not held out: each costs a training.
MOST_SOURCES = 40


def measure_sources(audit_data: AuditData, report: Report = silent) -> Sources:
    """Judge each source by models that saw its other images, and by one that saw none of them.

    The second model has the chosen hyperparameters and is trained on all samples but those of the source, whatever
    their label, and those in a near-duplicate group with one of them; neither its weights nor its scaling know them.

    Parameters
    ----------
    audit_data : AuditData
    report : Report

    Returns
    -------
    Sources
        By label, then source; a source that holds images of two labels stands there twice.
    """
    tags = audit_data.sources
    names, sizes = np.unique(tags[tags != ""].astype(str), return_counts=True)
    order = np.lexsort((names, -sizes))
    tried = names[order][:MOST_SOURCES]
    says = None if audit_data.out_of_fold is None else audit_data.out_of_fold.argmax(axis=1)
    pace = Pace(report, "evaluate", len(tried), "Leaving out one source at a time", every=0.0)
    scores = []
    for done, source in enumerate(tried):
        mine = tags == source
        unseen = _says_unseen(audit_data, mine)
        for label in np.unique(audit_data.y[mine]):
            scores.append(_score(audit_data, str(source), int(label), mine, says, unseen))
        pace.at(done + 1)
    scores.sort(key=lambda score: (audit_data.label_names.index(score.label), score.source))
    return Sources(tuple(scores), int((tags == "").sum()), len(names) - len(tried))


def measure_unseen(examination: Examination, report: Report = silent) -> UnseenSources:
    """Judge each source of a label by a model that has never seen it, and keep the scores beside the model.

    What may be promised of pictures from elsewhere follows from them: the model's thresholds are found again. Nothing
    is kept where sources were changed meanwhile.
    """
    data, ws = examination.audit_data, examination.ws
    scores = judge_unseen(
        data.views,
        data.y,
        data.k,
        data.hyperparameters,
        data.linear.temperature,
        [row.image_hash for row in data.rows],
        [row.source or "" for row in data.rows],
        data.groups,
        lambda done, total: report("evaluate", done, total, "Trying it on sources it has not seen", None),
        data.copies,
    )
    if not examination.sources_are_others_now():
        models.put_unseen_file(ws.blobs, data.model.id, scores.to_bytes())
        renew_thresholds(ws, data.model)
    judged = []
    for unit, source in enumerate(scores.sources):
        mine = scores.units == unit
        label = data.label_names[int(scores.labels[mine][0])]
        judged.append((label, source, len(np.unique(scores.groups[mine]))))
    return UnseenSources(tuple(judged))


def _says_unseen(audit_data: AuditData, mine: np.ndarray) -> Ints | None:
    """Labels that a model without these samples gives to all held-out ones, at their places; None: cannot be had."""
    groups = np.asarray(audit_data.groups, dtype=object)
    held_out = np.isin(groups, np.unique(groups[mine].astype(str)))
    if len(np.unique(audit_data.y[~held_out])) < audit_data.k:
        return None
    says = np.full(len(mine), -1, dtype=np.int64)
    says[held_out] = fit_without(
        audit_data.views, audit_data.y, audit_data.k, audit_data.hyperparameters, held_out, audit_data.copies
    )
    return says


def _score(
    audit_data: AuditData, source: str, label: int, mine: np.ndarray, says: Ints | None, unseen: Ints | None
) -> SourceScore:
    here = mine & (audit_data.y == label)
    n = int(here.sum())
    seen_right = None if says is None else int((says[here] == label).sum())
    unseen_right = None if unseen is None else int((unseen[here] == label).sum())
    seen_interval = None if seen_right is None else wilson_interval(seen_right, n)
    return SourceScore(
        source=source,
        label=audit_data.label_names[label],
        n=n,
        accuracy=None if seen_right is None else seen_right / n,
        accuracy_unseen=None if unseen_right is None else unseen_right / n,
        interval=wilson_interval(unseen_right, n) if unseen_right is not None else seen_interval or (0.0, 1.0),
        interval_seen=seen_interval,
    )
