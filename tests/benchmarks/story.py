"""The story that this app began with: a thousand real and a thousand AI-generated images of CIFAKE, and how many are
told apart."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath

import numpy as np

from detector.operations.holdout import HoldoutScore
from detector.pipeline.build import build
from detector.pipeline.embedding import embed_missing, function_backbone
from detector.storage import functions, imports, samples
from detector.storage.models import ModelRow
from detector.storage.stored_names import TEST, TRAIN
from detector.workspace import Workspace
from tests.benchmarks.figure import Figure
from tests.factories import LABELS, empty_function, label_ids, new_sample, workspace
from tests.shared_data import SHARED_DATA

_ARCHIVE = "cifake_20k.zip"
_LABEL_OF = {"REAL": "real", "FAKE": "synthetic"}
#: In cross-validation, of the synthetic and of the real images.
_PUBLISHED = {"synthetic": 92.4, "real": 92.3}
_PER_LABEL = 1000
_SEEDS = 5


def story_pct(folder: Path) -> Figure:
    """As the story did it, with five choices of images; then all of the train part, judged on the set's test part."""
    return measure_story(folder, _PER_LABEL, _SEEDS)


def measure_story(folder: Path, per_label: int, seeds: int, most: int | None = None) -> Figure:
    """The figure, or a small slice of it.

    Parameters
    ----------
    folder : Path
        Empty.
    per_label : int
        Images of each label in cross-validation.
    seeds : int
        So many choices of them.
    most : int, optional
        Images of each label and part that are read at all; without it all of them.
    """
    ws = workspace(folder)
    whole = empty_function(ws, "The whole set")
    by_part = _import_all(ws, whole.id, label_ids(ws, whole), most)
    # Once: what has the same bytes is embedded for every function.
    embed_missing(ws, whole.id, function_backbone(ws, whole))
    validated: dict[str, list[float]] = {label: [] for label in LABELS}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        chosen = {label: rng.choice(by_part[TRAIN, label], per_label, replace=False).tolist() for label in LABELS}
        for label, accuracy in _cross_validated(ws, seed, chosen).items():
            validated[label].append(accuracy)
    model = build(ws, whole.id).model
    assert model is not None
    assert model.holdout_score is not None
    test = HoldoutScore.from_json(model.holdout_score)
    ws.close()
    means = {label: float(np.mean(shares)) for label, shares in validated.items()}
    worse = min(means, key=means.__getitem__)
    of_test = {f"{label}, the test part": [100 * test.labels[label].accuracy] for label in LABELS}
    published = " and ".join(f"{value} % of the {label} ones" for label, value in _PUBLISHED.items())
    return Figure(
        "story_pct",
        f"CIFAKE, {per_label:,} + {per_label:,} images, right in cross-validation, of the label that is worse, "
        f"mean of {seeds} choices, offline backbone",
        means[worse],
        "%",
        _PUBLISHED[worse],
        at_least=True,
        measurements={f"{label}, cross-validated": shares for label, shares in validated.items()} | of_test,
        note=(
            f"The story's own figures: {published}. {_said(validated)} Trained on all {model.sample_count:,} images of "
            f"the train part, of the {test.n:,} of the test part "
            + " and ".join(f"{100 * test.labels[label].accuracy:.1f} % of the {label} ones" for label in LABELS)
            + f" are right; {test.left_out:,} that are nearly the same as one of the train part were left out."
        ),
    )


def _said(validated: dict[str, list[float]]) -> str:
    parts = [
        f"{np.mean(shares):.1f} % of the {label} ones ({min(shares):.1f} to {max(shares):.1f})"
        for label, shares in validated.items()
    ]
    return f"Ours in cross-validation: {' and '.join(parts)}."


def _import_all(
    ws: Workspace, function_id: str, ids: dict[str, str], most: int | None
) -> dict[tuple[str, str], list[str]]:
    """All images as samples of a function, the test part locked; hashes by part and label, in the archive's order."""
    found: dict[tuple[str, str], list[str]] = {(part, label): [] for part in (TRAIN, TEST) for label in LABELS}
    new = []
    with zipfile.ZipFile(SHARED_DATA / _ARCHIVE) as archive:
        for name in sorted(archive.namelist()):
            path = PurePosixPath(name)
            if len(path.parts) != 3 or path.parts[1] not in _LABEL_OF:
                continue
            part, label = path.parts[0], _LABEL_OF[path.parts[1]]
            if most is not None and len(found[part, label]) >= most:
                continue
            sample = new_sample(ws, archive.read(name), name, label_id=ids[label], split=part)
            found[part, label].append(sample.image.image_hash)
            new.append(sample)
    imports.add_samples(ws.db, function_id, None, new)
    stored = {row.image_hash: row for row in samples.training_rows(ws.db, function_id)}
    names = {label_id: name for name, label_id in ids.items()}
    # An image that is there twice is one sample, with its first part and label.
    return {
        (part, label): [
            image
            for image in dict.fromkeys(hashes)
            if (stored[image].split, names[stored[image].label_id or ""]) == (part, label)
        ]
        for (part, label), hashes in found.items()
    }


def _cross_validated(ws: Workspace, seed: int, chosen: dict[str, list[str]]) -> dict[str, float]:
    """Per cent right of each label, by a function of these images alone."""
    function = empty_function(ws, f"Choice {seed}")
    ids = label_ids(ws, function)
    new = [
        new_sample(ws, ws.blobs.image(image), "x.jpg", label_id=ids[label])
        for label, images in chosen.items()
        for image in images
    ]
    imports.add_samples(ws.db, function.id, None, new)
    model: ModelRow | None = build(ws, function.id).model
    assert model is not None
    assert model.cross_validation is not None
    labels = model.cross_validation["labels"]
    functions.delete_function(ws.db, function.id)
    return {label: 100 * labels[label]["accuracy"] for label in LABELS}
