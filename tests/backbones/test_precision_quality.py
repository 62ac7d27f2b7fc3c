"""Speed must not cost accuracy: what lower precision and cheaper resizing do to the numbers, on real pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from detector.backbones import views
from detector.backbones.clip import load_clip
from detector.backbones.network import Backbone
from detector.backbones.offline import StatisticsNetwork, load_classifier, load_offline
from detector.backbones.pipeline import embed_files
from detector.backbones.registry import OFFLINE, get_spec
from detector.backbones.views import prepare_views
from detector.imaging import ImageLimits, decode_image
from tests.backbones.pictures import picture
from tests.random_clip import register_random_clip, write_random_clip
from tests.shared_data import require

pytestmark = pytest.mark.slow

LIMITS = ImageLimits(64_000_000, 100_000_000)
LOWEST_COSINE = 0.998


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """One a row."""
    return np.sum(left * right, axis=1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)


def pictures_of(name: str, per_label: int) -> tuple[list[Path], np.ndarray]:
    """Every so-many-th file of each label, so that all sources are met."""
    paths: list[Path] = []
    labels = []
    for label, folder in enumerate(("real", "synthetic")):
        files = sorted(path for path in (require(name) / folder).rglob("*") if path.is_file())
        chosen = files[:: max(1, len(files) // per_label)][:per_label]
        paths += chosen
        labels += [label] * len(chosen)
    return paths, np.array(labels)


def embedded(backbone: Backbone, paths: list[Path]) -> np.ndarray:
    found: list[np.ndarray] = []
    embed_files(
        ((path.name, path.read_bytes(), path.name) for path in paths),
        backbone,
        LIMITS,
        0,
        lambda rows, _: found.extend(views["whole"] for _, views in rows),
    )
    return np.stack(found)


def accuracy(rows: np.ndarray, labels: np.ndarray) -> float:
    """Cross-validated, in per cent."""
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=500))
    return 100 * float(np.mean(cross_val_predict(model, rows, labels, cv=folds) == labels))


@pytest.mark.long
@pytest.mark.slow
def test_bfloat16_costs_the_offline_backbone_no_accuracy_on_real_pictures() -> None:
    paths, labels = pictures_of("mixed2000", 1000)
    exact, rough = (embedded(load_offline(precision), paths) for precision in ("float32", "bfloat16"))
    assert np.percentile(cosines(exact, rough), 1) >= LOWEST_COSINE
    assert abs(accuracy(exact, labels) - accuracy(rough, labels)) <= 0.3


@pytest.mark.long
@pytest.mark.slow
def test_bfloat16_of_a_full_size_clip_stays_near_open_clips_float32(tmp_path: Path) -> None:
    paths, _ = pictures_of("mixed2000", 24)
    checkpoint = tmp_path / "weights.pt"
    model = write_random_clip(checkpoint)
    spec = register_random_clip("vit-b-32-precision-test")
    rows = embedded(load_clip(spec, checkpoint, "bfloat16"), paths)
    transform = open_clip.transform.image_transform(224, is_train=False, mean=spec.mean, std=spec.std)
    with torch.inference_mode():
        images = torch.stack([transform(decode_image(p.read_bytes(), p.name, LIMITS).pixels) for p in paths])
        expected = model.encode_image(images).numpy()
    assert np.percentile(cosines(expected, rows[:, :512]), 1) >= LOWEST_COSINE


def test_fused_activations_change_nothing_but_the_last_digits() -> None:
    model = load_classifier(get_spec(OFFLINE))
    images = torch.randn(4, 3, 256, 256, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        logits = model(images)
        network = StatisticsNetwork(load_classifier(get_spec(OFFLINE)))
        head = network(images)[:, -1280:]
        expected = model.forward_head(model.forward_features(images), pre_logits=True)
    assert logits.std() > 0.5
    torch.testing.assert_close(head, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("noise", ["scene", "noisy"])
def test_averaging_large_pictures_before_the_filter_hardly_moves_their_embeddings(
    noise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stated tolerance: a cosine of 0.9995, and never more than a few levels of a pixel."""
    backbone = load_offline("float32")
    photos = [picture(2400, 3200, seed=seed) for seed in range(4)]
    if noise == "scene":
        photos = [photo.resize((600, 800)).resize((2400, 3200), Image.Resampling.BICUBIC) for photo in photos]
    quick = [prepare_views(photo, 256).whole for photo in photos]
    monkeypatch.setattr(views, "REDUCING_GAP", None)
    exact = [prepare_views(photo, 256).whole for photo in photos]
    assert max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(exact, quick, strict=True)) in range(1, 5)
    assert cosines(backbone.embed_crops(exact), backbone.embed_crops(quick)).min() >= 0.9995


def test_a_jpeg_is_decoded_to_the_same_pixels_whether_or_not_memory_is_kept() -> None:
    from detector.imaging.decode import memory_kept

    file = io.BytesIO()
    picture(3000, 2000).save(file, "JPEG", quality=90)
    expected = decode_image(file.getvalue(), "photo", LIMITS).pixels.tobytes()
    with memory_kept(2):
        for _ in range(3):
            assert decode_image(file.getvalue(), "photo", LIMITS).pixels.tobytes() == expected
            assert Image.core.get_stats()["blocks_cached"] <= 6
    assert Image.core.get_stats()["blocks_cached"] == 0
