"""Small towers of timm's making that its own test models do not have: SigLIP's kind, and the Perception Encoder's."""

from __future__ import annotations

from functools import partial
from typing import Any

from timm.layers import LayerNorm
from timm.models import register_model
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer

_SIZE = {"img_size": 64, "patch_size": 16, "embed_dim": 64, "depth": 6, "num_heads": 2}


def _asked(arguments: dict[str, Any]) -> dict[str, Any]:
    """What open_clip asks for, without what timm adds for weights from the hub."""
    return {name: value for name, value in arguments.items() if name in ("num_classes", "global_pool")}


@register_model
def small_siglip_tower(pretrained: bool = False, **arguments: Any) -> VisionTransformer:
    """As ``vit_base_patch16_siglip_256``: no class token, nothing but patches."""
    return VisionTransformer(**_SIZE, class_token=False, **_asked(arguments))


@register_model
def small_perception_encoder_tower(pretrained: bool = False, **arguments: Any) -> Eva:
    """As ``vit_pe_core_tiny_patch16_384``: rotated positions, a norm before the blocks, attention pooling."""
    return Eva(
        **_SIZE,
        mlp_ratio=4.0,
        attn_type="rope",
        use_pre_transformer_norm=True,
        use_rot_pos_emb=True,
        ref_feat_shape=(4, 4),
        rope_grid_offset=1.0,
        rope_grid_indexing="xy",
        attn_pool_num_heads=2,
        attn_pool_mlp_ratio=4.0,
        norm_layer=partial(LayerNorm, eps=1e-5),
        **_asked(arguments),
    )
