"""Routes of functions, their state and metrics, and the one project that there is."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from detector import jobs
from detector.api.dependencies import AskFirst, TheFunction, Ws, errors, signed_in
from detector.api.schemas import (
    Deleted,
    FunctionChange,
    FunctionMetrics,
    FunctionRequest,
    FunctionResponse,
    FunctionState,
    Project,
    ProjectRequest,
    prefixed,
)
from detector.errors import InvalidInput, NotFound
from detector.operations import deletion
from detector.operations import functions as changes
from detector.storage import functions, models, samples
from detector.storage.functions import Function
from detector.workspace import Workspace

router = APIRouter(dependencies=[Depends(signed_in)], route_class=AskFirst, tags=["Functions"])

_PROJECT = Project(id="project_default", name="Default")


@router.post("/v1/functions", responses=errors(408, 429, 503))
def create_function(ws: Ws, body: FunctionRequest) -> FunctionResponse:
    """Create a function without labels. Its input is an image, its output a classification."""
    if (body.input, body.output) != ("Image", "Classification"):
        raise InvalidInput(
            'This server classifies images: "input" must be "Image" and "output" must be "Classification".'
        )
    return FunctionResponse.of(changes.create_function(ws, body.name, ()))


@router.get("/v1/functions", responses=errors())
def list_functions(ws: Ws) -> list[FunctionResponse]:
    """All functions, newest first."""
    return [FunctionResponse.of(item.function) for item in functions.list_functions(ws.db)]


@router.get("/v1/functions/{functionId}", responses=errors(404))
def read_function(function: TheFunction) -> FunctionResponse:
    """One function."""
    return FunctionResponse.of(function)


@router.put("/v1/functions/{functionId}", responses=errors(404, 408, 429))
def rename_function(ws: Ws, function: TheFunction, body: FunctionChange) -> FunctionResponse:
    """Give a function another name."""
    return FunctionResponse.of(changes.rename_function(ws, function.id, body.name))


@router.delete("/v1/functions/{functionId}", responses=errors(404))
def delete_function(ws: Ws, function: TheFunction) -> Deleted:
    """Delete a function with its labels, samples and models; its running work is cancelled."""
    deletion.delete_function(ws, function.id)
    return Deleted(id=prefixed("function", function.id))


@router.get("/v0.9/functions/{functionId}", responses=errors(404))
def read_state(ws: Ws, function: TheFunction) -> FunctionState:
    """One function and whether it can be invoked: Browsing, Tuning (it can, and a newer model comes), NeedsData."""
    state = "NeedsData"
    if _can_answer(ws, function):
        state = "Tuning" if jobs.is_training(ws, function.id) else "Browsing"
    return FunctionState(**FunctionResponse.of(function).model_dump(), state=state)


@router.get("/v0.9/functions/{functionId}/metrics", responses=errors(404))
def read_metrics(ws: Ws, function: TheFunction) -> FunctionMetrics:
    """Counts of samples, predictions and annotations, and whether a training is under way."""
    # First: a training that ends between the two questions must not look idle with the old counts.
    is_training = jobs.is_training(ws, function.id)
    counts = samples.count_by(ws.db, function.id)
    return FunctionMetrics(
        sample_count=counts.total,
        prediction_count=counts.predicted,
        annotated_label_counts={
            label.name: counts.by_label.get(label.id, 0) for label in functions.list_labels(ws.db, function.id)
        },
        is_training=is_training,
    )


@router.get("/v0.9/projects", responses=errors())
def list_projects() -> list[Project]:
    """The one project that all functions belong to."""
    return [_PROJECT]


@router.post("/v0.9/projects", responses=errors(408, 429))
def create_project(body: ProjectRequest) -> Project:
    """For clients that create a project before anything else: answers with the one that there is."""
    return _PROJECT


def _can_answer(ws: Workspace, function: Function) -> bool:
    if function.live_model_id is None:
        return False
    try:
        model = models.get_model(ws.db, function.live_model_id)
    except NotFound:
        return False
    alive = {label.id for label in functions.list_labels(ws.db, function.id)}
    return len(alive.intersection(model.label_ids)) >= 2
