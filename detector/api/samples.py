"""Routes of a function's samples and their annotations."""

from __future__ import annotations

import math
import re
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from detector.api.dependencies import (
    AskFirst,
    Poster,
    PostPlaces,
    TheFunction,
    TheSample,
    Ws,
    errors,
    sample_response,
    signed_in,
)
from detector.api.error_responses import Refused
from detector.api.request_bodies import read_post
from detector.api.schemas import (
    Annotation,
    AnnotationRequest,
    Deleted,
    SampleConflict,
    SampleRequest,
    SampleResponse,
    Words,
    plain,
    prefixed,
)
from detector.errors import Conflict, InvalidInput, NotFound
from detector.operations.labels import give_label
from detector.operations.samples import delete_samples
from detector.storage import functions, samples
from detector.storage.acting import LABEL, require
from detector.storage.known_labels import no_label
from detector.storage.samples import Position, SampleFilter, Sort

MAX_BATCH = 1000

router = APIRouter(
    prefix="/v1/functions/{functionId}/samples",
    dependencies=[Depends(signed_in)],
    route_class=AskFirst,
    tags=["Samples"],
)

_CURSOR = re.compile(r"(?:(?P<value>-|[0-9.e+-]{1,32})_)?(?P<sequence>[0-9]{1,18})")

# PostgreSQL counts samples in 32 bits, and compares nothing larger with them.
_MAX_SEQUENCE = 2**31 - 1


class SortBy(StrEnum):
    CREATION = "creation"
    ANNOTATION = "annotation"
    CONFIDENCE = "confidence"


class SortOrder(StrEnum):
    ASCENDING = "ascending"
    DESCENDING = "descending"


_SORTS = {
    (SortBy.CREATION, SortOrder.ASCENDING): Sort.OLDEST,
    (SortBy.CREATION, SortOrder.DESCENDING): Sort.NEWEST,
    (SortBy.ANNOTATION, SortOrder.ASCENDING): Sort.ANNOTATED_FIRST,
    (SortBy.ANNOTATION, SortOrder.DESCENDING): Sort.ANNOTATED_LAST,
    (SortBy.CONFIDENCE, SortOrder.ASCENDING): Sort.LEAST_CONFIDENT,
    (SortBy.CONFIDENCE, SortOrder.DESCENDING): Sort.MOST_CONFIDENT,
}

_POST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": SampleRequest.inline_schema()},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["data"],
                    "properties": {
                        "data": {"type": "string", "format": "binary"},
                        "labelName": {"type": "string"},
                        "externalId": {"type": "string"},
                    },
                }
            },
        },
    }
}


@router.post(
    "",
    responses=errors(404, 408, 429, status_409=SampleConflict),
    response_model_exclude_none=True,
    openapi_extra=_POST_BODY,
)
async def create_sample(
    request: Request, ws: Ws, poster: Poster, places: PostPlaces, function: TheFunction
) -> SampleResponse:
    """Add one image. Bytes that the function has already are a 409 with the sample's id; nothing about it changes."""
    # Before anything is read of what is sent.
    require(LABEL, "putting pictures among the samples")
    with places.place():
        post = await read_post(request, ws.settings, function.id)
        try:
            sample_id = await run_in_threadpool(poster.post, post)
        except Conflict as error:
            raise Refused(409, str(error), existingSampleId=prefixed("sample", error.existing_id)) from error
    sample = await run_in_threadpool(samples.get_sample, ws.db, sample_id)
    return sample_response(request, ws, sample)


