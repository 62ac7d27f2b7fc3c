"""Training from 1,000 to 1,000,000 samples: time and peak memory, and what choosing settings on a part costs.

The embeddings are made: clusters, as cameras and generators make them, in numbers that hang together as those of a
network do, with noise in every number and in some labels.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from detector.storage.embedding_file import EmbeddingFile
from detector.storage.stored_names import WHOLE
from detector.training import large
from detector.training.calibration import mean_log_loss
from detector.training.options import SweepSettings
from detector.training.train import TrainedModel, TrainingData, train
from tests.benchmarks.figure import Figure
from tests.benchmarks.machine import peak_bytes

SIZES = (1_000, 10_000, 100_000, 1_000_000)
#: Numbers of the offline backbone.
DIMENSION = 2912
_CHECKOUT = Path(__file__).resolve().parents[2]
_CHUNK = 2_000
_CLUSTERS, _LATENT = 60, 200
#: Labels that are wrong.
_WRONG = 0.02
_NEW = 50_000


def training_scale(folder: Path) -> Figure:
    """The whole sweep of the offline backbone's 2,912 numbers, two labels, by number of samples."""
    found = [_in_a_process(folder, n) for n in SIZES]
    seconds, peaks = [each["seconds"] for each in found], [each["peak_mb"] for each in found]
    return Figure(
        "training_scale",
        f"peak memory of a training of {SIZES[-1]:,} samples x {DIMENSION:,} numbers",
        peaks[-1],
        "MB",
        8000,
        at_least=False,
        measurements={
            f"MB at {', '.join(f'{n:,}' for n in SIZES)}": peaks,
            "MB before the training": [each["before_mb"] for each in found],
            "seconds there": seconds,
            "seconds of one core": [each["core_s"] for each in found],
            "accuracy out-of-fold, %": [100 * each["accuracy"] for each in found],
            "accuracy on new samples, %": [100 * each["new_accuracy"] for each in found],
        },
        note=f"Made embeddings in a file, float16, as a build has them; {_WRONG:.0%} of the labels are wrong. From "
        f"{large.CHOOSE_ON:,} samples on settings are chosen on so many.",
    )


def training_choice_points(folder: Path) -> Figure:
    """Settings chosen on 100,000 samples beside settings chosen on all of 200,000, both models of all."""
    n, dimension = 2 * large.CHOOSE_ON, 512
    data = made_data(folder, n, dimension)
    start = time.perf_counter()
    part = train(data)
    middle = time.perf_counter()
    _choose_on(n)
    whole = train(data)
    took = [middle - start, time.perf_counter() - middle]
    new, y = new_samples(dimension)
    by_part, by_whole = (_on_new(trained, new, y) for trained in (part, whole))
    return Figure(
        "training_choice_points",
        f"accuracy on {_NEW:,} new samples: settings chosen on {large.CHOOSE_ON:,} of {n:,} - chosen on all",
        100 * (by_part[0] - by_whole[0]),
        "points",
        -0.05,
        at_least=True,
        measurements={
            "a part, accuracy % and log loss": [100 * by_part[0], by_part[1]],
            "all, accuracy % and log loss": [100 * by_whole[0], by_whole[1]],
            "out-of-fold accuracy, a part and all, %": [
                100 * each.cross_validation.accuracy for each in (part, whole) if each.cross_validation is not None
            ],
            "seconds": took,
        },
        note=f"Chosen: {_choice(part)}; on all: {_choice(whole)}.",
    )


def _choose_on(n: int) -> None:
    """From now on in this process, settings are chosen on all of so many samples."""
    from detector.training import train as train_module  # noqa: F401 - the module, whose function has its name

    sys.modules["detector.training.train"].CHOOSE_ON = n  # type: ignore[attr-defined]


def _choice(trained: TrainedModel) -> str:
    chosen = trained.hyperparameters
    return f"{chosen['scaling']}, c {chosen['c']:g}, class weights {chosen['class_weight']}"


