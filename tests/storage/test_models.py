"""Versions of a model, and which one is live."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from detector.errors import NotFound
from detector.storage import functions, models
from detector.storage.functions import Function
from detector.workspace import Workspace
from tests.factories import empty_function, workspace

FACTS: dict[str, Any] = {
    "backbone_id": "b",
    "backbone_key": "b:1:1:float32",
    "precision": "float32",
    "label_ids": ["1", "2"],
    "label_names": ["real", "synthetic"],
    "sample_count": 4,
    "training_fingerprint": "f",
    "hyperparameters": {"c": 1.0},
    "sweep": [{"log_loss": 0.25}],
    "cross_validation": {"accuracy": 0.75, "n": 4, "interval": [0.3, 0.95]},
    "note": "",
    "seconds": 1.5,
}


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


@pytest.fixture
def function(ws: Workspace) -> Function:
    return empty_function(ws)


def test_a_new_model_is_the_next_version_live_and_clears_the_note(ws: Workspace, function: Function) -> None:
    functions.set_training_note(ws.db, function.id, "Something was missing.")
    first = models.add_model(ws.db, ws.blobs, function.id, b"one", b"held out", **FACTS)
    second = models.add_model(ws.db, ws.blobs, function.id, b"two", None, **FACTS)
    assert (first.version, second.version) == (1, 2)
    assert functions.find_live(ws.db, function.id) == (second.id, "")
    assert [row.id for row in models.list_models(ws.db, function.id)] == [second.id, first.id]
    assert models.get_model(ws.db, first.id) == first
    assert {name: getattr(first, name) for name in FACTS} == FACTS


def test_versions_count_for_each_function(ws: Workspace, function: Function) -> None:
    models.add_model(ws.db, ws.blobs, function.id, b"one", None, **FACTS)
    other = empty_function(ws, "Other")
    assert models.add_model(ws.db, ws.blobs, other.id, b"one", None, **FACTS).version == 1


def test_the_files_of_a_model_come_back(ws: Workspace, function: Function) -> None:
    first = models.add_model(ws.db, ws.blobs, function.id, b"one", b"held out", **FACTS)
    second = models.add_model(ws.db, ws.blobs, function.id, b"two", None, **FACTS)
    assert models.model_file(ws.blobs, first.id) == b"one"
    assert models.out_of_fold_file(ws.blobs, first.id) == b"held out"
    assert models.out_of_fold_file(ws.blobs, second.id) is None


def test_an_unknown_model_is_not_found(ws: Workspace) -> None:
    with pytest.raises(NotFound):
        models.get_model(ws.db, "none")
    with pytest.raises(NotFound):
        models.model_file(ws.blobs, "none")


def test_the_list_of_functions_shows_the_live_model(ws: Workspace, function: Function) -> None:
    first = models.add_model(ws.db, ws.blobs, function.id, b"one", None, **FACTS)
    validated = FACTS | {"cross_validation": None}
    models.add_model(ws.db, ws.blobs, function.id, b"two", None, **validated)
    [line] = functions.list_functions(ws.db)
    assert (line.model_version, line.accuracy, line.accuracy_n) == (2, None, 0)
    functions.set_live_model(ws.db, function.id, first.id)
    [line] = functions.list_functions(ws.db)
    assert (line.model_version, line.accuracy, line.accuracy_n) == (1, 0.75, 4)
