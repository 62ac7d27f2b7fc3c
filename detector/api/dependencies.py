"""What the routes stand on: the workspace, who calls, and the rows that a path names."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Path, Request, Response, Security
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from detector.api.authentication import Caller, bearer, caller
from detector.api.schemas import Message, SampleResponse, plain
from detector.errors import NotFound
from detector.importing.posting import SamplePoster
from detector.serving.queue import Places
from detector.storage import functions, samples
from detector.storage.acting import API, LOOK, Actor, act_as, acting
from detector.storage.functions import Function, Label
from detector.storage.samples import Sample
from detector.web.addresses import of_request
from detector.web.signing import picture_path
from detector.workspace import Workspace


async def _workspace(request: Request) -> Workspace:
    return request.app.state.workspace


async def _poster(request: Request) -> SamplePoster:
    return request.app.state.poster


async def _post_places(request: Request) -> Places:
    return request.app.state.post_places


Ws = Annotated[Workspace, Depends(_workspace)]
Poster = Annotated[SamplePoster, Depends(_poster)]
PostPlaces = Annotated[Places, Depends(_post_places)]


async def signed_in(request: Request, who: Annotated[Caller, Security(caller)]) -> None:
    """Dependency of every router: nobody gets further without a token."""
    request.state.caller = who
    act_as(who.actor)


class InNobodysName:
    """ASGI middleware: until somebody has said who calls, nothing may be written that takes a role."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with acting(_NOBODY):
            await self._app(scope, receive, send)


_NOBODY = Actor(None, LOOK, API, "nobody")


class AskFirst(APIRoute):
    """A route that asks who calls before it reads what they send: FastAPI reads a body first, and asks then."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As in FastAPI."""
        answer = super().get_route_handler()
        if self.body_field is None:
            return answer

        async def ask_first(request: Request) -> Response:
            request.state.caller = await run_in_threadpool(caller, request, await bearer(request))
            act_as(request.state.caller.actor)
            return await answer(request)

        return ask_first


def _function(ws: Ws, function_id: Annotated[str, Path(alias="functionId")]) -> Function:
    return functions.get_function(ws.db, plain("function", function_id))


TheFunction = Annotated[Function, Depends(_function)]


def _label(ws: Ws, function: TheFunction, label_id: Annotated[str, Path(alias="labelId")]) -> Label:
    label = functions.get_label(ws.db, plain("label", label_id))
    if label.function_id != function.id:
        raise NotFound("label", label.id)
    return label


TheLabel = Annotated[Label, Depends(_label)]


def _sample(ws: Ws, function: TheFunction, sample_id: Annotated[str, Path(alias="sampleId")]) -> Sample:
    sample = samples.get_sample(ws.db, plain("sample", sample_id))
    if sample.function_id != function.id:
        raise NotFound("sample", sample.id)
    return sample


TheSample = Annotated[Sample, Depends(_sample)]


def sample_response(request: Request, ws: Workspace, sample: Sample) -> SampleResponse:
    """A sample as it goes over the wire; its image under the address by which the caller reached us."""
    return SampleResponse.of(sample, of_request(request) + picture_path(ws.db, "image", sample.image_hash))


def errors(*statuses: int, **special: Any) -> dict[int | str, dict[str, Any]]:
    """The documented errors of a route: those that all have, ``statuses``, and such with a body of their own."""
    found: dict[int | str, dict[str, Any]] = {
        status: {"model": Message} for status in (400, 401, 403, 413, 429, *statuses)
    }
    return found | {int(status.removeprefix("status_")): {"model": model} for status, model in special.items()}
