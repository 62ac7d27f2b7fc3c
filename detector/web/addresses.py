"""Addresses of this server. Every one is built here, so that all are right below whatever path a proxy serves it.

Inside, a path is one of the app: it begins with a slash and knows nothing of the base path (``server.baseUrlPath``). A
page in a browser is given relative addresses; a program that cannot know them is given whole ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from urllib.parse import quote, unquote, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

PICTURES = "/pictures"
UPLOADS = "/uploads"
EXPORTS = "/exports"
DOCUMENTATION = "/v1/docs"
#: For whoever watches over the server.
HEALTHZ, READYZ, METRICS = "/healthz", "/readyz", "/metrics"
#: Streamlit's own.
STREAMLIT = "/_stcore"
HEALTH = f"{STREAMLIT}/health"

#: Where nobody said how they reached us: what Streamlit says at its start.
_USUAL = "http://localhost:8501"


def base_path(configured: str | None) -> str:
    """``server.baseUrlPath`` as Streamlit reads it: empty, or with one slash before and none behind it."""
    stripped = (configured or "").strip("/")
    return f"/{stripped}" if stripped else ""


def from_page(path: str) -> str:
    """A path of the app for a page in a browser.

    All pages lie side by side, so an address relative to them is right whatever stands before: a base path, or one that
    a proxy takes off and that nobody told the server.
    """
    return f".{path}"


def of_request(request: Request) -> str:
    """The address by which a caller reached the app, without a slash at the end."""
    host = request.headers.get("host") or request.url.netloc
    return f"{request.url.scheme}://{host}{quote(request.scope.get('root_path', ''))}"


def of_browser(url: str | None, pages: Collection[str], base: str) -> str:
    """The address under which a person's browser has the app, without a slash at the end.

    Parameters
    ----------
    url : str or None
        Of the page that the browser shows.
    pages : collection of str
        Last parts of the addresses of pages.
    base : str
        As of `base_path`; where it is empty, what stands before the page was put there by a proxy.
    """
    parts = urlsplit(url or _USUAL)
    if not base:
        before, _, last = parts.path.rpartition("/")
        segments = [segment for segment in (before if last in pages else parts.path).split("/") if segment]
        base = "".join(f"/{unquote(segment)}" for segment in segments)
    return f"{parts.scheme}://{parts.netloc}{quote(base)}"


def below(base: str, routes: Iterable[Route]) -> list[Route]:
    """Routes of the app where Streamlit puts its own: below the base path. Each stays of its own class."""
    return [type(route)(f"{base}{route.path}", route.endpoint, methods=sorted(route.methods or ())) for route in routes]


def first_page_routes(base: str) -> list[Route]:
    """``/functions`` leads to the first page, which Streamlit shows at ``/`` only; the bare base path leads there too.

    The redirects are relative: behind a proxy the server knows neither scheme nor port for certain.
    """

    def leading(path: str, target: str) -> Route:
        def lead(request: Request) -> RedirectResponse:
            return RedirectResponse(f"{target}?{request.url.query}" if request.url.query else target)

        return Route(path, lead)

    routes = [leading(f"{base}/functions", "./")]
    if base:
        routes.append(leading(base, f"./{base.rpartition('/')[2]}/"))
    return routes


class BelowBasePath:
    """ASGI middleware: what comes without the base path is answered as if it had come with it.

    Streamlit answers below the base path only, so it could not be told the path that a proxy takes off: but without
    knowing it no whole address is right.
    """

    def __init__(self, app: ASGIApp, base: str) -> None:
        self._app, self._base = app, base

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and not self._is_below(scope["path"]):
            raw = quote(self._base).encode() + scope.get("raw_path", b"")
            scope = {**scope, "path": self._base + scope["path"], "raw_path": raw}
        await self._app(scope, receive, send)

    def _is_below(self, path: str) -> bool:
        # Two slashes at the beginning are refused by Streamlit, and must stay where it looks for them.
        return path == self._base or path.startswith((f"{self._base}/", "//", "\\\\"))
