"""Routes of the verdicts that were kept: listed, read, deleted, and as a report."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import HTMLResponse

from detector.api.dependencies import TheFunction, Ws, errors, signed_in
from detector.api.evidence_schemas import RecordResponse
from detector.api.schemas import Deleted, Words, plain, prefixed
from detector.errors import InvalidInput, NotFound
from detector.evidence.report import CONTENT_SECURITY_POLICY, html_report
from detector.operations.records import delete_records
from detector.storage import records
from detector.storage.records import Place, Record

MAX_BATCH = 1000

router = APIRouter(
    prefix="/v1/functions/{functionId}/records",
    dependencies=[Depends(signed_in)],
    tags=["Records"],
)

_CURSOR = re.compile(r"(?P<moment>[0-9.e+]{1,32})_(?P<id>[0-9a-z]{1,32})")
_REPORT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/html": {"schema": {"type": "string"}}}, "description": "One HTML file"}
}


def _record(ws: Ws, function: TheFunction, record_id: Annotated[str, Path(alias="recordId")]) -> Record:
    return records.get_record(ws.db, function.id, plain("record", record_id))


TheRecord = Annotated[Record, Depends(_record)]


@router.get("", responses=errors(404), response_model_exclude_none=True)
def list_records(
    request: Request,
    response: Response,
    ws: Ws,
    function: TheFunction,
    batch_size: Annotated[int, Query(alias="batchSize", ge=1, le=MAX_BATCH)] = 100,
    search: Annotated[Words, Query(description="A part of the file's name or of the verdict.")] = "",
    after: Annotated[str | None, Query(description="Where the page before ended; from its Link header.")] = None,
) -> list[RecordResponse]:
    """The verdicts that were kept, the newest first. More pages follow through the Link header with rel="next"."""
    page, end = records.list_records(ws.db, function.id, batch_size, _place(after), search)
    if end is not None:
        query = [(name, value) for name, value in request.query_params.multi_items() if name != "after"]
        address = f"{quote(request.url.path)}?{urlencode([*query, ('after', f'{end.created_at!r}_{end.id}')])}"
        response.headers["Link"] = f'<{address}>; rel="next"'
    return [RecordResponse.of(record) for record in page]


@router.get("/{recordId}", responses=errors(404), response_model_exclude_none=True)
def read_record(record: TheRecord) -> RecordResponse:
    """One kept verdict with all that stood around it."""
    return RecordResponse.of(record)


@router.delete("/{recordId}", responses=errors(404))
def delete_record(ws: Ws, record: TheRecord) -> Deleted:
    """Delete a kept verdict for good."""
    if not delete_records(ws, record.function_id, [record.id]).changed:
        raise NotFound("record", record.id)
    return Deleted(id=prefixed("record", record.id))


# Not as the class of HTML: its media type would be documented for the errors too.
@router.get("/{recordId}/report", response_class=Response, responses={**errors(404), **_REPORT})
def read_report(record: TheRecord) -> HTMLResponse:
    """A kept verdict as one HTML file to print or to put into a folder; it asks no server for anything."""
    return HTMLResponse(
        html_report(record.to_json(), record.thumbnail),
        headers={
            "Content-Security-Policy": f"{CONTENT_SECURITY_POLICY}; frame-ancestors 'none'; sandbox",
            "Content-Disposition": f'attachment; filename="record-{record.id}.html"',
            "X-Content-Type-Options": "nosniff",
        },
    )


def _place(cursor: str | None) -> Place | None:
    if cursor is None:
        return None
    match = _CURSOR.fullmatch(cursor)
    try:
        if match is not None and math.isfinite(moment := float(match["moment"])):
            return Place(moment, match["id"])
    except ValueError:
        pass
    raise InvalidInput("after is not the end of a page. Follow the Link header of the page before.")
