"""The sweep beside scikit-learn's grid search, and at 100,000 samples."""

from __future__ import annotations

import hashlib
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from detector.pipeline.build import sample_groups
from detector.settings import Settings
from detector.storage import embeddings, functions, models, samples
from detector.storage.stored_names import WHOLE
from detector.training.calibration import mean_log_loss
from detector.training.folds import make_folds
from detector.training.gram_cache import GRAM_CACHE
from detector.training.options import Options, SweepRow, SweepSettings, sweep_options
from detector.training.scaling import STANDARDISE
from detector.training.sweep import sweep
from detector.workspace import Workspace
from tests.benchmarks.figure import Figure
from tests.shared_data import SHARED_DATA

N, DIMENSION = 2000, 2912
LARGE_N, LARGE_DIMENSION, LARGE_GRID = 100_000, 512, tuple(float(10**exponent) for exponent in np.arange(-1, 3, 0.5))
_REPEATS = 5


def sweep_ratio(folder: Path) -> Figure:
    """The whole grid for 2,000 images of the offline backbone; the peer, a matter of minutes, is measured once."""
    x, y, groups, data = two_thousand(folder)
    folds = make_folds(y, groups)
    assert folds is not None
    options = sweep_options(SweepSettings(), {WHOLE: x}, {"statistics": slice(0, x.shape[1])}, y)
    sweep({WHOLE: x}, y, 2, folds, options)
    ours = []
    for _ in range(_REPEATS):
        # As the first training of a function does it; later ones find the Gram matrices made.
        GRAM_CACHE.forget()
        start = time.perf_counter()
        found = sweep({WHOLE: x}, y, 2, folds, options)
        ours.append(time.perf_counter() - start)
    start = time.perf_counter()
    sweep({WHOLE: x}, y, 2, folds, options)
    at_hand = time.perf_counter() - start
    peer, loss = _grid_search(x, y, folds, found.rows, options)
    # As the peer's score is made: the mean over the folds.
    own_loss = statistics.mean(
        mean_log_loss(found.logits[folds == fold], y[folds == fold]) for fold in range(int(folds.max()) + 1)
    )
    assert abs(own_loss - loss) <= 1e-3, f"best log loss {own_loss:.4f}, of the peer {loss:.4f}"
    return Figure(
        "sweep_ratio",
        f"seconds of GridSearchCV / ours, same grid and folds, {x.shape[0]:,} x {x.shape[1]:,}",
        peer / statistics.median(ours),
        "x",
        8,
        at_least=True,
        measurements={
            "ours": ours,
            "ours, Gram matrices at hand": [at_hand],
            "peer": [peer],
        },
        note=f"Embeddings of {data}; {len(found.rows)} settings x {int(folds.max()) + 1} folds; the peer was measured "
        f"once, on the whole grid. Best log loss {own_loss:.4f}, of the peer {loss:.4f}. When labels have changed the "
        f"Gram matrices are at hand, and it is {peer / at_hand:.1f} times as fast.",
    )


def sweep_100k_s(folder: Path) -> Figure:
    """Synthetic features, standardised, all 40 regressions."""
    rng = np.random.default_rng(0)
    x, y = large_set(rng)
    folds = make_folds(y, [hashlib.sha256(str(index).encode()).hexdigest() for index in range(LARGE_N)])
    assert folds is not None
    settings = SweepSettings(scaling=(STANDARDISE,), c=LARGE_GRID, class_weight=("none",))
    options = sweep_options(settings, {WHOLE: x}, {"all": slice(0, LARGE_DIMENSION)}, y)
    took = []
    for _ in range(3):
        start = time.perf_counter()
        found = sweep({WHOLE: x}, y, 2, folds, options)
        took.append(time.perf_counter() - start)
    return Figure(
        "sweep_100k_s",
        f"our sweep of {LARGE_N:,} x {LARGE_DIMENSION}, {len(LARGE_GRID)} values of C x 5 folds",
        statistics.median(took),
        "s",
        20,
        at_least=False,
        measurements={"ours": took},
        note=f"Made data, best accuracy {max(row.accuracy for row in found.rows):.3f}.",
    )


