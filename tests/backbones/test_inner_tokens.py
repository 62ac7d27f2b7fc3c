"""What inner blocks show, against the plain network of open_clip looked at from outside, for each kind of tower."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detector.backbones.availability import get_backbone
from detector.backbones.clip import load_clip
from detector.backbones.fused_blocks import _FusedBlock, _LastBlock
from detector.backbones.inner_tokens import InnerTokens
from detector.backbones.network import Backbone
from detector.backbones.offline import load_offline
from detector.backbones.registry import OFFLINE
from detector.errors import BackboneUnavailable
from detector.settings import Settings
from tests.backbones.independence import assert_independent_of_companions_and_position
from tests.backbones.pictures import picture
from tests.backbones.small_clip import TIMM, TRANSFORMER, SmallClip, make_small_clip
from tests.backbones.small_timm import small_perception_encoder_tower, small_siglip_tower

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Tower:
    """A kind of image tower. ``blocks``: the places that must be read; ``prefix``: tokens before those of patches."""

    name: str
    vision: dict[str, Any]
    embed_dim: int
    blocks: tuple[int, ...]
    prefix: int
    class_token: bool


SIX = {**TRANSFORMER, "layers": 6}
TOWERS = [
    Tower("plain", SIX, 24, (1, 2, 3, 4), 1, True),
    Tower("attention-pooled", {**SIX, "attentional_pool": True, "attn_pooler_queries": 4}, 24, (1, 2, 3, 4), 1, True),
    Tower("averaged", {**SIX, "pool_type": "avg"}, 24, (1, 2, 3, 4), 1, True),
    Tower("two-blocks", TRANSFORMER, 24, (0, 1), 1, True),
    Tower("timm", TIMM, 24, (1, 2, 3, 4), 1, True),
    # As SigLIP: patches alone, attention pooling, no projection.
    Tower(
        "siglip",
        {**TIMM, "timm_model_name": small_siglip_tower.__name__, "timm_pool": "map", "timm_proj": "none"},
        64,
        (1, 2, 3, 4),
        0,
        False,
    ),
    # No class token either, and one token more that is no patch.
    Tower(
        "register-token",
        {**TIMM, "image_size": 160, "timm_model_name": "test_vit3", "timm_pool": "map", "timm_proj": "none"},
        96,
        (1, 3, 5, 7),
        1,
        False,
    ),
    Tower(
        "perception-encoder",
        {**TIMM, "timm_model_name": small_perception_encoder_tower.__name__, "timm_pool": "map"},
        24,
        (1, 2, 3, 4),
        1,
        True,
    ),
]


@pytest.fixture(scope="module", params=TOWERS, ids=lambda tower: tower.name)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tower, SmallClip]:
    tower: Tower = request.param
    folder = tmp_path_factory.mktemp(tower.name)
    return tower, make_small_clip(folder, tower.vision, name=f"inner-{tower.name}-test", embed_dim=tower.embed_dim)


def crops_of(backbone: Backbone, count: int) -> list[np.ndarray]:
    return [np.asarray(picture(backbone.input_size, backbone.input_size, seed=seed)) for seed in range(count)]


def pixels(clip: SmallClip, crops: list[np.ndarray]) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (clip.spec.mean, clip.spec.std))
    stacked = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
    return (stacked - mean) / std


def seen_from_outside(tower: Tower, clip: SmallClip, crops: list[np.ndarray]) -> dict[str, np.ndarray]:
    """What each block is given and the last one gives, of open_clip's own model, which nothing of ours has touched."""
    visual = clip.model.visual
    blocks = visual.transformer.resblocks if hasattr(visual, "transformer") else visual.trunk.blocks
    tokens: dict[int, torch.Tensor] = {}
    hooks = [
        block.register_forward_pre_hook(lambda _, given, place=place: tokens.__setitem__(place - 1, given[0].clone()))
        for place, block in enumerate(blocks)
    ]
    last = len(blocks) - 1
    hooks.append(blocks[last].register_forward_hook(lambda _, __, given: tokens.__setitem__(last, given.clone())))
    with torch.inference_mode():
        visual(pixels(clip, crops))
    for hook in hooks:
        hook.remove()

    def of(place: int) -> torch.Tensor:
        return tokens[place][:, 0] if tower.class_token else tokens[place][:, tower.prefix :].mean(dim=1)

    found = {f"block_{place + 1}": of(place) for place in tower.blocks}
    found["patch_mean"] = tokens[last][:, tower.prefix :].mean(dim=1)
    return {name: values.numpy() for name, values in found.items()}


