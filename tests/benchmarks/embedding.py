"""From files on disk to stored rows: CLIP and the offline backbone, beside the libraries' own documentation.

Ours is `embed_missing`, all of it: asking the table what is missing, reading the stored files, decoding, the network,
and writing the rows, batch by batch. The peer opens the same files image by image, runs the library's preprocessing and
the float32 network on batches of 32, and saves one array at the end. Loading the network is in neither, importing the
files is a figure of its own. Both get one image first, so that neither pays for kernels that are prepared at first use.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import timm
import torch
from PIL import Image
from sqlalchemy import delete
from torch.utils.flop_counter import FlopCounterMode

from detector.backbones.clip import load_clip
from detector.backbones.network import Backbone
from detector.backbones.offline import STATISTICS_BLOCKS, load_classifier
from detector.backbones.precision import bfloat16_in_hardware
from detector.backbones.registry import OFFLINE, get_spec
from detector.imaging import decode_image
from detector.pipeline.embedding import embed_missing, function_backbone
from detector.storage import functions, schema
from detector.storage.functions import Function
from detector.system.single_threaded import stay_single_threaded
from detector.workspace import Workspace
from tests.benchmarks.figure import Figure, median_ratio
from tests.factories import add_images, workspace
from tests.random_clip import register_random_clip, write_random_clip

_REPEATS = 3
_BATCH = 32
# 2,000 would keep the float32 peer busy for minutes a repeat; the rate is the same from some hundred on.
_CLIP_IMAGES, _OFFLINE_IMAGES, _PHOTOS = 800, 300, 24
_CLIP = "benchmark-vit-b-32"
_MATMUL_SIDE, _MATMUL_SECONDS = 2048, 1.5


def embed_clip_ratio(folder: Path) -> Figure:
    """CLIP ViT-B/32 beside open_clip."""
    paths = _pictures(folder / "files", _CLIP_IMAGES, (256, 256))
    ws, checkpoint = _clip_workspace(folder)
    function, backbone = _imported(ws, paths, _CLIP)
    model, _, preprocess = open_clip.create_model_and_transforms("ViT-B-32", pretrained=str(checkpoint))
    model.eval()
    peer = partial(_peer, model.encode_image, preprocess, folder / "peer.npy")
    ours, theirs = _in_turns(ws, function, backbone, peer, paths)
    multiplying = _matmul_gflops(backbone) / _gflop_per_image(checkpoint) / statistics.median(theirs)
    return Figure(
        "embed_clip_ratio",
        f"images/s from files on disk to stored rows / open_clip in float32, ViT-B-32, {len(paths)} JPEGs of 256 px",
        median_ratio(ours, theirs),
        "x",
        4.0 if bfloat16_in_hardware() else 1.3,
        at_least=True,
        measurements={"ours, images/s": ours, "peer, images/s": theirs},
        note=f"{len(paths)} images instead of 2,000: the peer would take 90 s a repeat. "
        f"Ours calculates in {backbone.precision}, in batches of {backbone.batch_size} on each core. The limit: at the "
        f"speed of one large product of {backbone.precision}, with no decoding and nothing but products in the "
        f"network, it would be {multiplying:.2f} x.",
    )


def embed_clip_roofline(folder: Path) -> Figure:
    """CLIP ViT-B/32 beside what the processor can multiply."""
    paths = _pictures(folder / "files", _CLIP_IMAGES, (256, 256))
    ws, checkpoint = _clip_workspace(folder)
    function, backbone = _imported(ws, paths, _CLIP)
    model_gflop = _gflop_per_image(checkpoint)
    _ours(ws, function, backbone)
    ours, matmul = [], []
    for _ in range(_REPEATS):
        before = _matmul_gflops(backbone)
        ours.append(_rate(len(paths), lambda: _ours(ws, function, backbone)))
        # What others on the machine take away during ours is not known: the mean of before and after comes nearest.
        matmul.append((before + _matmul_gflops(backbone)) / 2)
    return Figure(
        "embed_clip_roofline",
        "images/s from files on disk to stored rows / (matmul GFLOP/s of all cores / GFLOP of one image), ViT-B-32",
        median_ratio([rate * model_gflop for rate in ours], matmul),
        "x",
        0.5,
        at_least=True,
        measurements={"ours, images/s": ours, f"matmul in {backbone.precision}, GFLOP/s": matmul},
        note=f"One image takes {model_gflop:.2f} GFLOP as open_clip calculates it; ours leaves out what the last block "
        "makes of tokens that nobody asks for.",
    )


def embed_offline_ratio(folder: Path) -> Figure:
    """The offline backbone beside the same statistics calculated with timm."""
    paths = _pictures(folder / "files", _OFFLINE_IMAGES, (256, 256))
    _, backbone, ours, theirs = _offline_beside_timm(folder, paths)
    return Figure(
        "embed_offline_ratio",
        f"images/s from files on disk to stored rows / timm in float32, EfficientNet-Lite0 statistics, {len(paths)} "
        "JPEGs of 256 px",
        median_ratio(ours, theirs),
        "x",
        2.0 if bfloat16_in_hardware() else 1.2,
        at_least=True,
        measurements={"ours, images/s": ours, "peer, images/s": theirs},
        note=f"Ours calculates in {backbone.precision}, in batches of {backbone.batch_size} on each core.",
    )


def embed_photo_ratio(folder: Path) -> Figure:
    """The offline backbone on photographs, where decoding takes longer than the network."""
    paths = _pictures(folder / "files", _PHOTOS, (4000, 3000))
    ws, _, ours, theirs = _offline_beside_timm(folder, paths)
    return Figure(
        "embed_photo_ratio",
        f"images/s from files on disk to stored rows / timm in float32, {len(paths)} JPEGs of 12 megapixels, offline "
        "backbone",
        median_ratio(ours, theirs),
        "x",
        2.0,
        at_least=True,
        measurements={
            "ours, images/s": ours,
            "peer, images/s": theirs,
            "decoding alone on all cores, images/s": [_decoding_rate(ws, paths)],
        },
        note=f"{sum(path.stat().st_size for path in paths) / len(paths) / 1e6:.1f} MB a file. Ours also embeds the "
        "three crops in native size of the detail view, four times the peer's work in the network; they are why the "
        "file is decoded in full.",
    )


def _offline_beside_timm(folder: Path, paths: Sequence[Path]) -> tuple[Workspace, Backbone, list[float], list[float]]:
    """The offline backbone's images a second and those of the same statistics calculated with timm."""
    ws = workspace(folder / "data", precision="auto")
    function, backbone = _imported(ws, paths, OFFLINE)
    peer = partial(_peer, _TimmStatistics(), _timm_preprocess(), folder / "peer.npy")
    ours, theirs = _in_turns(ws, function, backbone, peer, paths)
    return ws, backbone, ours, theirs