@router.get("", responses=errors(404), response_model_exclude_none=True)
def list_samples(
    request: Request,
    response: Response,
    ws: Ws,
    function: TheFunction,
    batch_size: Annotated[int, Query(alias="batchSize", ge=1, le=MAX_BATCH)] = 100,
    sort_by: Annotated[SortBy, Query(alias="sortBy")] = SortBy.CREATION,
    sort_order: Annotated[SortOrder, Query(alias="sortOrder")] = SortOrder.DESCENDING,
    annotated: bool | None = None,
    predicted: bool | None = None,
    annotation_label_id: Annotated[str | None, Query(alias="annotationLabelId")] = None,
    prediction_label_id: Annotated[str | None, Query(alias="predictionLabelId")] = None,
    agree: Annotated[bool | None, Query(alias="predictionAndAnnotationAgree")] = None,
    source: Words | None = None,
    external_id: Annotated[Words | None, Query(alias="externalId")] = None,
    after: Annotated[str | None, Query(description="Where the page before ended; from its Link header.")] = None,
) -> list[SampleResponse]:
    """Samples by filter and order. More pages follow through the Link header with rel="next"."""
    position = _position(after)
    try:
        where = SampleFilter(
            predicted=_which(predicted, prediction_label_id),
            annotated=_which(annotated, annotation_label_id),
            agrees=agree,
            source=source,
            external_id=external_id,
        )
    except NotFound:
        # A label that cannot be, or without and with a label at once: no sample is like that.
        return []
    page, end = samples.samples_after(ws.db, function.id, where, _SORTS[(sort_by, sort_order)], batch_size, position)
    if end is not None:
        query = [(name, value) for name, value in request.query_params.multi_items() if name != "after"]
        address = f"{quote(request.url.path)}?{urlencode([*query, ('after', _cursor(end))])}"
        response.headers["Link"] = f'<{address}>; rel="next"'
    return [sample_response(request, ws, sample) for sample in page]


@router.get("/{sampleId}", responses=errors(404), response_model_exclude_none=True)
def read_sample(request: Request, ws: Ws, sample: TheSample) -> SampleResponse:
    """One sample."""
    return sample_response(request, ws, sample)


@router.delete("/{sampleId}", responses=errors(404))
def delete_sample(ws: Ws, sample: TheSample) -> Deleted:
    """Delete a sample; it leaves the next training."""
    if not delete_samples(ws, sample.function_id, [sample.id]).changed:
        raise NotFound("sample", sample.id)
    return Deleted(id=prefixed("sample", sample.id))


@router.put("/{sampleId}/annotation", responses=errors(404, 408, 429))
def annotate(ws: Ws, sample: TheSample, body: AnnotationRequest) -> Annotation:
    """Give a sample a label, or another one."""
    label = functions.find_label(ws.db, sample.function_id, body.label_name)
    if label is None:
        raise no_label(body.label_name.strip()[: functions.MAX_NAME])
    give_label(ws, sample.function_id, [sample.id], label, by="api")
    return Annotation(label_id=prefixed("label", label.id))


@router.delete("/{sampleId}/annotation", responses=errors(404))
def remove_annotation(ws: Ws, sample: TheSample) -> Deleted:
    """Take a sample's label away; where it has none, nothing happens."""
    give_label(ws, sample.function_id, [sample.id], None, by="api")
    return Deleted(id=prefixed("sample", sample.id))


def _which(there: bool | None, label_id: str | None) -> str | None:
    if label_id is not None:
        if there is False:
            raise NotFound("label", label_id)
        return plain("label", label_id)
    return {None: None, True: "any", False: "none"}[there]


def _cursor(position: Position) -> str:
    return f"{'-' if position.value is None else repr(position.value)}_{position.sequence}"


def _position(cursor: str | None) -> Position | None:
    if cursor is None:
        return None
    match = _CURSOR.fullmatch(cursor)
    try:
        if match is not None:
            text = match["value"]
            value = None if text in (None, "-") else float(text)
            sequence = int(match["sequence"])
            if (value is None or math.isfinite(value)) and sequence <= _MAX_SEQUENCE:
                return Position(value, sequence)
    except ValueError:
        pass
    raise InvalidInput("after is not the end of a page. Follow the Link header of the page before.")
