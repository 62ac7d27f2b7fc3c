"""The offline backbone's network as one call: the same digits, and few waits for what else runs in Python."""

from __future__ import annotations

import sys
from types import FrameType

import numpy as np
import pytest
import torch
from torch import nn

from detector.backbones import network
from detector.backbones.network import Backbone
from detector.backbones.offline import load_offline
from detector.backbones.torchscript import as_torchscript

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="networks on a graphics card stay as they are")


def crops(backbone: Backbone, count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    size = backbone.input_size
    return [rng.integers(0, 256, (size, size, 3), dtype=np.uint8) for _ in range(count)]


def _layer_by_layer(precision: str, monkeypatch: pytest.MonkeyPatch) -> Backbone:
    with monkeypatch.context() as patched:
        patched.setattr(network, "as_torchscript", lambda given, _example: given)
        return load_offline(precision)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.long
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
    assert as_torchscript(plain, torch.zeros(2)) is plain
    assert "layer by layer" in caplog.text


def _calls(backbone: Backbone) -> int:
    """Calls from Python into compiled code while one batch is calculated: each gives the lock away and waits for it."""
    images = backbone._images(crops(backbone, backbone.batch_size))
    calls = 0

    def observe(_frame: FrameType, event: str, _function: object) -> None:
        nonlocal calls
        calls += event == "c_call"

    with torch.inference_mode():
        sys.setprofile(observe)
        try:
            backbone._network(images)
        finally:
            sys.setprofile(None)
    return calls


@pytest.mark.long
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_batch_asks_for_the_lock_a_few_times_only(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Counted, not timed: how long a busy thread then holds a batch up depends on the machine (13 times as long
    # layer by layer in bfloat16 on an idle one, 1.5 times in float32 on a busy one).
    assert _calls(_layer_by_layer(precision, monkeypatch)) > 200
    assert _calls(load_offline(precision)) < 20
