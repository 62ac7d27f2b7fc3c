"""From a function's samples to its live model and predictions: embed what is missing, train, predict."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from time import monotonic
from typing import Any

import numpy as np

from detector.backbones import Backbone, fetch_weights
from detector.errors import NoModel, NotTrainable, StoredEmbeddingsDamaged
from detector.imaging.degraded_copies import RECIPE
from detector.imaging.groups import sample_groups
from detector.operations.holdout import score_holdout
from detector.pipeline.embedding import embed_missing, function_backbone
from detector.pipeline.review_scores import ReviewScores
from detector.progress import Pace, Report, silent
from detector.serving.coverage import coverage_of
from detector.serving.known_sources import sources_choose
from detector.serving.likeness import likeness_model
from detector.serving.model import ServingModel, load_serving_model, serving_backbone
from detector.serving.stored_copies import read_copies
from detector.serving.stored_models import is_usable, stored_out_of_fold
from detector.serving.thresholds import refresh_thresholds
from detector.storage import annotating, embeddings, functions, models, predictions, samples
from detector.storage.acting import MANAGE, needs
from detector.storage.embedding_file import write_embedding_files
from detector.storage.functions import Function, Label
from detector.storage.models import ModelRow
from detector.storage.predictions import PredictionRow
from detector.storage.samples import TrainingRow
from detector.storage.stored_names import TEST, TRAIN, WHOLE
from detector.system.memory import give_back_freed_memory
from detector.training.copies import Copies
from detector.training.large import CHOOSE_ON
from detector.training.model_file import write_model
from detector.training.options import SweepSettings
from detector.training.out_of_fold import OutOfFold
from detector.training.readiness import missing_sentence
from detector.training.reduction import REDUCE_ABOVE
from detector.training.scaling import Embeddings
from detector.training.thresholds import find_thresholds
from detector.training.train import TrainedModel, TrainingData, train
from detector.workspace import Workspace

__all__ = ["BuildResult", "build", "predict_all", "put_back", "sample_groups", "sweep_settings"]

#: Part of the training fingerprint: raise it when the same data would now give another model.
TRAINING_VERSION = 1
#: The same for sets that are large enough to be reduced.
LARGE_TRAINING_VERSION = "1, reduced"
#: The same for sets whose settings are chosen on a part of them.
HUGE_TRAINING_VERSION = "1, reduced, chosen on a part"

_PREDICT_CHUNK = 4096
#: Rows of one transaction: other writers get their turn in between.
_WRITE_CHUNK = 10_000


@dataclass(frozen=True)
class BuildResult:
    """What one build did. ``model`` is the newest version, or None with ``note`` saying what is missing."""

    model: ModelRow | None
    trained: bool
    embedded: int
    note: str
    embed_seconds: float
    train_seconds: float


def build(ws: Workspace, function_id: str, report: Report = silent) -> BuildResult:
    """Bring a function up to date with its samples and labels.

    Embeds images that have no embedding, trains when the labelled samples, the backbone or the settings differ from the
    newest model's, and writes a prediction for every sample. Doing it twice does nothing twice. What is stored of the
    live model or of how the network sees the images, and cannot be read any more, is made anew.

    Raises
    ------
    BackboneUnavailable
        The backbone's weights cannot be had; samples and labels are untouched.
    """
    function = functions.get_function(ws.db, function_id)
    if not samples.count_samples(ws.db, function_id):
        note = missing_sentence({label.name: 0 for label in functions.list_labels(ws.db, function_id)}) or ""
        functions.set_training_note(ws.db, function_id, note)
        return BuildResult(None, False, 0, note, 0.0, 0.0)

    start = monotonic()
    report("embed", 0, 0, "Loading the backbone", None)
    backbone = function_backbone(ws, function, report)
    embedded = embed_missing(ws, function_id, backbone, report)
    embed_seconds = monotonic() - start
    try:
        return _trained(ws, function, backbone, embedded, embed_seconds, report)
    except StoredEmbeddingsDamaged:
        embeddings.remove_damaged(ws.db, backbone.key, backbone.dimension)
        embedded += embed_missing(ws, function_id, backbone, report)
        return _trained(ws, function, backbone, embedded, embed_seconds, report)


def _trained(
    ws: Workspace, function: Function, backbone: Backbone, embedded: int, embed_seconds: float, report: Report
) -> BuildResult:
    function_id = function.id
    start = monotonic()
    report("train", 0, 0, "Preparing the training", None)
    moment = annotating.moment_between(ws.db, function_id)
    rows = _usable_rows(ws, function_id, backbone)
    groups = sample_groups(rows)
    samples.write_groups(ws.db, function_id, [(row.sample_id, group) for row, group in zip(rows, groups, strict=True)])
    trained = False
    note = ""
    try:
        model, trained = _train_if_changed(ws, function, backbone, rows, groups, moment, report)
        note = model.note
        functions.set_training_note(ws.db, function_id, "")
        trained_on = {row.image_hash for row in rows if row.split == TRAIN and row.label_id in model.label_ids}
        if score_holdout(ws, model, rows, groups, trained_on) is not None:
            model = models.get_model(ws.db, model.id)
    except NotTrainable as error:
        model, note = None, str(error)
        functions.set_training_note(ws.db, function_id, note)
    if functions.get_function(ws.db, function_id).live_model_id is not None:
        try:
            predict_all(ws, function_id, report)
        except NoModel:
            # Labels were deleted until the model had nothing to choose between: what it said stands no longer.
            predictions.clear_predictions(ws.db, function_id)
    return BuildResult(model, trained, embedded, note, embed_seconds, monotonic() - start)


@needs(MANAGE, "making another model live")
def put_back(ws: Workspace, function_id: str, model_id: str, report: Report = silent) -> None:
    """Make an older version live again, with its own predictions. Raises NotFound, NoModel, BackboneUnavailable."""
    # First whether it can answer at all, so that a live model and the predictions beside it do not part.
    serving = load_serving_model(ws, function_id, model_id)
    fetch_weights(serving.row.backbone_id, ws.settings, report)
    serving_backbone(ws, serving)
    functions.set_live_model(ws.db, function_id, model_id)
    predict_all(ws, function_id, report)
    row = models.get_model(ws.db, model_id)
    known = _out_of_fold(ws, row)
    if known is not None:
        # Samples that were put aside later may have been part of this version's training: they prove nothing.
        embedded = embeddings.embedded_hashes(ws.db, function_id, row.backbone_key)
        rows = [item for item in samples.training_rows(ws.db, function_id) if item.image_hash in embedded]
        score_holdout(ws, row, rows, sample_groups(rows), set(known))


def predict_all(ws: Workspace, function_id: str, report: Report = silent) -> None:
    """Write the live model's prediction for every sample: out-of-fold where the sample was part of the training.

    Then what follows from them all together: which annotations to doubt, which samples to label next, which lie near.
    """
    # As trained: its samples are not from the place that a model is adapted to, and Review puts these predictions and
    # out-of-fold ones in one order.
    serving = load_serving_model(ws, function_id).without_recentring()
    row = serving.row
    fetch_weights(row.backbone_id, ws.settings, report)
    backbone = serving_backbone(ws, serving)
    embed_missing(ws, function_id, backbone, report)
    rows = _usable_rows(ws, function_id, backbone)
    known = _out_of_fold(ws, row)
    trained_without_folds = known is None
    scores = ReviewScores([label.id for label in serving.labels])
    pace = Pace(report, "predict", len(rows), "Writing predictions")
    found = np.empty((len(rows), len(serving.labels)))
    held_out = np.zeros(len(rows), bool)
    if len(rows) > REDUCE_ABOVE:
        give_back_freed_memory()
    for start in range(0, len(rows), _PREDICT_CHUNK):
        chunk = rows[start : start + _PREDICT_CHUNK]
        views = embeddings.read_embeddings(ws.db, backbone.key, [item.image_hash for item in chunk])
        probabilities = serving.probabilities(views)
        in_folds = np.array([known is not None and item.image_hash in known for item in chunk])
        for position, item in enumerate(chunk):
            if known is not None and in_folds[position]:
                probabilities[position] = serving.restrict(known[item.image_hash][None, :])[0]
                held_out[start + position] = True
            elif not trained_without_folds or item.label_id is None or item.split == TEST:
                # Not part of this model's training, so the model has never seen it either.
                held_out[start + position] = True
        found[start : start + len(chunk)] = probabilities
        scores.see(chunk, views[WHOLE], probabilities, in_folds)
        pace.at(start + len(chunk))
    _write_predictions(ws, function_id, serving, rows, found, held_out)
    report("predict", len(rows), len(rows), "Putting samples in order for Review", None)
    scores.write(ws, function_id, backbone.key)


def _write_predictions(
    ws: Workspace,
    function_id: str,
    serving: ServingModel,
    rows: Sequence[TrainingRow],
    probabilities: np.ndarray,
    held_out: np.ndarray,
) -> None:
    label_ids = [label.id for label in serving.labels]
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :2]
    top = np.take_along_axis(probabilities, best, axis=1)
    stored = probabilities.astype(np.float32)
    # As they lie in the table: in the order of hashes, every transaction would write nearly every page of it anew.
    order = np.argsort([row.sequence for row in rows], kind="stable")
    for start in range(0, len(rows), _WRITE_CHUNK):
        places = order[start : start + _WRITE_CHUNK]
        predictions.write_predictions(
            ws.db,
            function_id,
            serving.row.id,
            [
                PredictionRow(rows[place].sample_id, label_ids[label], confidence, confidence - second, seen, data)
                for place, label, (confidence, second), seen, data in zip(
                    places.tolist(),
                    best[places, 0].tolist(),
                    top[places].tolist(),
                    (held_out[places]).tolist(),
                    (row.tobytes() for row in stored[places]),
                    strict=True,
                )
            ],
        )


def sweep_settings(stored: dict[str, Any]) -> SweepSettings:
    """The expert settings of a function, from their JSON form; an empty dict is "try everything"."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()
    }
    return SweepSettings(**values)


