"""Choose among the best settings of a sweep by how they do on sources that were left out.

Folds deal out pictures of the same cameras and generators, so a setting that leans on a source's own marks loses
nothing there. Where enough is known of the sources, the few best settings are therefore tried once more, each source
left out in turn, and the one that does best on those is taken. Settings that the folds find clearly worse than the best
are not: sources are few where images are many, and chance among them must not cost what is certain.

"Clearly worse" is more than one standard error (Breiman et al. 1984, "Classification and Regression Trees", section
3.4.3), that of the *difference* between the two settings' losses on the same images. The standard error of the best
loss alone, as the book has it, is mostly about how hard the images are, and all settings see the same ones.

The trainings share the sweep's scaling and its Gram matrix, which know the images that are left out but none of their
labels, and their losses are those before calibration, as the sweep's: what counts here is which setting is better, not
by how much. What is promised of sources never seen comes from `unseen`, where neither knows them.

What it is worth is little, with the offline backbone, whose settings hardly differ: on the collections of the benchmark
``elsewhere`` (15 draws) another setting was taken in 11, mostly the same with balanced labels. Out-of-fold accuracy
went from .937 to .936, that on held-out photographs from .821 to .816, on held-out generators' images from .827 to
.839; strongly called synthetic were 1.8 instead of 1.6 % of the former and 29 instead of 27 % of the latter, and 43
instead of 41 % of images like the samples got a strong answer. By the best loss's own error all five settings were
near it in each of 20 draws, so that the rule forbade nothing; by that of the difference 3 were, in the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from detector.arrays import Floats, Ints
from detector.training.calibration import log_losses
from detector.training.options import Options, SweepRow
from detector.training.precomputed import PreparedSamples
from detector.training.scaling import LARGE, Embeddings
from detector.training.single_thread import run_each_single_threaded
from detector.training.solver import LARGE_BLOCK_NUMBERS, solve
from detector.training.source_units import Unit, group_numbers, units_for_a_choice, without
from detector.training.sweep import (
    ONE_CORE_ROWS,
    TIE,
    GramBlocks,
    SweepResult,
    prepare_again,
    sample_weights,
    simplicity,
)


def look_outward(
    found: SweepResult,
    embeddings: Embeddings,
    y: Ints,
    k: int,
    options: Options,
    sources: Sequence[str],
    groups: Sequence[object],
    may_go_on: Callable[[], None] = lambda: None,
) -> SweepResult:
    """Take the setting of a sweep's shortlist that does best on sources left out.

    Parameters
    ----------
    found : SweepResult
    embeddings, y, k, options : those of the sweep
    sources : n str; an empty one for a sample of unknown source, which is neither trained on nor judged here
    groups : n of any kind; samples of one group are nearly the same, and leave with any of them
    may_go_on : callable
        Called now and then; it may raise to give up.

    Returns
    -------
    SweepResult
        The same where sources say too little (see `units_for_a_choice`). Else every setting that was tried has its
        ``unseen_log_loss``, and the lowest is chosen; among those within 1e-4 of it the simplest.
    """
    units = units_for_a_choice(y, k, sources, groups)
    if not units or not found.shortlist:
        return found
    group = group_numbers(groups)
    known = np.array([bool(source) for source in sources], dtype=bool)
    used = np.stack([without(unit, known, group) for unit in units], axis=1)
    by_choice: dict[tuple[str, str, str], list[int]] = {}
    for place in near_the_best(found, y, group):
        row = found.rows[place]
        by_choice.setdefault((row.views, row.features, row.scaling), []).append(place)
    losses: dict[int, float] = {}
    grams: dict[str, GramBlocks] = {}
    for (_, _, scaling), places in by_choice.items():
        may_go_on()
        blocks = grams.setdefault(scaling, GramBlocks(embeddings, scaling))
        prepared = prepare_again(found, found.rows[places[0]], embeddings, options, blocks)
        rows = [found.rows[place] for place in places]
        logits = _logits_of_units(prepared, embeddings, y, k, rows, units, used, may_go_on)
        for place, of_units in zip(places, logits, strict=True):
            losses[place] = unseen_log_loss(of_units, units, y, k)
    return _taken(found, losses, options)


def near_the_best(found: SweepResult, y: Ints, group: Ints) -> list[int]:
    """The settings of a shortlist that folds cannot tell from the best one, by their places in the sweep's rows."""
    best = min(found.shortlist, key=lambda place: (found.rows[place].log_loss, place))
    least = log_losses(found.shortlist[best], y)
    near = []
    for place, logits in found.shortlist.items():
        more = log_losses(logits, y) - least
        if more.mean() <= max(TIE, standard_error(more, group)):
            near.append(place)
    return near


