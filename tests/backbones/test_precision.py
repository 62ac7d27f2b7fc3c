from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from detector.backbones.network import Backbone
from detector.backbones.offline import load_offline
from detector.backbones.precision import batch_seconds, bfloat16_in_hardware, choose_precision
from detector.backbones.registry import OFFLINE, get_spec

pytestmark = pytest.mark.slow


def test_the_answer_is_a_precision_and_needs_no_loading_without_the_hardware() -> None:
    asked: list[str] = []

    def load(precision: str) -> Backbone:
        asked.append(precision)
        return load_offline(precision)

    chosen = choose_precision(load)
    assert chosen in ("float32", "bfloat16")
    if not bfloat16_in_hardware():
        assert chosen == "float32"
        assert asked == []


def with_sizes(sizes: dict[str, int]) -> Callable[[str], Backbone]:
    """Float32 networks of different input sizes stand for the two precisions: which is faster is then beyond doubt."""
    return lambda precision: load_offline("float32", replace(get_spec(OFFLINE), image_size=sizes[precision]))


def test_bfloat16_loses_when_it_is_not_faster() -> None:
    assert choose_precision(with_sizes({"float32": 64, "bfloat16": 256})) == "float32"


@pytest.mark.skipif(not bfloat16_in_hardware(), reason="this processor has no bfloat16")
def test_bfloat16_wins_when_it_is_clearly_faster() -> None:
    assert choose_precision(with_sizes({"float32": 256, "bfloat16": 64})) == "bfloat16"


def test_the_stopwatch_measures_every_candidate() -> None:
    seconds = batch_seconds({"float32": load_offline("float32")})
    assert list(seconds) == ["float32"]
    assert 0 < seconds["float32"] < float("inf")


def test_waiting_for_a_core_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = with_sizes({"float32": 64})("float32")
    network = backbone._network

    def late(images: object) -> object:
        time.sleep(waiting)
        return network(images)

    crops = [np.zeros((64, 64, 3), dtype=np.uint8)]
    alone = backbone.processor_seconds(crops)
    # Many times the work, however slow the machine is.
    waiting = 10 * alone
    monkeypatch.setattr(backbone, "_network", late)
    assert backbone.processor_seconds(crops) < alone + waiting / 2
