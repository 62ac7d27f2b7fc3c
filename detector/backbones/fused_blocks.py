"""The parts of open_clip's image transformer in bfloat16, with the operations that suit this processor best.

Measured on one core with ViT-B/32, batches of 4: packing weights once, and making the activation and the sum after a
multiplication part of it, took batches of 4 to the speed of batches of 8, and a single image through in half the time.
Patches as one product instead of a convolution take 2.0 ms instead of 5.5, attention among 50 tokens 0.27 instead of
0.70, and what the last block makes of tokens that nobody asks for is left out: an image takes 19.5 ms of a core, not
23.5.

The operations are torch's own affair (``torch.ops.mkldnn``, what torch.compile makes of a network), so wherever one is
missing or raises, the same is calculated by public ones, a little slower. They can go once torch offers a linear layer
with packed weights and an activation under a public name, on a CPU and without a compiler.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from open_clip.transformer import QuickGELU, ResidualAttentionBlock, VisionTransformer
from torch import nn

from detector.backbones.accelerator import accelerator
from detector.backbones.bfloat16 import calculates_bfloat16

log = logging.getLogger(__name__)

# QuickGELU is x * sigmoid(1.702 x): SiLU of 1.702 x, divided by it.
_QUICK = 1.702
_ACTIVATIONS = {nn.GELU: ("gelu", "none", 1.0), QuickGELU: ("swish", "", _QUICK)}
# Of more tokens torch's own attention is the faster one, which never holds all pairs.
_PAIRS_UP_TO = 64


def fuse(tower: VisionTransformer, every_token: bool = False) -> None:
    """Replace those parts that can be, where torch has the operations. From float32 weights.

    Parameters
    ----------
    tower : VisionTransformer
    every_token : bool
        Somebody asks for all tokens of the last block, even where the tower answers with the first alone.
    """
    if accelerator() is not None or not _has_the_operations():
        return
    try:
        if _is_patches(tower.conv1):
            tower.conv1 = _Patches(tower.conv1)
        blocks = tower.transformer.resblocks
        for index, block in enumerate(blocks):
            if _fits(block):
                last = index == len(blocks) - 1 and not every_token and _answers_with_the_first_token(tower)
                blocks[index] = _LastBlock(block) if last else _FusedBlock(block)
    except AttributeError as error:
        # Another version of open_clip may name its parts otherwise; those not replaced yet stay as they are.
        log.warning("open_clip's blocks are made otherwise (%s); they are calculated as they are", error)


def _has_the_operations() -> bool:
    """Tried: torch may have no such operation, or not for this processor, or one that takes something else."""
    try:
        if not torch.backends.mkldnn.is_available():
            return False
        packed, x = _Packed(torch.ones(8, 8), None), torch.ones(4, 8, dtype=torch.bfloat16)
        found = packed(x), packed.added_to(x, x)
    except Exception:  # what private operations raise is not known beforehand
        return False
    return packed.is_packed and bool((found[0] == 8).all() and (found[1] == 9).all())


def _is_patches(convolution: nn.Conv2d) -> bool:
    return (
        convolution.kernel_size == convolution.stride
        and convolution.padding == (0, 0)
        and convolution.dilation == (1, 1)
        and convolution.groups == 1
    )


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


def _answers_with_the_first_token(tower: VisionTransformer) -> bool:
    return tower.attn_pool is None and tower.pool_type == "tok" and not tower.output_tokens


class _Patches(nn.Module):
    """(B, 3, S, S) in channels_last -> (B, D, S / size, S / size): a convolution whose patches do not overlap."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self._size = convolution.kernel_size
        self._linear = _Packed(convolution.weight.permute(0, 2, 3, 1).flatten(1), convolution.bias)

    def forward(self, x: Any) -> Any:
        height, width = self._size
        down, across = x.shape[2] // height, x.shape[3] // width
        # What is left at the edges belongs to no patch.
        x = x[:, :, : down * height, : across * width].permute(0, 2, 3, 1)
        patches = x.unflatten(2, (across, width)).unflatten(1, (down, height)).transpose(2, 3)
        return self._linear(patches.reshape(len(x), down * across, -1)).transpose(1, 2).unflatten(2, (down, across))


