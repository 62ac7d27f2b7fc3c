from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from detector.build import build
from detector.evaluation.duplicates import Duplicates, measure_duplicates
from detector.evaluation.material import load_material
from tests.factories import add_images, empty_function, images, make_image, near_duplicate, workspace


def test_twins_of_randomly_labelled_pictures_would_have_inflated_the_score(tmp_path: Path) -> None:
    """With the groups kept together the reported accuracy stays at chance; dealt out freely it would not."""
    ws = workspace(tmp_path)
    function = empty_function(ws)
    rng = np.random.default_rng(0)
    items = []
    for seed in range(60):
        data, label = make_image(seed), ("real", "synthetic")[int(rng.integers(2))]
        items += [(f"{seed}.png", data, label), (f"{seed}-again.png", near_duplicate(data), label)]
    add_images(ws, function, items)
    model = build(ws, function.id).model
    assert model is not None
    assert model.cross_validation is not None
    assert 0.3 < model.cross_validation["accuracy"] < 0.7
    found = measure_duplicates(ws, load_material(ws, function.id))
    assert (found.groups, found.samples, found.pairs, found.n) == (60, 120, 60, 120)
    assert found.accuracy_grouped == pytest.approx(model.cross_validation["accuracy"], abs=0.02)
    assert found.inflation is not None
    assert found.inflation > 0.1
    assert found.contradictions == ()
    assert Duplicates.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_the_same_picture_under_two_labels_is_listed_the_most_alike_first(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = empty_function(ws)
    twin = make_image(3)
    add_images(ws, function, [*images(8), ("again.png", near_duplicate(twin), "synthetic")])
    build(ws, function.id)
    found = measure_duplicates(ws, load_material(ws, function.id))
    assert (found.groups, found.pairs, found.contradiction_count) == (1, 1, 1)
    (pair,) = found.contradictions
    assert {(pair.file, pair.label), (pair.other_file, pair.other_label)} == {
        ("real-3.png", "real"),
        ("again.png", "synthetic"),
    }
    assert pair.distance <= 6


def test_without_near_duplicates_nothing_is_inflated(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = empty_function(ws)
    add_images(ws, function, images(8))
    model = build(ws, function.id).model
    found = measure_duplicates(ws, load_material(ws, function.id))
    assert (found.groups, found.samples, found.pairs, found.inflation) == (0, 0, 0, 0.0)
    assert model is not None
    assert model.cross_validation is not None
    assert found.accuracy_grouped == model.cross_validation["accuracy"]
