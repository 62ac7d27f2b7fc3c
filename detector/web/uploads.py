"""``PUT /uploads/<token>``: one archive, streamed to the spool, never whole in memory."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import anyio
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from detector.formatting import file_size
from detector.importing.spool import begin_part
from detector.storage.functions import find_live
from detector.storage.trouble import storage_trouble
from detector.web.addresses import UPLOADS
from detector.web.failures import said_over_the_network, status_of
from detector.web.request_heads import announced_length
from detector.web.signing import function_of_upload, upload_name
from detector.workspace import Workspace

#: The least that an upload brings on average, in bytes a second: a tenth of the slowest line that people work with.
LEAST_SPEED = 10_000
#: Disk that uploads leave free: for the database and for what is imported already.
KEPT_FREE_BYTES = 200_000_000
#: And of small disks at most this share.
_KEPT_FREE_SHARE = 0.05

#: Handed to the disk in pieces of about this size.
_PIECE = 4 * 1024 * 1024
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_USED = "This upload address was used already. Reload the page and choose the file again."


@dataclass(eq=False)
class _Running:
    announced: int
    received: int = 0


class _Room:
    """How many uploads run, and how much of the disk they may still take. For one event loop.

    Parameters
    ----------
    folder : Path
    places : int
    kept : int
        Bytes of the disk that the settings keep free: an archive whose import could not begin is not taken.
    """

    def __init__(self, folder: Path, places: int, kept: int) -> None:
        self._folder, self._places, self._kept = folder, places, kept
        self._running: set[_Running] = set()

    def enter(self, announced: int) -> _Running:
        """A place for an upload that says how large it is, or 0. Raises HTTPException."""
        if len(self._running) >= self._places:
            raise HTTPException(
                429,
                f"{self._places} uploads are running already. Choose the file again when one is done.",
                {"Retry-After": "30"},
            )
        self._require(announced)
        running = _Running(announced)
        self._running.add(running)
        return running

    def leave(self, running: _Running) -> None:
        self._running.discard(running)

    def require_next(self, running: _Running, size: int) -> None:
        """Raises HTTPException where the next bytes of an upload of unknown length would take what is to stay free."""
        if running.received + size > running.announced:
            self._require(size, running)

    def _require(self, size: int, mine: _Running | None = None) -> None:
        disk = shutil.disk_usage(self._folder)
        kept = max(self._kept, min(KEPT_FREE_BYTES, int(disk.total * _KEPT_FREE_SHARE)))
        # What the others have announced and not yet written is theirs.
        promised = sum(max(0, other.announced - other.received) for other in self._running if other is not mine)
        free = max(0, disk.free - kept - promised)
        if size > free:
            raise _no_room(free, 0 if mine else size)


def upload_routes(ws: Workspace) -> list[Route]:
    """The route that takes uploads for this workspace."""
    room = _Room(ws.spool, ws.settings.upload_places, ws.settings.min_free_mb * 1_000_000)

    async def upload(request: Request) -> Response:
        name = upload_name(ws.db, request.path_params["token"])
        if name is None:
            return _answer(
                HTTPException(403, "This upload address has expired. Reload the page and choose the file again.")
            )
        function_id = function_of_upload(name)
        if function_id and await anyio.to_thread.run_sync(find_live, ws.db, function_id) is None:
            return _answer(
                HTTPException(404, "The function that this upload was meant for was deleted. Choose another one first.")
            )
        limit = ws.settings.max_zip_bytes
        announced = announced_length(request.headers) or 0
        try:
            if announced > limit:
                raise _too_large(limit)
            running = room.enter(announced)
            try:
                return JSONResponse({"bytes": await receive(request, name, limit, running)})
            finally:
                room.leave(running)
        except HTTPException as refused:
            return _answer(refused)
        except ClientDisconnect:
            return _answer(HTTPException(400, "The upload was cut off. Choose the file again."))
        except OSError as error:
            if error.errno in _NO_ROOM:
                return _answer(_no_room(0, announced))
            trouble = storage_trouble(error)
            if trouble is None:
                raise
            return _answer(HTTPException(status_of(trouble), said_over_the_network(trouble)))

    async def receive(request: Request, name: str, limit: int, running: _Running) -> int:
        final, partial = ws.spool / f"{name}.zip", ws.spool / f"{name}.part"
        try:
            # The token is good for one upload; a second one, or two at once, fails here.
            file = await anyio.to_thread.run_sync(begin_part, partial)
        except FileExistsError:
            raise HTTPException(409, _USED) from None
        try:
            if final.exists():
                raise HTTPException(409, _USED)
            pending = bytearray()
            async for piece in _lively(request, ws.settings.upload_stall_seconds):
                if running.received + len(pending) + len(piece) > limit:
                    raise _too_large(limit)
                pending += piece
                if len(pending) >= _PIECE:
                    pending = await write(file, pending, running)
            await write(file, pending, running)
            # The page says that the file is here: then it is, whatever happens to the machine.
            await anyio.to_thread.run_sync(os.fsync, file.fileno())
            file.close()
            await anyio.to_thread.run_sync(partial.replace, final)
        finally:
            # Closing writes what is left, and a full disk refuses that too; the half must go all the same.
            with suppress(OSError):
                file.close()
            partial.unlink(missing_ok=True)
        return running.received

    async def write(file: BinaryIO, pending: bytearray, running: _Running) -> bytearray:
        room.require_next(running, len(pending))
        await anyio.to_thread.run_sync(_write_all, file, pending)
        running.received += len(pending)
        return bytearray()

    return [Route(f"{UPLOADS}/{{token}}", upload, methods=["PUT"])]


async def _lively(request: Request, stall_seconds: float) -> AsyncIterator[bytes]:
    """The pieces of a body, as long as they keep coming: in each such time at least `LEAST_SPEED` of it.

    Only the time that is waited for the sender counts, not what the disk takes. With 0 seconds there is no limit.

    Raises
    ------
    HTTPException, ClientDisconnect
    """
    waited, arrived, more = 0.0, 0, True
    while more:
        start = time.monotonic()
        piece = b""
        # Not the request's own stream: one that a time limit has cancelled would then say that the body is complete.
        with anyio.move_on_after(stall_seconds - waited if stall_seconds else None):
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            piece, more = message.get("body", b""), message.get("more_body", False)
        waited, arrived = waited + time.monotonic() - start, arrived + len(piece)
        if stall_seconds and waited >= stall_seconds:
            if more and arrived < LEAST_SPEED * stall_seconds:
                raise HTTPException(
                    408,
                    f"The upload was ended because less than {LEAST_SPEED / 1e3:.0f} kB a second came for "
                    f"{stall_seconds:,.0f} s. Check the connection and choose the file again.",
                )
            waited, arrived = 0.0, 0
        if piece:
            yield piece


def _write_all(file: BinaryIO, data: bytearray) -> None:
    with memoryview(data) as left:
        done = 0
        while done < len(left):
            done += file.write(left[done:])


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"The file is larger than {limit / 1e9:,.1f} GB. Split it, or raise DETECTOR_MAX_ZIP_GB.")


def _no_room(free: int, size: int) -> HTTPException:
    return HTTPException(
        507,
        f"The server's disk has room for {file_size(free)} more, and the upload "
        f"{f'has {file_size(size)}' if size else 'needs more'}. Make room there, or choose a smaller file.",
    )


def _answer(refused: HTTPException) -> Response:
    return JSONResponse({"message": refused.detail}, refused.status_code, refused.headers)
