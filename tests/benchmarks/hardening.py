"""What training on degraded copies brings on changes that none of them has, and what it costs."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from detector.backbones import Backbone
from detector.backbones.pipeline import embed_files
from detector.evaluation.audit_data import AuditData, load_audit_data
from detector.evaluation.results import STRESSES
from detector.evaluation.stress import CHANGES, StressTest
from detector.pipeline.build import build
from detector.pipeline.copies import embed_copies
from detector.pipeline.embedding import function_backbone
from detector.serving.changed_files import changed_files
from detector.storage import functions
from detector.storage.embeddings import as_stored
from detector.storage.functions import Function
from detector.storage.models import ModelRow
from detector.storage.stored_names import WHOLE
from detector.workspace import Workspace
from tests.benchmarks.figure import Figure
from tests.factories import add_images, empty_function, workspace
from tests.shared_data import SHARED_DATA

_SEEDS, _COPIES = 5, 4
_IMAGES = (".jpg", ".jpeg", ".png", ".webp")

#: Views of changed copies by change, rows in the order of the hashes.
Changed = dict[str, dict[str, np.ndarray]]


def hardening_points(folder: Path) -> Figure:
    """mixed2000 in five deals of folds: the changes of the audit, judged by models with degraded copies and without."""
    ws = workspace(folder)
    function = empty_function(ws, "mixed2000")
    files = [
        (path.name, path.read_bytes(), path.relative_to(SHARED_DATA / "mixed2000").parts[0])
        for path in sorted((SHARED_DATA / "mixed2000").rglob("*"))
        if path.suffix.lower() in _IMAGES
    ]
    add_images(ws, function, files)
    start = time.perf_counter()
    build(ws, function.id)
    first = time.perf_counter() - start
    backbone = function_backbone(ws, functions.get_function(ws.db, function.id))
    functions.set_copies(ws.db, function.id, _COPIES)
    start = time.perf_counter()
    embed_copies(ws, function.id, backbone)
    build(ws, function.id)
    second = time.perf_counter() - start
    changed = _changed(ws, load_audit_data(ws, function.id), backbone)
    clean: dict[int, list[float]] = {0: [], _COPIES: []}
    degraded: dict[int, list[float]] = {0: [], _COPIES: []}
    by_change: dict[int, list[list[float]]] = {0: [], _COPIES: []}
    taken = 0
    for seed in range(_SEEDS):
        for copies in (0, _COPIES):
            model = _trained(ws, function, seed, copies)
            taken += bool(copies and model.hyperparameters.get("copies"))
            assert model.cross_validation is not None
            clean[copies].append(100 * model.cross_validation["accuracy"])
            right = _right(ws, function, backbone, changed)
            by_change[copies].append(list(right.values()))
            degraded[copies].append(float(np.mean(list(right.values()))))
    ws.close()
    gains = [after - before for before, after in zip(degraded[0], degraded[_COPIES], strict=True)]
    each = np.mean(by_change[_COPIES], axis=0) - np.mean(by_change[0], axis=0)
    by_title = [f"{title} {gain:+.1f}" for title, gain in zip(STRESSES.values(), each.tolist(), strict=True)]
    return Figure(
        "hardening_points",
        "mixed2000, mean accuracy after the audit's eight changes: with degraded copies - without, "
        f"mean of {_SEEDS} deals of folds",
        float(np.mean(gains)),
        "points",
        2,
        at_least=True,
        measurements={
            "with, after the changes, %": degraded[_COPIES],
            "without, after the changes, %": degraded[0],
            "with, clean, %": clean[_COPIES],
            "without, clean, %": clean[0],
            "build with copies / without": [(first + second) / first],
        },
        note=(
            f"Taken in {taken} of {_SEEDS}. Clean accuracy {np.mean(clean[_COPIES]) - np.mean(clean[0]):+.2f} points. "
            f"By change: {', '.join(by_title)}. The first model is live after {first:.0f} s, the one with copies "
            f"{second:.0f} s later."
        ),
    )


def _trained(ws: Workspace, function: Function, seed: int, copies: int) -> ModelRow:
    functions.set_sweep_settings(ws.db, function.id, {"seed": seed})
    functions.set_copies(ws.db, function.id, copies)
    model = build(ws, function.id).model
    assert model is not None
    return model


def _changed(ws: Workspace, data: AuditData, backbone: Backbone) -> Changed:
    """Embeddings of all samples after each change."""
    found: Changed = {}
    for name, change in CHANGES.items():
        views: dict[int, dict[str, np.ndarray]] = {}
        hashes = enumerate(row.image_hash for row in data.rows)
        files = changed_files(ws, hashes, lambda _place, picture, change=change: change(picture))
        embed_files(
            files, backbone, ws.limits, ws.settings.threads, lambda rows, _failed, views=views: views.update(rows)
        )
        found[name] = {
            view: np.stack([as_stored(views[place].get(view, views[place][WHOLE])) for place in range(len(data.rows))])
            for view in data.views
        }
    return found


def _right(ws: Workspace, function: Function, backbone: Backbone, changed: Changed) -> dict[str, float]:
    """Per cent right after each change, each sample judged by the model that has not seen its fold."""
    data = load_audit_data(ws, function.id)
    assert data.folds is not None
    models = StressTest(ws, data, backbone).models
    return {
        name: 100
        * float(
            np.mean(models.says({view: rows.astype(np.float32) for view, rows in views.items()}, data.folds) == data.y)
        )
        for name, views in changed.items()
    }
