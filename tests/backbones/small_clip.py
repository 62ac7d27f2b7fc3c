"""A CLIP small enough for tests: an open_clip configuration with seeded random weights in a checkpoint file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch

from detector.backbones.registry import BackboneSpec, register

TEXT = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
TRANSFORMER = {"image_size": 32, "layers": 2, "width": 48, "head_width": 16, "patch_size": 8}
# Projection inside timm's classifier, as in the Perception Encoder.
TIMM = {
    "image_size": 64,
    "timm_model_name": "test_vit",
    "timm_model_pretrained": False,
    "timm_pool": "token",
    "timm_proj": None,
}


@dataclass(frozen=True)
class SmallClip:
    spec: BackboneSpec
    checkpoint: Path
    model: Any

    @property
    def setting(self) -> str:
        """What DETECTOR_CLIP_CHECKPOINT must say."""
        return f"{self.spec.id}:{self.checkpoint}"


def make_small_clip(
    folder: Path,
    vision: dict[str, Any] = TRANSFORMER,
    name: str = "small-clip-test",
    suffix: str = ".pt",
    seed: int = 0,
    embed_dim: int = 24,
    quick_gelu: bool = False,
) -> SmallClip:
    """Teach open_clip the configuration, save random weights of it and register the backbone."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"embed_dim": embed_dim, "vision_cfg": vision, "text_cfg": TEXT, "quick_gelu": quick_gelu}
    if "timm_model_name" in vision:
        config["custom_text"] = True
    path = folder / f"{name}.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    open_clip.add_model_config(path)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = open_clip.create_model(name).eval()
    checkpoint = folder / f"{name}{suffix}"
    if suffix == ".safetensors":
        from safetensors.torch import save_model

        save_model(model, str(checkpoint))
    else:
        torch.save(model.state_dict(), checkpoint)
    spec = BackboneSpec(
        id=name,
        title="Small CLIP of the tests",
        family="clip",
        architecture=name,
        pretrained="random",
        licence="none",
        download_bytes=0,
        image_size=vision["image_size"],
        description="Random weights.",
        batch_size=4,
    )
    register(spec)
    return SmallClip(spec, checkpoint, model)
