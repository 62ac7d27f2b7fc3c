"""Switching a function's inner blocks on and off: what its backbone shows before its last layer, as features too."""

from __future__ import annotations

from detector.backbones.inner import why_no_inner_blocks, without_inner_features
from detector.backbones.registry import get_spec
from detector.errors import InvalidInput
from detector.jobs import request_build
from detector.storage import functions
from detector.storage.acting import MANAGE, needs
from detector.workspace import Workspace


@needs(MANAGE, "changing how a function is trained")
def use_inner_blocks(ws: Workspace, function_id: str, on: bool) -> str:
    """Say whether inner blocks of the backbone are used too; a build follows. Returns its job's id.

    With them images are embedded under another key, and those of before stay: switching back looks at none again. The
    live model answers until the new one is trained, and each version with the backbone that it was trained on.

    Raises
    ------
    InvalidInput
        They are to be used, and the function's backbone is no transformer.
    NotFound
        There is no such function.
    """
    function = functions.get_function(ws.db, function_id)
    if on and (why := why_no_inner_blocks(get_spec(function.backbone_id))) is not None:
        raise InvalidInput(why)
    chosen = function.sweep_settings.get("features")
    if not on and chosen is not None and (kept := without_inner_features(chosen)) != list(chosen):
        # A setting that names what is no longer there would make every training fail.
        others = {name: value for name, value in function.sweep_settings.items() if name != "features"}
        functions.set_sweep_settings(ws.db, function_id, {**others, "features": kept} if kept else others)
    functions.set_inner_features(ws.db, function_id, on)
    return request_build(ws, function_id)
