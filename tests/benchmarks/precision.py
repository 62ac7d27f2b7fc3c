"""What bfloat16 does to the offline backbone's numbers, and to what is learned from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from detector.backbones.network import Backbone
from detector.backbones.offline import load_offline
from detector.backbones.pipeline import embed_files
from detector.imaging import ImageLimits
from tests.benchmarks.figure import Figure
from tests.shared_data import SHARED_DATA

_LIMITS = ImageLimits(64_000_000, 100_000_000)


def bfloat16_points(_folder: Path) -> Figure:
    """mixed2000 in both precisions, cross-validated by scikit-learn."""
    paths, labels = pictures_of(SHARED_DATA / "mixed2000", 1000)
    exact, rough = (embedded(load_offline(precision), paths) for precision in ("float32", "bfloat16"))
    found = [accuracy(rows, labels) for rows in (exact, rough)]
    return Figure(
        "bfloat16_points",
        "mixed2000, cross-validated accuracy in float32 - in bfloat16, whichever is better, offline backbone",
        abs(found[0] - found[1]),
        "points",
        0.3,
        at_least=False,
        measurements={"float32, %": found[:1], "bfloat16, %": found[1:]},
        note=f"Of 100 pairs of embeddings 99 have a cosine of {np.percentile(cosines(exact, rough), 1):.4f} or more.",
    )


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """One a row."""
    return np.sum(left * right, axis=1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)


def pictures_of(folder: Path, per_label: int) -> tuple[list[Path], np.ndarray]:
    """Every so-many-th file of each label, so that all sources are met."""
    paths: list[Path] = []
    labels = []
    for label, name in enumerate(("real", "synthetic")):
        files = sorted(path for path in (folder / name).rglob("*") if path.is_file())
        chosen = files[:: max(1, len(files) // per_label)][:per_label]
        paths += chosen
        labels += [label] * len(chosen)
    return paths, np.array(labels)


def embedded(backbone: Backbone, paths: list[Path]) -> np.ndarray:
    """(n, d) embeddings of the whole view."""
    found: list[np.ndarray] = []
    embed_files(
        ((path.name, path.read_bytes(), path.name) for path in paths),
        backbone,
        _LIMITS,
        0,
        lambda rows, _: found.extend(views["whole"] for _, views in rows),
    )
    return np.stack(found)


def accuracy(rows: np.ndarray, labels: np.ndarray) -> float:
    """Cross-validated, in per cent."""
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=500))
    return 100 * float(np.mean(cross_val_predict(model, rows, labels, cv=folds) == labels))
