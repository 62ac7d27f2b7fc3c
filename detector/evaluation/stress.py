"""What happens to verdicts when a picture has travelled: recompressed, shrunk, cropped, sent by messenger."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageFilter

from detector.arrays import Ints
from detector.backbones import Backbone
from detector.backbones.pipeline import embed_files
from detector.errors import ImageError
from detector.evaluation.audit_data import AuditData
from detector.evaluation.results import STRESSES, StressScore
from detector.imaging.degraded_copies import encoded, noisy
from detector.progress import Pace, Report, silent
from detector.serving.changed_files import changed_files
from detector.storage.embeddings import as_stored
from detector.storage.evaluations import Flip
from detector.storage.stored_names import WHOLE
from detector.training.metrics import wilson_interval
from detector.training.refit import FittedModels, fit_subsets
from detector.workspace import Workspace

#: Copies are made of this many samples at most: embedding them is the slow part of an audit.
MOST_SAMPLES = 500
MESSENGER_SIDE, MESSENGER_QUALITY = 1280, 70
#: Share of each side that remains of a shrunk picture, and that the crop keeps.
SCALE, CROP = 0.35, 0.65
#: Deviations: in pixels of the blur, in grey levels of the noise.
BLUR, NOISE = 2.0, 8.0


def _shrunk(image: Image.Image) -> bytes:
    small = (max(1, round(SCALE * image.width)), max(1, round(SCALE * image.height)))
    return encoded(image.resize(small, Image.Resampling.BICUBIC), _LOSSLESS)


def _centre_crop(image: Image.Image) -> bytes:
    width, height = max(1, round(CROP * image.width)), max(1, round(CROP * image.height))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return encoded(image.crop((left, top, left + width, top + height)), _LOSSLESS)


def _messenger(image: Image.Image) -> bytes:
    scale = MESSENGER_SIDE / max(image.size)
    if scale < 1:
        size = (max(1, round(scale * image.width)), max(1, round(scale * image.height)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    return encoded(image, "JPEG", quality=MESSENGER_QUALITY)


_LOSSLESS = "BMP"

CHANGES: dict[str, Callable[[Image.Image], bytes]] = {
    "jpeg-95": lambda image: encoded(image, "JPEG", quality=95),
    "jpeg-40": lambda image: encoded(image, "JPEG", quality=40),
    "blur-2": lambda image: encoded(image.filter(ImageFilter.GaussianBlur(BLUR)), _LOSSLESS),
    "scale-35": _shrunk,
    "crop-65": _centre_crop,
    "noise-8": lambda image: encoded(noisy(image, NOISE, seed=0), _LOSSLESS),
    "webp-60": lambda image: encoded(image, "WEBP", quality=60, method=2),
    "messenger": _messenger,
}
assert list(CHANGES) == list(STRESSES)


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
        self.chosen = choose_samples([row.image_hash for row in audit_data.rows], audit_data.y)
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
        found: dict[int, dict[str, np.ndarray]] = {}
        failed = 0

        def store(rows: list[tuple[int, dict[str, np.ndarray]]], failures: list[tuple[int, ImageError]]) -> None:
            nonlocal failed
            found.update(rows)
            failed += len(failures)
            pace.at(len(found) + failed)

        hashes = [self._audit_data.rows[index].image_hash for index in self.chosen.tolist()]
        copies = changed_files(self._ws, enumerate(hashes), lambda _place, picture: CHANGES[name](picture))
        embed_files(copies, self._backbone, self._ws.limits, self._ws.settings.threads, store)
        there = np.array(sorted(found), dtype=np.int64)
        names = self._audit_data.hyperparameters.view_names
        views = {}
        for view in names:
            rows = [as_stored(found[place].get(view, found[place][WHOLE])) for place in there.tolist()]
            width = self._audit_data.views[view].shape[1]
            views[view] = np.stack(rows).astype(np.float32) if rows else np.zeros((0, width), np.float32)
        return views, there


def choose_samples(hashes: Sequence[str], y: Ints, most: int = MOST_SAMPLES) -> Ints:
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
