"""A data folder that takes long to open, as where its database is upgraded: the server listens and says so meanwhile.

Without this nobody could tell a server that is at work on its tables from one that hangs, and whoever watches over it
would kill it in the middle, again and again.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, TimeoutError
from contextlib import suppress
from typing import Any, Generic, TypeVar

from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import ASGIApp, Receive, Scope, Send

from detector.errors import DetectorError
from detector.web.addresses import HEALTHZ

log = logging.getLogger(__name__)

#: So long a start waits before it listens: most folders are open by then, and whoever cannot be opened is told at once.
PATIENCE_SECONDS = 2.0
_RETRY_SECONDS = 5

STARTING = "The server is starting: its database is being opened or brought up to date. Try again in a moment."

Made = TypeVar("Made")


class Opening(Generic[Made]):
    """Something that is made in a thread of its own.

    Parameters
    ----------
    make : callable
        Opens the data folder, and makes of it whatever the server needs.
    """

    def __init__(self, make: Callable[[], Made]) -> None:
        self._future: Future[Made] = Future()
        self._listening = False
        threading.Thread(target=self._run, args=(make,), name="open-data", daemon=True).start()

    def wait(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait a little. Raises what the opening raised; from then on that ends the process, with its sentence."""
        with suppress(TimeoutError):
            self._future.result(seconds)
            return
        self._listening = True
        self._future.add_done_callback(_end_where_it_failed)
        log.warning("%s", STARTING)

    @property
    def made(self) -> Made | None:
        """What was made; None until then."""
        return self._future.result() if self._future.done() else None

    def when_made(self, act: Callable[[Made], None]) -> None:
        """Call ``act`` as soon as it is made: now, or in the thread that makes it. Where it fails, the process ends."""

        def then(future: Future[Made]) -> None:
            if future.exception() is not None:
                return
            try:
                act(future.result())
            except BaseException as error:
                # A future would only log it, and the server would go on without its jobs.
                _end(error)

        self._future.add_done_callback(then)

    def _run(self, make: Callable[[], Made]) -> None:
        try:
            self._future.set_result(make())
        except BaseException as error:
            self._future.set_exception(error)


def _end_where_it_failed(future: Future[Any]) -> None:
    error = future.exception()
    if error is not None:
        _end(error)


def _end(error: BaseException) -> None:
    if isinstance(error, DetectorError):
        print(error, file=sys.stderr, flush=True)
    else:
        log.error("the server could not be started", exc_info=error)
    # Nothing is in hand yet, and the server's own end would say that all went well.
    os._exit(1)


class UntilOpen:
    """ASGI middleware: whatever is asked before the data folder is open is told to come again.

    Parameters
    ----------
    base : str
        As of `detector.web.addresses.base_path`.
    """

    def __init__(self, app: ASGIApp, opening: Opening[Any], base: str = "") -> None:
        self._app, self._opening, self._alive = app, opening, base + HEALTHZ

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or self._opening.made is not None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1013, "reason": "The server is starting."})
        elif scope["path"] == self._alive:
            await PlainTextResponse("ok\n")(scope, receive, send)
        else:
            headers = {"Retry-After": str(_RETRY_SECONDS)}
            await PlainTextResponse(f"{STARTING}\n", 503, headers)(scope, receive, send)


class RoutesOnceOpen(BaseRoute):
    """The routes that stand on the opened data folder, as one; behind `UntilOpen`."""

    def __init__(self, routes: Callable[[], list[BaseRoute]]) -> None:
        self._routes = routes

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        partly: tuple[Match, Scope] = (Match.NONE, {})
        for route in self._routes():
            match, found = route.matches(scope)
            if match is Match.FULL:
                return match, {**found, "detector.route": route}
            if match is Match.PARTIAL and partly[0] is Match.NONE:
                partly = match, {**found, "detector.route": route}
        return partly

    def url_path_for(self, name: str, /, **path_params: Any) -> Any:
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await scope["detector.route"].handle(scope, receive, send)