def _in_turns(
    ws: Workspace,
    function: Function,
    backbone: Backbone,
    peer: Callable[[Sequence[Path]], None],
    paths: Sequence[Path],
) -> tuple[list[float], list[float]]:
    peer(paths[:1])
    backbone.embed_crops([np.zeros((backbone.input_size, backbone.input_size, 3), np.uint8)])
    ours, theirs = [], []
    for _ in range(_REPEATS):
        ours.append(_rate(len(paths), lambda: _ours(ws, function, backbone)))
        theirs.append(_rate(len(paths), lambda: peer(paths)))
    return ours, theirs


def _rate(count: int, work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start)


def _ours(ws: Workspace, function: Function, backbone: Backbone) -> None:
    """Embed everything of the function; what an earlier repeat left is forgotten first, which costs a millisecond."""
    with ws.db.write() as connection:
        connection.execute(delete(schema.embeddings))
    done = embed_missing(ws, function.id, backbone)
    assert done > 0


def _peer(network: Callable[[Any], Any], preprocess: Any, file: Path, paths: Sequence[Path]) -> None:
    rows = []
    with torch.inference_mode():
        for start in range(0, len(paths), _BATCH):
            images = torch.stack([preprocess(Image.open(path)) for path in paths[start : start + _BATCH]])
            rows.append(network(images).numpy())
    np.save(file, np.concatenate(rows))


