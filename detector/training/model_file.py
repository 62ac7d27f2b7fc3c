"""A model as one file: safetensors (arrays) with one JSON text in its header. Nothing in it is ever executed.

The checksum covers every byte of the file: it is computed with 64 zeros in its own place and then put there.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from detector.errors import ModelFileInvalid
from detector.training.linear_model import LinearModel
from detector.training.scaling import SCALINGS

FORMAT = "ai-image-detector-model"
FORMAT_VERSION = 1
ARRAYS = ("mean", "scale", "coefficients", "intercept")
_BLANK = "0" * 64
_MARK = b'\\"checksum\\":\\"'
_FACTS = (
    "label_names",
    "views",
    "feature",
    "slices",
    "dimension",
    "scaling",
    "temperature",
    "backbone_key",
    "backbone_id",
    "preprocessing_version",
    "training_fingerprint",
    "thresholds",
)


def write_model(model: LinearModel, extra: dict[str, Any] | None = None) -> bytes:
    """Serialise a model. The same model and extra give the same bytes.

    Parameters
    ----------
    model : LinearModel
    extra : dict, optional
        Anything that JSON can hold: hyperparameters, metrics, the function's name. It is kept, not interpreted.
    """
    document = {
        "checksum": _BLANK,
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "facts": {name: getattr(model, name) for name in _FACTS},
        "extra": extra or {},
    }
    # One metadata entry only: safetensors writes several in random order.
    text = json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    tensors = {name: np.ascontiguousarray(getattr(model, name), dtype=np.float64) for name in ARRAYS}
    blank = save(tensors, metadata={"model": text})
    return _with_checksum(blank, hashlib.sha256(blank).hexdigest())


def read_model(data: bytes) -> LinearModel:
    """The model in a file.

    Raises
    ------
    ModelFileInvalid
        The file is damaged, not a model, or of a newer version. Any changed byte is noticed.
    """
    return _read(data)[0]


def _read(data: bytes) -> tuple[LinearModel, dict[str, Any]]:
    document, arrays = _parse(data)
    facts = document["facts"]
    try:
        values: dict[str, Any] = facts | arrays
        values["label_names"] = tuple(facts["label_names"])
        values["views"] = tuple(facts["views"])
        values["slices"] = tuple((int(start), int(stop)) for start, stop in facts["slices"])
        model = LinearModel(**values)
        _check(model)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise ModelFileInvalid(f"The model file does not hold together ({error}). Export it again.") from error
    return model, document["extra"]


def _parse(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    place = data.find(_MARK)
    checksum = data[place + len(_MARK) : place + len(_MARK) + 64]
    if place < 0 or len(checksum) < 64:
        raise ModelFileInvalid("This is not a model file of this program. Choose a file that was exported here.")
    if hashlib.sha256(_with_checksum(data, _BLANK)).hexdigest().encode() != checksum:
        raise ModelFileInvalid("The model file is damaged: its checksum does not match. Copy or export it again.")
    try:
        document = json.loads(_metadata(data))
        version = document["version"]
        if document["format"] != FORMAT or not isinstance(version, int):
            raise ModelFileInvalid("This is not a model file of this program. Choose a file that was exported here.")
        if version > FORMAT_VERSION:
            raise ModelFileInvalid(
                f"The model file is of version {version}; this program reads up to {FORMAT_VERSION}. "
                "Update the program."
            )
        arrays = load(data)
        missing = [name for name in ARRAYS if name not in arrays]
        if missing or len(arrays) != len(ARRAYS) or not isinstance(document["facts"], dict):
            raise ModelFileInvalid("The model file lacks some of its arrays. Export it again.")
        document["extra"] = dict(document["extra"])
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelFileInvalid(f"The model file cannot be read ({error}). Export it again.") from error
    return document, arrays


def _metadata(data: bytes) -> str:
    # safetensors gives metadata only for files on disk; its header is a length and plain JSON.
    length = int.from_bytes(data[:8], "little")
    return str(json.loads(data[8 : 8 + length])["__metadata__"]["model"])


def _with_checksum(data: bytes, checksum: str) -> bytes:
    start = data.find(_MARK) + len(_MARK)
    return data[:start] + checksum.encode() + data[start + 64 :]


def _check(model: LinearModel) -> None:
    k, width = len(model.label_names), sum(stop - start for start, stop in model.slices) * len(model.views)
    columns = 1 if k == 2 else k
    shapes = {"mean": (width,), "scale": (width,), "coefficients": (columns, width), "intercept": (columns,)}
    for name, shape in shapes.items():
        array = getattr(model, name)
        if array.shape != shape or array.dtype != np.float64 or not np.isfinite(array).all():
            raise ValueError(f"{name} is not a finite array of shape {shape}")
    texts = [model.feature, model.backbone_key, model.backbone_id, model.preprocessing_version]
    texts += [model.training_fingerprint, *model.label_names, *model.views]
    if not all(isinstance(text, str) for text in texts) or k < 2 or len(set(model.label_names)) != k:
        raise ValueError("a name is missing or double")
    if model.scaling not in SCALINGS or not (math.isfinite(model.temperature) and model.temperature > 0):
        raise ValueError("scaling or temperature is unknown")
    if not model.views or any(not 0 <= start < stop <= model.dimension for start, stop in model.slices):
        raise ValueError("views or columns are missing")
    if not (model.scale > 0).all():
        raise ValueError("a scale is not positive")
    if model.thresholds is not None and not all(
        name in model.label_names and math.isfinite(value) for name, value in model.thresholds.items()
    ):
        raise ValueError("thresholds are for other labels")