def _usable_rows(ws: Workspace, function_id: str, backbone: Backbone) -> list[TrainingRow]:
    embedded = embeddings.embedded_hashes(ws.db, function_id, backbone.key)
    return [row for row in samples.training_rows(ws.db, function_id) if row.image_hash in embedded]


def _put_aside(rows: Sequence[TrainingRow], labels: Sequence[Label]) -> str:
    """Where the samples are that training misses, if that is why."""
    locked = Counter(row.label_id for row in rows if row.split != TRAIN)
    parts = [f"{locked[label.id]:,} labelled {label.name}" for label in labels if locked[label.id]]
    return f" In the locked test set are {' and '.join(parts)}." if parts else ""


def _train_if_changed(
    ws: Workspace,
    function: Function,
    backbone: Backbone,
    rows: Sequence[TrainingRow],
    groups: Sequence[str],
    moment: float,
    report: Report,
) -> tuple[ModelRow, bool]:
    labels = functions.list_labels(ws.db, function.id)
    index = {label.id: position for position, label in enumerate(labels)}
    chosen = [
        (row, group) for row, group in zip(rows, groups, strict=True) if row.label_id is not None and row.split == TRAIN
    ]
    counts = Counter(labels[index[row.label_id]].name for row, _ in chosen if row.label_id is not None)
    missing = missing_sentence({label.name: counts[label.name] for label in labels})
    if missing is not None:
        raise NotTrainable(f"{missing}{_put_aside(rows, labels)}")
    hashes = [row.image_hash for row, _ in chosen]
    views = _training_views(ws, backbone.key, hashes)
    copies = read_copies(ws, function, backbone.key, hashes, views)
    names_of = {label.id: label.name for label in labels}
    tell = sources_choose(ws, function.id, names_of, rows, groups)
    sources = [row.source or "" for row, _ in chosen] if tell else None
    fingerprint = _fingerprint(
        backbone.key, function.sweep_settings, [label.id for label in labels], chosen, copies, sources
    )
    newest = models.list_models(ws.db, function.id)[:1]
    if newest and newest[0].training_fingerprint == fingerprint and is_usable(ws, _live(ws, function) or newest[0]):
        if function.live_model_id is None:
            functions.set_live_model(ws.db, function.id, newest[0].id)
        models.set_labels_read_at(ws.db, newest[0].id, moment)
        return models.get_model(ws.db, newest[0].id), False
    data = TrainingData(
        sample_keys=hashes,
        views=views,
        features=dict(backbone.features),
        labels=np.array([index[row.label_id] for row, _ in chosen if row.label_id is not None]),
        label_names=[label.name for label in labels],
        groups=[group for _, group in chosen],
        backbone_id=backbone.spec.id,
        backbone_key=backbone.key,
        preprocessing_version=backbone.preprocessing_version,
        copies=copies,
        sources=sources,
    )
    pace_start = monotonic()

    def progress(done: int, total: int, message: str) -> None:
        elapsed = monotonic() - pace_start
        report("train", done, total, message, done / elapsed if done and elapsed > 0 else None)

    result = train(data, sweep_settings(function.sweep_settings), progress, ws.spool)
    id_of = {label.name: label.id for label in labels}
    names = list(result.model.label_names)
    out_of_fold = _out_of_fold_of(data, result)
    thresholds = None
    if out_of_fold is not None:
        thresholds = find_thresholds(
            out_of_fold.probabilities,
            out_of_fold.labels,
            names,
            function.false_accusation_limit,
            out_of_fold.groups.tolist(),
            out_of_fold.copies,
        )
    row = models.add_model(
        ws.db,
        ws.blobs,
        function.id,
        write_model(
            replace(result.model, thresholds=thresholds.above if thresholds else None), {"function": function.name}
        ),
        out_of_fold.to_bytes() if out_of_fold is not None else None,
        backbone_id=backbone.spec.id,
        backbone_key=backbone.key,
        precision=backbone.precision,
        normalise=function.normalise,
        label_ids=[id_of[name] for name in names],
        label_names=names,
        sample_count=len(chosen),
        training_fingerprint=fingerprint,
        hyperparameters=result.hyperparameters,
        sweep=[asdict(item) for item in result.sweep_results],
        cross_validation=result.cross_validation.to_json() if result.cross_validation else None,
        thresholds=thresholds.to_json() if thresholds else None,
        hardening=result.hardening.to_json() if result.hardening else None,
        note=result.note or "",
        seconds=result.seconds,
        labels_read_at=moment,
    )
    # Another share may have been chosen while this was trained.
    refresh_thresholds(ws, row)
    coverage_of(ws, row)
    likeness_model(ws, row, (hashes, views[WHOLE]))
    return models.get_model(ws.db, row.id), True