def standard_error(values: Floats, group: Ints) -> float:
    """Of a mean over samples, where those of one group are one observation (nearly the same pictures): its deviation.

    The estimator for samples drawn in groups of unequal size (Cochran 1977, "Sampling Techniques", section 9A.4).
    """
    sums = np.bincount(group, weights=values - values.mean())
    present = np.bincount(group) > 0
    number = int(present.sum())
    if number < 2:
        return 0.0
    return float(np.sqrt(number / (number - 1) * (sums[present] ** 2).sum()) / len(values))


def unseen_log_loss(logits: Sequence[Floats], units: Sequence[Unit], y: Ints, k: int) -> float:
    """Log loss on units by models that know nothing of them: each unit counts alike in its label, each label in all.

    Parameters
    ----------
    logits : one (m, 1 or k) array a unit, of its samples
    """
    by_label: list[list[float]] = [[] for _ in range(k)]
    for unit, of_unit in zip(units, logits, strict=True):
        by_label[unit.label].append(float(log_losses(of_unit, y[unit.rows]).mean()))
    return float(np.mean([np.mean(losses) for losses in by_label if losses]))


def _logits_of_units(
    prepared: PreparedSamples,
    embeddings: Embeddings,
    y: Ints,
    k: int,
    rows: Sequence[SweepRow],
    units: Sequence[Unit],
    used: np.ndarray,
    may_go_on: Callable[[], None],
) -> list[list[Floats]]:
    """Of each setting, for each unit, the logits of its samples by a model that was trained without it."""
    design, target, n = prepared.design(embeddings), torch.from_numpy(y), len(y)
    # Of a large set as many at a time as the solver takes at once: logits of all would lie beside the design.
    most = max(1, LARGE_BLOCK_NUMBERS // (n * (1 if k == 2 else k))) if n > LARGE else len(units)

    def of_setting(row: SweepRow) -> list[Floats]:
        found: list[Floats] = []
        for start in range(0, len(units), most):
            may_go_on()
            part = used[:, start : start + most]
            weights = np.stack([sample_weights(y, k, row.class_weight, column) for column in part.T], axis=1)
            c = torch.full((part.shape[1],), row.C, dtype=torch.float64)
            logits = solve(design, target, k, torch.from_numpy(weights.astype(np.float32)), c).logits
            found += [
                logits[torch.from_numpy(unit.rows), place].double().numpy()
                for place, unit in enumerate(units[start : start + most])
            ]
        return found

    if n > ONE_CORE_ROWS:
        return [of_setting(row) for row in rows]
    return run_each_single_threaded([partial(of_setting, row) for row in rows])


def _taken(found: SweepResult, losses: dict[int, float], options: Options) -> SweepResult:
    lowest = min(losses.values())
    equal = [place for place, loss in losses.items() if loss <= lowest + TIE]
    chosen = min(equal, key=lambda place: simplicity(found.rows[place], options))
    rows = [
        replace(row, chosen=place == chosen, unseen_log_loss=losses.get(place)) for place, row in enumerate(found.rows)
    ]
    row = rows[chosen]
    prepared = found.at_hand.get((row.views, row.features, row.scaling))
    return replace(found, rows=rows, chosen=row, logits=found.shortlist[chosen], prepared=prepared)
