"""Functions: made, renamed, given another backbone or other settings, trained and examined anew.

Deleting one is in `detector.operations.deletion`, the built-in sample's in `detector.operations.sample_function`. To
make an older version live again is to calculate its predictions: `detector.pipeline.build` does, and no job follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detector.backbones import resolve
from detector.errors import NotFound
from detector.jobs import request_audit, request_build
from detector.storage import functions
from detector.storage.acting import LABEL, MANAGE, needs
from detector.storage.functions import Function
from detector.workspace import Workspace


@needs(MANAGE, "making a function")
def create_function(
    ws: Workspace,
    name: str,
    label_names: Sequence[str],
    backbone: str | None = None,
    *,
    is_simulation: bool = False,
    false_accusation_limit: float | None = None,
    function_id: str | None = None,
) -> Function:
    """Make a function with its labels on a backbone that is available. Nothing follows: it has no images yet.

    Parameters
    ----------
    backbone : str, optional
        A registry id, or ``auto``; by default what the settings say.
    false_accusation_limit : float, optional
        The share of false accusations; the usual one by default.
    function_id : str, optional
        A new id that was chosen before. Where there is a function of that id already it is the one that was asked for
        twice, and stays as it is.

    Raises
    ------
    BackboneUnavailable
        It was named, and its weights are not available now.
    InvalidInput
        An empty name, too many labels, the same label twice, or there is no such backbone.
    """
    # Before the backbone is looked for, which may take seconds.
    name = functions.clean_name(name, "function")
    chosen = resolve(backbone or ws.settings.backbone, ws.settings)
    return functions.create_function(
        ws.db,
        name,
        backbone_id=chosen.spec.id,
        backbone_reason=chosen.sentence,
        label_names=label_names,
        is_simulation=is_simulation,
        false_accusation_limit=false_accusation_limit,
        function_id=function_id,
    )


@needs(MANAGE, "making a function")
def function_for_import(
    ws: Workspace, name: str, label_names: Sequence[str], backbone: str | None = None
) -> tuple[Function, bool]:
    """The function of that name or id that images are about to come into, made where there is none.

    Another backbone asks for no build here: the import does when its images are there, and one before it would be for
    nothing.

    Parameters
    ----------
    label_names : sequence of str
        Of a new function; one that is there keeps its own.
    backbone : str, optional
        By default that of the settings; one that is there keeps its own.

    Returns
    -------
    (Function, bool)
        The function, and whether it was made now.

    Raises
    ------
    BackboneUnavailable
        It was named, and its weights are not available now.
    InvalidInput
        Several functions have that name, or it, a label or the backbone cannot be used.
    """
    try:
        function = functions.find_function(ws.db, name)
    except NotFound:
        return create_function(ws, name, label_names, backbone), True
    if backbone is not None:
        chosen = resolve(backbone, ws.settings)
        if chosen.spec.id != function.backbone_id:
            functions.set_backbone(ws.db, function.id, chosen.spec.id, chosen.sentence)
    return functions.get_function(ws.db, function.id), False


@needs(MANAGE, "renaming a function")
def rename_function(ws: Workspace, function_id: str, name: str) -> Function:
    """Give a function another name. Nothing follows. Raises InvalidInput, NotFound."""
    functions.rename_function(ws.db, function_id, name)
    return functions.get_function(ws.db, function_id)


@needs(MANAGE, "changing the backbone")
def change_backbone(ws: Workspace, function_id: str, backbone: str) -> str:
    """Put a function on another backbone; a build follows, which embeds all images again. Returns its job's id.

    The live model answers until the new one is trained.

    Raises
    ------
    BackboneUnavailable
        It was named, and its weights are not available now.
    InvalidInput
        There is no such backbone.
    NotFound
        There is no such function.
    """
    chosen = resolve(backbone, ws.settings)
    functions.set_backbone(ws.db, function_id, chosen.spec.id, chosen.sentence)
    return request_build(ws, function_id)


@needs(MANAGE, "changing how a function is trained")
def change_sweep_settings(ws: Workspace, function_id: str, settings: dict[str, Any]) -> str:
    """Fix what the sweep may try, as JSON; a new model follows. Returns its job's id. Raises NotFound."""
    functions.set_sweep_settings(ws.db, function_id, settings)
    return request_build(ws, function_id)


@needs(LABEL, "training")
def retrain(ws: Workspace, function_id: str) -> str:
    """Ask for a build of what is stored; where nothing has changed, nothing is trained. Returns its job's id.

    Raises
    ------
    NotFound
        There is no such function.
    """
    return request_build(ws, function_id)


@needs(LABEL, "examining a model")
def examine_model(ws: Workspace, function_id: str, model_id: str) -> str:
    """Ask for the parts of a model's audit that are missing; returns the job's id. Raises NotFound."""
    return request_audit(ws, function_id, model_id)
