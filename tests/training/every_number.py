"""Run as a program: trains in every way there is, and prints a digest of the numbers that each found."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from detector.training import reduction, solver
from detector.training.design import Design
from detector.training.precomputed import prepare
from detector.training.refit import Hyperparameters, fit_subsets
from detector.training.scaling import fit_scaling
from detector.training.shards import ShardedProblem, ShardRows, fit_shards
from detector.training.single_thread import run_single_threaded
from detector.training.train import TrainingData, train


@dataclass(frozen=True)
class _Rows:
    features: np.ndarray
    y: np.ndarray

    def rows(self) -> ShardRows:
        return ShardRows(self.features, self.y, np.ones(len(self.y)), self.y * 0)


def _samples(n: int, d: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    y = np.arange(n) % 2
    return (chance.normal(size=(n, d)) + 0.2 * y[:, None] * chance.normal(size=d)).astype(np.float32), y


def _say(name: str, *found: Any) -> None:
    digest = hashlib.sha256()
    for numbers in found:
        digest.update(np.ascontiguousarray(numbers).tobytes())
    print(name, digest.hexdigest()[:16])


def _cores_of_threads_begun_meanwhile() -> set[int]:
    """How many cores torch takes in threads that first use it while those for small problems are started."""
    found: list[int] = []
    begin = threading.Event()

    def first_use() -> None:
        begin.wait()
        found.append(torch.get_num_threads())

    threads = [threading.Thread(target=first_use) for _ in range(200)]
    for thread in threads:
        thread.start()
    begin.set()
    run_single_threaded(torch.get_num_threads)
    for thread in threads:
        thread.join()
    return {torch.get_num_threads(), *found}


def main() -> None:
    print("cores", *_cores_of_threads_begun_meanwhile())
    few, y = _samples(300, 1280, 0)
    keys = [f"{row:03d}" for row in range(len(y))]
    trained = train(TrainingData(keys, {"whole": few}, {"all": slice(0, 1280)}, y, ["real", "synthetic"], keys))
    model = trained.model
    _say("train", model.coefficients, model.intercept, model.mean, model.scale, trained.out_of_fold)
    # Products as of large sets, whose sums the cores would share.
    solver.ONE_CORE_PRODUCT = 0
    many, y = _samples(40_000, 96, 1)
    scaling = fit_scaling({"whole": many}, ("whole",), ((0, 96),), "standardise")
    prepared = prepare({"whole": many}, scaling, torch.float32)
    design = prepared.design({"whole": many})
    for problems in (1, 3):
        c = torch.full((problems,), 1e-3, dtype=torch.float64)
        solution = solver.solve(design, torch.from_numpy(y), 2, torch.ones(len(y), problems), c)
        _say(f"solve {problems}", solution.vectors, solution.intercept, solution.logits)
    gram = prepare({"whole": few}, fit_scaling({"whole": few}, ("whole",), ((0, 1280),), "unit-length"), torch.float64)
    assert gram.gram is not None
    alone = solver.solve(
        Design.of(gram.gram, dual=True), torch.arange(300) % 2, 2, torch.ones(300, 1), torch.tensor([3.0])
    )
    _say("gram", gram.gram, alone.vectors, gram.coefficients({"whole": few}, alone.vectors[0]))
    _say("directions", reduction.leading_directions({"whole": many[:9000]}, scaling)[1])
    wide, y_wide = _samples(600, 2912, 2)
    found = Hyperparameters("whole", ((0, 2912),), "standardise", 1.0, "none")
    used = np.ones((600, 1), dtype=bool)
    fitted = fit_subsets({"whole": wide}, y_wide, 2, found, used)
    _say("refit", fitted.logits_of({"whole": wide}, np.zeros(600, dtype=np.int64)))
    shards = [_Rows(many[start : start + 10_000], y[start : start + 10_000]) for start in range(0, len(y), 10_000)]
    sharded = fit_shards(ShardedProblem(2, 1e-3, np.ones(2)), shards)
    _say("shards", sharded.coefficients, sharded.intercept)


if __name__ == "__main__":
    main()
