"""Copies of pictures as an audit changes them, and their embeddings, which are kept nowhere: work that is shared."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFilter

from detector.errors import ImageError
from detector.evaluation.results import STRESSES
from detector.imaging.degraded_copies import encoded, noisy
from detector.serving.changed_files import changed_files
from detector.serving.shared_work import At, SharedWork, backbone_from_json, backbone_to_json, share
from detector.storage.embeddings import as_stored
from detector.workspace import Workspace

if TYPE_CHECKING:
    from detector.backbones import Backbone

MESSENGER_SIDE, MESSENGER_QUALITY = 1280, 70
#: Share of each side that remains of a shrunk picture, and that the crop keeps.
SCALE, CROP = 0.35, 0.65
#: Deviations: in pixels of the blur, in grey levels of the noise.
BLUR, NOISE = 2.0, 8.0


def _shrunk(image: Image.Image) -> bytes:
    small = (max(1, round(SCALE * image.width)), max(1, round(SCALE * image.height)))
    return encoded(image.resize(small, Image.Resampling.BICUBIC), _LOSSLESS)


def _centre_crop(image: Image.Image) -> bytes:
    width, height = max(1, round(CROP * image.width)), max(1, round(CROP * image.height))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return encoded(image.crop((left, top, left + width, top + height)), _LOSSLESS)


def _messenger(image: Image.Image) -> bytes:
    scale = MESSENGER_SIDE / max(image.size)
    if scale < 1:
        size = (max(1, round(scale * image.width)), max(1, round(scale * image.height)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    return encoded(image, "JPEG", quality=MESSENGER_QUALITY)


_LOSSLESS = "BMP"

CHANGES: dict[str, Callable[[Image.Image], bytes]] = {
    "jpeg-95": lambda image: encoded(image, "JPEG", quality=95),
    "jpeg-40": lambda image: encoded(image, "JPEG", quality=40),
    "blur-2": lambda image: encoded(image.filter(ImageFilter.GaussianBlur(BLUR)), _LOSSLESS),
    "scale-35": _shrunk,
    "crop-65": _centre_crop,
    "noise-8": lambda image: encoded(noisy(image, NOISE, seed=0), _LOSSLESS),
    "webp-60": lambda image: encoded(image, "WEBP", quality=60, method=2),
    "messenger": _messenger,
}
assert list(CHANGES) == list(STRESSES)

_Views = dict[str, np.ndarray]


def embed_changed(
    ws: Workspace, change: str, hashes: Sequence[str], backbone: Backbone, at: At
) -> dict[int, dict[str, np.ndarray]]:
    """Change stored pictures in one way and embed the copies.

    Parameters
    ----------
    change : one of `CHANGES`
    at : callable
        Hears how many are done.

    Returns
    -------
    dict of int to (view -> (d,) array)
        By place in ``hashes``, in numbers as the store would give them back; those that could not be made are left out.
    """
    found: dict[int, _Views] = {}

    def here() -> dict[str, Any]:
        new, done = _embed(ws, change, hashes, backbone, at)
        found.update(new)
        return {"done": done}

    parameters = {**backbone_to_json(backbone), "change": change}
    answers = share(ws, STRESS, parameters, list(enumerate(hashes)), at, here)
    if not answers.here:
        for piece in answers.pieces:
            found.update(
                (place, {view: _array(*data) for view, data in views.items()}) for place, views in piece["found"]
            )
    return found


def _embed_some(ws: Workspace, parameters: dict[str, Any], items: list[Any], at: At) -> dict[str, Any]:
    hashes = [image_hash for _, image_hash in items]
    backbone = backbone_from_json(ws, parameters)
    at(0)
    found, done = _embed(ws, parameters["change"], hashes, backbone, at)
    return {
        "done": done,
        "found": [
            [items[place][0], {view: _text(row) for view, row in views.items()}] for place, views in found.items()
        ],
    }


def _embed(
    ws: Workspace, change: str, hashes: Sequence[str], backbone: Backbone, at: At
) -> tuple[dict[int, _Views], int]:
    # Here, not above: it brings torch, which a worker needs only once it looks at images.
    from detector.backbones.pipeline import embed_files

    found: dict[int, _Views] = {}
    failed = 0

    def store(rows: list[tuple[int, _Views]], failures: list[tuple[int, ImageError]]) -> None:
        nonlocal failed
        found.update((place, {view: as_stored(row) for view, row in views.items()}) for place, views in rows)
        failed += len(failures)
        at(len(found) + failed)

    copies = changed_files(ws, enumerate(hashes), lambda _place, picture: CHANGES[change](picture))
    embed_files(copies, backbone, ws.limits, ws.settings.threads, store)
    return found, len(found) + failed


def _text(row: np.ndarray) -> list[str]:
    return [row.dtype.name, base64.b64encode(row.tobytes()).decode("ascii")]


def _array(kind: str, text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=np.dtype(kind))


#: Copies that an audit judges; items are pairs of a place and an image's hash. Nothing of it is stored.
STRESS = SharedWork("stress", _embed_some, resumes=False)
