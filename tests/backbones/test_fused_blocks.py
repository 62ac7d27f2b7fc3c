"""The faster parts of CLIP calculate what open_clip's own do."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from open_clip.transformer import VisionTransformer

from detector.backbones.clip import load_clip
from detector.backbones.fused_blocks import _attention, _FusedBlock, _LastBlock, _Patches, fuse
from tests.backbones.small_clip import TIMM, TRANSFORMER, make_small_clip

pytestmark = pytest.mark.skipif(
    torch.cuda.is_available() or not torch.backends.mkldnn.is_available(),
    reason="nothing is fused without oneDNN, nor on a graphics card",
)


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.float() - expected).norm() / expected.norm())


def _tower(folder: Path, name: str, **config: Any) -> VisionTransformer:
    """In float32, with weights as large as trained ones, so that the activation's bend and the attention matter."""
    quick_gelu = config.pop("quick_gelu", False)
    clip = make_small_clip(folder, vision={**TRANSFORMER, **config}, name=name, quick_gelu=quick_gelu)
    tower: VisionTransformer = clip.model.visual
    with torch.no_grad():
        for block in tower.transformer.resblocks:
            block.mlp.c_fc.weight.mul_(20.0)
            block.attn.in_proj_weight.mul_(3.0)
    _draw_biases(tower, torch.Generator().manual_seed(0))
    return tower


def _draw_biases(tower: VisionTransformer, generator: torch.Generator) -> None:
    with torch.no_grad():
        for block in tower.transformer.resblocks:
            for bias in (block.mlp.c_fc.bias, block.attn.in_proj_bias):
                bias.normal_(generator=generator)


def _images(size: int, count: int = 4) -> torch.Tensor:
    images = torch.randn((count, 3, size, size), generator=torch.Generator().manual_seed(1))
    return images.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("name", "config", "last"),
    [
        ("plain", {}, _LastBlock),
        ("quick", {"quick_gelu": True}, _LastBlock),
        # 145 tokens: more than are attended to pair by pair.
        ("many", {"image_size": 96}, _LastBlock),
        # Pixels at the edges belong to no patch.
        ("edges", {"image_size": 35}, _LastBlock),
        # Of the last block all tokens are needed.
        ("mean", {"pool_type": "avg"}, _FusedBlock),
        ("tokens", {"output_tokens": True}, _FusedBlock),
    ],
)
def test_a_fused_tower_is_as_near_to_float32_as_a_plain_one(
    name: str, config: dict[str, Any], last: type, tmp_path: Path
) -> None:
    exact, generator = _tower(tmp_path, f"fused-{name}", **config), torch.Generator().manual_seed(3)
    images = _images(config.get("image_size", 32), 32)

    def answer(tower: VisionTransformer, pixels: torch.Tensor) -> torch.Tensor:
        found = tower(pixels)
        return torch.cat([part.flatten() for part in found]) if isinstance(found, tuple) else found

    # What rounding costs is a matter of chance: one draw's quotient of both errors lies between 0.8 and 1.3.
    errors = []
    for _ in range(8):
        _draw_biases(exact, generator)
        plain, fused = copy.deepcopy(exact).bfloat16(), copy.deepcopy(exact)
        fuse(fused)
        assert isinstance(fused.conv1, _Patches)
        assert [type(block) for block in fused.transformer.resblocks] == [_FusedBlock, last]
        fused.bfloat16()
        with torch.inference_mode():
            expected = answer(exact, images)
            errors.append([relative_error(answer(tower, images.bfloat16()), expected) for tower in (fused, plain)])
    of_fused, of_plain = np.sqrt(np.mean(np.square(errors), axis=0))
    assert of_fused < 0.05
    assert of_fused < 1.2 * of_plain


def test_patches_are_the_convolution() -> None:
    convolution = torch.nn.Conv2d(3, 16, kernel_size=(8, 6), stride=(8, 6), bias=True)
    images = torch.randn((2, 3, 26, 20)).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = convolution(images)
        found = _Patches(convolution)(images.bfloat16())
    assert found.shape == expected.shape == (2, 16, 3, 3)
    assert relative_error(found, expected) < 0.01


@pytest.mark.parametrize("tokens", [1, 50, 64, 65])
def test_attention_is_torchs(tokens: int) -> None:
    generator = torch.Generator().manual_seed(2)
    q = torch.randn((2, 3, 7, 16), generator=generator)
    k, v = (torch.randn((2, 3, tokens, 16), generator=generator) for _ in range(2))
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=1.0)
    assert relative_error(_attention(q.bfloat16(), k.bfloat16(), v.bfloat16()), expected) < 0.02


def test_parts_of_another_kind_are_left_as_they_are(tmp_path: Path) -> None:
    tower = _tower(tmp_path, "layer-scale", ls_init_value=0.1)
    tower.conv1 = torch.nn.Conv2d(3, 48, kernel_size=8, stride=4)
    before = tower.conv1, *tower.transformer.resblocks
    fuse(tower)
    assert (tower.conv1, *tower.transformer.resblocks) == before


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("vision", [TRANSFORMER, TIMM])
def test_batches_calculated_together_have_the_digits_of_each_alone(
    vision: dict[str, Any], precision: str, tmp_path: Path
) -> None:
    clip = make_small_clip(tmp_path, vision, name=f"together-{precision}-{'timm_pool' in vision}")
    backbone = load_clip(clip.spec, clip.checkpoint, precision, threads=1)
    assert backbone.bulk_size == (8 if vision is TRANSFORMER else 4)
    rng = np.random.default_rng(5)
    crops = [rng.integers(0, 256, (vision["image_size"],) * 2 + (3,), dtype=np.uint8) for _ in range(11)]
    alone = np.concatenate([backbone.start_batch(crops[start : start + 4]).result() for start in (0, 4, 8)])
    assert np.array_equal(backbone.embed_crops(crops), alone)
    assert np.array_equal(backbone.start_batch(crops[:7]).result(), alone[:7])
