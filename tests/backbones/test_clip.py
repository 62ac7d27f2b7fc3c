from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from detector.backbones.availability import get_backbone
from detector.backbones.clip import _empty_tower, load_clip
from detector.backbones.registry import DEFAULT_CLIP, get_spec
from detector.errors import BackboneUnavailable
from detector.settings import Settings
from tests.backbones.independence import assert_independent_of_companions_and_position
from tests.backbones.pictures import picture
from tests.backbones.small_clip import TIMM, TRANSFORMER, SmallClip, make_small_clip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallClip:
    return make_small_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def small_timm(tmp_path_factory: pytest.TempPathFactory) -> SmallClip:
    return make_small_clip(tmp_path_factory.mktemp("timm"), vision=TIMM, name="small-timm-clip-test")


def plain_input(clip: SmallClip, count: int) -> tuple[list[np.ndarray], torch.Tensor]:
    size = clip.spec.image_size
    pictures = [picture(size, size, seed=i) for i in range(count)]
    transform = open_clip.transform.image_transform(
        size, is_train=False, mean=clip.spec.mean, std=clip.spec.std, interpolation="bicubic"
    )
    return [np.asarray(p) for p in pictures], torch.stack([transform(p) for p in pictures])


@pytest.mark.parametrize("name", ["small", "small_timm"])
def test_features_through_the_checkpoint_setting_equal_plain_open_clip(
    name: str, request: pytest.FixtureRequest
) -> None:
    clip: SmallClip = request.getfixturevalue(name)
    backbone = get_backbone(clip.spec.id, "float32", Settings(clip_checkpoint=clip.setting))
    crops, tensors = plain_input(clip, 6)
    rows = backbone.embed_crops(crops)
    visual = clip.model.visual
    before: list[torch.Tensor] = []
    with torch.inference_mode():
        projected = clip.model.encode_image(tensors)
        # Seen from outside, at the last module before the projection, rather than computed as our code does.
        watched = visual.ln_post if name == "small" else visual.trunk.get_classifier()
        hook = watched.register_forward_hook(
            lambda _, given, made: before.append(made[:, 0] if name == "small" else given[0])
        )
        visual(tensors)
        hook.remove()
    width = 48 if name == "small" else 64
    assert backbone.features == {"projected": slice(0, 24), "pre_projection": slice(24, 24 + width)}
    assert rows.shape == (6, 24 + width)
    np.testing.assert_allclose(rows[:, backbone.features["projected"]], projected.numpy(), rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(rows[:, backbone.features["pre_projection"]], before[0].numpy(), rtol=1e-4, atol=2e-5)


def test_a_backbone_without_projection_offers_one_feature_set(tmp_path: Path) -> None:
    vision = {**TIMM, "timm_proj": "none", "timm_pool": "avg"}
    clip = make_small_clip(tmp_path, vision=vision, name="small-plain-clip-test", embed_dim=64)
    with pytest.raises(BackboneUnavailable):
        load_clip(get_spec(DEFAULT_CLIP), clip.checkpoint, "float32")
    backbone = load_clip(clip.spec, clip.checkpoint, "float32")
    assert list(backbone.features) == ["projected"]
    crops, tensors = plain_input(clip, 2)
    with torch.inference_mode():
        expected = clip.model.encode_image(tensors).numpy()
    np.testing.assert_allclose(backbone.embed_crops(crops), expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["small", "small_timm"])
def test_numbers_do_not_depend_on_companions_or_position(
    name: str, precision: str, request: pytest.FixtureRequest
) -> None:
    clip: SmallClip = request.getfixturevalue(name)
    assert_independent_of_companions_and_position(load_clip(clip.spec, clip.checkpoint, precision))


@pytest.mark.long
@pytest.mark.parametrize("backbone_id", [DEFAULT_CLIP, "clip-vit-b-32-openai", "mobileclip2-s2"])
def test_the_tower_is_the_one_that_open_clip_builds(backbone_id: str) -> None:
    """A part left out or another activation would load without complaint, and give other numbers."""
    architecture = get_spec(backbone_id).architecture
    ours, expected = _empty_tower(architecture).eval(), open_clip.create_model(architecture).visual.eval()
    assert str(ours) == str(expected)
    ours.load_state_dict(expected.state_dict())
    images = torch.rand(2, 3, get_spec(backbone_id).image_size, get_spec(backbone_id).image_size)
    with torch.inference_mode():
        assert torch.equal(ours(images), expected(images))


def test_the_text_tower_is_not_kept(small: SmallClip) -> None:
    backbone = load_clip(small.spec, small.checkpoint, "float32")
    kept = sum(p.numel() for p in backbone._network.parameters())
    assert kept == sum(p.numel() for p in small.model.visual.parameters())


def test_the_same_weights_in_another_file_format_have_the_same_key(small: SmallClip, tmp_path: Path) -> None:
    copy = make_small_clip(tmp_path, suffix=".safetensors")
    other = make_small_clip(tmp_path / "other", seed=1)
    key = load_clip(small.spec, small.checkpoint, "float32").key
    assert load_clip(small.spec, copy.checkpoint, "float32").key == key
    assert load_clip(small.spec, other.checkpoint, "float32").key != key


def test_loading_leaves_nothing_to_chance(small: SmallClip) -> None:
    crops, _ = plain_input(small, 3)
    first, second = (load_clip(small.spec, small.checkpoint, "float32").embed_crops(crops) for _ in range(2))
    np.testing.assert_array_equal(first, second)


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("__import__('pathlib').Path('ran').touch()",)


def bad_files(folder: Path, small: SmallClip) -> dict[str, Path]:
    weights = small.checkpoint.read_bytes()
    names = ("text.pt", "cut.pt", "empty.pt", "junk.safetensors", "code.pt", "list.pt")
    files = {name: folder / name for name in names}
    files["text.pt"].write_text("These are not weights.", encoding="utf-8")
    files["cut.pt"].write_bytes(weights[: len(weights) // 2])
    files["empty.pt"].touch()
    files["junk.safetensors"].write_bytes(b"\xff" * 64)
    torch.save({"visual.proj": Malicious()}, files["code.pt"])
    torch.save([torch.zeros(3)], files["list.pt"])
    return files


def test_bad_files_end_in_one_sentence_and_run_no_code(
    small: SmallClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, file in {**bad_files(tmp_path, small), "absent.pt": tmp_path / "absent.pt"}.items():
        with pytest.raises(BackboneUnavailable) as caught:
            load_clip(small.spec, file, "float32")
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
        assert "DETECTOR_CLIP_CHECKPOINT" in caught.value.remedy
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_model_are_refused(small: SmallClip, small_timm: SmallClip) -> None:
    with pytest.raises(BackboneUnavailable) as caught:
        load_clip(small.spec, small_timm.checkpoint, "float32")
    assert "does not hold the weights of small-clip-test" in caught.value.why


def test_weights_trained_for_another_input_size_are_refused(small: SmallClip, tmp_path: Path) -> None:
    """open_clip stretches the position embeddings and says nothing: the features would be quietly wrong."""
    larger = make_small_clip(tmp_path, vision={**TRANSFORMER, "image_size": 64}, name="larger-clip-test")
    with pytest.raises(BackboneUnavailable) as caught:
        load_clip(small.spec, larger.checkpoint, "float32")
    assert "another input size" in caught.value.why


def test_weights_that_are_not_numbers_are_refused(small: SmallClip, tmp_path: Path) -> None:
    state = torch.load(small.checkpoint, weights_only=True)
    state["visual.proj"] = torch.full_like(state["visual.proj"], float("nan"))
    torch.save(state, tmp_path / "nan.pt")
    with pytest.raises(BackboneUnavailable) as caught:
        load_clip(small.spec, tmp_path / "nan.pt", "float32")
    assert "not finite" in caught.value.why
