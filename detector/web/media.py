"""``GET /pictures/...``: thumbnails, stored originals, and originals made fit for a browser, by signed address.

Thumbnails of a run of invokes as well, whose pictures are no samples.
"""

from __future__ import annotations

import asyncio
import io
import logging
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from detector.errors import ImageError, NotFound, StorageTrouble, StoredFileDamaged, StoredFileMissing
from detector.imaging import decode_image, inspect_image
from detector.imaging.thumbnail import thumbnail_type
from detector.storage import imports, invoke_runs, samples
from detector.web.addresses import PICTURES
from detector.web.signing import picture_allowed
from detector.workspace import Workspace

log = logging.getLogger(__name__)

_MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "AVIF": "image/avif",
    "HEIF": "image/heic",
}

#: What browsers do not show, or only some of them.
_UNSEEN = {"TIFF", "HEIF", "MPO"}

#: Bytes of strangers must never run as a page, whatever they contain.
_HEADERS = {
    "Cache-Control": "private, max-age=3600, immutable",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
}


#: A link to an object store is good for so long, and this answer is kept for half of it.
_LINK_SECONDS = 600
_LINKED = {"Cache-Control": f"private, max-age={_LINK_SECONDS // 2}", "Referrer-Policy": "no-referrer"}

_GONE = "This picture is no longer there."

#: Of thumbnails shown lately, some 10 kB each.
_REMEMBERED_BYTES = 32_000_000


def picture_routes(ws: Workspace) -> list[Route]:
    """The routes for pictures of this workspace."""
    remembered = _Thumbnails(ws)
    # Few threads, so that each finds a connection open; a page's thumbnails are small and quickly read.
    threads = ThreadPoolExecutor(2, thread_name_prefix="thumbnails")

    async def picture(request: Request) -> Response:
        kind, image_hash = request.path_params["kind"], request.path_params["image_hash"]
        expires, signature = request.query_params.get("expires", ""), request.query_params.get("signature", "")
        if kind not in ("thumbnail", "image", "view", "run") or not picture_allowed(
            ws.db, kind, image_hash, expires, signature
        ):
            return PlainTextResponse("This address has expired or is not valid. Reload the page.", 403)
        try:
            if kind == "thumbnail":
                found = remembered.find(image_hash)
                if found is None:
                    found = await asyncio.get_running_loop().run_in_executor(threads, remembered.read, image_hash)
                data, media_type = found, thumbnail_type(found)
            elif kind == "run":
                data = await run_in_threadpool(_of_a_run, ws, image_hash)
                media_type = thumbnail_type(data)
            elif (link := await run_in_threadpool(_link, ws, kind, image_hash)) is not None:
                return Response(status_code=302, headers=_LINKED | {"Location": link})
            elif kind == "view":
                data, media_type = await run_in_threadpool(_for_a_browser, ws, image_hash)
            else:
                data = await run_in_threadpool(ws.blobs.image, image_hash)
                image_format = await run_in_threadpool(samples.image_format, ws.db, image_hash)
                media_type = _MEDIA_TYPES.get(image_format, "application/octet-stream")
        except StoredFileDamaged as error:
            return PlainTextResponse(str(error), 500)
        except StoredFileMissing as error:
            known = await run_in_threadpool(imports.find_image, ws.db, image_hash)
            return PlainTextResponse(str(error) if known else _GONE, 404)
        except (NotFound, ImageError):
            return PlainTextResponse(_GONE, 404)
        return Response(data, media_type=media_type, headers=_HEADERS)

    return [Route(f"{PICTURES}/{{kind}}/{{image_hash}}", picture, methods=["GET"])]


class _Thumbnails:
    """Thumbnails by the hash of their picture; what was shown lately is kept in memory."""

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def find(self, image_hash: str) -> bytes | None:
        """From memory."""
        with self._lock:
            data = self._kept.get(image_hash)
            if data is not None:
                self._kept.move_to_end(image_hash)
            return data

    def read(self, image_hash: str) -> bytes:
        """From the database, and kept. Raises NotFound, ImageError."""
        data = _thumbnail(self._ws, image_hash)
        with self._lock:
            if image_hash not in self._kept:
                self._kept[image_hash] = data
                self._bytes += len(data)
            while self._bytes > _REMEMBERED_BYTES:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= len(dropped)
        return data


def _thumbnail(ws: Workspace, image_hash: str) -> bytes:
    """The stored thumbnail; made again from the original where it is gone or is none."""
    try:
        data = samples.thumbnail(ws.db, image_hash)
        if thumbnail_type(data) is not None:
            return data
    except NotFound:
        pass
    data = inspect_image(ws.blobs.image(image_hash), image_hash, ws.limits).thumbnail
    try:
        samples.set_thumbnail(ws.db, image_hash, data)
    except StorageTrouble as error:
        # It can be shown all the same.
        log.warning("a thumbnail was made again and could not be stored: %s", error)
    return data


def _link(ws: Workspace, kind: str, image_hash: str) -> str | None:
    """Where a browser gets an original without this server; None where it must come from here.

    Thumbnails lie in the database, and what browsers do not show is made fit for them here. What a link leads to is not
    compared with its hash: that is done wherever the bytes themselves go through this program.
    """
    if not ws.settings.store_links:
        return None
    image_format = samples.image_format(ws.db, image_hash)
    if kind == "view" and (image_format in _UNSEEN or image_format not in _MEDIA_TYPES):
        return None
    return ws.blobs.link(image_hash, _MEDIA_TYPES.get(image_format, "application/octet-stream"), _LINK_SECONDS)


def _of_a_run(ws: Workspace, name: str) -> bytes:
    """The thumbnail of a picture in a run of invokes, by "run-position". Raises NotFound."""
    run_id, _, position = name.partition("-")
    return invoke_runs.thumbnail(ws.db, run_id, int(position))


def _for_a_browser(ws: Workspace, image_hash: str) -> tuple[bytes, str]:
    """The original where browsers show its format, else the same pixels as a PNG."""
    data, image_format = ws.blobs.image(image_hash), samples.image_format(ws.db, image_hash)
    media_type = _MEDIA_TYPES.get(image_format)
    if media_type is not None and image_format not in _UNSEEN:
        return data, media_type
    file = io.BytesIO()
    decode_image(data, image_hash, ws.limits).pixels.save(file, "PNG", compress_level=1)
    return file.getvalue(), "image/png"
