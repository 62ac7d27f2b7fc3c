"""Lines of the log as JSON, for whoever gathers them: each with the request or the job that it belongs to.

Who writes a line knows neither; both are noted here by whoever begins a request or a job, for all that is called from
there.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

JSON, TEXT = "json", "text"

_request: ContextVar[str] = ContextVar("request", default="")
_job: ContextVar[str] = ContextVar("job", default="")

#: What may come from outside and stand in a line; anything else is left out, and another one made.
_SANE = re.compile(r"[A-Za-z0-9._-]{1,64}")
#: A traceback of a deep recursion has thousands of lines.
_LONGEST = 20_000
#: Loggers with handlers of their own, which bring their lines past everybody else's.
_OTHERS = ("streamlit", "uvicorn", "websockets")
#: Whose lines about ordinary things are written too; of libraries only warnings are.
OURS = "detector"


def request_id_of(said: str | None) -> str:
    """The id of a request: what its caller says, where that is letters, digits and ``._-`` only; else a new one."""
    return said if said is not None and _SANE.fullmatch(said) else secrets.token_hex(8)


@contextmanager
def in_request(request_id: str) -> Iterator[None]:
    """Lines that are written from here belong to this request."""
    token = _request.set(request_id)
    try:
        yield
    finally:
        _request.reset(token)


@contextmanager
def in_job(job_id: str) -> Iterator[None]:
    """Lines that are written from here belong to this job."""
    token = _job.set(job_id)
    try:
        yield
    finally:
        _job.reset(token)


def note_job(job_id: str) -> None:
    """For a thread that does nothing but jobs, one after the other: lines belong to this one from now on."""
    _job.set(job_id)


def current_request() -> str:
    """The id of the request that is answered here; empty outside of one."""
    return _request.get()


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and where known request_id, job_id and the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage()[:_LONGEST],
        }
        for name, known in (("request_id", _request.get()), ("job_id", _job.get())):
            if known:
                line[name] = known
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)[-_LONGEST:]
        # Not as it is: a line ends where some readers see one of the further line ends of Unicode.
        return json.dumps(line, default=str)


def set_up_logs(kind: str) -> None:
    """Have this process write its log lines as `TEXT`, as Python and Streamlit do by themselves, or as `JSON`.

    May be called again: loggers that came since are brought into line then.
    """
    if kind != JSON:
        return
    root = logging.getLogger()
    if not any(isinstance(handler.formatter, JsonLines) for handler in root.handlers):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonLines())
        root.addHandler(handler)
        logging.captureWarnings(True)
    logging.getLogger(OURS).setLevel(logging.INFO)
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if name.split(".")[0] in _OTHERS and isinstance(logger, logging.Logger):
            for found in logger.handlers:
                found.setFormatter(JsonLines())
