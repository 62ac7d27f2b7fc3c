from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detector.backbones.network import Backbone
from detector.backbones.pipeline import embed_files
from detector.errors import ImageError, JobCancelled
from detector.imaging.decode import ImageLimits
from tests.backbones.pictures import picture
from tests.backbones.small_clip import make_small_clip

LIMITS = ImageLimits(max_bytes=1_000_000, max_pixels=1_000_000)
Item = tuple[int, bytes, str]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    from detector.backbones.clip import load_clip

    small = make_small_clip(tmp_path_factory.mktemp("clip"))
    return load_clip(small.spec, small.checkpoint, "float32", threads=2)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def items(count: int, bad: tuple[int, ...] = ()) -> list[Item]:
    # Every third image is large enough for the detail view: batches hold crops of both kinds.
    return [
        (i, b"not an image" if i in bad else png(picture(60 if i % 3 == 0 else 40, 50, seed=i)), f"{i}.png")
        for i in range(count)
    ]


class Collected:
    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, np.ndarray]]] = []
        self.errors: list[tuple[int, ImageError]] = []
        self.calls = 0

    def __call__(self, rows: list[Any], errors: list[Any]) -> None:
        self.rows += rows
        self.errors += errors
        self.calls += 1


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_files_come_back_in_order_with_the_numbers_of_a_direct_call(backbone: Backbone, threads: int) -> None:
    given, out = items(23), Collected()
    embed_files(given, backbone, LIMITS, threads, out)
    assert [key for key, _ in out.rows] == list(range(23))
    assert out.errors == []
    assert out.calls > 3
    for (_, data, _), (_, found) in zip(given, out.rows, strict=True):
        expected = backbone.embed([backbone.views_of(Image.open(io.BytesIO(data)))])[0]
        assert found.keys() == expected.keys()
        for view, row in expected.items():
            np.testing.assert_array_equal(found[view], row)


def test_a_run_that_was_cut_and_resumed_gives_the_same_numbers(backbone: Backbone) -> None:
    given, whole, resumed = items(15), Collected(), Collected()
    embed_files(given, backbone, LIMITS, 2, whole)
    embed_files(given[:4], backbone, LIMITS, 2, resumed)
    embed_files(given[4:], backbone, LIMITS, 2, resumed)
    for (_, left), (_, right) in zip(whole.rows, resumed.rows, strict=True):
        for view, row in left.items():
            np.testing.assert_array_equal(row, right[view])


def test_a_bad_file_costs_one_line(backbone: Backbone) -> None:
    out = Collected()
    embed_files(items(11, bad=(0, 5, 10)), backbone, LIMITS, 2, out)
    assert [key for key, _ in out.rows] == [1, 2, 3, 4, 6, 7, 8, 9]
    assert [(key, error.name) for key, error in out.errors] == [(0, "0.png"), (5, "5.png"), (10, "10.png")]


@pytest.mark.parametrize("count", [0, 1, 9])
def test_nothing_but_bad_files_ends_as_well(backbone: Backbone, count: int) -> None:
    out = Collected()
    embed_files(items(count, bad=tuple(range(count))), backbone, LIMITS, 2, out)
    assert (len(out.rows), len(out.errors)) == (0, count)


def test_files_are_read_only_a_little_ahead(backbone: Backbone) -> None:
    read: list[int] = []

    def lazily() -> Iterator[Item]:
        for item in items(200):
            read.append(item[0])
            yield item

    def cancel(rows: list[Any], errors: list[Any]) -> None:
        raise JobCancelled("The function was deleted.")

    with pytest.raises(JobCancelled):
        embed_files(lazily(), backbone, LIMITS, 1, cancel)
    # What is decoded ahead, and what lies before the network.
    assert len(read) <= 2 * backbone.round_size + 3 * backbone.workers * backbone.bulk_size