def load(clip: SmallClip, precision: str, inner: bool = True, threads: int = 1) -> Backbone:
    return load_clip(clip.spec, clip.checkpoint, precision, threads=threads, inner=inner)


def distance(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.linalg.norm(left - right) / np.linalg.norm(right))


def test_inner_features_are_those_of_the_plain_network_seen_from_outside(made: tuple[Tower, SmallClip]) -> None:
    tower, clip = made
    backbone = get_backbone(clip.spec.id, "float32", Settings(clip_checkpoint=clip.setting), inner=True)
    crops = crops_of(backbone, 6)
    rows = backbone.embed_crops(crops)
    expected = seen_from_outside(tower, clip, crops)
    assert [name for name in backbone.features if name in expected] == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(rows[:, backbone.features[name]], values, rtol=1e-3, atol=2e-5, err_msg=name)
    # Side by side without gaps.
    stops = [0, *(part.stop for part in backbone.features.values())]
    assert [part.start for part in backbone.features.values()] == stops[:-1]
    assert rows.shape == (6, backbone.dimension) == (6, stops[-1])


def test_in_bfloat16_fused_or_not_they_are_the_same_but_for_rounding(made: tuple[Tower, SmallClip]) -> None:
    tower, clip = made
    backbone = load(clip, "bfloat16")
    crops = crops_of(backbone, 4)
    rows = backbone.embed_crops(crops)
    for name, values in seen_from_outside(tower, clip, crops).items():
        assert distance(rows[:, backbone.features[name]], values) < 0.03, name


@pytest.mark.skipif(
    torch.accelerator.is_available() or not torch.backends.mkldnn.is_available(), reason="nothing is fused here"
)
def test_the_fused_tower_is_the_one_that_is_read(made: tuple[Tower, SmallClip]) -> None:
    tower, clip = made
    parts = [type(part) for part in load(clip, "bfloat16")._network.modules()]
    # The last block calculates all tokens, as their mean is asked for. Of timm's towers none is fused.
    assert parts.count(_FusedBlock) == tower.vision.get("layers", 0)
    assert _LastBlock not in parts


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_answer_is_what_it_is_without_them(made: tuple[Tower, SmallClip], precision: str) -> None:
    _, clip = made
    plain, inner = load(clip, precision, inner=False), load(clip, precision)
    crops = crops_of(plain, 5)
    without, found = plain.embed_crops(crops), inner.embed_crops(crops)
    assert list(inner.features)[: len(plain.features)] == list(plain.features)
    if precision == "float32":
        assert np.array_equal(found[:, : plain.dimension], without)
    else:
        # The last block's other half is calculated along with the rest, and rounded otherwise.
        assert distance(found[:, : plain.dimension], without) < 0.01


def test_without_the_switch_key_and_dimension_are_those_of_before(made: tuple[Tower, SmallClip]) -> None:
    _, clip = made
    plain, inner = load(clip, "float32", inner=False), load(clip, "float32")
    assert plain.key == f"{clip.spec.id}:{plain.fingerprint}:2:float32"
    assert inner.key == f"{plain.key}:inner-1"
    assert set(plain.features) <= {"projected", "pre_projection"}
    assert inner.dimension > plain.dimension
    assert inner.normalising("jpeg-256-q92").key == f"{clip.spec.id}:{plain.fingerprint}:2+jpeg-256-q92:float32:inner-1"


