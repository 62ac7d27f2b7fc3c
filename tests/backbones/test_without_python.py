"""The offline backbone's network as one call: the same digits, and hardly held up by what else runs in Python."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn

from detector.backbones import network
from detector.backbones.network import Backbone
from detector.backbones.offline import load_offline
from detector.backbones.without_python import without_python

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="networks on a graphics card stay as they are")


def crops(backbone: Backbone, count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    size = backbone.input_size
    return [rng.integers(0, 256, (size, size, 3), dtype=np.uint8) for _ in range(count)]


def _layer_by_layer(precision: str, monkeypatch: pytest.MonkeyPatch) -> Backbone:
    with monkeypatch.context() as patched:
        patched.setattr(network, "without_python", lambda given, _example: given)
        return load_offline(precision)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_one_call_gives_the_same_digits(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, one_call = _layer_by_layer(precision, monkeypatch), load_offline(precision)
    assert not isinstance(plain._network, torch.jit.ScriptModule)
    assert isinstance(one_call._network, torch.jit.ScriptModule)
    pictures = crops(plain, 2 * plain.batch_size + 1)
    assert np.array_equal(one_call.embed_crops(pictures), plain.embed_crops(pictures))


class _Random(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand(())


class _Refuses(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.jit.is_tracing():
            raise RuntimeError("not to be traced")
        return x


@pytest.mark.parametrize("kind", [_Random, _Refuses])
def test_a_network_that_differs_or_cannot_be_taken_stays_as_it_is(
    kind: type[nn.Module], caplog: pytest.LogCaptureFixture
) -> None:
    plain = kind().eval()
    assert without_python(plain, torch.zeros(2)) is plain
    assert "layer by layer" in caplog.text


@contextmanager
def _counting() -> Iterator[None]:
    """A thread that is always in Python."""
    end = threading.Event()

    def count() -> None:
        number = 0
        while not end.is_set():
            number += 1

    thread = threading.Thread(target=count)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def test_a_busy_python_thread_hardly_holds_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, one_call = _layer_by_layer("float32", monkeypatch), load_offline("float32")
    pictures = crops(plain, plain.round_size)

    def seconds(backbone: Backbone) -> float:
        start = time.perf_counter()
        backbone.embed_crops(pictures)
        return time.perf_counter() - start

    seconds(plain), seconds(one_call)
    with _counting():
        slow = min(seconds(plain) for _ in range(2))
        quick = min(seconds(one_call) for _ in range(4))
    # Thirteen times in bfloat16, on an idle machine.
    assert quick < slow / 2
