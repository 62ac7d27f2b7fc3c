"""Request bodies: bounded in size, parts, time and memory, and images in whichever of the three ways they are sent."""

from __future__ import annotations

import asyncio
import binascii
import io
import re
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from tempfile import SpooledTemporaryFile
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from detector.api.admission import FREE_BYTES, BodyMemory, Share
from detector.api.schemas import InvokeRequest, SampleFields, SampleRequest
from detector.errors import BodiesBusy, InvalidInput
from detector.importing.posting import Post
from detector.settings import Settings
from detector.system.memory import LARGE_PIECE, give_back_freed_memory
from detector.web.request_heads import announced_length

#: Bodies without an image: names, labels with metadata.
SMALL_BODY_BYTES = 200_000
#: What a stranger may send: the fields of a token request.
TOKEN_BODY_BYTES = 10_000
#: Room for the fields and boundaries around an image.
_AROUND_BYTES = 1_000_000
_FIELDS = 20
_FIELD_BYTES = 20_000
_NAME_CHARACTERS = 200

# How much memory a body takes at its worst moment, as a multiple of its length. JSON: the body, its text, and while
# the text is decoded that text without line breaks or the bytes. Bare bytes are gathered where they stay, and parts lie
# in temporary files until they are read.
_JSON_COPIES = 3.0
_ONE_COPY = 1.0
# A body of unknown length asks for its share in steps.
_STEP = 1_000_000

_GUARD = "detector.body_guard"

_HEAD = re.compile(r"\s*data:[^,]{0,1000};\s*base64\s*,", re.IGNORECASE)
# The alphabet for addresses (RFC 4648, section 5) as the common one, and space wherever it stands (RFC 2045).
_COMMON_ALPHABET = bytes.maketrans(b"-_", b"+/")
_SPACE = b" \t\r\n\f\v"

_T = TypeVar("_T")


class BoundedBodies:
    """ASGI middleware: a body is cut off where it grows too large, arrives too slowly, or finds the memory taken.

    Parameters
    ----------
    seconds : float
        From the start of the request to the last byte of its body.
    memory : BodyMemory
    """

    def __init__(self, app: ASGIApp, seconds: float, memory: BodyMemory) -> None:
        self._app, self._seconds, self._memory = app, seconds, memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        guard = scope[_GUARD] = BodyGuard(scope, receive, self._seconds, self._memory.share())

        async def answer(message: Message) -> None:
            # Whoever is answered has been served; a refused caller may go on sending for a while.
            guard.share.release()
            await send(message)

        try:
            await self._app(scope, guard, answer)
        finally:
            guard.share.release()
            # Of many small bodies at once as much is left behind as of a large one.
            if self._memory.was_large(LARGE_PIECE):
                await run_in_threadpool(give_back_freed_memory)