def test_the_key_and_the_size_of_a_plain_backbone_are_the_ones_that_are_stored_already(tmp_path: Path) -> None:
    """Kind: stored data of before. Another key would have every picture of everybody looked at again."""
    clip = make_small_clip(tmp_path, name="inner-stored-key-test")
    weights = {name: torch.full_like(values, 0.5) for name, values in clip.model.state_dict().items()}
    torch.save(weights, clip.checkpoint)
    backbone = load(clip, "bfloat16", inner=False)
    assert (backbone.key, backbone.dimension) == ("inner-stored-key-test:1a30ecd2066360f9:2:bfloat16", 72)


@pytest.mark.long
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_they_do_not_depend_on_companions_position_or_batches_calculated_together(
    made: tuple[Tower, SmallClip], precision: str
) -> None:
    _, clip = made
    backbone = load(clip, precision)
    assert_independent_of_companions_and_position(backbone)
    crops = crops_of(backbone, 11)
    alone = np.concatenate([backbone.start_batch(crops[start : start + 4]).result() for start in (0, 4, 8)])
    assert np.array_equal(backbone.embed_crops(crops), alone)


def test_threads_that_calculate_at_once_do_not_get_each_others_tokens(tmp_path: Path) -> None:
    clip = make_small_clip(tmp_path, SIX, name="inner-threads-test")
    backbone = load(clip, "float32", threads=4)
    crops = crops_of(backbone, 24)
    alone = [backbone.start_batch(crops[start : start + 4]).result() for start in range(0, 24, 4)]
    begin = threading.Barrier(4)

    def work(_: int) -> bool:
        begin.wait()
        found = [backbone.start_batch(crops[start : start + 4]) for start in range(0, 24, 4)]
        return all(np.array_equal(part.result(), row) for part, row in zip(found, alone, strict=True))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [True] * 4


def test_what_is_kept_of_a_block_holds_no_other_tokens_in_memory(tmp_path: Path) -> None:
    clip = make_small_clip(tmp_path, SIX, name="inner-memory-test")
    tower = clip.model.visual
    tokens = InnerTokens(tower)
    with torch.inference_mode():
        with tokens.gathered() as parts:
            tower(torch.rand(3, 3, 32, 32))
        assert {name: [tuple(part.shape) for part in found] for name, found in parts.items()} == {
            name: [(3, 48)] for name in ("block_2", "block_3", "block_4", "block_5", "patch_mean")
        }
        assert all(found[0].untyped_storage().nbytes() == 3 * 48 * 4 for found in parts.values())
        # Outside of it nothing is kept.
        tower(torch.rand(3, 3, 32, 32))
    assert all(len(found) == 1 for found in parts.values())


def test_both_kinds_of_one_backbone_are_loaded_side_by_side(tmp_path: Path) -> None:
    clip = make_small_clip(tmp_path, SIX, name="inner-slots-test")
    settings = Settings(clip_checkpoint=clip.setting)
    plain = get_backbone(clip.spec.id, "float32", settings)
    inner = get_backbone(clip.spec.id, "float32", settings, inner=True)
    assert (plain.inner, inner.inner) == (False, True)
    assert get_backbone(clip.spec.id, "float32", settings) is plain
    assert get_backbone(clip.spec.id, "float32", settings, inner=True) is inner


def test_a_network_without_blocks_is_refused_with_what_to_do(tmp_path: Path) -> None:
    settings = Settings()
    with pytest.raises(BackboneUnavailable) as caught:
        get_backbone(OFFLINE, "float32", settings, inner=True)
    assert "no inner blocks" in str(caught.value)
    assert "expert settings" in caught.value.remedy
    assert load_offline("float32").key.endswith(":2:float32")
    # A row of the registry that is wrong about its network.
    vision = {**TIMM, "timm_model_name": "test_efficientnet", "timm_pool": "avg", "image_size": 160}
    clip = make_small_clip(tmp_path, vision, name="inner-convolutions-test")
    with pytest.raises(BackboneUnavailable) as caught:
        load_clip(replace(clip.spec, transformer=True), clip.checkpoint, "float32", inner=True)
    assert "the network is no transformer" in str(caught.value)