class _TimmStatistics:
    """timm's network as it comes, with the mean and deviation of the same layers."""

    def __init__(self) -> None:
        self._model = load_classifier(get_spec(OFFLINE))

    def __call__(self, images: Any) -> Any:
        model, parts = self._model, []
        maps = model.bn1(model.conv_stem(images))
        kept = [maps]
        for index, block in enumerate(block for stage in model.blocks for block in stage):
            maps = block(maps)
            if index in STATISTICS_BLOCKS:
                kept.append(maps)
        for values in kept:
            deviation, mean = torch.std_mean(values, dim=(2, 3), correction=0)
            parts += [mean, deviation]
        parts.append(model.bn2(model.conv_head(maps)).mean((2, 3)))
        return torch.cat(parts, dim=1)


def _timm_preprocess() -> Any:
    spec = get_spec(OFFLINE)
    transform = timm.data.create_transform(
        input_size=spec.image_size, interpolation=spec.interpolation, mean=spec.mean, std=spec.std, crop_pct=1.0
    )
    return lambda image: transform(image.convert("RGB"))


def _clip_workspace(folder: Path) -> tuple[Workspace, Path]:
    """A workspace whose CLIP is a full-size ViT-B-32 with random weights: the speed does not depend on them."""
    checkpoint = folder / "vit-b-32.pt"
    write_random_clip(checkpoint)
    register_random_clip(_CLIP)
    return workspace(folder / "data", precision="auto", clip_checkpoint=f"{_CLIP}:{checkpoint}"), checkpoint


def _imported(ws: Workspace, paths: Sequence[Path], backbone_id: str) -> tuple[Function, Backbone]:
    function = functions.create_function(ws.db, "Benchmark", backbone_id=backbone_id, label_names=("real", "synthetic"))
    add_images(ws, function, ((path.name, path.read_bytes(), None) for path in paths))
    return function, function_backbone(ws, functions.get_function(ws.db, function.id))


def _pictures(folder: Path, count: int, size: tuple[int, int]) -> list[Path]:
    """JPEGs of quality 90 with structure from coarse to fine, about as many bits a pixel as photographs have."""
    folder.mkdir()

    def make(seed: int) -> Path:
        rng = np.random.default_rng(seed)
        width, height = size
        pixels = np.zeros((height, width, 3), np.float32)
        for cells, strength in ((8, 120), (64, 60), (max(size) // 4, 12)):
            coarse = Image.fromarray(rng.integers(0, 256, (cells * height // width, cells, 3), dtype=np.uint8))
            pixels += strength / 255 * np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.float32)
        pixels += rng.standard_normal((height, width, 1), np.float32) * 4
        path = folder / f"{seed:05}.jpg"
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, quality=90)
        return path

    return [make(seed) for seed in range(count)]


def _decoding_rate(ws: Workspace, paths: Sequence[Path]) -> float:
    files = [path.read_bytes() for path in paths]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return _rate(len(files), lambda: list(pool.map(lambda data: decode_image(data, "photo", ws.limits), files)))


def _gflop_per_image(checkpoint: Path) -> float:
    """Counted by torch over the products of one pass in float32; it cannot see into fused operations."""
    network = load_clip(get_spec(_CLIP), checkpoint, "float32")
    batch = torch.zeros((1, 3, network.input_size, network.input_size))
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            network._network(batch)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return float(counter.get_total_flops()) / 1e9


def _matmul_gflops(backbone: Backbone) -> float:
    """What all cores together multiply in the backbone's precision: torch's own threads, or each core for itself."""
    cores = os.cpu_count() or 1
    with ThreadPoolExecutor(cores, initializer=stay_single_threaded) as pool:
        alone = sum(pool.map(lambda _: _products_a_second(backbone.precision), range(cores)))
    return max(alone, _products_a_second(backbone.precision))


def _products_a_second(precision: str) -> float:
    left = torch.randn(_MATMUL_SIDE, _MATMUL_SIDE).to(getattr(torch, precision))
    right = torch.randn(_MATMUL_SIDE, _MATMUL_SIDE).to(left.dtype)
    seconds = []
    with torch.inference_mode():
        left @ right
        end = time.perf_counter() + _MATMUL_SECONDS
        while time.perf_counter() < end:
            start = time.perf_counter()
            left @ right
            seconds.append(time.perf_counter() - start)
    return 2 * _MATMUL_SIDE**3 / 1e9 / statistics.median(seconds)
