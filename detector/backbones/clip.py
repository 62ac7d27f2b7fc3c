"""CLIP backbones through open_clip: the image tower only, from a weights file on this machine.

Whether the file is a user's own checkpoint, lies in the hub's cache or was just downloaded is decided in
`availability`; here all three are the same, so that the road without a network is the road that is tested.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.transformer import VisionTransformer
from safetensors.torch import load_file
from torch import nn

from detector.backbones.fused_blocks import fuse
from detector.backbones.inner_tokens import InnerTokens
from detector.backbones.network import BFLOAT16, Backbone, weights_fingerprint
from detector.backbones.registry import BackboneSpec
from detector.errors import BackboneUnavailable

log = logging.getLogger(__name__)

PROJECTED = "projected"
PRE_PROJECTION = "pre_projection"
_TOWER = "visual."
_POSITIONS = ("positional_embedding", "pos_embed")


def load_clip(spec: BackboneSpec, checkpoint: Path, precision: str, threads: int = 0, inner: bool = False) -> Backbone:
    """Load a CLIP image tower.

    Parameters
    ----------
    spec : BackboneSpec
        Decides architecture (with its activation) and preprocessing; the file decides neither.
    checkpoint : pathlib.Path
        ``.safetensors``, or a file of ``torch.save`` that holds tensors only. Never unpickled beyond that.
    precision : {"float32", "bfloat16"}
    threads : int
        As for `Backbone`.
    inner : bool
        With what inner blocks show as further feature sets, calculated in the same pass.

    Raises
    ------
    BackboneUnavailable
        The file is missing, damaged, or belongs to another model; or inner blocks are asked for and there are none.
    """
    if not checkpoint.is_file():
        raise _unusable(spec, f"there is no file {checkpoint}")
    try:
        stored = _stored_tower(checkpoint)
    except Exception as error:  # readers of foreign formats raise anything from KeyError to UnpicklingError
        raise _unusable(spec, f"{checkpoint} cannot be read as weights") from error
    tower = _empty_tower(spec.architecture)
    state = tower.state_dict()
    other = {name for name, weights in state.items() if name in stored and stored[name].shape != weights.shape}
    if state.keys() != stored.keys() or not all(name.endswith(_POSITIONS) for name in other):
        raise _unusable(spec, f"{checkpoint} does not hold the weights of {spec.architecture}")
    if other or tuple(tower.image_size) != (spec.image_size, spec.image_size):
        raise _unusable(spec, f"{checkpoint} was trained for another input size than {spec.image_size} pixels")
    # Copied from a mapping of the file: with model and file whole in memory, side by side, loading took more of it than
    # training on 100,000 samples.
    tower.load_state_dict(stored)
    del stored
    try:
        fingerprint = weights_fingerprint(state)
    except ValueError as error:
        raise _unusable(spec, f"in {checkpoint}, {error}") from error
    if precision == BFLOAT16 and isinstance(tower, VisionTransformer):
        fuse(tower, every_token=inner)
    try:
        # Once the blocks are fused: those that calculate are read.
        tokens = InnerTokens(tower) if inner else None
    except ValueError as error:
        raise BackboneUnavailable(
            spec.id, f"it has no inner blocks: {error}", "Switch its inner blocks off in the expert settings."
        ) from error
    network = ImageTower(tower, int(open_clip.get_model_config(spec.architecture)["embed_dim"]), tokens)
    return Backbone(spec, network, network.features, fingerprint, precision, threads, inner=inner)


class ImageTower(nn.Module):
    """(B, 3, S, S) -> (B, D): the projected features and, where there is a projection, those before it, in one pass.

    Behind them stands what inner blocks show, where ``inner`` watches the tower.
    """

    def __init__(self, tower: Any, embed_dim: int, inner: InnerTokens | None = None) -> None:
        super().__init__()
        self.tower = tower
        self._inner = inner
        self._in_steps = True
        self.projection: Any = None
        width = 0
        if isinstance(getattr(tower, "proj", None), nn.Parameter):
            # open_clip's own transformer multiplies by `proj` only where there is one.
            self.projection, tower.proj = tower.proj, None
            width = int(self.projection.shape[0])
        elif hasattr(tower, "trunk"):
            width = int(tower.trunk.num_features)
            classifier = tower.trunk.get_classifier()
            # Without a projection of either kind, the trunk's output is the embedding itself.
            width = width if len(tower.head) or isinstance(classifier, nn.Linear) else 0
        self.features = {PROJECTED: slice(0, embed_dim)}
        if width:
            self.features[PRE_PROJECTION] = slice(embed_dim, embed_dim + width)
        end = embed_dim + width
        for name, numbers in (inner.widths if inner is not None else {}).items():
            self.features[name] = slice(end, end + numbers)
            end += numbers

    @property
    def has_blocks(self) -> bool:
        """Whether `together` is any different from one batch after the other."""
        return self.projection is not None and isinstance(self.tower, VisionTransformer)

    def together(self, batches: Sequence[Any]) -> list[Any]:
        """Several batches block by block, so that the weights of a block are read from memory once for all of them.

        Each batch is calculated by itself, to the same digits as alone: only the order is another.
        """
        if self.has_blocks and self._in_steps:
            try:
                if self._inner is None:
                    return self._block_by_block(batches)
                with self._inner.gathered() as parts:
                    answers = self._block_by_block(batches)
                return [self._inner.joined(answer, parts, batch) for batch, answer in enumerate(answers)]
            except Exception as error:  # what a private part of another library raises is not known beforehand
                log.warning("open_clip's parts cannot be called one by one (%r); batches are calculated alone", error)
                self._in_steps = False
        return [self(images) for images in batches]

    def _block_by_block(self, batches: Sequence[Any]) -> list[Any]:
        # _embeds and _pool are open_clip's own affair, of 3.x. What guards against their loss can go once what comes
        # before and after the blocks has public names.
        tokens = [self.tower._embeds(images) for images in batches]
        for block in self.tower.transformer.resblocks:
            tokens = [block(each) for each in tokens]
        return [self._projected(self.tower._pool(each)[0]) for each in tokens]

    def _projected(self, before: Any) -> Any:
        return torch.cat([before @ self.projection, before], dim=1)

    def forward(self, images: Any) -> Any:
        if self._inner is None:
            return self._answer(images)
        with self._inner.gathered() as parts:
            answer = self._answer(images)
        return self._inner.joined(answer, parts)

    def _answer(self, images: Any) -> Any:
        if PRE_PROJECTION not in self.features:
            return self.tower(images)
        if self.projection is not None:
            return self._projected(self.tower(images))
        if len(self.tower.head):
            before = self.tower.trunk(images)
            projected = self.tower.head(before)
        else:
            trunk = self.tower.trunk
            before = trunk.forward_head(trunk.forward_features(images), pre_logits=True)
            projected = trunk.get_classifier()(before)
        return torch.cat([projected, before], dim=1)


def _empty_tower(architecture: str) -> Any:
    """An image tower as `open_clip.create_model` builds it, without the text tower: about half the memory and time."""
    config = open_clip.get_model_config(architecture)
    vision = {**config["vision_cfg"]}
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    smallest_text = {"context_length": 1, "vocab_size": 1, "width": 1, "heads": 1, "layers": 1}
    model = open_clip.CustomTextCLIP(
        config["embed_dim"], vision, smallest_text, quick_gelu=bool(config.get("quick_gelu"))
    )
    return model.visual


def _stored_tower(checkpoint: Path) -> dict[str, Any]:
    """The tensors of the image tower by their name in it, mapped from the file: none is read before it is used."""
    if checkpoint.suffix == ".safetensors":
        state = load_file(checkpoint)
    else:
        # Files of torch.save since 2020 are zip archives and can be mapped.
        state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(checkpoint))
        state = state.get("state_dict", state)
    names = ((name.removeprefix("module."), name) for name in state)
    tower = {name.removeprefix(_TOWER): state[stored] for name, stored in names if name.startswith(_TOWER)}
    return {name: weights for name, weights in tower.items() if isinstance(weights, torch.Tensor)}


def _unusable(spec: BackboneSpec, why: str) -> BackboneUnavailable:
    return BackboneUnavailable(
        spec.id,
        why,
        f"Give the open_clip weights of {spec.architecture} / {spec.pretrained} in "
        f"DETECTOR_CLIP_CHECKPOINT={spec.id}:<file>, or choose another backbone.",
    )
