"""Who calls: keys are exchanged for signed tokens, and a token is good only as long as its key.

Nothing here reads a cookie. A page that a person happens to have open can therefore never call the API in their name.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Form, HTTPException, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from itsdangerous import BadData, URLSafeTimedSerializer
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from detector.api.schemas import Words
from detector.storage import keys
from detector.storage.acting import API, MANAGE, Actor, needs
from detector.storage.database import Database, now
from detector.workspace import Workspace

TOKEN_SECONDS = 86_400

#: How long a wrong pair waits for its answer. The secret has 256 random bits and cannot be guessed; this only keeps
#: a broken program from asking in a tight loop.
WRONG_PAIR_SECONDS = 0.3

_WRONG_PAIR = "The client id and secret are not those of an active key. Make a key on the API page."
_NO_TOKEN = (
    "This call needs the header 'Authorization: Bearer <token>'. Get a token on the API page or from /connect/token."
)
_BAD_TOKEN = "The token is not valid, has expired, or its key was revoked. Get a new one from /connect/token."

#: Reads the header, and documents it.
bearer = HTTPBearer(auto_error=False, description="A token from /connect/token, or from the API page.")

Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]


@dataclass(frozen=True)
class Caller:
    """The key in whose name a request comes."""

    key_id: str
    name: str
    role: str = MANAGE
    calls_per_minute: int | None = None

    @property
    def actor(self) -> Actor:
        """In whose name its writes are done."""
        return Actor(self.name, self.role, API, f"key:{self.key_id}")


class Token(BaseModel):
    access_token: str
    token_type: Literal["Bearer"] = "Bearer"
    expires_in: int = TOKEN_SECONDS


class Refusal(BaseModel):
    message: str


def issue_token(db: Database, key_id: str) -> str:
    """A token in the name of a key, good for a day or until the key is revoked."""
    return _serializer(db).dumps(key_id)


@needs(MANAGE, "making a token")
def make_token(db: Database, key_id: str) -> str:
    """As `issue_token`, for whoever does not show the key's secret."""
    return issue_token(db, key_id)


def read_token(db: Database, token: str) -> Caller | None:
    """Whom a token stands for; None when it is foreign, changed or expired, or its key is not in force (any more).

    Raises KeyExpired where the key's time is over.
    """
    try:
        key_id, made_at = _serializer(db).loads(token, return_timestamp=True)
    except BadData:
        return None
    # Its time is ours, as the signature says: one in the future means that the clock was set back since. The
    # serializer's own check would refuse it; after a day it has expired either way.
    if abs(now() - made_at.timestamp()) > TOKEN_SECONDS:
        return None
    # Asked of the database each time: a revoked key's token is refused at once, in every process.
    key = keys.find_active(db, key_id) if isinstance(key_id, str) else None
    return Caller(key.id, key.name, key.role, key.calls_per_minute) if key is not None else None


def caller(request: Request, credentials: Credentials) -> Caller:
    """FastAPI dependency: the key that calls, from the ``Authorization`` header and nothing else.

    The application must hold its workspace as ``app.state.workspace`` and answer an `HTTPException` with
    ``{"message": detail}``.

    Raises
    ------
    HTTPException
        401 without a valid token.
    KeyExpired, TooManyCalls
    """
    known: Caller | None = getattr(request.state, "caller", None)
    if known is not None:
        return known
    if credentials is None or not credentials.credentials:
        raise _unauthorized(_NO_TOKEN)
    found = read_token(request.app.state.workspace.db, credentials.credentials)
    if found is None:
        raise _unauthorized(_BAD_TOKEN)
    # At once: also a call that is refused is one of which somebody should know whose it was.
    request.state.caller = found
    request.app.state.call_rates.count(found.key_id, found.calls_per_minute)
    return found


def token_router(ws: Workspace) -> APIRouter:
    """``POST /connect/token``: a client id and secret for a token."""
    router = APIRouter()

    @router.post(
        "/connect/token",
        tags=["Authentication"],
        summary="Exchange a key for a token",
        responses={status: {"model": Refusal} for status in (400, 401, 408, 413)},
    )
    async def token(
        client_id: Annotated[Words, Form()],
        client_secret: Annotated[Words, Form()],
        grant_type: Annotated[str, Form(description="Always client_credentials.")],
    ) -> Token:
        if grant_type != "client_credentials":
            raise HTTPException(400, "grant_type must be client_credentials.")
        key = await run_in_threadpool(keys.check_secret, ws.db, client_id, client_secret)
        if key is None:
            await asyncio.sleep(WRONG_PAIR_SECONDS)
            raise _unauthorized(_WRONG_PAIR)
        return Token(access_token=await run_in_threadpool(issue_token, ws.db, key.id))

    return router


def _unauthorized(sentence: str) -> HTTPException:
    return HTTPException(401, sentence, headers={"WWW-Authenticate": "Bearer"})


def _serializer(db: Database) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(
        db.secret("token_key"), salt="api-token", signer_kwargs={"digest_method": hashlib.sha256}
    )
