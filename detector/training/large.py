"""More samples than a sweep is worth: settings are chosen on some of them, and the model is trained on all.

A sweep trains a hundred models and more to choose one setting. Above ``CHOOSE_ON`` samples it sees only so many, the
same ones each time, every label as often as among all. What is promised of the model is measured on all samples all the
same: with the setting that was chosen, the models of all folds and the final one are trained together, which reads the
samples hardly more often than one of them alone.

Up to ``SHARDED_ABOVE`` samples these lie in memory along at most 1,024 directions (1,000,000 of them are 4.1 GB). Of
more, they lie in a file that is mapped into memory, piece by piece, and the sums over the pieces make the model (see
``shards``): it is as good, and slower.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch

from detector.arrays import Floats, Ints
from detector.formatting import count
from detector.system.batches import Executor
from detector.system.memory import give_back_freed_memory
from detector.training.options import Candidate, Options, SweepRow
from detector.training.outward import look_outward
from detector.training.scaling import Embeddings, FeatureScaling
from detector.training.shards import FileShard, ShardedProblem, fit_shards, logits_of_shards, table_rows
from detector.training.solver import FLOAT32_TOLERANCE, solve
from detector.training.sweep import Progress, prepare_choice, sample_weights, sweep

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: Up to so many samples the sweep sees all.
CHOOSE_ON = 100_000
#: Of a label with few samples so many of them, or all there are.
_LEAST_OF_A_LABEL = 2_000
#: Up to so many samples they lie in memory.
SHARDED_ABOVE = 1_000_000
#: Rows of a shard.
SHARD_ROWS = 65_536
_SAID_EVERY = 64 * 256
#: Numbers in one block of logits: beside some gigabytes of samples, room for the models of all folds at once.
_BLOCK_NUMBERS = 12_000_000
_MOST_ITERATIONS = 60


@dataclass(frozen=True, eq=False)
class LargeTraining:
    """What the training of many samples found.

    Attributes
    ----------
    rows : list of SweepRow
        Their figures are those of the samples that settings were chosen on.
    chosen : Candidate
    chosen_on : int
    logits : (n, columns) out-of-fold, of all samples
    scaling : FeatureScaling
    coefficients : (columns, D) float64
    intercept : (columns,) float64
    """

    rows: list[SweepRow]
    chosen: Candidate
    chosen_on: int
    logits: Floats
    scaling: FeatureScaling
    coefficients: Floats
    intercept: Floats

    def note(self) -> str:
        """What is to be said of it."""
        return (
            f"The settings were chosen on {count(self.chosen_on)} of {count(len(self.logits), 'sample')}; the model is "
            "trained and measured on all of them."
        )


def train_large(
    embeddings: Embeddings,
    y: Ints,
    k: int,
    folds: Ints,
    options: Options,
    keys: Sequence[str],
    groups: Sequence[str],
    sources: Sequence[str] | None = None,
    progress: Progress | None = None,
    scratch: Path | None = None,
    executor: Executor | None = None,
) -> LargeTraining:
    """Choose on some samples, train on all.

    Parameters
    ----------
    embeddings, y, k, folds, options, progress : as in `detector.training.sweep.sweep`
    keys, groups, sources : n str, as in `detector.training.train.TrainingData`
    scratch : Path, optional
        A folder for temporary files as large as the samples; by default the system's.
    executor : Executor, optional
        Who works on shards, and finds files of ``scratch`` under the same name; with one, samples are trained on in
        shards whatever their number.
    """
    some = rows_to_choose_on(keys, y, folds)
    theirs = {view: rows[some] for view, rows in embeddings.items()}
    found = sweep(theirs, y[some], k, folds[some], options, progress)
    fits = options.settings_count * (int(folds.max()) + 1)

    def say(message: str) -> None:
        if progress is not None:
            progress(fits, fits + 1, message)

    if sources is not None:
        found = look_outward(
            found,
            theirs,
            y[some],
            k,
            options,
            [sources[row] for row in some.tolist()],
            [groups[row] for row in some.tolist()],
            lambda: say("Trying the best settings on sources left out"),
        )
    rows, chosen = found.rows, found.chosen
    del found, theirs
    give_back_freed_memory()
    message = f"Training on all {count(len(y), 'sample')} with the best settings"
    say(message)
    slices = options.slices[chosen.features]
    if executor is not None or len(y) > SHARDED_ABOVE:
        fit = _in_shards(embeddings, y, k, folds, chosen, slices, lambda: say(message), scratch, executor)
    else:
        fit = _in_memory(embeddings, y, k, folds, chosen, slices, lambda: say(message))
    candidate = Candidate(
        chosen.views, chosen.features, chosen.scaling, chosen.c, chosen.c / fit.mean_squared_norm, chosen.class_weight
    )
    return LargeTraining(rows, candidate, len(some), fit.logits, fit.scaling, fit.coefficients, fit.intercept)


def rows_to_choose_on(keys: Sequence[str], y: Ints, folds: Ints, most: int = CHOOSE_ON) -> Ints:
    """The samples that settings are chosen on, ascending: the same while they are there, whatever else comes or goes.

    Parameters
    ----------
    keys : n str
        They decide, by their hashes: as good as chance, and lasting.
    y, folds : (n,) int arrays
    most : int
        Nearly so many are taken, every label as often as among all; of a rare one 2,000, or all there are.

    Returns
    -------
    (m,) int array, or all rows where a label would be missing in a fold
    """
    order = np.argsort(
        np.array([int.from_bytes(hashlib.blake2b(key.encode(), digest_size=7).digest()) for key in keys]), kind="stable"
    )
    counts = np.bincount(y)
    wanted = np.maximum(np.round(most * counts / len(y)), np.minimum(counts, _LEAST_OF_A_LABEL)).astype(np.int64)
    taken = np.concatenate([order[y[order] == label][:many] for label, many in enumerate(wanted.tolist())])
    taken.sort()
    there = np.zeros((int(folds.max()) + 1, len(counts)), dtype=bool)
    there[folds[taken], y[taken]] = True
    return taken if bool(there[:, counts > 0].all()) else np.arange(len(y))


@dataclass(frozen=True, eq=False)
class _Fit:
    scaling: FeatureScaling
    mean_squared_norm: float
    logits: Floats
    coefficients: Floats
    intercept: Floats


def _in_memory(
    embeddings: Embeddings,
    y: Ints,
    k: int,
    folds: Ints,
    chosen: SweepRow,
    slices: tuple[tuple[int, int], ...],
    may_go_on: Callable[[], None],
) -> _Fit:
    prepared = prepare_choice(embeddings, chosen.views, slices, chosen.scaling, torch.float32)
    may_go_on()
    fold_count, n = int(folds.max()) + 1, len(y)
    weights = np.empty((n, fold_count + 1), np.float32)
    for fold in range(fold_count + 1):
        # Of the last one no sample is held out.
        weights[:, fold] = sample_weights(y, k, chosen.class_weight, folds != fold)
    c = torch.full((fold_count + 1,), chosen.c / prepared.mean_squared_norm, dtype=torch.float64)
    solution = solve(
        prepared.design(embeddings),
        torch.from_numpy(y),
        k,
        torch.from_numpy(weights),
        c,
        tolerance=FLOAT32_TOLERANCE,
        # Of a million rows, sums in float32 may not come that near.
        max_iterations=_MOST_ITERATIONS,
        solved=lambda _number: may_go_on(),
        most_numbers=_BLOCK_NUMBERS,
    )
    logits = solution.logits.numpy()[np.arange(n), folds].astype(np.float64)
    coefficients = prepared.coefficients(embeddings, solution.vectors[-1])
    return _Fit(
        prepared.scaling, prepared.mean_squared_norm, logits, coefficients, solution.intercept[-1].double().numpy()
    )


def _in_shards(
    embeddings: Embeddings,
    y: Ints,
    k: int,
    folds: Ints,
    chosen: SweepRow,
    slices: tuple[tuple[int, int], ...],
    may_go_on: Callable[[], None],
    scratch: Path | None,
    executor: Executor | None,
) -> _Fit:
    prepared = prepare_choice(embeddings, chosen.views, slices, chosen.scaling, torch.float32, in_memory=False)
    fold_count = int(folds.max()) + 1
    c = chosen.c / prepared.mean_squared_norm
    with _table(scratch) as file:
        for part, features in prepared.chunks(embeddings):
            file.write(table_rows(features, y[part], folds[part]).data)
            if part.start % _SAID_EVERY == 0:
                may_go_on()
        file.flush()
        shards = [
            FileShard(Path(file.name), prepared.parameters, start, min(start + SHARD_ROWS, len(y)))
            for start in range(0, len(y), SHARD_ROWS)
        ]
        whole = ShardedProblem(k, c, _label_weights(y, k, chosen.class_weight, folds >= 0))
        model = fit_shards(whole, shards, executor=executor, passed=may_go_on)
        logits = np.empty((len(y), whole.columns))
        for fold in range(fold_count):
            problem = ShardedProblem(k, c, _label_weights(y, k, chosen.class_weight, folds != fold), held_out=fold)
            without = fit_shards(problem, shards, start=model, executor=executor, passed=may_go_on)
            logits[folds == fold] = logits_of_shards(without, shards, fold=fold, executor=executor)
    coefficients = prepared.coefficients(embeddings, torch.from_numpy(model.coefficients))
    return _Fit(prepared.scaling, prepared.mean_squared_norm, logits, coefficients, model.intercept)


@contextmanager
def _table(scratch: Path | None) -> Iterator[IO[bytes]]:
    """A temporary file with a name, by which other processes find it; after a kill, the spool's sweep removes it."""
    with tempfile.NamedTemporaryFile(dir=scratch, prefix="training-", suffix=".part") as file:
        if fcntl is not None:
            # What is held is not swept, however long it takes; of a network drive that knows no locks, its age decides.
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield file


def _label_weights(y: Ints, k: int, class_weight: str, used: np.ndarray) -> Floats:
    """What a sample of each label weighs, as of `sample_weights`."""
    weights = sample_weights(y, k, class_weight, used)
    result = np.zeros(k)
    result[y[used]] = weights[used]
    return result
