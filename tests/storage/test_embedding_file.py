from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from detector.storage import embedding_file as module
from detector.storage.embedding_file import EmbeddingFile, write_embedding_files
from detector.storage.embeddings import read_embeddings, write_embeddings
from detector.storage.imports import add_samples
from detector.workspace import Workspace
from tests.factories import empty_function, make_image, new_sample, workspace

KEY = "made:0:1:float32"


@pytest.fixture(scope="module")
def hashes(ws: Workspace) -> list[str]:
    function = empty_function(ws)
    new = [new_sample(ws, make_image(seed, size=32)) for seed in range(12)]
    add_samples(ws.db, function.id, None, new)
    return sorted(sample.image.image_hash for sample in new)


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return workspace(tmp_path_factory.mktemp("rows"))


@pytest.fixture(params=[True, False], ids=["preadv", "no preadv"])
def with_and_without_preadv(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time as on Windows, which has no such call."""
    if not request.param:
        monkeypatch.delattr(os, "preadv", raising=False)


@pytest.mark.usefixtures("with_and_without_preadv")
@pytest.mark.parametrize(("detailed", "largest"), [([], 1.0), ([7, 9], 1.0), ([0, 11], 1e6)])
def test_rows_in_a_file_are_those_of_the_matrix_in_memory(
    ws: Workspace, hashes: list[str], monkeypatch: pytest.MonkeyPatch, detailed: list[int], largest: float
) -> None:
    monkeypatch.setattr(module, "_CHUNK", 5)
    key = f"{KEY}:{len(detailed)}:{largest}"
    rng = np.random.default_rng(0)
    rows = []
    for place, name in enumerate(hashes):
        views = {"whole": rng.standard_normal(6).astype(np.float32)}
        if place == 8:
            views["whole"][0] = largest
        if place in detailed:
            views["detail"] = rng.standard_normal(6).astype(np.float32)
        rows.append((name, views))
    write_embeddings(ws.db, key, rows)
    expected = read_embeddings(ws.db, key, hashes)
    found = write_embedding_files(ws.db, key, hashes, ws.spool)
    assert list(found) == list(expected)
    some = np.array([9, 3, 4, 5, 0])
    for view, matrix in expected.items():
        stored = found[view]
        assert (stored.shape, len(stored)) == (matrix.shape, len(matrix))
        assert np.array_equal(stored[:], matrix)
        assert np.array_equal(stored[2:9, 1:4], matrix[2:9, 1:4])
        assert np.array_equal(stored[some][1:], matrix[some][1:])
        assert stored[3:3].shape == (0, 6)
    assert list(ws.spool.iterdir()) == []


def test_an_image_without_an_embedding_is_an_error(ws: Workspace, hashes: list[str]) -> None:
    with pytest.raises(LookupError):
        write_embedding_files(ws.db, "another", hashes, Path(ws.spool))


@pytest.mark.usefixtures("with_and_without_preadv")
def test_threads_that_read_other_rows_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    numbers = np.arange(4000 * 8, dtype=np.float32).reshape(4000, 8)
    with tempfile.TemporaryFile(dir=tmp_path) as file:
        file.write(numbers.tobytes())
        file.flush()
        stored = EmbeddingFile(file, np.dtype(np.float32), 8)

        def reads_its_own(seed: int) -> bool:
            some = np.random.default_rng(seed).permutation(4000)[:400]
            return bool(np.array_equal(stored[some][:], numbers[some]))

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(reads_its_own, range(40)))


@pytest.mark.usefixtures("with_and_without_preadv")
def test_a_file_that_was_cut_short_is_an_error(tmp_path: Path) -> None:
    with tempfile.TemporaryFile(dir=tmp_path) as file:
        file.write(bytes(10 * 32))
        file.flush()
        stored = EmbeddingFile(file, np.dtype(np.float32), 8)
        file.truncate(5 * 32)
        with pytest.raises(OSError, match="shorter than it was"):
            stored[:]
