"""Is a model better that was trained on degraded copies too? Both sides are measured in one cross-validation.

A detector that has only seen clean files fails on those that have travelled. Trained on degraded copies as well it does
better there and hardly worse elsewhere; where it does worse, that model is not taken. Settings are chosen anew by the
pooled out-of-fold loss of samples and copies, among the best choices of features of the sweep without copies: each
costs as much as a small sweep, and the best with copies has been among the best without on all that was measured. Where
sources left out chose the setting (see ``outward``), it stays.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from detector.arrays import Floats, Ints
from detector.training.calibration import log_losses
from detector.training.copies import Copies, Hardening, Side, Stack, stacked
from detector.training.design import Design
from detector.training.gram_cache import rows_digest
from detector.training.options import Candidate, Options, SweepRow
from detector.training.outward import standard_error
from detector.training.precomputed import PreparedSamples
from detector.training.refit import predicted
from detector.training.scaling import Embeddings
from detector.training.single_thread import run_each_single_threaded
from detector.training.source_units import group_numbers
from detector.training.sweep import TIE, SweepResult, held_out_logits, prepare_choice, sample_weights

#: Choices of views, features and scaling that are tried with copies: the best ones of the sweep without.
CHOICES = 2
#: Values of C beside the best one of each choice, to either side: with copies a stronger penalty may be better.
_BESIDE = 2
#: By so much the clean log loss may be worse where the degraded one is better, and by one standard error more: of 2,000
#: images it was 1 % lower to 3 % higher depending on the folds, with an accuracy that was no lower.
MOST_WORSE = 0.02


@dataclass(frozen=True, eq=False)
class Hardened:
    """The best training with copies.

    Attributes
    ----------
    chosen : Candidate
    logits : (n, columns) out-of-fold, of the samples
    copy_logits : (m, columns) out-of-fold, of the copies
    prepared : PreparedSamples
    design : Design
    stack : Stack
    hardening : Hardening
    """

    chosen: Candidate
    logits: Floats
    copy_logits: Floats
    prepared: PreparedSamples
    design: Design
    stack: Stack
    hardening: Hardening


def harden(
    embeddings: Embeddings,
    y: Ints,
    k: int,
    folds: Ints,
    options: Options,
    clean: SweepResult,
    copies: Copies,
    groups: Sequence[object],
    progress: Callable[[str], None] = lambda _message: None,
) -> Hardened:
    """Cross-validate the best settings of a sweep again, with copies and without.

    Parameters
    ----------
    embeddings, y, k, folds, options : as in `detector.training.sweep.sweep`
    clean : SweepResult
        The sweep without copies.
    copies : Copies
    groups : n of any kind; samples of one group are nearly the same, and count as one
    progress : callable, optional
        May raise to give up.
    """
    stack = stacked(embeddings, copies)
    targets, fold_of = y[stack.of], folds[stack.of]
    digest = rows_digest(stack.views)
    best: tuple[float, Candidate, Floats, PreparedSamples, Design] | None = None
    without: Floats | None = None
    tries = []
    for number, choice in enumerate(_best_choices(clean.rows, clean.chosen)):
        progress(f"Training on degraded copies, choice {number + 1} of {CHOICES}")
        settings = _settings(options, choice, clean.chosen)
        own = [stack.weights] * len(settings)
        if choice is clean.chosen:
            # The other side of the comparison goes along: its copies weigh nothing.
            settings.append((choice.c, choice.class_weight))
            own.append(np.where(np.arange(len(targets)) < stack.n, 1.0, 0.0))
        prepared, design = _ready(stack, embeddings, options, choice, digest)
        tries.append((choice, settings, own, prepared, design))
    solves = [
        partial(_held_out, prepared, design, targets, k, fold_of, settings, own)
        for _, settings, own, prepared, design in tries
    ]
    small = len(targets) <= _MOST_ROWS
    found = run_each_single_threaded(solves) if small else [solve_one() for solve_one in solves]
    for (choice, settings, own, prepared, design), of_settings in zip(tries, found, strict=True):
        for (c, class_weight), weights, logits in zip(settings, own, of_settings, strict=True):
            if weights is not stack.weights:
                without = logits
                continue
            pooled = float(np.average(log_losses(logits, targets), weights=stack.weights))
            if best is None or pooled < best[0] - TIE:
                candidate = Candidate(
                    choice.views, choice.features, choice.scaling, c, c / prepared.mean_squared_norm, class_weight
                )
                best = pooled, candidate, logits, prepared, design
    assert best is not None
    assert without is not None
    _, chosen, logits, prepared, design = best
    before, after = _side(without, targets, stack), _side(logits, targets, stack)
    worse = log_losses(logits[: stack.n], y) - log_losses(without[: stack.n], y)
    allowed = MOST_WORSE * before.clean_loss + standard_error(worse, group_numbers(groups))
    taken = bool(worse.mean() <= allowed and after.degraded_loss < before.degraded_loss)
    hardening = Hardening(int(copies.numbers.max()) + 1, before, after, taken)
    return Hardened(chosen, logits[: stack.n], logits[stack.n :], prepared, design, stack, hardening)


def _best_choices(rows: Sequence[SweepRow], chosen: SweepRow) -> list[SweepRow]:
    """The chosen row and the best ones of other choices of features; itself alone where sources left out chose it."""
    found = [chosen]
    if chosen.unseen_log_loss is not None:
        return found
    for row in sorted(rows, key=lambda row: row.log_loss):
        if len(found) == CHOICES:
            break
        if all((row.views, row.features, row.scaling) != (it.views, it.features, it.scaling) for it in found):
            found.append(row)
    return found


def _settings(options: Options, choice: SweepRow, chosen: SweepRow) -> list[tuple[float, str]]:
    """Relative C and class weight of what is tried with copies of one choice of features."""
    if chosen.unseen_log_loss is not None:
        return [(chosen.c, chosen.class_weight)]
    place = options.c.index(choice.c)
    return [
        (c, weight) for weight in options.class_weight for c in options.c[max(0, place - _BESIDE) : place + _BESIDE + 1]
    ]


def _held_out(
    prepared: PreparedSamples,
    design: Design,
    targets: Ints,
    k: int,
    folds: Ints,
    settings: Sequence[tuple[float, str]],
    own: Sequence[Floats],
) -> list[Floats]:
    """Of each setting the logits of all rows, each by the model of its fold: (n + m, columns)."""
    weights = [
        sample_weights(targets, k, class_weight, folds != fold, mine).astype(np.float32)
        for (_, class_weight), mine in zip(settings, own, strict=True)
        for fold in range(int(folds.max()) + 1)
    ]
    return held_out_logits(prepared, design, targets, k, folds, settings, weights)


def _side(logits: Floats, targets: Ints, stack: Stack) -> Side:
    losses = log_losses(logits, targets)
    right = predicted(logits) == targets
    clean = np.arange(len(targets)) < stack.n
    # A sample with many copies counts no more than one with few.
    weights = stack.weights[~clean]
    return Side(
        float(losses[clean].mean()),
        float(np.average(losses[~clean], weights=weights)),
        float(right[clean].mean()),
        float(np.average(right[~clean], weights=weights)),
    )


@dataclass(frozen=True, eq=False)
class _Ready:
    key: tuple[str, str, str, str]
    prepared: PreparedSamples
    design: Design


#: Rows with copies of the latest trainings, ready to be solved: after a few labels were changed they are the same.
_latest: list[_Ready] = []
_lock = threading.Lock()
#: Larger ones are neither remembered (together these are some 150 MB) nor solved on a core each.
_MOST_ROWS = 12_000


def _ready(
    stack: Stack, clean: Embeddings, options: Options, choice: SweepRow, digest: str
) -> tuple[PreparedSamples, Design]:
    key = (digest, choice.views, choice.features, choice.scaling)
    with _lock:
        for known in _latest:
            if known.key == key:
                return known.prepared, known.design
    slices = options.slices[choice.features]
    prepared = prepare_choice(stack.views, choice.views, slices, choice.scaling, torch.float32, scaled_on=clean)
    design = prepared.design(stack.views)
    if len(stack.of) <= _MOST_ROWS:
        with _lock:
            _latest.insert(0, _Ready(key, replace(prepared, _made=[]), design))
            del _latest[CHOICES:]
    return prepared, design
