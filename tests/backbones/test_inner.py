"""Which inner blocks are read, what their features are called, and what is said where there are none."""

from __future__ import annotations

import open_clip
import pytest
import torch

from detector.backbones.clip import _empty_tower
from detector.backbones.inner import (
    block_feature,
    has_inner_features,
    inner_blocks,
    is_inner_feature,
    why_no_inner_blocks,
    without_inner_features,
)
from detector.backbones.inner_tokens import InnerTokens
from detector.backbones.offline import load_offline
from detector.backbones.registry import OFFLINE, SPECS, BackboneSpec, get_spec
from detector.storage.stored_names import WHOLE

CLIPS = [spec for spec in SPECS.values() if spec.family == "clip" and spec.hub_repo]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (12, (2, 4, 7, 9)),
        (24, (4, 9, 14, 19)),
        (27, (5, 10, 16, 21)),
        (32, (6, 12, 19, 25)),
        (4, (0, 1, 2, 3)),
        (2, (0, 1)),
        (1, (0,)),
    ],
)
def test_four_blocks_lie_at_fifths_of_the_depth_and_small_networks_give_what_they_have(
    count: int, expected: tuple[int, ...]
) -> None:
    assert inner_blocks(count) == expected


def test_a_feature_counts_its_block_as_people_do_and_is_told_from_the_others() -> None:
    assert block_feature(2) == "block_3"
    names = ["projected", "block_3", "pre_projection", "patch_mean", "statistics", WHOLE]
    assert [name for name in names if is_inner_feature(name)] == ["block_3", "patch_mean"]
    assert without_inner_features(names) == ["projected", "pre_projection", "statistics", WHOLE]


@pytest.mark.parametrize(
    ("key", "inner"),
    [
        ("clip-vit-b-32-256-datacomp:0123456789abcdef:2:bfloat16", False),
        ("clip-vit-b-32-256-datacomp:0123456789abcdef:2+jpeg-256-q92:float32", False),
        ("inner-1-of-mine:0123456789abcdef:2:float32", False),
        ("clip-vit-b-32-256-datacomp:0123456789abcdef:2:bfloat16:inner-1", True),
    ],
)
def test_a_key_says_whether_inner_blocks_are_in_its_embeddings(key: str, inner: bool) -> None:
    assert has_inner_features(key) is inner


@pytest.mark.parametrize("backbone_id", [OFFLINE, "mobileclip2-s2"])
def test_of_what_is_no_transformer_one_sentence_says_so(backbone_id: str) -> None:
    why = why_no_inner_blocks(get_spec(backbone_id))
    assert why is not None
    assert why.startswith(f"{get_spec(backbone_id).title} is no transformer")
    assert why_no_inner_blocks(get_spec("pe-core-l-14-336")) is None


@pytest.mark.slow
@pytest.mark.parametrize("spec", CLIPS, ids=lambda spec: spec.id)
def test_the_registry_says_of_every_network_whether_it_is_a_transformer(spec: BackboneSpec) -> None:
    """By its real architecture, built without memory for weights."""
    with torch.device("meta"):
        tower = _empty_tower(spec.architecture)
    if not spec.transformer:
        with pytest.raises(ValueError, match="no transformer"):
            InnerTokens(tower)
        return
    width = tower.trunk.embed_dim if hasattr(tower, "trunk") else tower.conv1.out_channels
    assert list(InnerTokens(tower).widths.values()) == 5 * [width]
    assert tuple(tower.image_size) == (spec.image_size, spec.image_size)


@pytest.mark.slow
def test_the_offline_network_has_no_blocks_of_tokens() -> None:
    assert not get_spec(OFFLINE).transformer
    assert not load_offline("float32").inner
    with pytest.raises(ValueError, match="no transformer"):
        InnerTokens(torch.nn.Sequential(torch.nn.Linear(2, 2)))


def test_open_clip_still_knows_the_networks_by_these_names() -> None:
    known = set(open_clip.list_pretrained())
    assert {(spec.architecture, spec.pretrained) for spec in CLIPS} <= known
