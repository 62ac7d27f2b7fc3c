"""Audit data, made of small seeded clouds or of a small function of real files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from detector.evaluation.audit_data import AuditData
from detector.storage.models import ModelRow
from detector.storage.samples import TrainingRow
from detector.training.folds import make_folds
from detector.training.options import SweepSettings
from detector.training.train import TrainingData, train
from tests.training.factories import training_data

#: Quick to train, and without ties between settings.
FIXED = SweepSettings(
    views=("whole",), features=("statistics",), scaling=("standardise",), c=(1.0,), class_weight=("none",)
)


def model_row(**facts: Any) -> ModelRow:
    """A row with nothing in it but these facts."""
    return ModelRow(**(dict.fromkeys(ModelRow.__dataclass_fields__) | {"id": "m", "version": 1} | facts))


def audit_data_of(data: TrainingData, sources: Sequence[str | None], settings: SweepSettings = FIXED) -> AuditData:
    """What an audit would load of a function with these samples, trained now."""
    order = np.argsort(np.asarray(data.sample_keys))
    trained = train(data, settings)
    rows = [
        TrainingRow(f"sample {i}", data.sample_keys[i], f"id of {data.labels[i]}", sources[i], "train", None, "0" * 16)
        for i in order
    ]
    y, groups = np.asarray(data.labels)[order], [data.groups[i] for i in order]
    out_of_fold = trained.out_of_fold
    return AuditData(
        model=model_row(hyperparameters=trained.hyperparameters, label_ids=[f"id of {i}" for i in range(10)]),
        linear=trained.model,
        rows=rows,
        y=y,
        groups=groups,
        folds=make_folds(y, groups, settings.folds, settings.seed),
        views={name: np.asarray(view)[order] for name, view in data.views.items()},
        out_of_fold=None if out_of_fold is None else out_of_fold[order],
    )


def clouds_with_sources(counts: Sequence[int] = (60, 60), seed: int = 0, **options: Any) -> AuditData:
    """Clouds whose samples come from two sources a label; those of the second lie elsewhere."""
    data = training_data(counts, seed=seed, **options)
    rng = np.random.default_rng(seed)
    half = rng.random(sum(counts)) < 0.5
    sources = [f"{'ab'[int(late)]}{label}" for late, label in zip(half, data.labels, strict=True)]
    data.views["whole"][half] += rng.normal(size=data.views["whole"].shape[1]) * data.views["whole"].std(axis=0)
    return audit_data_of(data, sources)
