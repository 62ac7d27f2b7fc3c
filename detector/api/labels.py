"""Routes of a function's labels."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from detector.api.dependencies import AskFirst, TheFunction, TheLabel, Ws, errors, signed_in
from detector.api.error_responses import Refused
from detector.api.schemas import Deleted, LabelChange, LabelConflict, LabelRequest, LabelResponse, prefixed
from detector.errors import Conflict
from detector.operations import labels
from detector.storage import functions

router = APIRouter(
    prefix="/v1/functions/{functionId}/labels", dependencies=[Depends(signed_in)], route_class=AskFirst, tags=["Labels"]
)


@router.post("", responses=errors(404, 408, 429, status_409=LabelConflict), response_model_exclude_none=True)
def create_label(ws: Ws, function: TheFunction, body: LabelRequest) -> LabelResponse:
    """Add a label. A name that is there already is a 409 with its id.

    Names are trimmed. Neither upper and lower case nor the Unicode form of an accented letter makes two names: "real"
    and "Real" are one.
    """
    try:
        return LabelResponse.of(labels.create_label(ws, function.id, body.name, body.description, body.metadata))
    except Conflict as error:
        raise _name_taken(error) from error


@router.get("", responses=errors(404), response_model_exclude_none=True)
def list_labels(ws: Ws, function: TheFunction) -> list[LabelResponse]:
    """All labels, in the order of their making."""
    return [LabelResponse.of(label) for label in functions.list_labels(ws.db, function.id)]


@router.get("/{labelId}", responses=errors(404), response_model_exclude_none=True)
def read_label(label: TheLabel) -> LabelResponse:
    """One label."""
    return LabelResponse.of(label)


@router.put("/{labelId}", responses=errors(404, 408, 429, status_409=LabelConflict), response_model_exclude_none=True)
def change_label(ws: Ws, label: TheLabel, body: LabelChange) -> LabelResponse:
    """Change name, description or metadata; what is absent or null stays, an empty value removes.

    Another label's name, in whatever spelling, is a 409 with that label's id.
    """
    try:
        return LabelResponse.of(labels.rename_label(ws, label.id, body.name, body.description, body.metadata))
    except Conflict as error:
        raise _name_taken(error) from error


@router.delete("/{labelId}", responses=errors(404))
def delete_label(ws: Ws, label: TheLabel) -> Deleted:
    """Delete a label: its samples become unannotated, its predictions go, and no answer names it any more."""
    labels.delete_label(ws, label)
    return Deleted(id=prefixed("label", label.id))


def _name_taken(error: Conflict) -> Refused:
    return Refused(409, str(error), id=prefixed("label", error.existing_id))
