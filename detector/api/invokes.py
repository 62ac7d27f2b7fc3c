"""Routes that classify images, and the record of who asked what and how fast it was answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from detector.api.authentication import Credentials, caller
from detector.api.bodies import Picture, read_picture, read_pictures
from detector.api.failures import status_of
from detector.api.resources import Invokes, Poster, Ws, errors
from detector.api.wire import InvokeRequest, InvokeResponse, Message, plain
from detector.errors import Conflict, ImageError
from detector.importing.posting import Post, SamplePoster
from detector.invoke import Verdict
from detector.invoke_queue import Answer, InvokeQueue
from detector.storage import functions
from detector.storage.database import now
from detector.storage.functions import Function
from detector.workspace import Workspace

#: Images of a batch request in one question to the queue, so that single invokes get their turn in between.
_BATCH_STEP = 16

_BINARY = {"type": "string", "format": "binary"}
_ONE_IMAGE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["data"], "properties": {"data": _BINARY}}
            },
            "application/json": {"schema": InvokeRequest.inline_schema()},
            "application/octet-stream": {"schema": _BINARY},
        },
    }
}
_MANY_IMAGES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["data"],
                    "properties": {"data": {"type": "array", "items": _BINARY}},
                }
            }
        },
    }
}


class RecordedRoute(APIRoute):
    """A route whose calls are noted: function, verdict, milliseconds, status."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def answer_and_record(request: Request) -> Response:
            start = time.perf_counter()
            status = 500
            try:
                response = await answer(request)
                status = response.status_code
                return response
            except Exception as error:
                status = status_of(error)
                raise
            finally:
                _record(request, status, 1000 * (time.perf_counter() - start))

        return answer_and_record


async def _asked_function(
    request: Request, credentials: Credentials, function_id: Annotated[str, Path(alias="functionId")]
) -> Function:
    """Who calls and which function is meant, in one hop to a thread that has a database connection."""
    ws: Workspace = request.app.state.workspace

    def look() -> Function:
        request.state.caller = caller(request, credentials)
        return functions.get_function(ws.db, plain("function", function_id))

    return await asyncio.get_running_loop().run_in_executor(request.app.state.lookups, look)


AskedFunction = Annotated[Function, Depends(_asked_function)]

router = APIRouter(
    prefix="/v1/functions/{functionId}/invoke",
    dependencies=[Depends(_asked_function)],
    tags=["Invoke"],
    route_class=RecordedRoute,
)

LabelCount = Annotated[int | None, Query(alias="labelCount", ge=0, le=functions.MAX_LABELS)]
ModelId = Annotated[str | None, Query(alias="modelId")]
IncludeMetadata = Annotated[bool, Query(alias="includeMetadata")]


@router.post(
    "",
    responses=errors(404, 408, 409, 429, 503),
    response_model_exclude_none=True,
    openapi_extra=_ONE_IMAGE,
)
async def invoke_one(
    request: Request,
    ws: Ws,
    queue: Invokes,
    poster: Poster,
    function: AskedFunction,
    label_count: LabelCount = None,
    model_id: ModelId = None,
    capture: bool = False,
    external_id: Annotated[str | None, Query(alias="externalId", max_length=1000)] = None,
    include_metadata: IncludeMetadata = False,
) -> InvokeResponse:
    """Classify one image with the live model, or with the one asked for.

    `capture=true` keeps a copy as a sample without a label, to be reviewed; `externalId` is its.
    """
    picture = await read_picture(request, ws.settings)
    with queue.place():
        [answer] = await _ask(ws, queue, function, [picture], model_id)
    if isinstance(answer, ImageError):
        raise answer
    if capture:
        await run_in_threadpool(_capture, poster, function.id, picture, external_id)
    request.state.verdict = answer.verdict
    metadata = await run_in_threadpool(_metadata, ws, function) if include_metadata else {}
    return InvokeResponse.of(answer, label_count, metadata.get(answer.label_id))


@router.post(
    "/batch",
    responses=errors(404, 408, 409, 429, 503),
    response_model_exclude_none=True,
    openapi_extra=_MANY_IMAGES,
)
async def invoke_many(
    request: Request,
    ws: Ws,
    queue: Invokes,
    poster: Poster,
    function: AskedFunction,
    label_count: LabelCount = None,
    model_id: ModelId = None,
    capture: bool = False,
    include_metadata: IncludeMetadata = False,
) -> list[InvokeResponse | Message]:
    """Classify the files of one request: a list in their order, in which a bad file is an error entry."""
    pictures = await read_pictures(request, ws.settings)
    answers: list[Answer] = []
    with queue.place():
        for start in range(0, len(pictures), _BATCH_STEP):
            answers += await _ask(ws, queue, function, pictures[start : start + _BATCH_STEP], model_id)
    metadata = await run_in_threadpool(_metadata, ws, function) if include_metadata else {}
    entries: list[InvokeResponse | Message] = []
    for picture, answer in zip(pictures, answers, strict=True):
        if isinstance(answer, ImageError):
            entries.append(Message(message=str(answer)))
            continue
        if capture:
            await run_in_threadpool(_capture, poster, function.id, picture, None)
        entries.append(InvokeResponse.of(answer, label_count, metadata.get(answer.label_id)))
    verdicts = [answer.verdict for answer in answers if isinstance(answer, Verdict)]
    request.state.verdict = ", ".join(f"{verdicts.count(label)} {label}" for label in dict.fromkeys(verdicts)) or None
    return entries


async def _ask(
    ws: Workspace, queue: InvokeQueue, function: Function, pictures: list[Picture], model_id: str | None
) -> list[Answer]:
    question = queue.ask(
        function.id,
        [(picture.name or "The image", picture.data) for picture in pictures],
        plain("model", model_id) if model_id else None,
    )
    try:
        return await asyncio.wait_for(asyncio.wrap_future(question), ws.settings.request_seconds)
    except TimeoutError:
        raise HTTPException(
            503,
            f"No answer within {ws.settings.request_seconds:,.0f} s: the server is busy. Ask again later.",
            {"Retry-After": "30"},
        ) from None


def _capture(poster: SamplePoster, function_id: str, picture: Picture, external_id: str | None) -> None:
    # The same bytes may be a sample already: then there is nothing to keep.
    with suppress(Conflict):
        poster.post(Post(function_id, picture.data, picture.name, None, external_id))


def _metadata(ws: Workspace, function: Function) -> dict[str, dict[str, Any] | None]:
    return {label.id: label.metadata for label in functions.list_labels(ws.db, function.id)}


def _record(request: Request, status: int, milliseconds: float) -> None:
    caller = getattr(request.state, "caller", None)
    if caller is None:
        return
    values = {
        "at": now(),
        "key_id": caller.key_id,
        "function_id": request.path_params.get("functionId", "").removeprefix("function_"),
        "path": f"{request.method} {request.url.path}",
        "verdict": getattr(request.state, "verdict", None),
        "milliseconds": milliseconds,
        "status": status,
    }

    request.app.state.recorder.record(values)
