"""Reading a transformer's inner blocks while it calculates its answer.

The blocks are watched from outside, by torch's own hooks. So the tokens are those of whichever blocks calculate: plain
ones, those of `fused_blocks`, one batch alone or several together, in any precision.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from open_clip.transformer import VisionTransformer
from torch import nn

from detector.backbones.inner import PATCH_MEAN, block_feature, inner_blocks


@dataclass(frozen=True)
class _Blocks:
    """Where a tower has its blocks. Before the patch tokens stand ``prefix`` others, the class token first."""

    blocks: Any
    width: int
    prefix: int
    has_class_token: bool


class InnerTokens:
    """The class tokens of some blocks, and the mean of the last one's patch tokens. Safe to use from several threads.

    Where there is no class token, the mean of the patch tokens stands for it. Tokens are taken as a block gives them,
    before any normalisation that follows the last one.

    Parameters
    ----------
    tower : torch.nn.Module
        An image tower of open_clip, its blocks in their final form: one that is replaced later is not watched.

    Raises
    ------
    ValueError
        The tower has no blocks of tokens: it is no transformer.
    """

    def __init__(self, tower: Any) -> None:
        found = _blocks_of(tower)
        if found is None:
            raise ValueError("the network is no transformer")
        self._prefix, self._has_class_token = found.prefix, found.has_class_token
        self._thread = threading.local()
        last = len(found.blocks) - 1
        places = inner_blocks(len(found.blocks))
        #: Feature set -> how many numbers it has, in the order in which `joined` puts them.
        self.widths = dict.fromkeys([*map(block_feature, places), PATCH_MEAN], found.width)
        for place in places:
            self._watch(found.blocks[place], block_feature(place), found.has_class_token)
        self._watch(found.blocks[last], PATCH_MEAN, False)

    @contextmanager
    def gathered(self) -> Iterator[dict[str, list[Any]]]:
        """What this thread's batches show within it: feature set -> one (B, D) each, in the order of calculation."""
        parts: dict[str, list[Any]] = {name: [] for name in self.widths}
        self._thread.parts = parts
        try:
            yield parts
        finally:
            self._thread.parts = None

    def joined(self, answer: Any, parts: dict[str, list[Any]], batch: int = 0) -> Any:
        """The answer (B, D) to a batch with what its blocks showed behind it, in float32."""
        return torch.cat([answer.float(), *(parts[name][batch] for name in self.widths)], dim=1)

    def _watch(self, block: Any, name: str, class_token: bool) -> None:
        def note(_block: Any, _given: Any, tokens: Any) -> None:
            parts = getattr(self._thread, "parts", None)
            if parts is not None:
                # A copy: a view of one token would keep those of all patches in memory until the batch is done.
                found = tokens[:, 0].float().clone() if class_token else self._patch_mean(tokens)
                parts[name].append(found)

        block.register_forward_hook(note)

    def _patch_mean(self, tokens: Any) -> Any:
        # Added up in float32: in bfloat16 the sum of some hundred tokens would lose most of their digits.
        return tokens[:, self._prefix :].mean(dim=1, dtype=torch.float32)


def _blocks_of(tower: Any) -> _Blocks | None:
    if isinstance(tower, VisionTransformer):
        transformer = tower.transformer
        if not getattr(transformer, "batch_first", True):
            return None
        return _Blocks(transformer.resblocks, int(transformer.width), 1, True)
    trunk: Any = getattr(tower, "trunk", None)
    blocks, prefix = getattr(trunk, "blocks", None), getattr(trunk, "num_prefix_tokens", None)
    # timm's convolutional networks have blocks too, but no tokens before those of patches.
    if prefix is None or not isinstance(blocks, nn.Sequential | nn.ModuleList) or not len(blocks):
        return None
    return _Blocks(blocks, int(trunk.embed_dim), int(prefix), getattr(trunk, "cls_token", None) is not None)
