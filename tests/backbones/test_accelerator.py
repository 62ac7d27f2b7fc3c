"""Which accelerator is used: torch is told to name one that this machine has not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detector.backbones.accelerator import accelerator
from detector.backbones.bfloat16 import calculates_bfloat16
from detector.backbones.clip import load_clip
from detector.backbones.network import GPU_BATCH_SIZE
from tests.backbones.pictures import picture
from tests.backbones.small_clip import make_small_clip

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has an accelerator")


def _forget() -> None:
    accelerator.cache_clear()
    calculates_bfloat16.cache_clear()


@pytest.fixture
def torchs(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    _forget()
    yield monkeypatch
    monkeypatch.undo()
    _forget()


def _name(torchs: pytest.MonkeyPatch, device: str) -> None:
    torchs.setattr(torch.accelerator, "is_available", lambda: True)
    torchs.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(device))


def test_without_an_accelerator_the_processor_calculates(torchs: pytest.MonkeyPatch) -> None:
    torchs.setattr(torch.accelerator, "is_available", lambda: False)
    assert accelerator() is None


def test_a_torch_that_has_no_such_question_is_asked_for_cuda(torchs: pytest.MonkeyPatch) -> None:
    torchs.delattr(torch, "accelerator")
    assert accelerator() is None
    _forget()
    torchs.setattr(torch.cuda, "is_available", lambda: True)
    assert accelerator() == torch.device("cuda")


def test_a_question_that_raises_is_no_accelerator(torchs: pytest.MonkeyPatch) -> None:
    def raises() -> Any:
        raise RuntimeError("made otherwise in this version")

    torchs.setattr(torch.accelerator, "is_available", raises)
    assert accelerator() is None


# Neither can calculate here: one holds no numbers at all, the other has no driver.
@pytest.mark.parametrize("device", ["meta", "xpu"])
def test_an_accelerator_that_cannot_calculate_is_left_alone(device: str, torchs: pytest.MonkeyPatch) -> None:
    _name(torchs, device)
    assert accelerator() is None


def test_one_that_is_not_cuda_is_used_and_gives_the_same_numbers(tmp_path: Path, torchs: pytest.MonkeyPatch) -> None:
    clip = make_small_clip(tmp_path, name="accelerator-test")
    crops = [np.asarray(picture(32, 32, seed=seed)) for seed in range(5)]
    plain = {name: load_clip(clip.spec, clip.checkpoint, name).embed_crops(crops) for name in ("float32", "bfloat16")}
    _forget()
    # The processor in the place of a card: what it takes beside the device's name is the same.
    _name(torchs, "cpu")
    for name, expected in plain.items():
        backbone = load_clip(clip.spec, clip.checkpoint, name)
        assert (backbone.batch_size, backbone.workers) == (GPU_BATCH_SIZE, 1)
        found = backbone.embed_crops(crops)
        assert np.linalg.norm(found - expected) < (0.03 if name == "bfloat16" else 1e-5) * np.linalg.norm(expected)