def large_set(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Features of unequal variance as embeddings have them, and labels that a tenth of them carries."""
    spectrum = np.arange(1, LARGE_DIMENSION + 1) ** -0.5
    x = rng.standard_normal((LARGE_N, LARGE_DIMENSION), dtype=np.float32) * spectrum.astype(np.float32)
    # Turned, so that the columns are as correlated as those of embeddings.
    turn = np.linalg.qr(rng.standard_normal((LARGE_DIMENSION, LARGE_DIMENSION)))[0].astype(np.float32)
    true = np.zeros(LARGE_DIMENSION)
    true[:: LARGE_DIMENSION // 50] = rng.standard_normal(len(true[:: LARGE_DIMENSION // 50])) * 3
    odds = x @ true + rng.logistic(size=LARGE_N)
    return x @ turn, (odds > 0).astype(np.int64)


def _grid_search(
    x: np.ndarray, y: np.ndarray, folds: np.ndarray, rows: list[SweepRow], options: Options
) -> tuple[float, float]:
    """Seconds and best log loss of scikit-learn over the grid that our sweep tried."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, PredefinedSplit
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import Normalizer, StandardScaler

    weights = [None if weight == "none" else weight for weight in options.class_weight]
    grid = [
        {
            "scale": [StandardScaler() if scaling == STANDARDISE else Normalizer()],
            "fit__C": sorted({row.C for row in rows if row.scaling == scaling}),
            "fit__class_weight": weights,
        }
        for scaling in options.scaling
    ]
    # More iterations than the default 100, after which it warns that it has not converged.
    pipeline = Pipeline([("scale", StandardScaler()), ("fit", LogisticRegression(max_iter=5000))])
    search = GridSearchCV(pipeline, grid, scoring="neg_log_loss", cv=PredefinedSplit(folds), n_jobs=-1, refit=False)
    start = time.perf_counter()
    search.fit(x, y)
    return time.perf_counter() - start, -float(search.cv_results_["mean_test_score"].max())


def two_thousand(folder: Path) -> tuple[np.ndarray, np.ndarray, list[str], str]:
    """Features, labels, groups, and what they are: real embeddings where the development images are at hand."""
    images = SHARED_DATA / "mixed2000"
    if not images.is_dir():
        rng = np.random.default_rng(0)
        spectrum = (np.arange(1, DIMENSION + 1) ** -0.5).astype(np.float32)
        x = rng.standard_normal((N, DIMENSION), dtype=np.float32) * spectrum
        odds = x @ (rng.standard_normal(DIMENSION) * 2) + rng.logistic(size=N)
        names = [hashlib.sha256(str(index).encode()).hexdigest() for index in range(N)]
        return x, (odds > np.median(odds)).astype(np.int64), names, "made numbers"
    environment = os.environ | {"DETECTOR_DATA_DIR": str(folder), "DETECTOR_PRECISION": "float32"}
    subprocess.run(
        [sys.executable, "-m", "detector", "train", str(images), "--backbone", "efficientnet-lite0", "--json"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return *stored_features(folder), "2,000 images of 14 sources"


def stored_features(data_dir: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Features, labels and groups of the trained function in a data folder."""
    ws = Workspace.open(Settings(data_dir=data_dir))
    [summary] = functions.list_functions(ws.db)
    function = summary.function
    rows = samples.training_rows(ws.db, function.id)
    key = models.list_models(ws.db, function.id)[0].backbone_key
    index = {label.id: place for place, label in enumerate(functions.list_labels(ws.db, function.id))}
    x = embeddings.read_embeddings(ws.db, key, [row.image_hash for row in rows])[WHOLE]
    y = np.array([index[row.label_id or ""] for row in rows])
    groups = sample_groups(rows)
    ws.close()
    return x, y, groups
