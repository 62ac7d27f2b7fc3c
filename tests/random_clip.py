"""A full-size CLIP with random weights: for what depends on its size or its arithmetic, not on what it knows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import torch

from detector.backbones.registry import BackboneSpec, get_spec, register

ARCHITECTURE = "ViT-B-32"


def write_random_clip(checkpoint: Path, architecture: str = ARCHITECTURE) -> Any:
    """Write the weights to a file, always the same ones; returns the model that has them, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.create_model(architecture).eval()
    torch.save(model.state_dict(), checkpoint)
    return model


def register_random_clip(backbone_id: str) -> BackboneSpec:
    """A backbone of that architecture under this id, in everything else as the published one."""
    spec = replace(
        get_spec("clip-vit-b-32-openai"),
        id=backbone_id,
        title="ViT-B/32 with random weights",
        architecture=ARCHITECTURE,
        pretrained="random",
        licence="none",
        download_bytes=0,
        description="For tests and measuring.",
        hub_repo="",
    )
    register(spec)
    return spec
