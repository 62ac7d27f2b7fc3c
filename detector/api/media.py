"""``GET /pictures/...``: thumbnails, stored originals, and originals made fit for a browser, by signed address."""

from __future__ import annotations

import io

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from detector.api.signing import picture_allowed
from detector.errors import ImageError, NotFound
from detector.imaging import decode_image
from detector.storage import samples
from detector.workspace import Workspace

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


def picture_routes(ws: Workspace) -> list[Route]:
    """The routes for pictures of this workspace."""

    async def picture(request: Request) -> Response:
        kind, image_hash = request.path_params["kind"], request.path_params["image_hash"]
        expires, signature = request.query_params.get("expires", ""), request.query_params.get("signature", "")
        if kind not in ("thumbnail", "image", "view") or not picture_allowed(
            ws.db, kind, image_hash, expires, signature
        ):
            return PlainTextResponse("This address has expired or is not valid. Reload the page.", 403)
        try:
            if kind == "thumbnail":
                data, media_type = await run_in_threadpool(samples.thumbnail, ws.db, image_hash), "image/webp"
            elif kind == "view":
                data, media_type = await run_in_threadpool(_for_a_browser, ws, image_hash)
            else:
                data = await run_in_threadpool(ws.blobs.image, image_hash)
                image_format = await run_in_threadpool(samples.image_format, ws.db, image_hash)
                media_type = _MEDIA_TYPES.get(image_format, "application/octet-stream")
        except (NotFound, ImageError):
            return PlainTextResponse("This picture is no longer there.", 404)
        return Response(data, media_type=media_type, headers=_HEADERS)

    return [Route("/pictures/{kind}/{image_hash}", picture, methods=["GET"])]


def _for_a_browser(ws: Workspace, image_hash: str) -> tuple[bytes, str]:
    """The original where browsers show its format, else the same pixels as a PNG."""
    data, image_format = ws.blobs.image(image_hash), samples.image_format(ws.db, image_hash)
    media_type = _MEDIA_TYPES.get(image_format)
    if media_type is not None and image_format not in _UNSEEN:
        return data, media_type
    file = io.BytesIO()
    decode_image(data, image_hash, ws.limits).pixels.save(file, "PNG", compress_level=1)
    return file.getvalue(), "image/png"