def _live(ws: Workspace, function: Function) -> ModelRow | None:
    return models.get_model(ws.db, function.live_model_id) if function.live_model_id is not None else None


def _training_views(ws: Workspace, key: str, hashes: Sequence[str]) -> Embeddings:
    if len(hashes) <= REDUCE_ABOVE:
        return embeddings.read_embeddings(ws.db, key, hashes)
    # In the data folder: what the system holds for temporary files may itself be memory.
    return write_embedding_files(ws.db, key, hashes, ws.spool)


def _fingerprint(
    key: str,
    settings: dict[str, object],
    label_ids: list[str],
    chosen: Sequence[tuple[TrainingRow, str]],
    copies: Copies | None,
    sources: list[str] | None,
) -> str:
    facts: list[object] = [
        _training_version(len(chosen)),
        key,
        settings,
        label_ids,
        [[row.image_hash, row.label_id, group] for row, group in chosen],
    ]
    if copies is not None:
        # Not otherwise: what was trained before there were copies would be trained again for nothing.
        facts.append([RECIPE, hashlib.sha256(copies.of.tobytes() + copies.numbers.tobytes()).hexdigest()])
    if sources is not None:
        # Only then do they decide anything: models of functions without any stay what they are.
        facts.append(sources)
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _training_version(n: int) -> int | str:
    if n > CHOOSE_ON:
        return HUGE_TRAINING_VERSION
    return LARGE_TRAINING_VERSION if n > REDUCE_ABOVE else TRAINING_VERSION


def _out_of_fold_of(data: TrainingData, result: TrainedModel) -> OutOfFold | None:
    if result.out_of_fold is None:
        return None
    # Samples of labels that were left out of the training have no out-of-fold row: NaN.
    held_out = np.flatnonzero(~np.isnan(result.out_of_fold).any(axis=1)).tolist()
    place = {data.label_names.index(name): index for index, name in enumerate(result.model.label_names)}
    return OutOfFold(
        [data.sample_keys[index] for index in held_out],
        result.out_of_fold[held_out],
        np.array([place[int(data.labels[index])] for index in held_out], dtype=np.int64),
        np.unique(np.asarray(data.groups)[held_out], return_inverse=True)[1].astype(np.int64),
        None if result.out_of_fold_copies is None else result.out_of_fold_copies[held_out],
    )


def _out_of_fold(ws: Workspace, row: ModelRow) -> dict[str, np.ndarray] | None:
    known = stored_out_of_fold(ws, row)
    return known.by_hash() if known is not None else None
