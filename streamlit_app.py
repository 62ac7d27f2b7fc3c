"""The one entry: ``streamlit run streamlit_app.py`` serves dashboard, API, pictures, exports, uploads and jobs."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import streamlit as st
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import Route

from detector.api.app import ApiRoute, api_app, stop_api
from detector.api.exports import export_routes
from detector.api.media import picture_routes
from detector.api.uploads import upload_routes
from detector.dropped_files import DroppedFiles
from detector.errors import DetectorError
from detector.exposure import LoopbackOnly, allowed_hosts, is_protected, require_protection
from detector.jobs import JobRunner
from detector.proxies import ForwardedFor, TrustedProxies, leave_out_uvicorns_own
from detector.request_heads import bound_heads
from detector.settings import load_settings
from detector.sockets import answer_at_once
from detector.strangers import Strangers
from detector.workspace import Workspace
from pages._held_files import HeldFiles, largest_file
from pages._sign_in import has_login

address = st.get_option("server.address") or ""
try:
    settings = load_settings()
    require_protection(address, settings, has_login())
    proxies = TrustedProxies.parse(settings.trusted_proxies)
    workspace = Workspace.open(settings)
except DetectorError as error:
    print(error, file=sys.stderr)
    sys.exit(1)


leave_out_uvicorns_own()
bound_heads()
api = api_app(workspace)


@asynccontextmanager
async def lifespan(_app: st.App) -> AsyncIterator[dict[str, Any] | None]:
    """Jobs run from the start of the server to its end; what a kill interrupts is resumed at the next start."""
    answer_at_once()
    runner = JobRunner(workspace)
    runner.start()
    try:
        yield None
    finally:
        stop_api(api)
        runner.stop()


middleware = [
    Middleware(ForwardedFor, proxies=proxies),
    Middleware(TrustedHostMiddleware, allowed_hosts=allowed_hosts(address, settings), www_redirect=False),
]
if is_protected(settings, has_login()):
    middleware.append(Middleware(Strangers))
elif not settings.open:
    middleware.append(Middleware(LoopbackOnly))
middleware.append(Middleware(DroppedFiles, settings=settings, held=HeldFiles(), file_bytes=largest_file))


def to_functions(request: Request) -> RedirectResponse:
    """Lead ``/functions`` to the first page: Streamlit shows its default page at ``/`` only."""
    return RedirectResponse(f"/?{request.url.query}" if request.url.query else "/")


app = st.App(
    "pages/_dashboard.py",
    routes=[
        Route("/functions", to_functions),
        ApiRoute(api),
        *picture_routes(workspace),
        *export_routes(workspace),
        *upload_routes(workspace),
    ],
    middleware=middleware,
    lifespan=lifespan,
)
