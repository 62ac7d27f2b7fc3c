"""Parts of torch and open_clip that are their own affair: without each of them the numbers are the same.

Another version of a library is made of this one by taking a part away, or making it raise, before a backbone is loaded
or after it. What is left is the plain road of the same backbone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer

from detector.backbones.bfloat16 import calculates_bfloat16
from detector.backbones.clip import load_clip
from detector.backbones.fused_blocks import _FusedBlock
from detector.backbones.network import Backbone
from detector.backbones.offline import load_offline
from detector.backbones.precision import bfloat16_in_hardware
from tests.backbones.pictures import picture
from tests.backbones.small_clip import TRANSFORMER, SmallClip, make_small_clip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        torch.accelerator.is_available() or not torch.backends.mkldnn.is_available(),
        reason="these parts are used on the processor, with oneDNN",
    ),
]

#: (whose part, its name)
Part = tuple[Any, str]
EMBEDS, POOL = (VisionTransformer, "_embeds"), (VisionTransformer, "_pool")
LINEAR, REORDER = (torch.ops.mkldnn, "_linear_pointwise"), (torch.ops.mkldnn, "_reorder_linear_weight")
CONVOLUTION = (torch.ops.mkldnn, "_convolution_pointwise")
SUPPORTED, AVAILABLE = (torch.ops.mkldnn, "_is_mkldnn_bf16_supported"), (torch.backends.mkldnn, "is_available")
TRACE, FREEZE, TRACING = (torch.jit, "trace"), (torch.jit, "freeze"), (torch.jit, "is_tracing")
REWRITE = (torch._C, "_jit_pass_custom_pattern_based_rewrite_graph")
PROBES = (torch.cpu, "_is_avx512_bf16_supported"), (torch.cpu, "_is_amx_tile_supported")


class _Raises:
    """In the place of an operation: whatever is asked of it raises, its overloads too."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, *_args: Any, **_kwargs: Any) -> Any:
        self.asked += 1
        raise RuntimeError("made otherwise in this version")

    default = binary = __call__


@pytest.fixture
def break_part(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Part], _Raises]]:
    """Make a part raise until the end of the test. What was found out about this machine is found out again."""

    def broken(part: Part) -> _Raises:
        raises = _Raises()
        monkeypatch.setattr(*part, raises)
        calculates_bfloat16.cache_clear()
        return raises

    yield broken
    monkeypatch.undo()
    calculates_bfloat16.cache_clear()


def _crops(backbone: Backbone) -> list[np.ndarray]:
    count = 2 * backbone.batch_size + 1
    return [np.asarray(picture(backbone.input_size, backbone.input_size, seed=seed)) for seed in range(count)]


def _rows(backbone: Backbone) -> np.ndarray:
    crops = _crops(backbone)
    # Of one worker, so that several batches go together.
    return np.concatenate([backbone.start_batch(crops[:-1]).result(), backbone.embed_crops(crops[-1:])])


def _distance(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.linalg.norm(left - right) / np.linalg.norm(right))


@pytest.fixture(scope="module", params=[False, True], ids=["gelu", "quick gelu"])
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SmallClip:
    """With weights as large as trained ones, so that the activation's bend and the attention matter."""
    name = f"private-parts-{'quick' if request.param else 'plain'}-test"
    made = make_small_clip(tmp_path_factory.mktemp("clip"), TRANSFORMER, name=name, quick_gelu=request.param)
    with torch.no_grad():
        for block in made.model.visual.transformer.resblocks:
            block.mlp.c_fc.weight.mul_(20.0)
            block.mlp.c_fc.bias.normal_(generator=torch.Generator().manual_seed(6))
            block.attn.in_proj_weight.mul_(3.0)
    torch.save(made.model.state_dict(), made.checkpoint)
    return made


def _load_clip(clip: SmallClip, precision: str, inner: bool = False) -> Backbone:
    return load_clip(clip.spec, clip.checkpoint, precision, threads=1, inner=inner)


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def offline(request: pytest.FixtureRequest) -> tuple[str, np.ndarray, np.ndarray]:
    """The precision, its rows, and the rows of float32."""
    return request.param, _rows(load_offline(request.param, threads=1)), _rows(load_offline("float32", threads=1))


