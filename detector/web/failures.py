"""What went wrong, as it is said over the network: a status and one sentence, without a path or host of the machine."""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

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
    StoreUnavailable,
)
from detector.storage.trouble import storage_trouble
from detector.system.counters import count_one

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
OF_THE_MACHINE = (OSError, SQLAlchemyError)

UNEXPECTED = "Something unexpected went wrong; the server's log has the details."


def status_of(error: BaseException) -> int:
    """The HTTP status of an error of ours, or of the machine's; 500 for any other."""
    error = storage_trouble(error) or error
    return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)


def said_over_the_network(error: DetectorError) -> str:
    """The sentence of an error for whoever is not at the machine: a database's own words may hold paths and hosts."""
    if isinstance(error, StorageDamaged):
        return "The database is damaged. The server's log says what to do."
    if isinstance(error, StorageUnavailable) and not isinstance(error, StoreUnavailable):
        return (
            "What is stored here cannot be written or read just now. Try again in a moment; if it stays so, "
            "the server's log has the reason."
        )
    return str(error)


def answers_beside_the_api() -> dict[Any, Any]:
    """Handlers of exceptions for the routes beside the API, such as those of pictures, exports and uploads."""
    return dict.fromkeys((DetectorError, *OF_THE_MACHINE), _answer_in_text)


def note_trouble(error: DetectorError) -> None:
    """Write into the log what is not said over the network."""
    log.error("%s", error)


async def _answer_in_text(_request: Request, error: Exception) -> Response:
    error = named(error)
    status = status_of(error)
    if isinstance(error, StorageTrouble):
        return PlainTextResponse(said_over_the_network(error), status, when_to_try_again(error))
    if status == 500:
        log.error("unexpected error", exc_info=error)
        return PlainTextResponse(UNEXPECTED, 500)
    return PlainTextResponse(str(error), status)


def named(error: Exception) -> Exception:
    """The trouble that an error of the machine means, noted in the log; else the error itself."""
    found = storage_trouble(error) if isinstance(error, (StorageTrouble, *OF_THE_MACHINE)) else None
    if found is not None:
        note_trouble(found)
    count_one("errors", kind=type(found or error).__name__)
    return found or error


def when_to_try_again(error: StorageTrouble) -> dict[str, str]:
    """The header for a trouble that may pass."""
    return {"Retry-After": str(error.retry_seconds)} if error.passes else {}
