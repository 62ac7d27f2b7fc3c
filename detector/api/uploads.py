"""``PUT /uploads/<token>``: one archive, streamed to the spool, never whole in memory."""

from __future__ import annotations

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from detector.addresses import UPLOADS
from detector.api.signing import upload_name
from detector.workspace import Workspace

#: Handed to the disk in pieces of about this size.
_PIECE = 4 * 1024 * 1024


def upload_routes(ws: Workspace) -> list[Route]:
    """The route that takes uploads for this workspace."""

    async def upload(request: Request) -> Response:
        name = upload_name(ws.db, request.path_params["token"])
        if name is None:
            return _refusal("This upload address has expired. Reload the page and choose the file again.", 403)
        limit = ws.settings.max_zip_bytes
        announced = request.headers.get("content-length", "")
        if announced.isdigit() and int(announced) > limit:
            return _too_large(limit)
        final, partial = ws.spool / f"{name}.zip", ws.spool / f"{name}.part"
        received, pending = 0, bytearray()
        try:
            # "x": the token is good for one upload; a second one, or two at once, fails here.
            file = await anyio.to_thread.run_sync(lambda: partial.open("xb"))
        except FileExistsError:
            return _refusal("This upload address was used already. Reload the page and choose the file again.", 409)
        try:
            if final.exists():
                return _refusal("This upload address was used already. Reload the page and choose the file again.", 409)
            async for piece in request.stream():
                received += len(piece)
                if received > limit:
                    return _too_large(limit)
                pending += piece
                if len(pending) >= _PIECE:
                    await anyio.to_thread.run_sync(file.write, bytes(pending))
                    pending.clear()
            await anyio.to_thread.run_sync(file.write, bytes(pending))
            file.close()
            await anyio.to_thread.run_sync(partial.replace, final)
        except ClientDisconnect:
            return _refusal("The upload was cut off. Choose the file again.", 400)
        finally:
            file.close()
            partial.unlink(missing_ok=True)
        return JSONResponse({"bytes": received})

    return [Route(f"{UPLOADS}/{{token}}", upload, methods=["PUT"])]


def _too_large(limit: int) -> Response:
    return _refusal(f"The file is larger than {limit / 1e9:,.1f} GB. Split it, or raise DETECTOR_MAX_ZIP_GB.", 413)


def _refusal(sentence: str, status: int) -> Response:
    return JSONResponse({"message": sentence}, status)