@pytest.mark.long
@pytest.mark.parametrize("taken_away", [False, True], ids=["raises", "missing"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("part", [EMBEDS, POOL], ids=["_embeds", "_pool"])
@pytest.mark.parametrize("inner", [False, True], ids=["answer", "inner blocks"])
def test_without_open_clips_own_parts_batches_are_calculated_one_after_the_other(
    clip: SmallClip,
    inner: bool,
    part: Part,
    precision: str,
    taken_away: bool,
    break_part: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backbone = _load_clip(clip, precision, inner)
    expected = _rows(backbone)
    # open_clip's own forward calls them too in this version; in one that renamed them it calls others.
    kept = {name: getattr(VisionTransformer, name) for _, name in (EMBEDS, POOL)}

    def forward(self: Any, x: Any) -> Any:
        return kept["_pool"](self, self.transformer(kept["_embeds"](self, x)))[0]

    monkeypatch.setattr(VisionTransformer, "forward", forward)
    raises = None if taken_away else break_part(part)
    if taken_away:
        monkeypatch.delattr(*part)
    # The first batches after it, and those after them.
    assert np.array_equal(_rows(backbone), expected)
    assert np.array_equal(_rows(backbone), expected)
    # Not tried again and again.
    assert raises is None or raises.asked == 1
    assert np.array_equal(_rows(_load_clip(clip, precision, inner)), expected)


@pytest.mark.parametrize("part", [LINEAR, REORDER, SUPPORTED, AVAILABLE], ids=lambda part: part[1])
@pytest.mark.parametrize("when", ["before loading", "after loading"])
def test_clip_in_bfloat16_gives_the_same_numbers_without_private_operations(
    clip: SmallClip, part: Part, when: str, break_part: Any
) -> None:
    exact, expected = _rows(_load_clip(clip, "float32")), _rows(_load_clip(clip, "bfloat16"))
    backbone = _load_clip(clip, "bfloat16") if when == "after loading" else None
    if backbone is not None:
        assert isinstance(backbone._network.tower.transformer.resblocks[0], _FusedBlock)
    raises = break_part(part)
    found = _rows(backbone or _load_clip(clip, "bfloat16"))
    if backbone is None or part is LINEAR:
        assert raises.asked
    assert found.dtype == np.float32
    # No further apart than rounding itself moves them, and still not the numbers of float32.
    assert _distance(found, expected) < 1.2 * _distance(expected, exact)
    assert _distance(found, exact) < 1.2 * _distance(expected, exact)


def test_only_the_sum_failing_is_noticed_too(clip: SmallClip, break_part: Any) -> None:
    exact, expected = _rows(_load_clip(clip, "float32")), _rows(_load_clip(clip, "bfloat16"))
    backbone = _load_clip(clip, "bfloat16")
    operation = torch.ops.mkldnn._linear_pointwise.default
    raises = break_part(LINEAR)
    raises.default = operation
    assert _distance(_rows(backbone), expected) < 1.2 * _distance(expected, exact)
    assert raises.asked
    assert _distance(_rows(_load_clip(clip, "bfloat16")), expected) < 1.2 * _distance(expected, exact)


def test_blocks_that_open_clip_makes_otherwise_are_calculated_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_small_clip(tmp_path, name="private-parts-blocks-test")
    exact, expected = _rows(_load_clip(clip, "float32")), _rows(_load_clip(clip, "bfloat16"))

    monkeypatch.setattr(ResidualAttentionBlock, "__getattr__", _without("ls_1"), raising=False)
    backbone = _load_clip(clip, "bfloat16")
    monkeypatch.undo()
    assert not any(isinstance(block, _FusedBlock) for block in backbone._network.tower.transformer.resblocks)
    assert _distance(_rows(backbone), expected) < 1.2 * _distance(expected, exact)


def _without(name: str) -> Callable[[Any, str], Any]:
    def get(module: Any, asked: str) -> Any:
        if asked == name:
            raise AttributeError(f"no attribute {name!r}")
        return torch.nn.Module.__getattr__(module, asked)

    return get


@pytest.mark.parametrize(
    "parts",
    [[CONVOLUTION], [CONVOLUTION, TRACE], [TRACE], [FREEZE], [TRACING], [REWRITE], [SUPPORTED], [AVAILABLE]],
    ids=lambda parts: " and ".join(name for _, name in parts),
)
@pytest.mark.long
def test_the_offline_backbone_gives_the_same_numbers_without_private_parts(
    offline: tuple[str, np.ndarray, np.ndarray], parts: list[Part], break_part: Any
) -> None:
    precision, expected, exact = offline
    raises = [break_part(part) for part in parts]
    found = _rows(load_offline(precision, threads=1))
    # Whether bfloat16 can be calculated is asked of bfloat16 only.
    assert all(each.asked for each in raises) or (precision == "float32" and parts == [SUPPORTED])
    rounding = _distance(expected, exact)
    assert _distance(found, expected) < (1.2 * rounding if precision == "bfloat16" else 1e-5)


@pytest.mark.long
def test_the_offline_backbone_goes_on_when_its_operation_first_fails_at_work(
    offline: tuple[str, np.ndarray, np.ndarray], break_part: Any
) -> None:
    precision, expected, exact = offline
    break_part(TRACE)
    backbone = load_offline(precision, threads=1)
    raises = break_part(CONVOLUTION)
    rounding = _distance(expected, exact)
    found = [_rows(backbone) for _ in range(2)]
    assert raises.asked
    assert np.array_equal(*found)
    assert _distance(found[0], expected) < (1.2 * rounding if precision == "bfloat16" else 1e-5)


@pytest.mark.parametrize("taken_away", [False, True], ids=["raises", "missing"])
def test_a_torch_without_its_private_questions_has_no_bfloat16_to_choose(
    taken_away: bool, break_part: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for probe in PROBES:
        if taken_away:
            monkeypatch.delattr(*probe)
        else:
            break_part(probe)
    assert bfloat16_in_hardware() is False
