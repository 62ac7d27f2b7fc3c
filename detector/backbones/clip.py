"""CLIP backbones through open_clip: the image tower only, from a weights file on this machine.

Whether the file is a user's own checkpoint, lies in the hub's cache or was just downloaded is decided in
`availability`; here all three are the same, so that the road without a network is the road that is tested.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors import safe_open
from torch import nn

from detector.backbones.network import Backbone, weights_fingerprint
from detector.backbones.registry import BackboneSpec
from detector.errors import BackboneUnavailable

PROJECTED = "projected"
PRE_PROJECTION = "pre_projection"


def load_clip(spec: BackboneSpec, checkpoint: Path, precision: str, threads: int = 0) -> Backbone:
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

    Raises
    ------
    BackboneUnavailable
        The file is missing, damaged, or belongs to another model.
    """
    if not checkpoint.is_file():
        raise _unusable(spec, f"there is no file {checkpoint}")
    try:
        shapes = _stored_shapes(checkpoint)
    except Exception as error:  # readers of foreign formats raise anything from KeyError to UnpicklingError
        raise _unusable(spec, f"{checkpoint} cannot be read as weights") from error
    try:
        model = open_clip.create_model(
            spec.architecture, pretrained=str(checkpoint), require_pretrained=True, weights_only=True, device="cpu"
        )
    except Exception as error:
        raise _unusable(spec, f"{checkpoint} does not hold the weights of {spec.architecture}") from error
    tower = model.visual
    state = tower.state_dict()
    # open_clip silently stretches position embeddings trained for another input size.
    stretched = [n for n, v in state.items() if shapes.get(f"visual.{n}", tuple(v.shape)) != tuple(v.shape)]
    if stretched or tuple(tower.image_size) != (spec.image_size, spec.image_size):
        raise _unusable(spec, f"{checkpoint} was trained for another input size than {spec.image_size} pixels")
    try:
        fingerprint = weights_fingerprint(state)
    except ValueError as error:
        raise _unusable(spec, f"in {checkpoint}, {error}") from error
    network = ImageTower(tower, int(open_clip.get_model_config(spec.architecture)["embed_dim"]))
    return Backbone(spec, network, network.features, fingerprint, precision, threads)


class ImageTower(nn.Module):
    """(B, 3, S, S) -> (B, D): the projected features and, where there is a projection, those before it, in one pass."""

    def __init__(self, tower: Any, embed_dim: int) -> None:
        super().__init__()
        self.tower = tower
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

    def forward(self, images: Any) -> Any:
        if PRE_PROJECTION not in self.features:
            return self.tower(images)
        if self.projection is not None:
            before = self.tower(images)
            projected = before @ self.projection
        elif len(self.tower.head):
            before = self.tower.trunk(images)
            projected = self.tower.head(before)
        else:
            trunk = self.tower.trunk
            before = trunk.forward_head(trunk.forward_features(images), pre_logits=True)
            projected = trunk.get_classifier()(before)
        return torch.cat([projected, before], dim=1)


def _stored_shapes(checkpoint: Path) -> dict[str, tuple[int, ...]]:
    if checkpoint.suffix == ".safetensors":
        with safe_open(checkpoint, framework="pt") as stored:
            return {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118
    # Files of torch.save since 2020 are zip archives and can be mapped: only the table of contents is read here.
    state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(checkpoint))
    state = state.get("state_dict", state)
    return {name.removeprefix("module."): tuple(value.shape) for name, value in state.items()}


def _unusable(spec: BackboneSpec, why: str) -> BackboneUnavailable:
    return BackboneUnavailable(
        spec.id,
        why,
        f"Give the open_clip weights of {spec.architecture} / {spec.pretrained} in "
        f"DETECTOR_CLIP_CHECKPOINT={spec.id}:<file>, or choose another backbone.",
    )
