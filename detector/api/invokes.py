"""Routes that classify images, and the record of who asked what and how fast it was answered."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from typing import Annotated, Any, TypeVar, get_type_hints

from fastapi import APIRouter, Query, Request, Response, Security
from fastapi.routing import APIRoute
from pydantic import ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from detector.api.authentication import bearer, caller
from detector.api.dependencies import TheFunction, errors
from detector.api.error_responses import status_of
from detector.api.evidence_schemas import EvidenceResponse
from detector.api.explanations import Explained, Explanations
from detector.api.request_bodies import Picture, body_guard, read_picture, read_pictures
from detector.api.schemas import ApiModel, InvokeRequest, InvokeResponse, Message, Text, Words, plain, prefixed
from detector.errors import Conflict, ImageError, InvalidInput
from detector.importing.posting import Post, SamplePoster
from detector.operations.capture import CaptureSettings, maybe_capture
from detector.serving.invoke import Verdict
from detector.serving.invoke_counts import API, record_invoke
from detector.serving.queue import Answer, InvokeQueue
from detector.storage import functions
from detector.storage.acting import act_as
from detector.storage.captured import ASKED
from detector.storage.database import now
from detector.storage.functions import Function
from detector.workspace import Workspace

#: Images of a batch request in one question to the queue, so that single invokes get their turn in between.
_BATCH_STEP = 16

_T = TypeVar("_T")

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


class InvokeOptions(ApiModel):
    """What the query says beside the image. Shared by both routes; a batch has no `externalId`."""

    # In a query only the names of the contract count.
    model_config = ConfigDict(populate_by_name=False)

    label_count: Annotated[int | None, Field(ge=0, le=functions.MAX_LABELS)] = None
    model_id: Words | None = None
    capture: bool = False
    include_metadata: bool = False


class OneInvokeOptions(InvokeOptions):
    external_id: Text | None = None
    explain: Annotated[bool, Field(description="Answer with `evidence` too: all that stands with the verdict.")] = False
    keep: Annotated[bool, Field(description="With `explain`: keep a record of it; its id is `recordId`.")] = False


class OneInvokeResponse(InvokeResponse):
    evidence: EvidenceResponse | None = None
    record_id: str | None = None


class InvokeRoute(APIRoute):
    """A route that classifies, and notes each call: function, verdict, milliseconds, status.

    FastAPI documents it by the signature of its function, but does not resolve that signature anew for every call: on
    two cores, with sixteen callers, that took longer than reading the requests.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._options_of = get_type_hints(self.endpoint)["options"].model_validate

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request whose path is this route's."""
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        request = Request(scope, receive, send)
        start = time.perf_counter()
        status = 500
        try:
            function = await _asked_function(request)
            act_as(request.state.caller.actor)
            found = await self.endpoint(request, self._options_of(dict(request.query_params)), function)
            status = 200
        except Exception as error:
            status = status_of(error)
            raise
        finally:
            _record(request, status, 1000 * (time.perf_counter() - start))
        await Response(found, media_type="application/json")(scope, receive, send)
        # Behind the answer: nobody should wait until a picture is kept.
        for picture, verdict in getattr(request.state, "perhaps_captured", ()):
            ws: Workspace = request.app.state.workspace
            await run_in_threadpool(maybe_capture, ws, function.id, picture.name, picture.data, verdict)


async def _asked_function(request: Request) -> Function:
    """Who calls and which function is meant, in one hop to a thread that has a database connection."""
    ws: Workspace = request.app.state.workspace
    credentials = await bearer(request)

    def look() -> Function:
        request.state.caller = caller(request, credentials)
        return functions.get_function(ws.db, plain("function", request.path_params["functionId"]))

    return await asyncio.get_running_loop().run_in_executor(request.app.state.lookups, look)


router = APIRouter(
    prefix="/v1/functions/{functionId}/invoke",
    dependencies=[Security(bearer)],
    tags=["Invoke"],
    route_class=InvokeRoute,
)


