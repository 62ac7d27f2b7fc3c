"""The faster blocks of CLIP calculate what open_clip's own do."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from detector.backbones.fused_blocks import _FusedBlock, fuse_blocks
from tests.backbones.small_clip import make_small_clip

needs_bfloat16 = pytest.mark.skipif(
    not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()),
    reason="this processor has no bfloat16",
)


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.float() - expected).norm() / expected.norm())


@needs_bfloat16
@pytest.mark.parametrize("quick_gelu", [False, True])
def test_fused_blocks_are_as_near_to_float32_as_plain_ones(quick_gelu: bool, tmp_path: Path) -> None:
    clip = make_small_clip(tmp_path, name=f"fused-{quick_gelu}", quick_gelu=quick_gelu)
    exact = clip.model.visual.transformer
    # Weights as large as trained ones, so that the activation's bend matters.
    with torch.no_grad():
        for block in exact.resblocks:
            block.mlp.c_fc.weight.mul_(20.0)
            block.mlp.c_fc.bias.normal_()
    plain, fused = copy.deepcopy(exact).bfloat16(), copy.deepcopy(exact)
    fuse_blocks(fused.resblocks)
    assert all(isinstance(block, _FusedBlock) for block in fused.resblocks)
    fused.bfloat16()
    tokens = torch.randn(4, 17, 48, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = exact(tokens)
        error = relative_error(fused(tokens.bfloat16()), expected)
        assert error < 0.02
        assert error < 1.5 * relative_error(plain(tokens.bfloat16()), expected)


@needs_bfloat16
def test_blocks_of_another_kind_are_left_as_they_are(tmp_path: Path) -> None:
    scaled = {"image_size": 32, "layers": 2, "width": 48, "head_width": 16, "patch_size": 8, "ls_init_value": 0.1}
    blocks = make_small_clip(tmp_path, vision=scaled, name="layer-scale").model.visual.transformer.resblocks
    fuse_blocks(blocks)
    assert not any(isinstance(block, _FusedBlock) for block in blocks)
