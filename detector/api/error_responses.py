"""Errors as people and programs get them over HTTP: a status and ``{"message": one sentence}``, never a traceback."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from detector.errors import Busy, DetectorError, StorageTrouble
from detector.system.logs import JSON, current_request
from detector.web import failures
from detector.web.addresses import DOCUMENTATION, of_request

log = logging.getLogger(__name__)


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
    return failures.status_of(error)


def answer_errors(app: FastAPI) -> None:
    """Make ``app`` answer every exception in this module's form."""
    for kind in (
        DetectorError,
        Refused,
        HTTPException,
        RequestValidationError,
        ValidationError,
        ClientDisconnect,
        *failures.OF_THE_MACHINE,
        Exception,
    ):
        app.add_exception_handler(kind, _answer)


async def _answer(request: Request, error: Exception) -> Response:
    error = failures.named(error)
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
        body, headers = {"message": failures.said_over_the_network(error)}, failures.when_to_try_again(error)
    elif status == 500:
        # Not str(error): it may hold a path.
        log.error("unexpected error", exc_info=error)
        body = {"message": failures.UNEXPECTED}
    if _names_requests(request):
        body = {**body, "request_id": current_request()}
    return JSONResponse(body, status, headers)


def _names_requests(request: Request) -> bool:
    """Only where the log names them too; the header names them always."""
    ws = getattr(request.app.state, "workspace", None)
    return ws is not None and ws.settings.log == JSON and bool(current_request())


def _first_complaint(errors: Sequence[Any]) -> str:
    first = errors[0]
    if first["type"] in ("json_invalid", "model_attributes_type", "dict_type"):
        return "The request's body is not the JSON object that is expected."
    # What was sent is not repeated: it may be a whole image, or a secret.
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    # What our own checks say, pydantic begins with words of its own.
    return f"{where or 'The request'}: {first['msg'].removeprefix('Value error, ')}."
