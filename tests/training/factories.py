"""Small seeded training sets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from detector.training.train import TrainingData


def clouds(counts: Sequence[int], dimension: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping Gaussian clouds with columns of very different size: (n, d) float32 features and (n,) labels."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(counts)), counts)
    centres = rng.normal(size=(len(counts), dimension)) * 3.0 / np.sqrt(dimension)
    x = (rng.normal(size=(len(y), dimension)) + centres[y]) * np.geomspace(0.01, 10.0, dimension) + 3.0
    shuffled = rng.permutation(len(y))
    return x[shuffled].astype(np.float32), y[shuffled]


def key(index: int) -> str:
    return hashlib.sha256(str(index).encode()).hexdigest()


def training_data(
    counts: Sequence[int] = (60, 60),
    dimension: int = 24,
    seed: int = 0,
    detail: bool = False,
    names: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
) -> TrainingData:
    x, y = clouds(counts, dimension, seed)
    keys = [key(i) for i in range(len(y))]
    views = {"whole": x}
    if detail:
        views["detail"] = x[:, ::-1] + np.float32(0.1) * clouds(counts, dimension, seed + 1)[0]
    return TrainingData(
        sample_keys=keys,
        views=views,
        features={"statistics": slice(0, dimension)},
        labels=y,
        label_names=names or [f"label {i}" for i in range(len(counts))],
        groups=groups or keys,
        backbone_id="small",
        backbone_key="small:0:1:float32",
        preprocessing_version="1",
    )
