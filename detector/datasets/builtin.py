"""The built-in sample: a small, simulated real/synthetic set that is made on the spot, without a network.

Real images are square patches cut from photographs that scikit-learn and scikit-image carry in their packages.
"Synthetic" ones are other patches of the same photographs that went through what every image generator ends with: a
picture reduced to a smaller grid and brought back by learned upsampling, which leaves periodic traces in the spectrum
(Odena et al. 2016, "Deconvolution and Checkerboard Artifacts"; Zhang et al. 2019, "Detecting and Simulating Artifacts
in GAN Fake Images"). No generator was run, so an accuracy on this sample says nothing about real generators.

Neither the subject nor the file can give the label away: every photograph gives as many real as synthetic patches,
both are of one size and JPEG quality, and the invented detail of a synthetic patch is scaled until its file is as
large as that of the untouched patch.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from detector.datasets import SampleImage
from detector.errors import InvalidInput

BUILTIN_NOTE = (
    "This sample is a simulation: its real images are patches of photographs that come with Python packages, its "
    "synthetic ones are other patches sent through an imitation of a generator's upsampling. It shows how everything "
    "works; its accuracy says nothing about real generators."
)

PATCH = 128
JPEG_QUALITY = 92

# Photographs only (no charts, scans of text or logos), one per scene: motorcycle_right would be motorcycle_left again.
_PHOTOGRAPHS = (
    ("sklearn", "datasets/images", ("china.jpg", "flower.jpg")),
    (
        "skimage",
        "data",
        (
            "astronaut.png",
            "brick.png",
            "camera.png",
            "chelsea.png",
            "coffee.png",
            "coins.png",
            "grass.png",
            "gravel.png",
            "hubble_deep_field.jpg",
            "ihc.png",
            "motorcycle_left.png",
            "retina.jpg",
            "rocket.jpg",
        ),
    ),
)

# Pictures that came from scanners and microscopes, or were enlarged before they were published: smooth pixel by pixel,
# so that their real patches look upsampled. Reduced first, they are as sharp as the others.
_REDUCED = {"hubble_deep_field": 0.8, "ihc": 0.75, "retina": 0.64}

# Each synthetic patch draws how good its imitated generator was, from worst to best. The better, the more of the
# patch's own fine detail passes by the small grid (a U-Net's skip connection), and the weaker is the pattern of the
# last layer. These set how hard the sample is: neither without an error nor guesswork.
_SKIP = (0.0, 0.25)
_PATTERN = (4.0, 2.0)  # standard deviation in grey levels
_MOST_DETAIL = 6.0
_BISECTIONS = 8

_Array = np.ndarray


@dataclass(frozen=True)
class _Cell:
    photograph: str
    index: int
    pixels: _Array  # (PATCH, PATCH, 3) uint8


def builtin_sample(per_label: int = 120, seed: int = 0) -> Iterator[SampleImage]:
    """Make the built-in sample; equal arguments give equal bytes.

    Parameters
    ----------
    per_label : int
        Patches per label, spread evenly over the photographs; real and synthetic take turns.
    seed : int
        Decides which patches are taken, which of them become synthetic, and by which imitation.

    Yields
    ------
    SampleImage
        A JPEG of 128 x 128 pixels. ``group`` is the photograph's name.

    Raises
    ------
    InvalidInput
        ``per_label`` is below 1, or more than the photographs on this machine have room for.
    """
    photographs = {path.stem: path for path in photograph_paths()}
    cells = {name: _cut(name, path) for name, path in sorted(photographs.items())}
    room = sum(len(patches) // 2 for patches in cells.values())
    if not 1 <= per_label <= room:
        raise InvalidInput(
            f"The built-in sample can be made with 1 to {room} images per label; {per_label} were asked for."
        )
    shares = _even_shares({name: len(patches) // 2 for name, patches in cells.items()}, per_label)
    sources = tuple(_SOURCES)
    synthetic_count = 0
    for name, share in shares.items():
        order = _generator(seed, name).permutation(len(cells[name]))
        for turn in range(share):
            real, base = (cells[name][order[2 * turn + side]] for side in (0, 1))
            yield SampleImage(f"real-{name}-{real.index:03d}.jpg", _jpeg(real.pixels), "real", "photograph", name)
            source = sources[(synthetic_count + seed) % len(sources)]
            synthetic_count += 1
            data = _imitate(base, source, _generator(seed, name, base.index))
            yield SampleImage(f"synthetic-{name}-{base.index:03d}.jpg", data, "synthetic", source, name)


def photograph_paths() -> list[Path]:
    """Where the photographs lie that are present on this machine; packages are located, not imported."""
    found = []
    for package, folder, names in _PHOTOGRAPHS:
        spec = find_spec(package)
        for root in (spec.submodule_search_locations or ()) if spec else ():
            found += [path for path in (Path(root) / folder / name for name in names) if path.is_file()]
    return found


def _generator(*parts: object) -> np.random.Generator:
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))


def _cut(name: str, path: Path) -> list[_Cell]:
    with Image.open(path) as image:
        upright = image.convert("RGB")
        factor = _REDUCED.get(name, 1.0)
        size = (round(upright.width * factor), round(upright.height * factor))
        pixels = np.asarray(upright if factor == 1.0 else upright.resize(size, Image.Resampling.LANCZOS))
    rows, columns = pixels.shape[0] // PATCH, pixels.shape[1] // PATCH
    top, left = (pixels.shape[0] - rows * PATCH) // 2, (pixels.shape[1] - columns * PATCH) // 2
    patches = []
    for index in range(rows * columns):
        y, x = top + index // columns * PATCH, left + index % columns * PATCH
        patch = pixels[y : y + PATCH, x : x + PATCH]
        # Black borders of a round picture and flat sky hold nothing that a generator could get wrong.
        if patch.mean(axis=2).std() >= 4:
            patches.append(_Cell(name, index, patch))
    return patches


def _even_shares(room: dict[str, int], total: int) -> dict[str, int]:
    shares = dict.fromkeys(room, 0)
    while total:
        for name in room:
            if total and shares[name] < room[name]:
                shares[name] += 1
                total -= 1
    return shares


def _jpeg(pixels: _Array) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=JPEG_QUALITY)
    return out.getvalue()


def _imitate(cell: _Cell, source: str, random: np.random.Generator) -> bytes:
    upsample = _SOURCES[source]
    quality = random.random()
    skip, pattern = (worst + quality * (best - worst) for worst, best in (_SKIP, _PATTERN))
    picture = cell.pixels.astype(np.float64)
    small = _halve(picture)
    decoded = upsample(small) + skip * (picture - _interpolate(small))
    trace = pattern * _fixed_pattern(source)
    # Invented detail: noise on the small grid where the picture itself has texture, through the same upsampling.
    contrast = _smooth(np.abs(small - _interpolate(_halve(small))).mean(axis=2, keepdims=True)) + 0.5
    detail = _MOST_DETAIL * upsample(contrast * random.standard_normal((*small.shape[:2], 1)))

    # In a smooth patch the whole trace would already make the file larger: the first half of the scale takes the trace
    # from half to whole, the second adds the detail.
    target, low, high, data = len(_jpeg(cell.pixels)), 0.0, 2.0, b""
    for _ in range(_BISECTIONS):
        amount = (low + high) / 2
        imitation = decoded + min(0.5 + amount / 2, 1.0) * trace + max(amount - 1.0, 0.0) * detail
        data = _jpeg(np.clip(np.rint(imitation), 0, 255).astype(np.uint8))
        low, high = (amount, high) if len(data) < target else (low, amount)
    return data


def _halve(picture: _Array) -> _Array:
    height, width, channels = picture.shape
    return picture.reshape(height // 2, 2, width // 2, 2, channels).mean(axis=(1, 3))


def _convolve(picture: _Array, kernel: _Array) -> _Array:
    reach = kernel.shape[0] // 2
    padded = np.pad(picture, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    out = np.zeros_like(picture)
    for y, x in np.ndindex(*kernel.shape):
        out += kernel[y, x] * padded[y : y + picture.shape[0], x : x + picture.shape[1]]
    return out


def _smooth(picture: _Array) -> _Array:
    return _convolve(picture, np.full((3, 3), 1 / 9))


def _interleave(phases: list[_Array]) -> _Array:
    """Put four (h, w, c) pictures into one (2h, 2w, c): pixel (2y + i, 2x + j) comes from picture 2i + j."""
    height, width, channels = phases[0].shape
    out = np.empty((2 * height, 2 * width, channels))
    for number, phase in enumerate(phases):
        out[number // 2 :: 2, number % 2 :: 2] = phase
    return out


def _phase_kernels() -> list[_Array]:
    near, far = 0.75, 0.25
    before, after = np.array([far, near, 0.0]), np.array([0.0, near, far])
    return [np.outer(vertical, horizontal) for vertical in (before, after) for horizontal in (before, after)]


def _interpolate(small: _Array) -> _Array:
    return _interleave([_convolve(small, kernel) for kernel in _phase_kernels()])


def _uneven(name: str, kernel: _Array, amount: float) -> _Array:
    """The kernel with fixed, random deviations: what training leaves instead of a clean interpolation."""
    return kernel + amount * _generator("kernel", name).standard_normal(kernel.shape) / kernel.size


def _sub_pixel(small: _Array) -> _Array:
    # Four kernels trained apart (sub-pixel convolution): each of the four phases differs a little in gain and position.
    kernels = [_uneven(f"sub-pixel {number}", kernel, 0.25) for number, kernel in enumerate(_phase_kernels())]
    return _interleave([_convolve(small, kernel / kernel.sum()) for kernel in kernels])


def _transposed(small: _Array) -> _Array:
    # Stride 2 with a kernel of 3: neighbouring outputs are overlapped by 1, 2 or 4 inputs, the classic checkerboard.
    up = np.zeros((2 * small.shape[0], 2 * small.shape[1], small.shape[2]))
    up[::2, ::2] = small
    kernel = _uneven("transposed", np.outer([0.5, 1.0, 0.5], [0.5, 1.0, 0.5]), 0.25)
    return _convolve(up, kernel * (4 / kernel.sum()))


def _nearest(small: _Array) -> _Array:
    # Each pixel repeated, then one convolution that sharpens.
    up = small.repeat(2, axis=0).repeat(2, axis=1)
    kernel = _uneven("nearest", np.outer([0.2, 0.6, 0.2], [0.2, 0.6, 0.2]), 0.25)
    return _convolve(up, kernel / kernel.sum())


def _fixed_pattern(source: str) -> _Array:
    # What the biases of the last layers leave in every image alike: after two upsamplings by 2, a tile of 4 x 4.
    tile = _generator("pattern", source).standard_normal((4, 4))
    tile = (tile - tile.mean()) / tile.std()
    return np.tile(tile, (PATCH // 4, PATCH // 4))[:, :, None]


_SOURCES: dict[str, Callable[[_Array], _Array]] = {
    "simulated sub-pixel convolution": _sub_pixel,
    "simulated transposed convolution": _transposed,
    "simulated nearest neighbour": _nearest,
}
