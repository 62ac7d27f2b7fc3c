"""Errors as people and programs get them over HTTP: a status and ``{"message": one sentence}``, never a traceback."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, Response

from detector.addresses import DOCUMENTATION, of_request
from detector.errors import (
    BackboneUnavailable,
    Busy,
    Conflict,
    DetectorError,
    ImageError,
    InvalidInput,
    MadeAgain,
    NoModel,
    NotFound,
    NotTrainable,
    StorageDamaged,
    StorageFull,
    StorageTrouble,
    StorageUnavailable,
)
from detector.storage.trouble import storage_trouble

log = logging.getLogger(__name__)

_STATUS: dict[type[DetectorError], int] = {
    ImageError: 400,
    InvalidInput: 400,
    NotFound: 404,
    Conflict: 409,
    NoModel: 409,
    NotTrainable: 409,
    Busy: 429,
    BackboneUnavailable: 503,
    MadeAgain: 503,
    StorageFull: 507,
    StorageTrouble: 503,
}

#: Errors of the machine, which may be about the place where things are stored.
_OF_THE_MACHINE = (OSError, SQLAlchemyError)

_UNEXPECTED = "Something unexpected went wrong; the server's log has the details."


class Refused(Exception):
    """An answer that says more than a sentence: ``facts`` stand beside the message."""

    def __init__(self, status: int, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.status, self.body = status, {"message": message, **facts}


def status_of(error: BaseException) -> int:
    """The HTTP status that an exception is answered with."""
    if isinstance(error, HTTPException):
        return error.status_code
    if isinstance(error, Refused):
        return error.status
    if isinstance(error, RequestValidationError | ValidationError | ClientDisconnect):
        return 400
    error = storage_trouble(error) or error
    return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)


def answer_errors(app: FastAPI) -> None:
    """Make ``app`` answer every exception in this module's form."""
    for kind in (
        DetectorError,
        Refused,
        HTTPException,
        RequestValidationError,
        ValidationError,
        ClientDisconnect,
        *_OF_THE_MACHINE,
        Exception,
    ):
        app.add_exception_handler(kind, _answer)


def said_over_the_network(error: DetectorError) -> str:
    """The sentence of an error for whoever is not at the machine: a database's own words may hold paths and hosts."""
    if isinstance(error, StorageDamaged):
        return "The database is damaged. Whoever runs this server finds what to do in its log."
    if isinstance(error, StorageUnavailable):
        return (
            "What is stored here cannot be written or read just now. Try again in a moment; if it stays so, whoever "
            "runs this server finds the reason in its log."
        )
    return str(error)


def answers_beside_the_api() -> dict[Any, Any]:
    """Handlers of exceptions for the routes beside the API, such as those of pictures, exports and uploads."""
    return dict.fromkeys((DetectorError, *_OF_THE_MACHINE), _answer_in_text)


def note_trouble(error: DetectorError) -> None:
    """Write into the log what is not said over the network."""
    log.error("%s", error)


async def _answer(request: Request, error: Exception) -> Response:
    error = _named(error)
    status = status_of(error)
    headers: Mapping[str, str] | None = None
    body: dict[str, Any] = {"message": str(error)}
    if isinstance(error, HTTPException):
        body, headers = {"message": error.detail}, error.headers
    elif isinstance(error, Refused):
        body = error.body
    elif isinstance(error, RequestValidationError | ValidationError):
        body = {"message": f"{_first_complaint(error.errors())} See {of_request(request)}{DOCUMENTATION}."}
    elif isinstance(error, ClientDisconnect):
        # For the log of a proxy, if for anybody.
        body = {"message": "The request was cut off. Send it again."}
    elif isinstance(error, Busy):
        headers = {"Retry-After": str(error.retry_seconds)}
    elif isinstance(error, StorageTrouble):
        body, headers = {"message": said_over_the_network(error)}, _when_to_try_again(error)
    elif status == 500:
        # Not str(error): it may hold a path.
        log.error("unexpected error", exc_info=error)
        body = {"message": _UNEXPECTED}
    return JSONResponse(body, status, headers)


async def _answer_in_text(_request: Request, error: Exception) -> Response:
    error = _named(error)
    status = status_of(error)
    if isinstance(error, StorageTrouble):
        return PlainTextResponse(said_over_the_network(error), status, _when_to_try_again(error))
    if status == 500:
        log.error("unexpected error", exc_info=error)
        return PlainTextResponse(_UNEXPECTED, 500)
    return PlainTextResponse(str(error), status)


def _named(error: Exception) -> Exception:
    """The trouble that an error of the machine means, noted in the log; else the error itself."""
    found = storage_trouble(error) if isinstance(error, (StorageTrouble, *_OF_THE_MACHINE)) else None
    if found is not None:
        note_trouble(found)
    return found or error


def _when_to_try_again(error: StorageTrouble) -> dict[str, str]:
    return {"Retry-After": str(error.retry_seconds)} if error.passes else {}


def _first_complaint(errors: Sequence[Any]) -> str:
    first = errors[0]
    if first["type"] in ("json_invalid", "model_attributes_type", "dict_type"):
        return "The request's body is not the JSON object that is expected."
    # What was sent is not repeated: it may be a whole image, or a secret.
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    # What our own checks say, pydantic begins with words of its own.
    return f"{where or 'The request'}: {first['msg'].removeprefix('Value error, ')}."
