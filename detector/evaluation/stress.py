"""What happens to verdicts when a picture has travelled: recompressed, shrunk, cropped, sent by messenger."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from detector.arrays import Ints
from detector.backbones import Backbone
from detector.evaluation.audit_data import AuditData
from detector.evaluation.results import STRESSES, StressScore
from detector.evaluation.stress_copies import BLUR as BLUR
from detector.evaluation.stress_copies import CHANGES as CHANGES
from detector.evaluation.stress_copies import CROP as CROP
from detector.evaluation.stress_copies import NOISE as NOISE
from detector.evaluation.stress_copies import SCALE as SCALE
from detector.evaluation.stress_copies import embed_changed
from detector.progress import Pace, Report, silent
from detector.storage.evaluations import Flip
from detector.storage.stored_names import WHOLE
from detector.training.metrics import wilson_interval
from detector.training.refit import FittedModels, fit_subsets
from detector.workspace import Workspace

#: Copies are made of this many samples at most: embedding them is the slow part of an audit.
MOST_SAMPLES = 500


class StressTest:
    """The out-of-fold models of a training, ready to judge copies.

    Each copy is judged by the model of its own fold, which has seen neither the sample nor anything near it. The models
    are trained again at the chosen hyperparameters, so that they can look at new pictures.

    Parameters
    ----------
    audit_data : AuditData
        With folds.
    backbone : Backbone
        The one of the training.
    """

    def __init__(self, ws: Workspace, audit_data: AuditData, backbone: Backbone) -> None:
        assert audit_data.folds is not None
        self._ws, self._audit_data, self._backbone = ws, audit_data, backbone
        self.models: FittedModels = fit_subsets(
            audit_data.views,
            audit_data.y,
            audit_data.k,
            audit_data.hyperparameters,
            audit_data.folds[:, None] != np.arange(audit_data.fold_count),
            prepared=audit_data.prepared,
            copies=audit_data.copies,
        )
        self.chosen = choose_samples([row.image_hash for row in audit_data.rows], audit_data.y, MOST_SAMPLES)
        self._says_before = self.models.says(
            {view: audit_data.views[view][self.chosen] for view in audit_data.hyperparameters.view_names},
            audit_data.folds[self.chosen],
        )

    def measure(self, name: str, report: Report = silent) -> tuple[StressScore, list[Flip]]:
        """Change the chosen samples in one way and judge the copies.

        Parameters
        ----------
        name : one of `STRESSES`
        report : Report

        Returns
        -------
        StressScore
        list of Flip
            The samples whose verdict is another one after the change.
        """
        audit_data = self._audit_data
        assert audit_data.folds is not None
        views, there = self._embed_copies(name, report)
        chosen, before = self.chosen[there], self._says_before[there]
        after = self.models.says(views, audit_data.folds[chosen])
        y, label_ids = audit_data.y[chosen], audit_data.model.label_ids
        right, right_before = int((after == y).sum()), int((before == y).sum())
        flipped = np.flatnonzero(after != before)
        n = len(chosen)
        score = StressScore(
            name=name,
            n=n,
            of=len(audit_data.y),
            accuracy=right / max(n, 1),
            interval=wilson_interval(right, n),
            accuracy_as_imported=right_before / max(n, 1),
            flipped=len(flipped) / max(n, 1),
            by_label={
                label_id: (int((y == label).sum()), int((after[y == label] == label).sum()))
                for label, label_id in enumerate(label_ids)
            },
        )
        flips = [Flip(name, audit_data.rows[chosen[i]].sample_id, label_ids[after[i]]) for i in flipped.tolist()]
        return score, flips

    def _embed_copies(self, name: str, report: Report) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Embeddings of the copies, and which of the chosen samples they are of: all whose copy could be made."""
        pace = Pace(report, "evaluate", len(self.chosen), f"Testing copies: {STRESSES[name]}")
        hashes = [self._audit_data.rows[index].image_hash for index in self.chosen.tolist()]
        found = embed_changed(self._ws, name, hashes, self._backbone, pace.at)
        there = np.array(sorted(found), dtype=np.int64)
        names = self._audit_data.hyperparameters.view_names
        views = {}
        for view in names:
            rows = [found[place].get(view, found[place][WHOLE]) for place in there.tolist()]
            width = self._audit_data.views[view].shape[1]
            views[view] = np.stack(rows).astype(np.float32) if rows else np.zeros((0, width), np.float32)
        return views, there


def choose_samples(hashes: Sequence[str], y: Ints, most: int) -> Ints:
    """Indices of at most ``most`` samples in ascending order, every label keeping its share.

    Which ones follows from their hashes alone: the same samples are chosen every time, and mostly the same ones when
    others come or go.
    """
    if len(hashes) <= most:
        return np.arange(len(hashes), dtype=np.int64)
    rank = [hashlib.sha256(f"stress:{item}".encode()).digest() for item in hashes]
    chosen: list[int] = []
    for label in np.unique(y):
        mine = np.flatnonzero(y == label).tolist()
        share = max(1, round(most * len(mine) / len(y)))
        chosen.extend(sorted(mine, key=lambda index: rank[index])[:share])
    return np.array(sorted(chosen), dtype=np.int64)