def _on_new(trained: TrainedModel, new: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    logits = trained.model.logits({WHOLE: new}) / trained.model.temperature
    return float(((logits[:, 0] > 0) == y).mean()), mean_log_loss(logits, y)


def made_data(folder: Path, n: int, dimension: int) -> TrainingData:
    """A training set of made embeddings, which lie in a file of ``folder`` that has no name any more."""
    path = folder / f"made-{n}.f16"
    labels = np.empty(n, np.int64)
    with path.open("wb") as file:
        for start in range(0, n, _CHUNK):
            many = min(_CHUNK, n - start)
            numbers, labels[start : start + many] = made_samples(many, dimension, start)
            file.write(numbers.astype(np.float16).data)
    rows = EmbeddingFile(path.open("rb"), np.dtype(np.float16), dimension)
    path.unlink()
    # Ascending, as a build has them, so that the file is read from its beginning to its end.
    keys = sorted(hashlib.sha256(str(index).encode()).hexdigest() for index in range(n))
    return TrainingData(keys, {WHOLE: rows}, {"statistics": slice(0, dimension)}, labels, ["real", "synthetic"], keys)


def new_samples(dimension: int, n: int = _NEW) -> tuple[np.ndarray, np.ndarray]:
    """Samples of the same kind that are in no training set, with their labels."""
    parts = [made_samples(10_000, dimension, 10_000_000 + start) for start in range(0, n, 10_000)]
    rows = np.concatenate([numbers.astype(np.float16) for numbers, _ in parts]).astype(np.float32)
    return rows, np.concatenate([labels for _, labels in parts])


def made_samples(n: int, dimension: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, dimension) float32 embeddings and (n,) labels: the same clusters whatever the seed, 45 % of label 1.

    Parameters
    ----------
    seed : int
        Which samples of them.
    """
    fixed, rng = np.random.default_rng(dimension), np.random.default_rng([dimension, seed])
    spectrum = (np.arange(1, _LATENT + 1) ** -0.6).astype(np.float32)
    loadings = fixed.standard_normal((_LATENT, dimension), dtype=np.float32) / np.float32(np.sqrt(_LATENT))
    centres = 0.6 * fixed.standard_normal((_CLUSTERS, _LATENT)).astype(np.float32) * spectrum
    label_of = (np.arange(_CLUSTERS) >= round(0.55 * _CLUSTERS)).astype(np.int64)
    # What the synthetic ones have in common lies in the weaker directions.
    common = fixed.standard_normal(_LATENT).astype(np.float32) * spectrum[::-1] * 0.32
    cluster = rng.integers(0, _CLUSTERS, n)
    y = label_of[cluster]
    latent = rng.standard_normal((n, _LATENT), dtype=np.float32) * spectrum
    latent += centres[cluster] + np.outer(y, common).astype(np.float32)
    numbers = latent @ loadings
    numbers += 0.3 * rng.standard_normal((n, dimension), dtype=np.float32)
    # Columns of unequal size, as those of a network are.
    numbers *= np.geomspace(0.2, 5.0, dimension, dtype=np.float32)
    wrong = rng.random(n) < _WRONG
    return numbers, np.where(wrong, 1 - y, y)


def _in_a_process(folder: Path, n: int) -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.training_scale", str(folder), str(n)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=_CHECKOUT,
    )
    found: dict[str, Any] = json.loads(ran.stdout.strip().splitlines()[-1])
    return found


def _child(folder: Path, n: int) -> dict[str, Any]:
    data = made_data(folder, n, DIMENSION)
    before = peak_bytes() / 1e6
    start, start_of_core, told = time.perf_counter(), time.process_time(), {}

    def progress(_done: int, _total: int, message: str) -> None:
        told.setdefault(message.partition(" all ")[0], time.process_time() - start_of_core)

    trained = train(data, SweepSettings(), progress, folder)
    seconds, core, peak = time.perf_counter() - start, time.process_time() - start_of_core, peak_bytes() / 1e6
    new, y = new_samples(DIMENSION, 10_000)
    return {
        "seconds": seconds,
        "core_s": core,
        "peak_mb": peak,
        "before_mb": before,
        "accuracy": trained.cross_validation.accuracy if trained.cross_validation else 0.0,
        "new_accuracy": _on_new(trained, new, y)[0],
        "told": told,
        "chosen": trained.hyperparameters,
    }


if __name__ == "__main__":
    print(json.dumps(_child(Path(sys.argv[1]), int(sys.argv[2]))))