@router.post(
    "",
    response_model=OneInvokeResponse,
    responses=errors(404, 408, 409, 429, 503),
    openapi_extra=_ONE_IMAGE,
)
async def invoke_one(
    request: Request,
    options: Annotated[OneInvokeOptions, Query()],
    function: TheFunction,
) -> bytes:
    """Classify one image with the live model, or with the one asked for.

    `capture=true` keeps a copy as a sample without a label, to be reviewed; `externalId` is its. By the function's own
    settings further images may be kept so. `explain=true` takes longer and adds `evidence`; `keep=true` with it keeps a
    record of the verdict, but not the image. `verdict` and `grade` are those of the image as it is; in `evidence` they
    are never above what survives on its copies.
    """
    state = request.app.state
    ws: Workspace = state.workspace
    if options.keep and not options.explain:
        raise InvalidInput("keep=true keeps what explain=true answers. Ask for both.")
    explained: Explained | None = None
    # The place first: what is told to wait should not have been read.
    with state.invokes.place(), state.explanations.place() if options.explain else nullcontext():
        picture = await read_picture(request, ws.settings)
        if options.explain:
            explained = await _explain(request, function, picture, options)
            answer: Answer = explained.evidence.verdict
        else:
            [answer] = await _ask(request, function, [picture], options.model_id)
    if isinstance(answer, ImageError):
        raise answer
    if options.capture:
        await run_in_threadpool(_capture, state.poster, function.id, picture, options.external_id)
    _remember(request, function, [(picture, answer)], options.capture)
    request.state.verdict = answer.verdict
    metadata = await run_in_threadpool(_metadata, ws, function) if options.include_metadata else {}
    plainly = InvokeResponse.of(answer, options.label_count, metadata.get(answer.label_id))
    if explained is None:
        return _json(plainly)
    return _json(
        OneInvokeResponse(
            **dict(plainly),
            evidence=EvidenceResponse.of(explained.evidence.to_json()),
            record_id=prefixed("record", explained.record_id) if explained.record_id else None,
        )
    )


@router.post(
    "/batch",
    response_model=list[InvokeResponse | Message],
    responses=errors(404, 408, 409, 429, 503),
    openapi_extra=_MANY_IMAGES,
)
async def invoke_many(
    request: Request,
    options: Annotated[InvokeOptions, Query()],
    function: TheFunction,
) -> bytes:
    """Classify the files of one request: a list in their order, in which a bad file is an error entry."""
    state = request.app.state
    ws: Workspace = state.workspace
    answers: list[Answer] = []
    with state.invokes.place():
        pictures = await read_pictures(request, ws.settings)
        for start in range(0, len(pictures), _BATCH_STEP):
            answers += await _ask(request, function, pictures[start : start + _BATCH_STEP], options.model_id)
    metadata = await run_in_threadpool(_metadata, ws, function) if options.include_metadata else {}
    entries: list[bytes] = []
    for picture, answer in zip(pictures, answers, strict=True):
        if isinstance(answer, ImageError):
            entries.append(_json(Message(message=str(answer))))
            continue
        if options.capture:
            await run_in_threadpool(_capture, state.poster, function.id, picture, None)
        entries.append(_json(InvokeResponse.of(answer, options.label_count, metadata.get(answer.label_id))))
    judged = [
        (picture, answer) for picture, answer in zip(pictures, answers, strict=True) if isinstance(answer, Verdict)
    ]
    _remember(request, function, judged, options.capture)
    verdicts = [answer.verdict for _, answer in judged]
    request.state.verdict = ", ".join(f"{verdicts.count(label)} {label}" for label in dict.fromkeys(verdicts)) or None
    return b"[" + b",".join(entries) + b"]"


def _json(answer: ApiModel) -> bytes:
    return answer.model_dump_json(by_alias=True, exclude_none=True).encode()


async def _ask(request: Request, function: Function, pictures: list[Picture], model_id: str | None) -> list[Answer]:
    queue: InvokeQueue = request.app.state.invokes
    question = queue.ask(
        function.id,
        [(picture.name or "The image", picture.data) for picture in pictures],
        plain("model", model_id) if model_id else None,
    )
    return await _in_time(request, question)


async def _explain(request: Request, function: Function, picture: Picture, options: OneInvokeOptions) -> Explained:
    explanations: Explanations = request.app.state.explanations
    model_id = plain("model", options.model_id) if options.model_id else None
    name = picture.name or "The image"
    return await _in_time(request, explanations.ask(function.id, name, picture.data, model_id, options.keep))


async def _in_time(request: Request, question: Future[_T]) -> _T:
    seconds = request.app.state.workspace.settings.request_seconds
    try:
        return await body_guard(request).or_gone(question, seconds)
    except TimeoutError:
        raise HTTPException(
            503,
            f"No answer within {seconds:,.0f} s: the server is busy. Ask again later.",
            {"Retry-After": "30"},
        ) from None


def _capture(poster: SamplePoster, function_id: str, picture: Picture, external_id: str | None) -> None:
    # The same bytes may be a sample already: then there is nothing to keep.
    with suppress(Conflict):
        poster.post(Post(function_id, picture.data, picture.name, None, external_id, captured=ASKED))


def _remember(request: Request, function: Function, judged: list[tuple[Picture, Verdict]], is_captured: bool) -> None:
    """Count what was answered, and note the pictures that the function's settings may want kept."""
    for _, verdict in judged:
        record_invoke(request.app.state.workspace, function.id, API, verdict)
    if not is_captured and CaptureSettings.of(function).on:
        request.state.perhaps_captured = judged


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
        "path": f"{request.method} {request.scope['path']}",
        "verdict": getattr(request.state, "verdict", None),
        "milliseconds": milliseconds,
        "status": status,
    }

    request.app.state.recorder.record(values)
