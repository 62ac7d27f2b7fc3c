from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

from detector.evaluation.audit_data import load_audit_data
from detector.evaluation.results import STRESSES, StressScore
from detector.evaluation.stress import CHANGES, MOST_SAMPLES, StressTest, choose_samples
from detector.pipeline.build import build
from detector.pipeline.embedding import function_backbone
from detector.storage import functions
from detector.workspace import Workspace
from tests.factories import add_images, empty_function, images, workspace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stressed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, StressTest]:
    ws = workspace(tmp_path_factory.mktemp("stress"))
    function = empty_function(ws)
    # Some labels are wrong, so that not every verdict is certain.
    wrong = {"real": "synthetic", "synthetic": "real"}
    items = [
        (name, data, wrong[label] if place % 5 == 0 else label) for place, (name, data, label) in enumerate(images(16))
    ]
    add_images(ws, function, items)
    build(ws, function.id)
    backbone = function_backbone(ws, functions.get_function(ws.db, function.id))
    return ws, StressTest(ws, load_audit_data(ws, function.id), backbone)


def test_the_models_are_those_of_the_training(stressed: tuple[Workspace, StressTest]) -> None:
    test = stressed[1]
    audit_data = test._audit_data
    assert audit_data.out_of_fold is not None
    assert audit_data.folds is not None
    held_out = test.models.logits[np.arange(len(audit_data.y)), audit_data.folds, 0] > 0
    assert held_out.astype(int).tolist() == audit_data.out_of_fold.argmax(axis=1).tolist()
    says = test.models.says(audit_data.views, audit_data.folds)
    assert says.tolist() == audit_data.out_of_fold.argmax(axis=1).tolist()


@pytest.mark.long
@pytest.mark.parametrize("name", ["jpeg-40", "scale-35"])
def test_verdicts_on_copies_are_those_of_a_run_made_by_hand(stressed: tuple[Workspace, StressTest], name: str) -> None:
    ws, test = stressed
    audit_data = test._audit_data
    score, flips = test.measure(name)

    x = audit_data.prepared.scaling.apply(audit_data.views)
    c = audit_data.hyperparameters.c / audit_data.prepared.mean_squared_norm
    before, after = [], []
    assert audit_data.folds is not None
    models = [
        LogisticRegression(
            C=c,
            class_weight="balanced" if audit_data.hyperparameters.class_weight == "balanced" else None,
            tol=1e-8,
            max_iter=9999,
        ).fit(x[audit_data.folds != fold], audit_data.y[audit_data.folds != fold])
        for fold in range(audit_data.fold_count)
    ]
    for place, row in enumerate(audit_data.rows):
        copy = Image.open(io.BytesIO(CHANGES[name](Image.open(io.BytesIO(ws.blobs.image(row.image_hash))))))
        (views,) = test._backbone.embed([test._backbone.views_of(copy.convert("RGB"))])
        stored = {view: numbers.astype(np.float16).astype(np.float32)[None] for view, numbers in views.items()}
        model = models[audit_data.folds[place]]
        before.append(int(model.predict(x[[place]])[0]))
        after.append(int(model.predict(audit_data.prepared.scaling.apply(stored))[0]))

    n = len(audit_data.y)
    assert (score.n, score.of) == (n, n)
    assert score.accuracy == (np.array(after) == audit_data.y).mean()
    assert score.accuracy_as_imported == (np.array(before) == audit_data.y).mean()
    assert score.flipped == (np.array(after) != before).mean()
    expected = {
        (audit_data.rows[i].sample_id, audit_data.model.label_ids[after[i]]) for i in range(n) if after[i] != before[i]
    }
    assert {(flip.sample_id, flip.label_id) for flip in flips} == expected
    assert {flip.stress for flip in flips} <= {name}
    assert score.interval[0] <= score.accuracy <= score.interval[1]
    by_hand = {
        label_id: (
            int((audit_data.y == label).sum()),
            int((np.array(after) == audit_data.y)[audit_data.y == label].sum()),
        )
        for label, label_id in enumerate(audit_data.model.label_ids)
    }
    assert score.by_label == by_hand
    assert StressScore.from_json(score.to_json()) == score


def test_a_score_that_was_stored_before_labels_were_counted_still_opens() -> None:
    stored = StressScore("webp", 18, 18, 12 / 18, (0.4, 0.8), 14 / 18, 0.1).to_json()
    del stored["by_label"]
    assert StressScore.from_json(stored).by_label == {}


def test_every_change_makes_the_picture_that_it_names() -> None:
    rng = np.random.default_rng(0)
    blobs = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    picture = blobs.resize((2000, 1500), Image.Resampling.BICUBIC)
    made = {name: Image.open(io.BytesIO(CHANGES[name](picture))) for name in STRESSES}
    assert {name: image.size for name, image in made.items()} == dict.fromkeys(STRESSES, (2000, 1500)) | {
        "scale-35": (700, 525),
        "crop-65": (1300, 975),
        "messenger": (1280, 960),
    }
    formats = Counter(image.format for image in made.values())
    assert formats == {"JPEG": 3, "BMP": 4, "WEBP": 1}
    assert len(CHANGES["messenger"](picture)) < len(CHANGES["jpeg-40"](picture)) < len(CHANGES["jpeg-95"](picture))
    assert made["messenger"].quantization == Image.open(io.BytesIO(_jpeg_70())).quantization  # type: ignore[attr-defined]
    assert all(CHANGES[name](Image.new("RGB", (1, 1))) for name in STRESSES)


def _jpeg_70() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=70)
    return file.getvalue()


def test_a_large_set_is_sampled_with_every_labels_share_and_the_same_way_each_time() -> None:
    hashes = [f"{i:064x}" for i in range(4000)]
    y = np.array([0] * 3000 + [1] * 1000)
    chosen = choose_samples(hashes, y, MOST_SAMPLES)
    assert len(chosen) == 500
    assert np.bincount(y[chosen]).tolist() == [375, 125]
    assert chosen.tolist() == choose_samples(hashes, y, MOST_SAMPLES).tolist()
    # Another order of the samples gives the same ones.
    turned = choose_samples(hashes[::-1], y[::-1], MOST_SAMPLES)
    assert {hashes[i] for i in chosen} == {hashes[::-1][i] for i in turned}
    assert choose_samples(hashes[:7], y[:7], MOST_SAMPLES).tolist() == list(range(7))


@pytest.mark.long
def test_a_copy_that_cannot_be_made_is_left_out_and_not_counted(tmp_path: Path) -> None:
    ws = workspace(tmp_path / "data")
    function = empty_function(ws)
    add_images(ws, function, images(6))
    build(ws, function.id)
    audit_data = load_audit_data(ws, function.id)
    backbone = function_backbone(ws, functions.get_function(ws.db, function.id))
    lost = audit_data.rows[3].image_hash
    for path in (tmp_path / "data" / "blobs").rglob(f"*{lost[-20:]}*"):
        path.unlink()
    score, _ = StressTest(ws, audit_data, backbone).measure("webp-60")
    assert (score.n, score.of) == (11, 12)
