from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.errors import InvalidInput
from detector.evaluation.shortcut import FileFactsRow, shortcut_audit
from detector.imaging.normalise import Normalisation, normalised
from detector.importing.batch import folder_payload, run_import
from detector.importing.labelling import LabelPlan
from detector.operations.normalisation import file_facts, normalise_and_retrain, use_as_imported_and_retrain
from detector.pipeline.build import build, put_back
from detector.serving.invoke import Verdict, invoke
from detector.storage import embeddings, functions, imports, models, samples
from detector.worker.running import run_pending
from tests.databases import names_database
from tests.factories import empty_function, labelled_function, make_image, workspace
from tests.shared_data import require

pytestmark = [
    pytest.mark.slow,
    names_database("about what a model says; tests/operations/test_every_write.py has its operations on both"),
]


def confidences(ws, function, data: bytes) -> list[float]:
    (answer,) = invoke(ws, function.id, [("a", data)])
    assert isinstance(answer, Verdict)
    return [score.confidence for score in answer.scores]


def test_training_and_invoke_see_the_normalised_picture_and_older_versions_what_they_saw(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = labelled_function(ws, 8)
    first = build(ws, function.id).model
    assert first is not None
    before = confidences(ws, function, make_image(500))

    normalise_and_retrain(ws, function.id, side=48)
    run_pending(ws, function.id)
    second = models.list_models(ws.db, function.id)[0]
    assert (first.normalise, second.version, second.normalise) == (None, 2, "jpeg-48-q90")
    assert "jpeg-48-q90" in second.backbone_key
    assert second.backbone_key != first.backbone_key
    after = confidences(ws, function, make_image(500))
    assert after != before

    # What the backbone saw is the picture after its trip through that file, and nothing else.
    shown = normalised(Image.open(io.BytesIO(make_image(0))), Normalisation(48))
    hashes = [row.image_hash for row in samples.training_rows(ws.db, function.id)]
    stored = embeddings.read_embeddings(ws.db, second.backbone_key, hashes)["whole"]
    from detector.backbones import get_backbone

    backbone = get_backbone(second.backbone_id, second.precision, ws.settings)
    expected = backbone.embed([backbone.views_of(shown)])[0]["whole"].astype(np.float16)
    assert (stored == expected.astype(np.float32)).all(axis=1).sum() == 1

    put_back(ws, function.id, first.id)
    assert confidences(ws, function, make_image(500)) == before
    use_as_imported_and_retrain(ws, function.id)
    run_pending(ws, function.id)
    assert models.list_models(ws.db, function.id)[0].normalise is None


def test_without_images_there_is_nothing_to_normalise(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = empty_function(ws)
    with pytest.raises(InvalidInput):
        normalise_and_retrain(ws, function.id)
    with pytest.raises(InvalidInput):
        normalise_and_retrain(ws, function.id, side=5000)
    assert functions.get_function(ws.db, function.id).normalise is None


def test_after_normalising_a_confounded_set_the_audit_speaks_of_what_is_left(tmp_path: Path) -> None:
    folder = require("confounded_png_vs_jpeg")
    ws = workspace(tmp_path)
    function = empty_function(ws)
    payload = folder_payload(folder, LabelPlan(mode="folders", level=0, source_level=1))
    run_import(ws, function.id, imports.create_batch(ws.db, function.id, "folder", "x"), payload)
    normalise_and_retrain(ws, function.id)
    code = functions.get_function(ws.db, function.id).normalise
    assert code == "jpeg-224-q90"

    rows = samples.training_rows(ws.db, function.id)
    labels = sorted({row.label_id or "" for row in rows})
    audits = []
    for how in (None, code):
        facts = file_facts(ws, [row.image_hash for row in rows], how)
        table = [
            FileFactsRow(row.image_hash, labels.index(row.label_id or ""), fact, row.image_hash)
            for row, fact in zip(rows, facts, strict=True)
        ]
        audits.append(shortcut_audit(table, ["a", "b"]))
    before, after = audits
    assert before is not None
    assert after is not None
    assert {"format", "width", "height", "aspect"} <= {fact.name for fact in before.facts}
    # Format, size and quality are gone; how well a picture still compresses is left, and says less.
    assert [fact.name for fact in after.facts] == ["bytes_per_pixel"]
    assert after.roc_auc < before.roc_auc - 0.1
