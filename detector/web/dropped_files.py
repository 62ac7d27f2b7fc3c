"""Files that people drop on the dashboard's pages: Streamlit holds them in memory, and here that memory is bounded."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import anyio
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from detector.settings import Settings
from detector.web.request_heads import announced_length
from detector.web.strangers import upload_session

#: Files that arrive at the same time; a browser sends six. Further ones wait, unread.
PLACES = 8
#: Requests that wait for a place; each has up to 64 kB in the server's buffers.
WAITING = 500
#: Whoever keeps this up is never told to hurry.
SLOWEST_BYTES_A_SECOND = 50_000
#: Around the file, as Streamlit allows it.
_AROUND_BYTES = 1024 * 1024


class Held(Protocol):
    """The files that lie in memory already."""

    def byte_count(self) -> int: ...

    def forget_closed(self) -> None:
        """Give up those of pages that nobody has open any more."""


class DroppedFiles:
    """ASGI middleware around Streamlit's upload route.

    Parameters
    ----------
    held : Held
        What was taken before.
    file_bytes : callable
        The largest file that the server takes.
    """

    def __init__(self, app: ASGIApp, settings: Settings, held: Held, file_bytes: Callable[[], int]) -> None:
        self._app, self._held, self._file_bytes = app, held, file_bytes
        self._limit, self._seconds = settings.dropped_files_mb * 1_000_000, settings.request_seconds
        self._places = anyio.Semaphore(PLACES)
        self._waiting, self._arriving = 0, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if upload_session(scope) is None or scope["method"] != "PUT":
            await self._app(scope, receive, send)
            return
        largest = self._file_bytes() + _AROUND_BYTES
        announced = announced_length(Headers(scope=scope))
        if (announced or 0) > largest:
            await PlainTextResponse(_too_large(largest), 413)(scope, receive, send)
            return
        if self._waiting >= WAITING:
            busy = f"{WAITING} files are waiting to be taken. Send it again later."
            await PlainTextResponse(busy, 503)(scope, receive, send)
            return
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        arrival = _Arrival(receive, largest, self._seconds, self._reserve)
        try:
            # What has no announced length is given room as it comes.
            if announced is not None:
                arrival.reserve(announced)
            await self._app(scope, arrival, send)
        except HTTPException as refused:
            await PlainTextResponse(refused.detail, refused.status_code)(scope, receive, send)
        finally:
            self._arriving -= arrival.reserved
            self._places.release()

    def _reserve(self, size: int) -> None:
        if self._held.byte_count() + self._arriving + size > self._limit:
            self._held.forget_closed()
        if self._held.byte_count() + self._arriving + size > self._limit:
            raise HTTPException(
                503,
                f"The server keeps at most {self._limit / 1e6:,.0f} MB of files that lie on open pages, and has no "
                "room for this one. Take files off the page, or raise DETECTOR_DROPPED_FILES_MB.",
            )
        self._arriving += size


class _Arrival:
    """``receive`` of one request, bounded in bytes and time. What it raises Streamlit's application answers."""

    def __init__(self, receive: Receive, largest: int, seconds: float, reserve: Callable[[int], None]) -> None:
        self._receive, self._largest, self._seconds, self._reserve = receive, largest, seconds, reserve
        self._start, self._received, self._complete = time.monotonic(), 0, False
        self.reserved = 0

    def reserve(self, size: int) -> None:
        """Raises HTTPException."""
        self._reserve(size)
        self.reserved += size

    async def __call__(self) -> Message:
        # After the body this waits for the end of the connection.
        if self._complete:
            return await self._receive()
        left = self._start + self._seconds + self._received / SLOWEST_BYTES_A_SECOND - time.monotonic()
        try:
            with anyio.fail_after(max(left, 0)):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, "The file arrived too slowly. Choose it again.", {"Connection": "close"}) from None
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)
            if self._received > self._largest:
                raise HTTPException(413, _too_large(self._largest))
            if self._received > self.reserved:
                self.reserve(self._received - self.reserved)
        return message


def _too_large(limit: int) -> str:
    return f"The file is too large: at most {limit / 1e6:,.0f} MB are taken here. Make it smaller, or use a ZIP."
