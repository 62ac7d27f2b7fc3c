"""From annotated embeddings to a judged model: folds, sweep, temperature, refit on everything."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detector.arrays import Floats, Ints
from detector.errors import InvalidInput, NotTrainable
from detector.storage.stored_names import DETAIL, WHOLE
from detector.system.batches import Executor
from detector.system.memory import give_back_freed_memory
from detector.training.calibration import fit_temperature, probabilities
from detector.training.copies import Copies, Hardening
from detector.training.design import Design
from detector.training.folds import make_folds
from detector.training.hardening import harden
from detector.training.large import CHOOSE_ON, train_large
from detector.training.linear_model import LinearModel
from detector.training.metrics import CrossValidation, cross_validation_metrics
from detector.training.options import Candidate, Options, SweepRow, SweepSettings, sweep_options
from detector.training.outward import look_outward
from detector.training.precomputed import PreparedSamples
from detector.training.readiness import MIN_SAMPLES, missing_sentence
from detector.training.scaling import LARGE, Embeddings, Rows, row_chunks
from detector.training.solver import EXACT_TOLERANCE, FLOAT32_TOLERANCE, solve
from detector.training.sweep import Progress, prepare_choice, sample_weights, sweep

# Without folds nothing can be measured: a rather strong penalty, since there are only a few samples then.
DEFAULT_C = 1.0


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Annotated samples and their embeddings.

    Attributes
    ----------
    sample_keys : n str, unique and lasting, such as the image's hash. They fix the order of everything: training does
        not depend on the order of the rows.
    views : (n, d) float array by view ("whole", and "detail" if any sample has it; where one sample has none, its whole
        view stands in)
    features : the backbone's named feature sets, each a slice of the d columns
    labels : (n,) int array of indices into ``label_names``
    label_names : all labels of the function, with or without samples
    groups : n str; samples with the same name are never on both sides of a fold. Take a lasting name, such as the
        smallest key in the group
    sources : n str, empty where unknown, or None; with them settings that folds cannot tell apart are chosen by how
        they do on sources left out (see ``outward``)
    backbone_id, backbone_key, preprocessing_version : what made the embeddings
    copies : Copies, optional
        Degraded copies of the samples: the model is trained on them too where that makes it better.
    """

    sample_keys: Sequence[str]
    views: Embeddings
    features: Mapping[str, slice]
    labels: Ints
    label_names: Sequence[str]
    groups: Sequence[str]
    backbone_id: str = ""
    backbone_key: str = ""
    preprocessing_version: str = ""
    sources: Sequence[str] | None = None
    copies: Copies | None = None


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A model and everything that is known about it.

    Attributes
    ----------
    model : LinearModel
        Its ``label_names`` are those with at least 2 samples, in the function's order.
    hyperparameters : dict
        views, features, scaling, c, C, class_weight, folds (0: not validated), seed; ``copies``, the most of one
        sample, where it was trained on copies, and then ``steadied`` and ``softened`` (see ``steadying``);
        ``chosen_on``, on how many samples, where these were not all (see ``large``).
    sweep_results : list of SweepRow
        In a fixed order; one is ``chosen``. Empty without folds.
    cross_validation : CrossValidation or None
    out_of_fold : (n, k) array in the caller's order of rows, or None
        Calibrated; NaN in rows of samples that were left out.
    seconds : float
    note : str
        Sentences about what was left out or could not be done; empty if nothing.
    hardening : Hardening or None
        What copies brought, where there were any and folds to try them in.
    out_of_fold_copies : (n, k) array in the caller's order of rows, or None
        As ``out_of_fold``, of one copy of each sample; None where it was not trained on copies.
    """

    model: LinearModel
    hyperparameters: dict[str, Any]
    sweep_results: list[SweepRow]
    cross_validation: CrossValidation | None
    out_of_fold: Floats | None
    seconds: float
    note: str
    hardening: Hardening | None = None
    out_of_fold_copies: Floats | None = None


def train(
    data: TrainingData,
    settings: SweepSettings | None = None,
    progress: Progress | None = None,
    scratch: Path | None = None,
    executor: Executor | None = None,
) -> TrainedModel:
    """Train, judge and calibrate a detector.

    Parameters
    ----------
    data : TrainingData
    settings : SweepSettings, optional
        Default: everything is tried.
    progress : callable, optional
        Called with (done, total, message); it may raise to give up.
    scratch, executor : optional
        Where temporary files of more than 1,000,000 samples lie, and who works on these: see ``large``.

    Returns
    -------
    TrainedModel
        The same samples and settings give the same numbers to the last digit, in whatever order the rows come and
        however many cores there are. Another kind of processor may round otherwise.

    Raises
    ------
    NotTrainable
        Fewer than two labels have 2 samples.
    InvalidInput
        The settings or the data do not fit together.
    """
    started = time.perf_counter()
    settings = settings or SweepSettings()
    _check(data, settings)
    labels = np.asarray(data.labels, dtype=np.int64)
    counts = np.bincount(labels, minlength=len(data.label_names))
    sentence = missing_sentence(dict(zip(data.label_names, counts.tolist(), strict=True)))
    if sentence:
        raise NotTrainable(sentence)
    notes = [
        f"The label {name} has only {count} sample and was left out of the training; label at least 1 more."
        for name, count in zip(data.label_names, counts.tolist(), strict=True)
        if 0 < count < MIN_SAMPLES
    ]
    used_labels = np.flatnonzero(counts >= MIN_SAMPLES)
    names = tuple(data.label_names[index] for index in used_labels.tolist())
    k = len(names)
    # Everything below sees the samples in the order of their keys.
    order = np.argsort(np.asarray(data.sample_keys, dtype=str), kind="stable")
    order = order[np.isin(labels[order], used_labels)]
    y = np.searchsorted(used_labels, labels[order])
    views = {name: _rows(embeddings, order) for name, embeddings in data.views.items()}
    options = sweep_options(settings, views, data.features, y)
    groups = [data.groups[index] for index in order]
    folds = make_folds(y, groups, settings.folds, settings.seed)

    rows: list[SweepRow] = []
    validation, out_of_fold, prepared, temperature = None, None, None, 1.0
    hardening, hardened, of_copies, large = None, None, None, None
    if folds is None:
        chosen, prepared = _default(options, views)
        notes.append(_not_validated(y, groups, names))
    elif len(y) > CHOOSE_ON:
        # Copies are only made of fewer samples.
        keys = [data.sample_keys[index] for index in order]
        sources = None if data.sources is None else [data.sources[index] for index in order]
        large = train_large(views, y, k, folds, options, keys, groups, sources, progress, scratch, executor)
        rows, chosen, logits = large.rows, large.chosen, large.logits
        notes.append(large.note())
    else:
        found = sweep(views, y, k, folds, options, progress)
        if data.sources is not None:
            fits = options.settings_count * (int(folds.max()) + 1)
            found = look_outward(
                found,
                views,
                y,
                k,
                options,
                [data.sources[index] for index in order],
                groups,
                lambda: progress(fits, fits + 1, "Trying the best settings on sources left out") if progress else None,
            )
        rows, chosen, prepared, logits = found.rows, found.chosen, found.prepared, found.logits
        copies = data.copies.of_rows(order) if data.copies is not None else None
        if copies is not None and len(copies):
            tried = harden(views, y, k, folds, options, found, copies, groups, _message(progress, options, folds))
            hardening = tried.hardening
            if hardening.taken:
                hardened, chosen, logits = tried, tried.chosen, tried.logits
                rows = [replace(row, chosen=row.is_choice_of(chosen)) for row in rows]
    if folds is not None:
        temperature = fit_temperature(logits, y)
        prob = probabilities(logits, temperature)
        validation = cross_validation_metrics(prob, y, names, int(folds.max()) + 1, temperature, groups)
        out_of_fold = np.full((len(labels), k), np.nan)
        out_of_fold[order] = prob
        if hardened is not None:
            first = hardened.stack.first_copies()
            of_copies = np.full((len(labels), k), np.nan)
            of_copies[order[first >= 0]] = probabilities(hardened.copy_logits[first[first >= 0]], temperature)
    fold_count = validation.folds if validation else 0
    total = options.settings_count * fold_count + 1
    if progress is not None:
        progress(total - 1, total, "Training on all samples with the best settings")
    if len(y) > LARGE:
        give_back_freed_memory()
    slices = options.slices[chosen.features]
    if large is not None:
        scaling, coefficients, intercept = large.scaling, large.coefficients, large.intercept
    elif hardened is not None:
        scaling, stack = hardened.prepared.scaling, hardened.stack
        # In float32: nothing compares these to the last digit, and of many rows float64 takes many times as long.
        coefficients, intercept = _fit_all(
            hardened.prepared,
            hardened.design,
            stack.views,
            y[stack.of],
            k,
            chosen,
            FLOAT32_TOLERANCE,
            stack.weights,
            hardened.softened,
        )
    else:
        if prepared is None:
            prepared = prepare_choice(views, chosen.views, slices, chosen.scaling)
        scaling, exact = prepared.scaling, prepared.exact(views)
        coefficients, intercept = _fit_all(exact, exact.design(views), views, y, k, chosen, EXACT_TOLERANCE)
    model = LinearModel(
        label_names=names,
        views=scaling.views,
        feature=chosen.features,
        slices=slices,
        dimension=next(iter(views.values())).shape[1],
        scaling=chosen.scaling,
        mean=scaling.mean,
        scale=scaling.scale,
        coefficients=coefficients,
        intercept=intercept,
        temperature=temperature,
        backbone_key=data.backbone_key,
        backbone_id=data.backbone_id,
        preprocessing_version=data.preprocessing_version,
        training_fingerprint=training_set_fingerprint(
            data.backbone_key, [data.sample_keys[index] for index in order], [names[label] for label in y]
        ),
    )
    if progress is not None:
        progress(total, total, "Trained")
    hyperparameters = {
        "views": chosen.views,
        "features": chosen.features,
        "scaling": chosen.scaling,
        "c": chosen.c,
        "C": chosen.C,
        "class_weight": chosen.class_weight,
        "folds": fold_count,
        "seed": settings.seed,
    }
    if large is not None:
        hyperparameters["chosen_on"] = large.chosen_on
    if hardened is not None:
        hyperparameters["copies"] = hardened.hardening.copies
        hyperparameters |= {"steadied": hardened.steadied, "softened": hardened.softened}
    seconds = time.perf_counter() - started
    return TrainedModel(
        model, hyperparameters, rows, validation, out_of_fold, seconds, " ".join(notes), hardening, of_copies
    )


def _message(progress: Progress | None, options: Options, folds: Ints) -> Callable[[str], None]:
    """Say something while the sweep is done and the last training is to come."""
    fits = options.settings_count * (int(folds.max()) + 1)
    return (lambda message: progress(fits, fits + 1, message)) if progress is not None else (lambda _message: None)


def _check(data: TrainingData, settings: SweepSettings) -> None:
    n = len(data.sample_keys)
    if len(set(data.sample_keys)) != n:
        raise InvalidInput("Two samples have the same key; expected every sample once.")
    sources = data.groups if data.sources is None else data.sources
    if any(len(given) != n for given in (data.labels, data.groups, sources)):
        raise InvalidInput(f"Labels, groups and sources must have one entry for each of the {n} samples.")
    if not any(view in data.views for view in (WHOLE, DETAIL)):
        raise InvalidInput(f"The embeddings have the views {sorted(data.views)}; expected {WHOLE}, {DETAIL} or both.")
    shapes = {tuple(embeddings.shape) for embeddings in data.views.values()}
    shape = next(iter(shapes))
    if len(shapes) > 1 or len(shape) != 2 or shape[0] != n:
        raise InvalidInput(f"Embeddings have the shapes {sorted(shapes)}; expected ({n}, d) in every view.")
    for name, embeddings in data.views.items():
        if not all(np.isfinite(embeddings[rows]).all() for rows in row_chunks(n)):
            raise InvalidInput(f"Some embeddings of the view {name} are not finite numbers. Embed the images again.")
    if settings.folds < 2:
        raise InvalidInput(f"The setting folds is {settings.folds}; expected at least 2.")


def _rows(embeddings: Rows, order: Ints) -> Rows:
    # A copy even if the order is right already would double the memory of a large set.
    if len(order) == len(embeddings) and bool((order == np.arange(len(order))).all()):
        return embeddings
    return embeddings[order]


def _default(options: Options, views: Embeddings) -> tuple[Candidate, PreparedSamples]:
    view_set, features, scaling = options.views[0], options.features[0], options.scaling[0]
    prepared = prepare_choice(views, view_set, options.slices[features], scaling)
    c = min(options.c, key=lambda value: abs(np.log(value / DEFAULT_C)))
    candidate = Candidate(view_set, features, scaling, c, c / prepared.mean_squared_norm, options.class_weight[0])
    return candidate, prepared


def _not_validated(y: Ints, groups: Sequence[str], names: Sequence[str]) -> str:
    groups_of_label: list[set[str]] = [set() for _ in names]
    for group, label in zip(groups, y.tolist(), strict=True):
        groups_of_label[label].add(group)
    alike = [name for name, found in zip(names, groups_of_label, strict=True) if len(found) < 2]
    if alike:
        return (
            f"The model is not validated: all samples labelled {' or '.join(alike)} are near-duplicates of one "
            "another; label different images as well."
        )
    return (
        "The model is not validated: too many near-duplicates carry different labels to hold some of them back; "
        "label different images as well."
    )


def _fit_all(
    prepared: PreparedSamples,
    design: Design,
    views: Embeddings,
    y: Ints,
    k: int,
    chosen: Candidate,
    tolerance: float,
    own: Floats | None = None,
    softened: float = 0.0,
) -> tuple[Floats, Floats]:
    """Coefficients and intercept of the model of all rows, which may have weights of their ``own``."""
    weights = sample_weights(y, k, chosen.class_weight, np.ones(len(y), dtype=bool), own)
    solution = solve(
        design,
        torch.from_numpy(y),
        k,
        torch.from_numpy(weights[:, None]),
        torch.tensor([chosen.C], dtype=torch.float64),
        tolerance=tolerance,
        softened=softened,
    )
    return prepared.coefficients(views, solution.vectors[0]), solution.intercept[0].double().numpy()


def training_set_fingerprint(backbone_key: str, sample_keys: Sequence[str], names: Sequence[str]) -> str:
    """SHA-256 of a training set: the keys of its samples in ascending order, and the name of each one's label."""
    digest = hashlib.sha256(backbone_key.encode())
    for key, name in zip(sample_keys, names, strict=True):
        digest.update(f"\n{key}\t{name}".encode())
    return digest.hexdigest()
