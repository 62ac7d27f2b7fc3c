"""An answer reaches its caller although they are still sending: the server listens on for a moment before it closes.

Who is refused before their body was read is still sending it. Closing the connection then makes the system throw away
what the caller has not yet read, the answer included; not closing it lets a caller send for ever. So the answer goes
out whole, with ``Connection: close``, and what still comes is thrown away for a while, which nginx calls a
lingering close.
"""

from __future__ import annotations

import time

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from detector.web.request_heads import announced_length

#: How long is listened at most, and how long to silence; both as nginx has them.
LINGER_SECONDS = 30.0
SILENCE_SECONDS = 5.0
#: A body up to this many bytes is waited for a moment before its refusal: many clients send it just after the head.
SMALL_BYTES = 65_536
SMALL_SECONDS = 0.5


class LastWord:
    """ASGI middleware, to stand around everything else.

    A request without a body, or whose body has come whole, passes through untouched and keeps its connection.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            announced = announced_length(headers)
            if announced != 0:
                small = announced is not None and announced <= SMALL_BYTES
                exchange = _Exchange(receive, send, "expect" in headers, SMALL_SECONDS if small else 0.0)
                receive, send = exchange.receive, exchange.send
        await self._app(scope, receive, send)


class _Exchange:
    def __init__(self, receive: Receive, send: Send, expects: bool, patience: float) -> None:
        self._receive, self._send, self._expects, self._patience = receive, send, expects, patience
        self._unread, self._lingers = True, False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and self._unread:
            # Whoever waits for "100 Continue" has sent nothing yet, and asking for the body would tell them to.
            if not self._expects:
                await self._take_what_is_here()
            if self._unread:
                self._lingers = True
                kept = [(name, value) for name, value in message.get("headers", ()) if name.lower() != b"connection"]
                message = {**message, "headers": [*kept, (b"connection", b"close")]}
        if self._lingers and message["type"] == "http.response.body" and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._listen_on()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _take_what_is_here(self) -> None:
        """Small bodies come whole although nobody asks for them: their connection can be kept."""
        with anyio.move_on_after(self._patience):
            while self._unread:
                await self.receive()

    async def _listen_on(self) -> None:
        end = time.monotonic() + LINGER_SECONDS
        while self._unread:
            wait = min(SILENCE_SECONDS, end - time.monotonic())
            with anyio.move_on_after(wait) as waited:
                await self.receive()
            if waited.cancelled_caught or wait <= 0:
                return
