"""What a backbone says of a crop, remembered to the end of a run: most tests import the same small pictures.

The real network calculates each once, for whichever test meets it first. That its numbers depend on nothing but the
crop is what `tests/backbones` holds, where nothing is remembered; `tests/test_remembered.py` compares both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest

from detector.backbones.network import Backbone

_calculated = Backbone._embed_batches
_found: dict[tuple[str, bytes], np.ndarray] = {}


def _remembered(backbone: Backbone, crops: Sequence[np.ndarray]) -> np.ndarray:
    names = [(backbone.key, hashlib.sha1(np.ascontiguousarray(crop)).digest()) for crop in crops]
    new = {name: crop for name, crop in zip(names, crops, strict=True) if name not in _found}
    if new:
        _found.update(zip(new, _calculated(backbone, list(new.values())), strict=True))
    return np.stack([_found[name] for name in names])


@contextmanager
def embeddings_remembered() -> Iterator[None]:
    """What was calculated once in this process is not calculated again meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Backbone, "_embed_batches", _remembered)
        yield


@contextmanager
def embeddings_calculated() -> Iterator[None]:
    """All is calculated meanwhile, as in the product, and nothing remembered."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Backbone, "_embed_batches", _calculated)
        yield
