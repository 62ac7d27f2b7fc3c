"""The HTTP API as one application, to stand behind `/v1`, `/v0.9` and `/connect` of the dashboard's server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import ASGIApp, Receive, Scope, Send

from detector.api import functions, invokes, labels, records, samples
from detector.api.admission import BodyMemory
from detector.api.authentication import token_router
from detector.api.call_log import CallRecorder
from detector.api.call_rates import CallRates
from detector.api.dependencies import InNobodysName, signed_in
from detector.api.error_responses import answer_errors
from detector.api.explanations import Explanations
from detector.api.request_bodies import BoundedBodies
from detector.errors import PostsBusy
from detector.importing.posting import SamplePoster
from detector.serving.invoke_counts import write_invokes
from detector.serving.queue import InvokeQueue, Places
from detector.web.addresses import DOCUMENTATION, of_request
from detector.workspace import Workspace

PREFIXES = ("/v1", "/v0.9", "/connect")

_DESCRIPTION = """Label images, train, and ask for verdicts.

Every call but `POST /connect/token` needs the header `Authorization: Bearer <token>`. Keys are made on the API page of
the dashboard or with `python -m detector keys create`. Errors are `{"message": "..."}`. Identifiers are accepted with
and without their prefix."""

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


def api_app(ws: Workspace) -> FastAPI:
    """The API of one workspace, with its documentation under ``/v1/docs`` and ``/v1/openapi.json``.

    Call `stop_api` when the server stops.
    """
    # The documentation's scripts come with a package: the pages must work on a machine without a network.
    app = FastAPIOffline(
        title="AI Image Detector",
        version="1",
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        static_url=f"{DOCUMENTATION}/assets",
        redirect_slashes=False,
    )
    app.add_api_route(DOCUMENTATION, _documentation, include_in_schema=False)
    app.state.workspace = ws
    app.state.call_rates = CallRates()
    app.state.poster = SamplePoster(ws)
    app.state.post_places = Places(ws.settings.invoke_places, PostsBusy)
    app.state.invokes = InvokeQueue(ws, ws.settings.invoke_places)
    app.state.explanations = Explanations(ws, ws.settings.invoke_places)
    app.state.recorder = CallRecorder(ws)
    # Few: each has a connection, and those beyond what the database keeps open are made anew for every question.
    app.state.lookups = ThreadPoolExecutor(3, thread_name_prefix="lookups")
    app.include_router(token_router(ws))
    # Taken over, not included: their calls are many, and an included route is looked for among all others twice.
    app.router.routes[:0] = invokes.router.routes
    for module in (functions, labels, samples, records):
        app.include_router(module.router)
    # Last: everything else below these prefixes tells a stranger nothing, not even which addresses exist.
    for prefix in ("/v1", "/v0.9"):
        app.add_api_route(
            prefix + "/{rest:path}",
            _nothing_here,
            methods=_METHODS,
            include_in_schema=False,
            dependencies=[Depends(signed_in)],
        )
    answer_errors(app)
    app.state.body_memory = BodyMemory(ws.settings.bodies_bytes)
    app.add_middleware(InNobodysName)
    app.add_middleware(BoundedBodies, seconds=ws.settings.request_seconds, memory=app.state.body_memory)
    app.openapi = lambda: _schema(app)  # type: ignore[method-assign]
    return app


def stop_api(app: FastAPI) -> None:
    """Answer what waits and end the threads."""
    app.state.invokes.stop()
    app.state.explanations.stop()
    app.state.lookups.shutdown(wait=True)
    app.state.recorder.stop()
    write_invokes()


class ApiRoute(BaseRoute):
    """Hands every request below `PREFIXES` to the API, unchanged; one ``Mount`` can serve only one prefix.

    Parameters
    ----------
    base : str
        What stands before the prefixes, as of `detector.web.addresses.base_path`.
    """

    def __init__(self, app: ASGIApp, base: str = "") -> None:
        self._app, self._base = app, base

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http" and scope["path"].startswith(tuple(f"{self._base}{prefix}/" for prefix in PREFIXES)):
            return Match.FULL, {"root_path": self._base}
        return Match.NONE, {}

    def url_path_for(self, name: str, /, **path_params: Any) -> Any:
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        # An empty query value counts as absent: the public client sends "?modelId=".
        query = b"&".join(part for part in scope["query_string"].split(b"&") if part.partition(b"=")[2])
        await self._app({**scope, "query_string": query}, receive, send)


async def _documentation() -> HTMLResponse:
    # Relative to /v1/docs: right below any path that a proxy adds or takes off.
    return get_swagger_ui_html(
        title="AI Image Detector",
        openapi_url="openapi.json",
        swagger_js_url="docs/assets/swagger-ui-bundle.js",
        swagger_css_url="docs/assets/swagger-ui.css",
        swagger_favicon_url="docs/assets/favicon.png",
    )


async def _nothing_here(request: Request) -> None:
    known = [route for route in request.app.router.routes if getattr(route, "endpoint", None) is not _nothing_here]
    allowed = [
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in known)
    ]
    if allowed:
        raise HTTPException(405, "This address does not know that method.", {"Allow": ", ".join(allowed)})
    raise HTTPException(404, f"There is nothing under this address. See {of_request(request)}{DOCUMENTATION}.")


def _schema(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        # FastAPI's own validation errors; here they are 400 with a message.
        for operations in schema["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            schema["components"]["schemas"].pop(name, None)
        app.openapi_schema = schema
    return app.openapi_schema