class BodyGuard:
    """What a request reads its body through. ``limit`` and ``copies`` may be set until the first byte is asked for.

    Attributes
    ----------
    announced : int or None
        The body's length as the request says it; None where it does not.
    limit, status : int
        The most bytes, and what a larger body is answered with.
    copies : float
        Memory that a byte of the body takes at the worst moment.
    share : Share
    """

    def __init__(self, scope: Scope, receive: Receive, seconds: float, share: Share) -> None:
        self._receive, self._seconds = receive, seconds
        self._deadline = time.monotonic() + seconds
        self._received, self._begun, self._complete = 0, False, False
        self.announced = announced_length(Headers(scope=scope))
        self.limit = TOKEN_BODY_BYTES if scope["path"].endswith("/connect/token") else SMALL_BODY_BYTES
        self.status, self.copies = 413, _JSON_COPIES
        self.share = share

    async def __call__(self) -> Message:
        # After the body this waits for the end of the connection, however long the answer takes.
        if self._complete:
            return await self._receive()
        self.begin()
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
            if self.announced is None or self._received > self.announced:
                self._admit(self._received)
        return message

    def begin(self) -> None:
        """Ask for what is announced, once; before room is made for it, since anything can be announced."""
        if not self._begun:
            self._begun = True
            self._admit(self.announced or 0)

    async def _gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _admit(self, size: int) -> None:
        if size > self.limit:
            raise HTTPException(
                self.status,
                f"The request is too large: at most {self.limit / 1e6:,.1f} MB are accepted here. Send less.",
            )
        if size <= FREE_BYTES:
            return
        if self.announced is None:
            size = min(-(-size // _STEP) * _STEP, self.limit)
        try:
            self.share.hold(int(size * self.copies))
        except BodiesBusy as busy:
            # Not as it is: FastAPI, which reads some of the bodies, makes a 400 of all that it does not know.
            raise HTTPException(429, str(busy), {"Retry-After": str(busy.retry_seconds)}) from None

    async def or_gone(self, work: Future[_T], seconds: float) -> _T:
        """The result of ``work`` for a request whose body is complete.

        Work that has not begun is given up when the time is over or the caller goes away. What has begun goes on, and
        keeps its share until it ends.

        Raises
        ------
        TimeoutError, ClientDisconnect
        """
        result = asyncio.wrap_future(work)
        if not self.share.held:
            return await asyncio.wait_for(result, seconds)
        gone = asyncio.ensure_future(self._gone())
        try:
            either: set[asyncio.Future[Any]] = {result, gone}
            await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if result.done():
                return result.result()
            if not work.cancel():
                self.share.keep_until(work)
            if gone.done():
                raise ClientDisconnect
            raise TimeoutError
        finally:
            gone.cancel()
            result.cancel()


def body_guard(request: Request) -> BodyGuard:
    """What this request's body is read through."""
    guard: BodyGuard = request.scope[_GUARD]
    return guard


@dataclass(frozen=True)
class Picture:
    """One image as it came; ``name`` is empty where none was given."""

    name: str
    data: bytes


async def read_post(request: Request, settings: Settings, function_id: str) -> Post:
    """The sample that a request brings, as JSON or multipart. Raises InvalidInput, ValidationError, HTTPException."""
    kind = _expect_image(request, settings)
    if kind == "multipart/form-data":
        async with _form(request, 1) as form:
            fields = SampleFields.model_validate(
                {name: form[name] for name in ("labelName", "externalId") if form.get(name)}
            )
            picture = await _picture(form)
        return Post(function_id, picture.data, picture.name, _trimmed(fields.label_name), fields.external_id)
    if not _is_json(kind):
        raise InvalidInput(
            "A sample is posted as multipart/form-data with the file as data, or as JSON with a data URI as data."
        )

    def read(body: bytes) -> Post:
        wire = SampleRequest.model_validate_json(body)
        del body
        return Post(
            function_id,
            decode_data_uri(wire.take_data()),
            "",
            _trimmed(wire.annotation.label_name if wire.annotation else None),
            wire.external_id or None,
            tuple(item.sample_set_id for item in wire.sample_sets or ()),
        )

    post = await _in_thread(read, [await _body(request)])
    body_guard(request).share.hold(len(post.data))
    return post


async def read_picture(request: Request, settings: Settings) -> Picture:
    """The image of an invoke: multipart, JSON with a data URI, or the bare bytes under any other type.

    Bare bytes come with all kinds of types: curl's ``--data-binary`` calls them urlencoded.
    """
    kind = _expect_image(request, settings)
    if kind == "multipart/form-data":
        async with _form(request, 1) as form:
            return await _picture(form)
    if not _is_json(kind):
        return Picture("", await _body(request))

    def read(body: bytes) -> Picture:
        wire = InvokeRequest.model_validate_json(body)
        del body
        return Picture("", decode_data_uri(wire.take_data()))

    picture = await _in_thread(read, [await _body(request)])
    body_guard(request).share.hold(len(picture.data))
    return picture


async def read_pictures(request: Request, settings: Settings) -> list[Picture]:
    """All files of a multipart request, in their order."""
    guard = body_guard(request)
    guard.limit, guard.status, guard.copies = settings.max_request_mb * 1_000_000, 413, _ONE_COPY
    if _media_type(request) != "multipart/form-data":
        raise InvalidInput("Several images are sent as the files of one multipart/form-data request.")
    async with _form(request, settings.batch_files) as form:
        files = [item for _, item in form.multi_items() if isinstance(item, UploadFile)]
        if not files:
            raise InvalidInput("The request holds no files. Send each image as a file part named data.")
        return [Picture(_file_name(file), await file.read()) for file in files]


def decode_data_uri(text: str) -> bytes:
    """The bytes of a base64 data URI, whatever media type it names.

    The base64 may be as programs write it and browsers read it: in lines, with space around it, without the ``=`` at
    its end, in the alphabet for addresses, or with the percent signs of an address.

    Raises
    ------
    InvalidInput
        It is no such address, or other characters stand in it, or some are missing.
    """
    head = _HEAD.match(text)
    if head is None:
        raise InvalidInput("data is not a data URI with base64, such as data:image/jpeg;base64,... .")
    try:
        encoded = text[head.end() :].encode("ascii")
        try:
            return binascii.a2b_base64(encoded, strict_mode=True)
        except binascii.Error:
            if b"%" in encoded:
                encoded = unquote_to_bytes(encoded)
            encoded = encoded.translate(_COMMON_ALPHABET, _SPACE)
            encoded += b"=" * (-len(encoded) % 4)
            return binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError as error:
        raise InvalidInput("The base64 of the data URI is damaged or cut off. Encode the image again.") from error


@asynccontextmanager
async def _form(request: Request, files: int) -> AsyncIterator[FormData]:
    """A multipart body; its files lie on disk where they are large, and are gone at the end."""
    try:
        form = await request.form(max_files=files, max_fields=_FIELDS, max_part_size=_FIELD_BYTES)
    except ValueError as error:
        # A charset that is none of text, such as "undefined".
        raise InvalidInput("The fields of the request are not text. Send them in UTF-8.") from error
    try:
        yield form
    finally:
        await form.close()


async def _body(request: Request) -> bytes:
    """The whole body, in memory once: Starlette gathers it in pieces, and has it twice when it joins them."""
    guard = body_guard(request)
    guard.begin()
    length = guard.announced
    # Of unknown length: on disk where it is large, as parts are. What grows in memory leaves holes behind as large as
    # itself. Closed on the way out in any case, or what an exception holds would hold the bytes.
    with SpooledTemporaryFile(_STEP) if length is None else io.BytesIO() as gathered:
        if length is not None and length > FREE_BYTES:
            gathered.seek(length - 1)
            gathered.write(b"\0")
            gathered.seek(0)
        async for piece in request.stream():
            gathered.write(piece)
        gathered.truncate()
        if isinstance(gathered, io.BytesIO):
            return gathered.getvalue()
        gathered.seek(0)
        return gathered.read()


async def _in_thread(read: Callable[[bytes], _T], body: list[bytes]) -> _T:
    # Taken out of the list by the thread: no frame that waits here holds on to what was read.
    return await run_in_threadpool(lambda: read(body.pop()))


async def _picture(form: FormData) -> Picture:
    for name in ("data", "image"):
        found = form.get(name)
        if isinstance(found, UploadFile):
            return Picture(_file_name(found), await found.read())
    raise InvalidInput("The request holds no file. Send the image as a file part named data.")


def _expect_image(request: Request, settings: Settings) -> str:
    """Set the bounds for one image; returns the body's media type."""
    kind = _media_type(request)
    guard = body_guard(request)
    # 400 as for any image that cannot be taken. base64 makes four bytes of three, and some write four for a line break.
    guard.limit, guard.status = int(settings.max_image_bytes * 1.45) + _AROUND_BYTES, 400
    guard.copies = _JSON_COPIES if _is_json(kind) else _ONE_COPY
    return kind


def _file_name(file: UploadFile) -> str:
    name = PurePosixPath((file.filename or "").replace("\\", "/")).name
    return "".join(character for character in name if character.isprintable())[:_NAME_CHARACTERS]


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _is_json(media_type: str) -> bool:
    return media_type == "application/json" or media_type.endswith("+json")


def _trimmed(name: str | None) -> str | None:
    return name.strip() if name is not None else None
