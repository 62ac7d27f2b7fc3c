"""Embeddings come back as they were rounded, aligned, and once per image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector.storage import embeddings, samples, trash
from detector.storage.functions import Function
from detector.workspace import Workspace
from tests.factories import empty_function, labelled_function, workspace

KEY = "backbone:weights:1:float32"


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


@pytest.fixture
def function(ws: Workspace) -> Function:
    return labelled_function(ws, 2)


def _numbers(seed: int, largest: float = 10.0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=6).astype(np.float32)
    values[0] = largest
    return values


def test_what_is_read_is_what_as_stored_promises(ws: Workspace, function: Function) -> None:
    hashes = embeddings.missing_images(ws.db, function.id, KEY)
    given = {image_hash: _numbers(n) for n, image_hash in enumerate(hashes)}
    embeddings.write_embeddings(ws.db, KEY, [(name, {"whole": values}) for name, values in given.items()])
    order = hashes[::-1]
    views = embeddings.read_embeddings(ws.db, KEY, order)
    assert set(views) == {"whole"}
    assert views["whole"].dtype == np.float32
    expected = np.stack([embeddings.as_stored(given[name]).astype(np.float32) for name in order])
    np.testing.assert_array_equal(views["whole"], expected)


def test_numbers_too_large_for_float16_keep_their_size(ws: Workspace, function: Function) -> None:
    assert embeddings.as_stored(_numbers(0)).dtype == np.float16
    assert embeddings.as_stored(_numbers(0, -7e4)).dtype == np.float32
    assert embeddings.as_stored(np.zeros(0, np.float32)).dtype == np.float16
    hashes = embeddings.missing_images(ws.db, function.id, KEY)
    rows = [(name, {"whole": _numbers(n, 1e5 if n else 1.0)}) for n, name in enumerate(hashes)]
    embeddings.write_embeddings(ws.db, KEY, rows)
    found = embeddings.read_embeddings(ws.db, KEY, hashes)["whole"]
    assert found[1, 0] == 1e5
    assert np.isfinite(found).all()


def test_the_whole_view_stands_in_where_an_image_has_no_detail(ws: Workspace, function: Function) -> None:
    hashes = embeddings.missing_images(ws.db, function.id, KEY)
    rows = [(name, {"whole": _numbers(n)}) for n, name in enumerate(hashes)]
    rows[1][1]["detail"] = _numbers(99)
    embeddings.write_embeddings(ws.db, KEY, rows)
    views = embeddings.read_embeddings(ws.db, KEY, hashes)
    np.testing.assert_array_equal(views["detail"][0], views["whole"][0])
    np.testing.assert_array_equal(views["detail"][1], embeddings.as_stored(_numbers(99)).astype(np.float32))


def test_only_what_is_neither_embedded_nor_failed_is_missing(ws: Workspace, function: Function) -> None:
    one, two, three, four = embeddings.missing_images(ws.db, function.id, KEY)
    embeddings.write_embeddings(ws.db, KEY, [(one, {"whole": _numbers(1)})], [(two, "damaged")])
    assert embeddings.missing_images(ws.db, function.id, KEY) == [three, four]
    # A failure is written once, however often it is met.
    embeddings.write_embeddings(ws.db, KEY, [], [(two, "damaged")])
    [sample] = [row for row in samples.find_samples(ws.db, function.id) if row.image_hash == three]
    trash.delete_samples(ws.db, function.id, [sample.id])
    assert embeddings.missing_images(ws.db, function.id, KEY) == [four]
    assert len(embeddings.missing_images(ws.db, function.id, "another key")) == 3


def test_an_image_of_another_function_is_not_embedded_again(ws: Workspace, function: Function) -> None:
    hashes = embeddings.missing_images(ws.db, function.id, KEY)
    embeddings.write_embeddings(ws.db, KEY, [(name, {"whole": _numbers(1)}) for name in hashes])
    other = labelled_function(ws, 2, "Other")
    assert embeddings.missing_images(ws.db, other.id, KEY) == []
    assert embeddings.embedded_hashes(ws.db, other.id, KEY) == set(hashes)
    assert embeddings.embedded_hashes(ws.db, empty_function(ws, "Empty").id, KEY) == set()


def test_the_first_numbers_of_an_image_stay(ws: Workspace, function: Function) -> None:
    [name, *_] = embeddings.missing_images(ws.db, function.id, KEY)
    embeddings.write_embeddings(ws.db, KEY, [(name, {"whole": _numbers(1)})])
    embeddings.write_embeddings(ws.db, KEY, [(name, {"whole": _numbers(2)})])
    found = embeddings.read_embeddings(ws.db, KEY, [name])["whole"][0]
    np.testing.assert_array_equal(found, embeddings.as_stored(_numbers(1)).astype(np.float32))


def test_reading_an_image_that_is_not_embedded_fails_loudly(ws: Workspace, function: Function) -> None:
    [name, other, *_] = embeddings.missing_images(ws.db, function.id, KEY)
    embeddings.write_embeddings(ws.db, KEY, [(name, {"whole": _numbers(1)})])
    with pytest.raises(LookupError):
        embeddings.read_embeddings(ws.db, KEY, [name, other])
