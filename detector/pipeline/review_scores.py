"""What Review orders by and looks up, made as predictions are written: each embedding is read once, and kept small."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detector.arrays import Floats
from detector.evaluation.label_issues import label_quality
from detector.evaluation.usefulness import usefulness
from detector.gallery.neighbours import store_index
from detector.gallery.projection import Projection
from detector.storage import predictions
from detector.storage.predictions import ReviewScore
from detector.storage.samples import TrainingRow
from detector.storage.stored_names import TRAIN
from detector.workspace import Workspace

#: Rows of one transaction: other writers get their turn in between.
_CHUNK = 10_000


class ReviewScores:
    """Collects what passes by, sample after sample; 128 numbers of each embedding stay.

    Parameters
    ----------
    label_ids : k str
        The labels that the columns of the probabilities stand for.
    """

    def __init__(self, label_ids: Sequence[str]) -> None:
        self._column = {label_id: column for column, label_id in enumerate(label_ids)}
        self._projection: Projection | None = None
        self._ids: list[str] = []
        self._sequences: list[int] = []
        self._compact: list[np.ndarray] = []
        self._probabilities: list[Floats] = []
        self._labels: list[np.ndarray] = []
        self._unlabelled: list[np.ndarray] = []

    def see(self, rows: Sequence[TrainingRow], whole: np.ndarray, probabilities: Floats, in_folds: np.ndarray) -> None:
        """Take in some samples.

        Parameters
        ----------
        rows : n TrainingRow
            In the order of image hashes over all calls: the first ones then stand for all.
        whole : (n, d) array, embeddings of the whole view
        probabilities : (n, k) array
        in_folds : (n,) bool; True where the probabilities are those of a fold that held the sample out
        """
        if self._projection is None:
            self._projection = Projection.fit(whole)
        self._ids += [row.sample_id for row in rows]
        self._sequences += [row.sequence for row in rows]
        self._compact.append(self._projection.compact(whole))
        self._probabilities.append(probabilities)
        # A label that is newer than the model has no column: nothing is known of how well it fits.
        judged = [
            self._column.get(row.label_id or "", -1) if held_out and row.split == TRAIN else -1
            for row, held_out in zip(rows, in_folds.tolist(), strict=True)
        ]
        self._labels.append(np.array(judged, dtype=np.int64))
        self._unlabelled.append(np.array([row.label_id is None for row in rows]))

    def write(self, ws: Workspace, function_id: str, backbone_key: str) -> None:
        """Store the scores of all samples seen, and the index of their neighbours."""
        if self._projection is None:
            return
        compact = np.concatenate(self._compact)
        store_index(ws, function_id, backbone_key, self._ids, compact, self._projection)
        quality, useful = self._scores(compact)
        # As they lie in the table: in another order, every transaction would write nearly every page of it anew.
        order = np.argsort(self._sequences, kind="stable")
        for start in range(0, len(order), _CHUNK):
            part = order[start : start + _CHUNK]
            rows = [
                ReviewScore(self._ids[place], *(None if np.isnan(value) else value for value in pair))
                for place, *pair in zip(part.tolist(), quality[part].tolist(), useful[part].tolist(), strict=True)
            ]
            predictions.write_review_scores(ws.db, function_id, rows)

    def _scores(self, compact: np.ndarray) -> tuple[Floats, Floats]:
        """Label quality and usefulness, (n,) each, NaN where they do not apply."""
        probabilities = np.concatenate(self._probabilities)
        labels = np.concatenate(self._labels)
        quality, useful = np.full(len(labels), np.nan), np.full(len(labels), np.nan)
        judged = labels >= 0
        quality[judged] = label_quality(labels[judged], probabilities[judged])
        unlabelled = np.concatenate(self._unlabelled)
        useful[unlabelled] = usefulness(probabilities[unlabelled], compact[unlabelled])
        return quality, useful
