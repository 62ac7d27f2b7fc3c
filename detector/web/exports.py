"""``GET /exports/<token>``: what Review shows, or what was selected in it, as a CSV file or a ZIP, streamed."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Send

from detector.errors import NotFound
from detector.gallery.export import export_csv, export_zip
from detector.gallery.filters import GalleryFilter, Order
from detector.gallery.selection import matching_ids
from detector.importing.file_names import safe_name
from detector.importing.spool import SELECTION_ENDING
from detector.storage import functions
from detector.storage.database import Database, new_id
from detector.web.addresses import EXPORTS
from detector.web.people import still_in
from detector.web.signing import export_order, export_token
from detector.workspace import Workspace

Kind = Literal["csv", "zip"]

_MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "zip": "application/zip"}

#: Longer addresses are cut off by some proxies; a selection that would need one is kept in the spool instead.
_LONGEST_TOKEN = 7_500

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def export_path(
    db: Database, function_id: str, kind: Kind, where: GalleryFilter, order: Order, given_for: str = ""
) -> str:
    """The path of everything that matches a filter, as it will be when it is fetched; good for one to two hours.

    Parameters
    ----------
    given_for : str
        The `detector.web.people.ticket` of who will fetch it; empty where nobody signs in.
    """
    asked = {"function": function_id, "kind": kind, "for": given_for, "where": where.to_query(), "order": order.value}
    return f"{EXPORTS}/{export_token(db, asked)}"


def selection_path(ws: Workspace, function_id: str, kind: Kind, sample_ids: Sequence[str], given_for: str = "") -> str:
    """The path of these samples, in this order, as of `export_path`; good for one to two hours."""
    asked = {"function": function_id, "kind": kind, "for": given_for}
    token = export_token(ws.db, asked | {"samples": " ".join(sample_ids)})
    if len(token) > _LONGEST_TOKEN:
        token = export_token(ws.db, asked | {"list": _kept(ws, sample_ids)})
    return f"{EXPORTS}/{token}"


def export_routes(ws: Workspace) -> list[Route]:
    """The route for exports of this workspace."""

    async def export(request: Request) -> Response:
        asked = export_order(ws.db, request.path_params["token"])
        if asked is None:
            return PlainTextResponse("This address has expired or is not valid. Reload the page.", 403)
        if not await run_in_threadpool(still_in, ws.db, str(asked.get("for", ""))):
            return PlainTextResponse("You are signed out. Sign in and download it again.", 403)
        try:
            function = await run_in_threadpool(functions.get_function, ws.db, asked["function"])
            sample_ids = await run_in_threadpool(_sample_ids, ws, asked) if request.method == "GET" else []
        except NotFound as error:
            return PlainTextResponse(str(error), 404)
        make = export_zip if asked["kind"] == "zip" else export_csv
        return _Download(
            make(ws, function.id, sample_ids),
            media_type=_MEDIA_TYPES[asked["kind"]],
            headers=_HEADERS | {"Content-Disposition": _attachment(function.name, asked["kind"])},
        )

    return [Route(f"{EXPORTS}/{{token}}", export, methods=["GET"])]


class _Download(StreamingResponse):
    """Pieces that are made in threads; whoever goes away in the middle ends the work and frees its temporary file."""

    def __init__(self, pieces: Generator[bytes, None, None], **options: Any) -> None:
        super().__init__(pieces, **options)
        self._pieces = pieces

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._pieces.close)


def _sample_ids(ws: Workspace, asked: dict[str, Any]) -> list[str]:
    if "samples" in asked:
        return str(asked["samples"]).split()
    if "list" in asked:
        try:
            return (ws.spool / f"{asked['list']}{SELECTION_ENDING}").read_text(encoding="ascii").split()
        except FileNotFoundError as error:
            raise NotFound("selection", asked["list"]) from error
    return matching_ids(ws, asked["function"], GalleryFilter.from_query(asked["where"]), Order(asked["order"]))


def _kept(ws: Workspace, sample_ids: Sequence[str]) -> str:
    """Write a selection into the spool, once however often the page is drawn; returns its name there."""
    text = " ".join(sample_ids).encode("ascii")
    name = hashlib.sha256(text).hexdigest()[:32]
    final = ws.spool / f"{name}{SELECTION_ENDING}"
    if final.exists():
        # The sweep of the spool goes by age.
        final.touch()
    else:
        partial = ws.spool / f"{name}-{new_id()}.part"
        partial.write_bytes(text)
        partial.replace(final)
    return name


def _attachment(function_name: str, kind: Kind) -> str:
    name = f"{safe_name(function_name)} {datetime.now(UTC):%Y-%m-%d}.{kind}"
    plain = "".join(letter if letter.isascii() and letter not in '"%' else "_" for letter in name)
    # The second form (RFC 6266) is what browsers take; the first is for programs that know no other.
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
