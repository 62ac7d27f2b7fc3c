"""The one entry: ``streamlit run streamlit_app.py`` serves dashboard, API, pictures, exports, uploads and jobs."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import streamlit as st
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from detector.api.app import ApiRoute, api_app, stop_api
from detector.api.authentication import read_token
from detector.errors import DetectorError
from detector.operations.deletion import sweep_in_background
from detector.settings import load_settings
from detector.system.logs import set_up_logs
from detector.system.sockets import disable_nagle
from detector.web.addresses import BelowBasePath, base_path, below, first_page_routes
from detector.web.bind_guard import KnownHosts, LoopbackOnly, allowed_hosts, require_protection
from detector.web.dropped_files import DroppedFiles
from detector.web.exports import export_routes
from detector.web.failures import answers_beside_the_api
from detector.web.last_word import LastWord
from detector.web.media import picture_routes
from detector.web.opening import Opening, RoutesOnceOpen, UntilOpen
from detector.web.people import people_there
from detector.web.probes import probe_routes
from detector.web.proxies import ForwardedFor, TrustedProxies, leave_out_uvicorns_own
from detector.web.request_heads import bound_heads
from detector.web.requests_seen import RequestsSeen
from detector.web.strangers import Strangers
from detector.web.uploads import upload_routes
from detector.worker.supervisor import background
from detector.workspace import Workspace
from pages._failures import show_failure
from pages._held_files import HeldFiles, largest_file
from pages._sign_in import has_door, has_login, pass_still_good

address = st.get_option("server.address") or ""
base = base_path(st.get_option("server.baseUrlPath"))


class Served:
    """All that stands on the opened data folder."""

    def __init__(self, workspace: Workspace) -> None:
        if workspace.warning:
            print(workspace.warning, file=sys.stderr)
        self._workspace = workspace
        self._api = api_app(workspace)
        self._jobs = background(workspace)
        self.routes: list[BaseRoute] = [
            ApiRoute(self._api, base),
            *below(
                base,
                [
                    *picture_routes(workspace),
                    *export_routes(workspace),
                    *upload_routes(workspace),
                    *probe_routes(workspace, self._jobs.wrong, read_token),
                ],
            ),
        ]

    def start(self) -> None:
        self._jobs.start()
        sweep_in_background(self._workspace)

    def stop(self) -> None:
        stop_api(self._api)
        self._jobs.stop()


try:
    settings = load_settings()
    set_up_logs(settings.log)
    protected = require_protection(address, settings, has_login(), lambda: people_there(settings))
    proxies = TrustedProxies.parse(settings.trusted_proxies)
    hosts = allowed_hosts(address, settings)
    opening = Opening(lambda: Served(Workspace.open(settings)))
    opening.wait()
except DetectorError as error:
    print(error, file=sys.stderr)
    sys.exit(1)


leave_out_uvicorns_own()
bound_heads()


@asynccontextmanager
async def lifespan(_app: st.App) -> AsyncIterator[dict[str, Any] | None]:
    """Jobs run from the start of the server to its end; what a kill interrupts is resumed at the next start."""
    disable_nagle()
    # Once more: some loggers of Streamlit are made only now.
    set_up_logs(settings.log)
    opening.when_made(Served.start)
    try:
        yield None
    finally:
        if opening.made is not None:
            opening.made.stop()


# Around all others: theirs are answers as well.
middleware = [
    Middleware(LastWord),
    Middleware(RequestsSeen, base=base),
    Middleware(ForwardedFor, proxies=proxies),
    Middleware(BelowBasePath, base=base),
    Middleware(UntilOpen, opening=opening, base=base),
    Middleware(KnownHosts, allowed_hosts=hosts, base=base),
]
middleware.append(Middleware(Strangers, guarded=lambda: protected or has_door(), still_good=pass_still_good))
if not protected and not settings.open:
    middleware.append(Middleware(LoopbackOnly))
middleware.append(Middleware(DroppedFiles, settings=settings, held=HeldFiles(), file_bytes=largest_file))


app = st.App(
    "pages/_dashboard.py",
    routes=[
        *first_page_routes(base),
        RoutesOnceOpen(lambda: opening.made.routes if opening.made is not None else []),
    ],
    middleware=middleware,
    lifespan=lifespan,
    on_script_error=show_failure,
    exception_handlers=answers_beside_the_api(),
)
