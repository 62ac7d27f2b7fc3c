"""Each request gets an id, which stands in its answer and in the lines of the log; it is counted, and has a line."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from detector.system.counters import count_one
from detector.system.logs import in_request, request_id_of
from detector.web.addresses import EXPORTS, HEALTH, HEALTHZ, METRICS, PICTURES, READYZ, STREAMLIT, UPLOADS

log = logging.getLogger(__name__)

HEADER = b"x-request-id"
REQUESTS, ERRORS = "http_requests", "errors"

#: By the beginning of the path: the first that fits. Paths themselves are many, and some of them are secrets.
_CLASSES = (
    ("/v1/", "api"),
    ("/v0.9/", "api"),
    ("/connect/", "token"),
    (PICTURES, "pictures"),
    (EXPORTS, "exports"),
    (UPLOADS, "uploads"),
    (HEALTHZ, "probe"),
    (READYZ, "probe"),
    (METRICS, "probe"),
    (HEALTH, "probe"),
    (f"{STREAMLIT}/upload_file", "dropped files"),
    (STREAMLIT, "dashboard"),
    ("/static", "dashboard"),
    ("/media", "dashboard"),
)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def route_class(path: str) -> str:
    """Which part of the server a path below the base path belongs to."""
    return next((name for beginning, name in _CLASSES if path.startswith(beginning)), "pages")


class RequestsSeen:
    """ASGI middleware, to stand around all others but `LastWord`.

    Parameters
    ----------
    base : str
        As of `detector.web.addresses.base_path`.
    """

    def __init__(self, app: ASGIApp, base: str = "") -> None:
        self._app, self._base = app, base

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said = next((value.decode("latin-1") for name, value in scope["headers"] if name == HEADER), None)
        request_id, began, status = request_id_of(said), time.monotonic(), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                kept = [(name, value) for name, value in message.get("headers", ()) if name.lower() != HEADER]
                message = {**message, "headers": [*kept, (HEADER, request_id.encode())]}
            await send(message)

        with in_request(request_id):
            try:
                await self._app(scope, receive, answer)
            finally:
                part = route_class(scope["path"].removeprefix(self._base))
                # No answer: the caller went away, or the server stops.
                count_one(REQUESTS, route=part, status=str(status or "none"))
                method = scope["method"] if scope["method"] in _METHODS else "other"
                milliseconds = round(1000 * (time.monotonic() - began), 1)
                # Probes come every few seconds, and say nothing where all is well.
                quiet = part == "probe" and status < 400
                log.log(
                    logging.DEBUG if quiet else logging.INFO,
                    *("%s %s %s", method, part, status or "no answer"),
                    extra={"facts": {"method": method, "route": part, "status": status, "ms": milliseconds}},
                )
