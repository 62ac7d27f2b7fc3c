"""What somebody who has not signed in may send to the dashboard: no files, and only short messages.

Streamlit gives everybody a session as soon as a page is opened, and takes files and messages for any session. Whether
somebody has signed in only the script of the page knows (pages/_sign_in.py); it says so here.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import anyio
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from detector.errors import StorageTrouble

log = logging.getLogger(__name__)

#: The header by which a script recognises its connection; nobody else's of that name gets through.
CONNECTION_HEADER = "x-detector-connection"

#: A message of the sign-in form has a few hundred bytes. Browsers that come back after a restart of the server send
#: what their page had chosen, before they know that they have to sign in again.
STRANGER_MESSAGE_BYTES = 64 * 1024
#: Open pages of strangers, each with a session in memory. One more and the oldest has to come again; refusing the new
#: one would let whoever opens many keep the owner out.
MOST_STRANGERS = 200

_REFUSAL = "Files are taken only from people who have signed in. Reload the page, sign in and choose the file again."


@dataclass(eq=False)
class Pass:
    """Lies in the state of a session on the server, and ends with it. ``given_for`` is what the person showed."""

    given_for: str


@dataclass(frozen=True)
class _Stranger:
    """A connection; what to call when somebody has signed in on it, and when it has to go."""

    widen: Callable[[], None]
    leave: Callable[[], None]


class SignedIn:
    """The sessions that may send files. One that has ended is forgotten, because its pass is."""

    def __init__(self) -> None:
        self._passes: WeakValueDictionary[str, Pass] = WeakValueDictionary()
        self._strangers: dict[str, _Stranger] = {}
        # People sign in from the threads of their pages.
        self._lock = threading.Lock()

    def __contains__(self, session_id: object) -> bool:
        return session_id in self._passes

    def given_for(self, session_id: str) -> str | None:
        """What was shown for a session; None where nobody has signed in on it."""
        found = self._passes.get(session_id)
        return found.given_for if found is not None else None

    def let_in(self, session_id: str, given_for: str, connection: str | None) -> Pass:
        """Whoever calls must keep the pass in the session's state, and nowhere else.

        Parameters
        ----------
        connection : str, optional
            The value of `CONNECTION_HEADER`; its messages may be long from now on.
        """
        made = Pass(given_for)
        self._passes[session_id] = made
        known = self.forget(connection or "")
        if known is not None:
            known.widen()
        return made

    def remember(self, connection: str, widen: Callable[[], None], leave: Callable[[], None]) -> None:
        """A stranger has come."""
        with self._lock:
            self._strangers[connection] = _Stranger(widen, leave)
            oldest = next(iter(self._strangers)) if len(self._strangers) > MOST_STRANGERS else ""
        gone = self.forget(oldest)
        if gone is not None:
            gone.leave()

    def forget(self, connection: str) -> _Stranger | None:
        """No stranger any more, or gone."""
        with self._lock:
            return self._strangers.pop(connection, None)


#: Of this process: the server's middleware and the scripts of its pages both know it.
signed_in = SignedIn()


class Strangers:
    """ASGI middleware for a server with a door: refuses before anything is read.

    Parameters
    ----------
    guarded : callable
        Whether there is a door now: the first user may be made while the server runs. Asked in a thread. Where it
        cannot say, there is one: the page is drawn all the same, and says what is wrong.
    still_good : callable
        Whether what somebody was let in for still lets them in; asked in that thread too. Only their next run of a
        page would notice otherwise, and whoever is shut out need not start one.
    """

    def __init__(
        self,
        app: ASGIApp,
        known: SignedIn = signed_in,
        guarded: Callable[[], bool] = lambda: True,
        still_good: Callable[[str], bool] = lambda _given_for: True,
    ) -> None:
        self._app, self._known, self._guarded, self._still_good = app, known, guarded, still_good

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        session_id = upload_session(scope)
        if scope["type"] == "websocket":
            # A browser whose connection was cut names its session in the third place.
            session_id = next(iter(scope.get("subprotocols", ())[2:3]), "")
        if session_id is None or await anyio.to_thread.run_sync(self._may_send, session_id):
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await self._listen(scope, receive, send)
            return
        # What is left of the body is thrown away by the server, piece by piece as it comes; the client has its answer.
        if scope["method"] != "OPTIONS":
            await PlainTextResponse(_REFUSAL, 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _may_send(self, session_id: str) -> bool:
        try:
            if not self._guarded():
                return True
            given_for = self._known.given_for(session_id)
            return given_for is not None and self._still_good(given_for)
        except StorageTrouble as error:
            log.warning("whether somebody has signed in cannot be asked: %s", error)
            return False

    async def _listen(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection, header = secrets.token_hex(16), CONNECTION_HEADER.encode()
        headers = [(name, value) for name, value in scope["headers"] if name.lower() != header]
        scope = {**scope, "headers": [*headers, (header, connection.encode())]}
        with anyio.CancelScope() as stay:
            self._known.remember(connection, _narrow(receive), stay.cancel)
            try:
                await self._app(scope, receive, send)
            finally:
                self._known.forget(connection)
        if stay.cancelled_caught:
            # Closed already by the page's own side.
            with suppress(RuntimeError):
                await send({"type": "websocket.close", "code": 1013, "reason": "Too many pages are open. Try again."})


def _narrow(receive: Receive) -> Callable[[], None]:
    """Only short messages may arrive from now on; returns what ends that."""
    # An application is given messages that have arrived whole; what may arrive at all only uvicorn's protocol bounds.
    frames: Any = getattr(getattr(receive, "__self__", None), "conn", None)
    usual = getattr(frames, "max_message_size", None)
    if usual is None:
        return lambda: None
    frames.max_message_size = min(usual, STRANGER_MESSAGE_BYTES)
    return lambda: setattr(frames, "max_message_size", usual)


def upload_session(scope: Scope) -> str | None:
    """The session for which a request brings or removes a file by Streamlit's upload route; None for all others."""
    if scope["type"] != "http":
        return None
    # The last four parts, whatever path the server stands under.
    parts: list[str] = scope["path"].split("/")[-4:]
    return parts[2] if len(parts) == 4 and parts[:2] == ["_stcore", "upload_file"] else None
