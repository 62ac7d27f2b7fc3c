"""``/healthz``, ``/readyz`` and ``/metrics``: for whoever watches over the server.

The first two answer everybody with one word, whatever name the server is asked by: a container's own address is known
to nobody before. What stands behind the word, and the figures, are for this machine, for a key of the API, and for
whoever has the secret of the settings.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Match, Route
from starlette.types import Scope

from detector.errors import DetectorError
from detector.storage import keys
from detector.upkeep.metrics import CONTENT_TYPE, metrics
from detector.upkeep.readiness import Readiness, readiness
from detector.web.addresses import HEALTHZ, METRICS, READYZ
from detector.web.bind_guard import is_loopback
from detector.workspace import Workspace

log = logging.getLogger(__name__)

#: What a question may take; a database server that hangs is not ready.
_SECONDS = 5.0
#: Asked more often than that, the last answer is given again: strangers ask too.
_FRESH_SECONDS = 1.0
_METRICS_FRESH_SECONDS = 5.0
#: As for a wrong pair of the API.
_WRONG_SECONDS = 0.3
#: Threads that ask whether a key is in force, and questions that may be in hand or wait for one.
_KEY_THREADS = 4
_MOST_WAITING = 40
#: Whoever has one of these came through a proxy, and is elsewhere.
_FORWARDED = ("x-forwarded-for", "forwarded", "x-real-ip", "via", "x-forwarded-host", "x-forwarded-proto")

_REFUSAL = (
    "The metrics are read from this machine, or with 'Authorization: Bearer ...': the secret of "
    "DETECTOR_METRICS_TOKEN or a token of the API. A client id and secret of the API as user and password do as well."
)

#: As `detector.api.authentication.read_token`: whom a token stands for, None where for nobody.
ReadToken = Callable[[Any, str], object | None]


def is_this_machine(scope: Scope) -> bool:
    """Whether a request comes from this machine, and through no proxy that says so.

    A page in a browser of this machine cannot ask under another name: see `detector.web.bind_guard.KnownHosts`.
    """
    headers = Headers(scope=scope)
    client = scope.get("client")
    host = headers.get("host", "")
    name = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
    return (
        client is not None
        and is_loopback(client[0])
        and not any(header in headers for header in _FORWARDED)
        and is_loopback(name)
    )


def probe_routes(ws: Workspace, worker: Callable[[], str], read_token: ReadToken) -> list[Route]:
    """The three routes.

    Parameters
    ----------
    worker : callable
        Says what is wrong with whoever runs the jobs; empty where nothing is.
    read_token : callable
        For tokens of the API.
    """
    ready = _Shared(lambda: readiness(ws, worker), _FRESH_SECONDS)
    figures = _Shared(lambda: metrics(ws), _METRICS_FRESH_SECONDS)

    asking = _FewAtATime()

    def knows(request: Request) -> bool:
        """Whether more than a word may be said; asks the database."""
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        secret = ws.settings.metrics_token
        if kind.lower() == "bearer":
            if secret and hmac.compare_digest(given.encode(), secret.encode()):
                return True
            return read_token(ws.db, given) is not None
        if kind.lower() == "basic":
            try:
                name, _, password = base64.b64decode(given, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                return False
            return keys.check_secret(ws.db, name, password) is not None
        # Behind a proxy on this machine that says nothing of whom it speaks for, everybody seems to be here: whoever
        # runs one sets the secret, and then it is asked of all.
        return not secret and is_this_machine(request.scope)

    async def may_know(request: Request) -> bool:
        if not request.headers.get("authorization"):
            return knows(request)
        try:
            return await asking.ask(lambda: knows(request))
        except DetectorError:
            # The database cannot say whether a key is in force.
            return False

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        found = await ready.ask()
        if found is None:
            found = Readiness(database="does not answer in time", store="", worker="")
        status = 200 if found.ready else 503
        if not await may_know(request):
            if request.headers.get("authorization"):
                await asyncio.sleep(_WRONG_SECONDS)
            return PlainTextResponse("ready\n" if found.ready else "not ready\n", status)
        return JSONResponse(found.to_json(), status)

    async def measured(request: Request) -> Response:
        if not await may_know(request):
            await asyncio.sleep(_WRONG_SECONDS)
            return PlainTextResponse(f"{_REFUSAL}\n", 401, {"WWW-Authenticate": "Bearer"})
        text = await figures.ask()
        if text is None:
            return PlainTextResponse("The figures could not be read in time. Ask again later.\n", 503)
        return Response(text, media_type=CONTENT_TYPE)

    return [Route(HEALTHZ, healthz), Route(READYZ, readyz), _BesideThePage(METRICS, measured)]


class _BesideThePage(Route):
    """A route at the address of a page of the dashboard: browsers that ask for a page get that."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        # Prometheus asks for its own kinds and for text/plain, browsers for text/html before all else.
        if scope["type"] == "http" and "text/html" in Headers(scope=scope).get("accept", "").lower():
            return Match.NONE, {}
        return super().matches(scope)


class _FewAtATime:
    """Questions about keys in threads of their own, a few at a time; False where one takes too long or too many wait.

    The server's other threads stay free where the database hangs, whoever shows how many keys.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_KEY_THREADS, "probe-key")
        self._waiting = 0

    async def ask(self, knows: Callable[[], bool]) -> bool:
        if self._waiting >= _MOST_WAITING:
            return False
        self._waiting += 1
        try:
            answer = asyncio.get_running_loop().run_in_executor(self._threads, knows)
            return await asyncio.wait_for(answer, _SECONDS)
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1


class _Shared:
    """One question at a time in a thread, and its answer for all who ask meanwhile; None where it takes too long."""

    def __init__(self, ask: Callable[[], Any], fresh: float) -> None:
        self._ask, self._fresh = ask, fresh
        self._task: asyncio.Task[Any] | None = None
        self._answered = 0.0

    async def ask(self) -> Any:
        stale = time.monotonic() - self._answered > self._fresh
        if self._task is None or (self._task.done() and stale):
            self._task = asyncio.get_running_loop().create_task(self._run())
        done, _ = await asyncio.wait([self._task], timeout=_SECONDS)
        return self._task.result() if self._task in done else None

    async def _run(self) -> Any:
        try:
            return await asyncio.to_thread(self._ask)
        except Exception as error:
            log.error("what is asked for cannot be read: %s", error)
            return None
        finally:
            self._answered = time.monotonic()
