"""A function with more samples than are trained on in memory: their embeddings lie in a file while it is built."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import insert, literal, select

from detector.backbones import OFFLINE, get_backbone
from detector.evaluation.audit import audit
from detector.pipeline.build import build
from detector.serving.likeness import find_likeness, likeness_model
from detector.serving.stored_copies import copies_key, wanted_copies
from detector.storage import evaluations, functions, models
from detector.storage.models import ModelRow
from detector.storage.schema import embeddings
from detector.training.reduction import REDUCE_ABOVE
from detector.workspace import Workspace
from tests.factories import workspace
from tests.made_samples import made_function

pytestmark = pytest.mark.long


def test_more_than_five_thousand_labelled_samples_are_built_and_audited(tmp_path: Path) -> None:
    """What is usual among the samples was asked of a file as if it were an array, and every such build failed."""
    ws = workspace(tmp_path, copies=1)
    key = get_backbone(OFFLINE, "float32", ws.settings).key
    function = made_function(ws, 6600, dimension=2912, backbone_key=key)
    first = _built(ws, function.id)
    assert first.version == 2
    assert first.sample_count > REDUCE_ABOVE
    stored, anew = likeness_model(ws, first), find_likeness(ws, first)
    assert stored is not None
    assert anew is not None
    np.testing.assert_array_equal(stored.mean, anew.mean)
    np.testing.assert_array_equal(stored.held_out, anew.held_out)
    audit(ws, function.id)
    parts = evaluations.read_parts(ws.db, first.id)
    assert parts["duplicates"]["n"] == first.sample_count
    assert {"sources", "unseen", "learning_curve", "shortcut"} <= parts.keys()

    # Copies of theirs are read from files of their own.
    for number in range(wanted_copies(ws, functions.get_function(ws.db, function.id), first.sample_count)):
        _copy_embeddings(ws, key, copies_key(key, number))
    second = _built(ws, function.id)
    assert second.version == 3
    assert second.hardening is not None
    assert second.hardening["copies"] == 1
    ws.close()


def _built(ws: Workspace, function_id: str) -> ModelRow:
    build(ws, function_id)
    return models.get_model(ws.db, functions.get_function(ws.db, function_id).live_model_id or "")


def _copy_embeddings(ws: Workspace, key: str, copy_key: str) -> None:
    names = ("image_hash", "backbone_key", "view", "dtype", "data")
    columns = [embeddings.c[name] for name in names]
    columns[1] = literal(copy_key)
    with ws.db.write() as connection:
        connection.execute(
            insert(embeddings).from_select(names, select(*columns).where(embeddings.c.backbone_key == key))
        )
