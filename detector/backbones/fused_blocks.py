"""Transformer blocks of open_clip in bfloat16, with the operations that torch.compile would choose.

Measured on one core with ViT-B/32: what is not multiplication took a fifth of the time, and multiplications packed
their weights anew each time. Here weights are packed once, and the activation and the sum after a multiplication are
part of it. Batches of 4 are then as fast an image as batches of 8 were without, and a single image is through in half
the time.
"""

from __future__ import annotations

from typing import Any

import torch
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from torch import nn

# QuickGELU is x * sigmoid(1.702 x): SiLU of 1.702 x, divided by it.
_QUICK = 1.702
_ACTIVATIONS = {nn.GELU: ("gelu", "none", 1.0), QuickGELU: ("swish", "", _QUICK)}


def fuse_blocks(blocks: nn.ModuleList) -> None:
    """Replace those blocks that can be, where this processor and torch can do it. From float32 weights."""
    operations = torch.ops.mkldnn
    if torch.cuda.is_available() or not torch.backends.mkldnn.is_available():
        return
    if not all(hasattr(operations, name) for name in ("_linear_pointwise", "_reorder_linear_weight")):
        return
    if not getattr(operations, "_is_mkldnn_bf16_supported", lambda: False)():
        return
    for index, block in enumerate(blocks):
        if _fits(block):
            blocks[index] = _FusedBlock(block)


def _fits(block: Any) -> bool:
    return (
        type(block) is ResidualAttentionBlock
        and not hasattr(block, "ln_1_kv")
        and isinstance(block.ls_1, nn.Identity)
        and isinstance(block.ls_2, nn.Identity)
        and block.attn.in_proj_weight is not None
        and block.attn.batch_first
        and type(block.mlp.gelu) in _ACTIVATIONS
    )


class _FusedBlock(nn.Module):
    """(B, L, D) -> (B, L, D) in bfloat16."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        activation, algorithm, scale = _ACTIVATIONS[type(block.mlp.gelu)]
        attention, mlp = block.attn, block.mlp
        self.ln_1, self.ln_2, self._heads = block.ln_1, block.ln_2, attention.num_heads
        self._qkv = _Packed(attention.in_proj_weight, attention.in_proj_bias)
        self._out = _Packed(attention.out_proj.weight, attention.out_proj.bias)
        self._widen = _Packed(mlp.c_fc.weight * scale, mlp.c_fc.bias * scale, activation, algorithm)
        self._narrow = _Packed(mlp.c_proj.weight / scale, mlp.c_proj.bias)

    def forward(self, x: Any, attn_mask: Any = None) -> Any:
        assert attn_mask is None, "image towers have no mask"
        count, length, width = x.shape
        heads = self._qkv(self.ln_1(x)).view(count, length, 3, self._heads, width // self._heads)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(q, k, v)
        x = self._out.added_to(x, seen.transpose(1, 2).reshape(count, length, width))
        return self._narrow.added_to(x, self._widen(self.ln_2(x)))


class _Packed:
    """A linear layer with the activation after it. Not a module: what is packed cannot be converted any more."""

    def __init__(self, weight: Any, bias: Any, activation: str = "none", algorithm: str = "") -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(torch.bfloat16).contiguous())
        self._bias = bias.detach().to(torch.bfloat16)
        self._after: tuple[str, list[Any], str] = (activation, [], algorithm)

    def __call__(self, x: Any) -> Any:
        return torch.ops.mkldnn._linear_pointwise.default(x, self._weight, self._bias, *self._after)

    def added_to(self, other: Any, x: Any) -> Any:
        return torch.ops.mkldnn._linear_pointwise.binary(x, other, self._weight, self._bias, "add")
