"""Frozen networks that turn an image into numbers.

Importing this package does not import torch: names that need it are fetched at first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from detector.backbones.availability import (
    FAMILIES,
    Availability,
    BackboneFamily,
    Resolution,
    availability,
    cached_locally,
    choose_precision,
    fetch_weights,
    get_backbone,
    hub_reachable,
    resolve,
)
from detector.backbones.registry import DEFAULT_CLIP, OFFLINE, SPECS, BackboneSpec, get_spec, register
from detector.backbones.views import PREPROCESSING_VERSION, PreparedViews

if TYPE_CHECKING:
    from detector.backbones.network import Backbone
    from detector.backbones.pipeline import embed_files

__all__ = [
    "DEFAULT_CLIP",
    "FAMILIES",
    "OFFLINE",
    "PREPROCESSING_VERSION",
    "SPECS",
    "Availability",
    "Backbone",
    "BackboneFamily",
    "BackboneSpec",
    "PreparedViews",
    "Resolution",
    "availability",
    "cached_locally",
    "choose_precision",
    "embed_files",
    "fetch_weights",
    "get_backbone",
    "get_spec",
    "hub_reachable",
    "register",
    "resolve",
]

_NEEDS_TORCH = {"Backbone": "detector.backbones.network", "embed_files": "detector.backbones.pipeline"}


def __getattr__(name: str) -> Any:
    if name in _NEEDS_TORCH:
        return getattr(import_module(_NEEDS_TORCH[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
