"""Request bodies: bounded in size, parts and time, and images in whichever of the three ways they are sent."""

from __future__ import annotations

import base64
import binascii
import time
from dataclasses import dataclass
from pathlib import PurePosixPath

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from detector.api.wire import InvokeRequest, SampleFields, SampleRequest
from detector.errors import InvalidInput
from detector.importing.posting import Post
from detector.settings import Settings

#: Bodies without an image: names, labels with metadata, the fields of a token request.
SMALL_BODY_BYTES = 200_000
#: Room for the fields and boundaries around an image.
_AROUND_BYTES = 1_000_000
_FIELDS = 20
_FIELD_BYTES = 20_000
_NAME_CHARACTERS = 200

_GUARD = "detector.body_guard"


class BoundedBodies:
    """ASGI middleware: a body is cut off where it grows too large or arrives too slowly.

    Parameters
    ----------
    seconds : float
        From the start of the request to the last byte of its body.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app, self._seconds = app, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            guard = _Guard(receive, self._seconds)
            scope[_GUARD] = guard
            receive = guard
        await self._app(scope, receive, send)


class _Guard:
    def __init__(self, receive: Receive, seconds: float) -> None:
        self._receive, self._seconds = receive, seconds
        self._deadline = time.monotonic() + seconds
        self._received, self._complete = 0, False
        self.limit, self.status = SMALL_BODY_BYTES, 413

    async def __call__(self) -> Message:
        # After the body this waits for the end of the connection, however long the answer takes.
        if self._complete:
            return await self._receive()
        try:
            with anyio.fail_after(max(self._deadline - time.monotonic(), 0)):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(
                408,
                f"The request did not arrive within {self._seconds:,.0f} s. Send it again.",
                {"Connection": "close"},
            ) from None
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)
            if self._received > self.limit:
                raise HTTPException(
                    self.status,
                    f"The request is too large: at most {self.limit / 1e6:,.1f} MB are accepted here. Send less.",
                )
        return message


@dataclass(frozen=True)
class Picture:
    """One image as it came; ``name`` is empty where none was given."""

    name: str
    data: bytes


async def read_post(request: Request, settings: Settings, function_id: str) -> Post:
    """The sample that a request brings, as JSON or multipart. Raises InvalidInput, ValidationError, HTTPException."""
    _expect_image(request, settings)
    kind = _media_type(request)
    if kind == "multipart/form-data":
        async with request.form(max_files=1, max_fields=_FIELDS, max_part_size=_FIELD_BYTES) as form:
            picture = await _picture(form)
            fields = SampleFields.model_validate(
                {name: form[name] for name in ("labelName", "externalId") if form.get(name)}
            )
        return Post(function_id, picture.data, picture.name, _trimmed(fields.label_name), fields.external_id)
    if not _is_json(kind):
        raise InvalidInput(
            "A sample is posted as multipart/form-data with the file as data, or as JSON with a data URI as data."
        )
    body = await request.body()
    wire = await run_in_threadpool(SampleRequest.model_validate_json, body)
    data = await run_in_threadpool(decode_data_uri, wire.data)
    return Post(
        function_id,
        data,
        "",
        _trimmed(wire.annotation.label_name if wire.annotation else None),
        wire.external_id or None,
        tuple(item.sample_set_id for item in wire.sample_sets or ()),
    )


async def read_picture(request: Request, settings: Settings) -> Picture:
    """The image of an invoke: multipart, JSON with a data URI, or the bare bytes under any other type.

    Bare bytes come with all kinds of types: curl's ``--data-binary`` calls them urlencoded.
    """
    _expect_image(request, settings)
    kind = _media_type(request)
    if kind == "multipart/form-data":
        async with request.form(max_files=1, max_fields=_FIELDS, max_part_size=_FIELD_BYTES) as form:
            return await _picture(form)
    body = await request.body()
    if _is_json(kind):
        wire = await run_in_threadpool(InvokeRequest.model_validate_json, body)
        return Picture("", await run_in_threadpool(decode_data_uri, wire.data))
    return Picture("", body)


async def read_pictures(request: Request, settings: Settings) -> list[Picture]:
    """All files of a multipart request, in their order."""
    guard = request.scope[_GUARD]
    guard.limit, guard.status = settings.max_request_mb * 1_000_000, 413
    if _media_type(request) != "multipart/form-data":
        raise InvalidInput("Several images are sent as the files of one multipart/form-data request.")
    async with request.form(max_files=settings.batch_files, max_fields=_FIELDS, max_part_size=_FIELD_BYTES) as form:
        files = [item for _, item in form.multi_items() if isinstance(item, UploadFile)]
        if not files:
            raise InvalidInput("The request holds no files. Send each image as a file part named data.")
        return [Picture(_file_name(file), await file.read()) for file in files]


def decode_data_uri(text: str) -> bytes:
    """The bytes of a base64 data URI, whatever media type it names. Raises InvalidInput."""
    head, comma, encoded = text.partition(",")
    if not (comma and head[:5].lower() == "data:" and head.lower().endswith(";base64")):
        raise InvalidInput("data is not a data URI with base64, such as data:image/jpeg;base64,... .")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput("The base64 of the data URI is damaged or cut off. Encode the image again.") from error


async def _picture(form: FormData) -> Picture:
    for name in ("data", "image"):
        found = form.get(name)
        if isinstance(found, UploadFile):
            return Picture(_file_name(found), await found.read())
    raise InvalidInput("The request holds no file. Send the image as a file part named data.")


def _expect_image(request: Request, settings: Settings) -> None:
    guard = request.scope[_GUARD]
    # 400 as for any image that cannot be taken. base64 makes four bytes of three.
    guard.limit, guard.status = settings.max_image_bytes * 4 // 3 + _AROUND_BYTES, 400


def _file_name(file: UploadFile) -> str:
    name = PurePosixPath((file.filename or "").replace("\\", "/")).name
    return "".join(character for character in name if character.isprintable())[:_NAME_CHARACTERS]


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _is_json(media_type: str) -> bool:
    return media_type == "application/json" or media_type.endswith("+json")


def _trimmed(name: str | None) -> str | None:
    return name.strip() if name is not None else None
