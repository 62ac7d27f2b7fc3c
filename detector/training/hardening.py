"""Is a model better that was trained on degraded copies too? Both sides are measured in one cross-validation.

A detector that has only seen clean files fails on those that have travelled. Trained on degraded copies as well it does
better there and hardly worse elsewhere; where it does worse, that model is not taken. The features are those that the
sweep without copies chose, twice: as they are, and with steadied columns and softened labels (see ``steadying``). Of
both, the strength of the penalty is chosen anew by the pooled out-of-fold loss of samples and copies. Where sources
left out chose the setting (see ``outward``), it stays. All losses are calibrated ones, as the model will be: softened
labels make a model modest, which a temperature undoes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from detector.arrays import Floats, Ints
from detector.training.calibration import fit_temperature, log_losses
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
from detector.training.steadying import SOFTENED
from detector.training.sweep import TIE, SweepResult, held_out_logits, prepare_choice, sample_weights

#: Values of C beside the best one without copies, to either side: with copies a stronger penalty may be better.
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
    steadied : bool
    softened : float
        See ``steadying``.
    """

    chosen: Candidate
    logits: Floats
    copy_logits: Floats
    prepared: PreparedSamples
    design: Design
    stack: Stack
    hardening: Hardening
    steadied: bool
    softened: float


@dataclass(frozen=True, eq=False)
class _Try:
    """Settings that share their features: relative C and class weight of each, and its rows' own weights."""

    steadied: bool
    settings: list[tuple[float, str]]
    own: list[Floats]
    prepared: PreparedSamples
    design: Design

    @property
    def softened(self) -> float:
        return SOFTENED if self.steadied else 0.0


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
    digest, choice = rows_digest(stack.views), clean.chosen
    tries = []
    for steady in (False, True):
        progress(f"Training on degraded copies, {'steadied' if steady else 'as they are'}")
        settings = _settings(options, choice)
        own = [stack.weights] * len(settings)
        if not steady:
            # The other side of the comparison goes along: its copies weigh nothing.
            settings.append((choice.c, choice.class_weight))
            own.append(np.where(np.arange(len(targets)) < stack.n, 1.0, 0.0))
        prepared, design = _ready(stack, embeddings, copies, options, choice, steady, digest)
        tries.append(_Try(steady, settings, own, prepared, design))
    solves = [partial(_held_out, tried, targets, k, fold_of) for tried in tries]
    small = len(targets) <= _MOST_ROWS
    found = run_each_single_threaded(solves) if small else [solve_one() for solve_one in solves]
    *plain, without = found[0]
    before = _calibrated(without, y)
    best = [
        _best(tried, of_settings, before, y, stack, groups)
        for tried, of_settings in zip(tries, [plain, found[1]], strict=True)
    ]
    # One that may be taken goes before one that would be better but for its loss on clean pictures.
    found_best = min(best, key=lambda each: (not each.taken, each.pooled_loss))
    tried, (c, class_weight), logits = found_best.tried, found_best.setting, found_best.logits
    chosen = Candidate(
        choice.views, choice.features, choice.scaling, c, c / tried.prepared.mean_squared_norm, class_weight
    )
    hardening = Hardening(
        int(copies.numbers.max()) + 1,
        _side(before, targets, stack),
        _side(_calibrated(logits, y), targets, stack),
        found_best.taken,
    )
    return Hardened(
        chosen,
        logits[: stack.n],
        logits[stack.n :],
        tried.prepared,
        tried.design,
        stack,
        hardening,
        tried.steadied,
        tried.softened,
    )


@dataclass(frozen=True, eq=False)
class _Best:
    """The best setting of one try, and whether it is good enough to be taken."""

    tried: _Try
    setting: tuple[float, str]
    logits: Floats
    pooled_loss: float
    taken: bool


def _best(
    tried: _Try, of_settings: Sequence[Floats], before: Floats, y: Ints, stack: Stack, groups: Sequence[object]
) -> _Best:
    """Choose by the pooled loss, and compare with the calibrated logits ``before``."""
    targets = y[stack.of]
    losses = [log_losses(_calibrated(logits, y), targets) for logits in of_settings]
    pooled = [float(np.average(each, weights=stack.weights)) for each in losses]
    # Among equally good ones the first.
    place = next(number for number, loss in enumerate(pooled) if loss <= min(pooled) + TIE)
    losses_before, n = log_losses(before, targets), stack.n
    worse = losses[place][:n] - losses_before[:n]
    allowed = MOST_WORSE * float(losses_before[:n].mean()) + standard_error(worse, group_numbers(groups))
    # A sample with many copies counts no more than one with few.
    of_copies = np.average(losses[place][n:] - losses_before[n:], weights=stack.weights[n:])
    taken = bool(worse.mean() <= allowed and of_copies < 0.0)
    return _Best(tried, tried.settings[place], of_settings[place], pooled[place], taken)


def _settings(options: Options, chosen: SweepRow) -> list[tuple[float, str]]:
    """Relative C and class weight of what is tried with copies."""
    if chosen.unseen_log_loss is not None:
        return [(chosen.c, chosen.class_weight)]
    place = options.c.index(chosen.c)
    return [
        (c, weight) for weight in options.class_weight for c in options.c[max(0, place - _BESIDE) : place + _BESIDE + 1]
    ]


def _held_out(tried: _Try, targets: Ints, k: int, folds: Ints) -> list[Floats]:
    """Of each setting the logits of all rows, each by the model of its fold: (n + m, columns)."""
    weights = [
        sample_weights(targets, k, class_weight, folds != fold, mine).astype(np.float32)
        for (_, class_weight), mine in zip(tried.settings, tried.own, strict=True)
        for fold in range(int(folds.max()) + 1)
    ]
    return held_out_logits(
        tried.prepared, tried.design, targets, k, folds, tried.settings, weights, softened=tried.softened
    )


def _calibrated(logits: Floats, y: Ints) -> Floats:
    """Logits of samples and copies at the temperature that a model of them would get: that of the samples (n,)."""
    return logits / fit_temperature(logits[: len(y)], y)


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
    key: tuple[str, str, str, str, bool]
    prepared: PreparedSamples
    design: Design


#: Rows with copies of the latest trainings, ready to be solved: after a few labels were changed they are the same.
_latest: list[_Ready] = []
_lock = threading.Lock()
_MOST_READY = 2
#: Larger ones are neither remembered (together these are some 150 MB) nor solved on a core each.
_MOST_ROWS = 12_000


def _ready(
    stack: Stack,
    clean: Embeddings,
    copies: Copies,
    options: Options,
    choice: SweepRow,
    steady: bool,
    digest: str,
) -> tuple[PreparedSamples, Design]:
    key = (digest, choice.views, choice.features, choice.scaling, steady)
    with _lock:
        for known in _latest:
            if known.key == key:
                return known.prepared, known.design
    slices, by = options.slices[choice.features], copies if steady else None
    prepared = prepare_choice(
        stack.views, choice.views, slices, choice.scaling, torch.float32, scaled_on=clean, steadied_by=by
    )
    design = prepared.design(stack.views)
    if len(stack.of) <= _MOST_ROWS:
        with _lock:
            _latest.insert(0, _Ready(key, replace(prepared, _made=[]), design))
            del _latest[_MOST_READY:]
    return prepared, design