class _Block(nn.Module):
    """What both kinds of block share."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        activation, algorithm, scale = _ACTIVATIONS[type(block.mlp.gelu)]
        attention, mlp = block.attn, block.mlp
        self.ln_1, self.ln_2, self._heads = block.ln_1, block.ln_2, attention.num_heads
        self._out = _Packed(attention.out_proj.weight, attention.out_proj.bias)
        self._widen = _Packed(mlp.c_fc.weight * scale, mlp.c_fc.bias * scale, activation, algorithm)
        self._narrow = _Packed(mlp.c_proj.weight / scale, mlp.c_proj.bias)
        # Queries are scaled beforehand; for heads of 64 numbers the factor is a power of 2 and costs no digit.
        width = attention.embed_dim
        factor = torch.ones(3 * width, 1)
        factor[:width] = attention.head_dim**-0.5
        self._set_projections(attention.in_proj_weight * factor, attention.in_proj_bias * factor[:, 0])

    def _set_projections(self, weight: Any, bias: Any) -> None:
        """Of queries, keys and values, one above the other: (3 * D, D) and (3 * D,)."""
        raise NotImplementedError

    def _by_heads(self, x: Any, parts: int) -> Any:
        """(B, L, parts * D) -> ``parts`` tensors (B, heads, L, D / heads)."""
        count, length, width = x.shape
        heads = x.view(count, length, parts, self._heads, width // parts // self._heads).permute(2, 0, 3, 1, 4)
        # One copy of all instead of one of each.
        return heads.contiguous() if length <= _PAIRS_UP_TO else heads

    def _attended(self, x: Any, q: Any, k: Any, v: Any) -> Any:
        """The rest of the block for the tokens ``x`` (B, L, D) that ``q`` stands for."""
        x = self._out.added_to(x, _attention(q, k, v).transpose(1, 2).reshape(x.shape))
        return self._narrow.added_to(x, self._widen(self.ln_2(x)))


class _FusedBlock(_Block):
    """(B, L, D) -> (B, L, D) in bfloat16."""

    def _set_projections(self, weight: Any, bias: Any) -> None:
        self._qkv = _Packed(weight, bias)

    def forward(self, x: Any, attn_mask: Any = None) -> Any:
        assert attn_mask is None, "image towers have no mask"
        return self._attended(x, *self._by_heads(self._qkv(self.ln_1(x)), 3))


class _LastBlock(_Block):
    """(B, L, D) -> (B, 1, D) in bfloat16: of the last block only the first token is asked for.

    It still looks at all of them, but what it makes of the others (ten of twelve parts of the block) is left out.
    """

    def _set_projections(self, weight: Any, bias: Any) -> None:
        width = weight.shape[1]
        self._q, self._kv = _Packed(weight[:width], bias[:width]), _Packed(weight[width:], bias[width:])

    def forward(self, x: Any, attn_mask: Any = None) -> Any:
        assert attn_mask is None, "image towers have no mask"
        normed = self.ln_1(x)
        q, kv = self._by_heads(self._q(normed[:, :1]), 1), self._by_heads(self._kv(normed), 2)
        return self._attended(x[:, :1], *q, *kv)


class _Packed:
    """A linear layer with the activation after it. Not a module: what is packed cannot be converted any more.

    It takes and gives bfloat16. Where oneDNN cannot calculate that, it is done as `bfloat16` describes.

    Attributes
    ----------
    is_packed : bool
        Whether oneDNN's operations are still used. From the first time that one raises it is False.
    """

    def __init__(self, weight: Any, bias: Any, activation: str = "none", algorithm: str = "") -> None:
        self._kind = torch.bfloat16 if calculates_bfloat16() else torch.float32
        rounded = weight.detach().to(torch.bfloat16).to(self._kind).contiguous()
        try:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(rounded)
            self.is_packed = True
        except Exception as error:  # of a private operation
            log.warning("torch cannot pack weights (%r); they are taken as they are", error)
            self._weight, self.is_packed = rounded, False
        self._bias = None if bias is None else bias.detach().to(torch.bfloat16).to(self._kind)
        self._after: tuple[str, list[Any], str] = (activation, [], algorithm)

    def __call__(self, x: Any) -> Any:
        x = x.to(self._kind)
        if self.is_packed:
            try:
                found = torch.ops.mkldnn._linear_pointwise.default(x, self._weight, self._bias, *self._after)
                return found.to(torch.bfloat16)
            except Exception as error:  # of a private operation
                self._unpack(error)
        return self._activated(self._plain(x)).to(torch.bfloat16)

    def added_to(self, other: Any, x: Any) -> Any:
        x, other = x.to(self._kind), other.to(self._kind)
        if self.is_packed:
            try:
                summed = torch.ops.mkldnn._linear_pointwise.binary(x, other, self._weight, self._bias, "add")
                return summed.to(torch.bfloat16)
            except Exception as error:  # of a private operation
                self._unpack(error)
        return (self._plain(x) + other).to(torch.bfloat16)

    def _unpack(self, error: Exception) -> None:
        log.warning("torch's fused operation fails (%r); the layer is calculated part by part", error)
        self.is_packed = False

    def _plain(self, x: Any) -> Any:
        # By the weight itself: another thread may be about to unpack it too.
        weight = self._weight
        if weight.is_mkldnn:
            weight = self._weight = weight.to_dense()
        return nn.functional.linear(x, weight, self._bias)

    def _activated(self, x: Any) -> Any:
        activation, _, algorithm = self._after
        if activation == "gelu":
            return nn.functional.gelu(x, approximate=algorithm)
        return nn.functional.silu(x) if activation == "swish" else x


def _attention(q: Any, k: Any, v: Any) -> Any:
    """What scaled queries (B, heads, L, d) see among keys and values (B, heads, M, d): (B, heads, L, d)."""
    if k.shape[2] > _PAIRS_UP_TO:
        return nn.functional.scaled_dot_product_attention(q, k, v, scale=1.0)
    pairs = torch.bmm(q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2))
    weights = torch.softmax(pairs, dim=-1, dtype=torch.float32).to(v.dtype)
    return torch.bmm(weights, v.flatten(0, 1)).view(q.shape)
