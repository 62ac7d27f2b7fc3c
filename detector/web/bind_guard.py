"""Who can reach this server, and whether something stands in the way of strangers."""

from __future__ import annotations

import ipaddress
import re

from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from detector.errors import InvalidInput, Unprotected
from detector.settings import Settings
from detector.web.addresses import HEALTH, HEALTHZ, READYZ
from detector.web.password import PasswordHash

#: Addresses that are no name of a server: it listens on all it has.
_EVERY_ADDRESS = ("", "0.0.0.0", "::", "[::]")


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches a server that listens on ``address``; empty means every address."""
    if address.lower() == "localhost":
        return True
    try:
        found = ipaddress.ip_address(address.strip("[]").split("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def is_protected(settings: Settings, has_login: bool) -> bool:
    """Whether a stranger has to sign in, by password or by Streamlit's own login."""
    return bool(settings.password_hash) or has_login


def require_protection(address: str, settings: Settings, has_login: bool) -> None:
    """Call before the server starts.

    Parameters
    ----------
    address : str
        What the server will listen on; empty: every address.
    has_login : bool
        Whether Streamlit's login (OIDC) is configured.

    Raises
    ------
    Unprotected
        It would be open to everybody, and nobody said that it should be.
    InvalidInput
        The password hash cannot be used: nobody could sign in.
    """
    if settings.password_hash:
        PasswordHash.parse(settings.password_hash)
    if not (is_loopback(address) or is_protected(settings, has_login) or settings.open):
        raise Unprotected(address)


def allowed_hosts(address: str, settings: Settings) -> list[str]:
    """The names in a request's Host header that are ours; any other is a trick (DNS rebinding) or a mistake.

    Raises
    ------
    InvalidInput
        A name of the settings has a star elsewhere than before its first dot.
    """
    further = [_host(name.strip()) for name in settings.allowed_hosts.split(",")]
    for name in further:
        if "*" in name[1:] or (name.startswith("*") and name != "*" and not name.startswith("*.")):
            raise InvalidInput(
                f"DETECTOR_ALLOWED_HOSTS names {name!r}; expected names such as detector.example.org or, with all its "
                "subdomains, *.example.org. Correct or unset it."
            )
    own = [] if address in _EVERY_ADDRESS else [_host(address)]
    return list(dict.fromkeys(["localhost", "127.0.0.1", "[::1]", *own, *(name for name in further if name)]))


def _host(name: str) -> str:
    """As it stands in the header: an IPv6 address in brackets, and no port, which is not looked at."""
    if name.count(":") > 1 and not name.startswith("["):
        return f"[{name}]"
    return re.sub(r":\d+$", "", name)


class KnownHosts(TrustedHostMiddleware):
    """ASGI middleware that refuses requests for a name that is not ours.

    The addresses that say whether the server is well answer whatever the name: whoever watches over a container asks by
    the container's own address, which nobody can know before, and the answer is one word.

    Parameters
    ----------
    allowed_hosts : list of str
        As of `allowed_hosts`.
    base : str
        What stands before the health addresses, as of `detector.web.addresses.base_path`.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: list[str], base: str) -> None:
        super().__init__(app, allowed_hosts, www_redirect=False)
        self._health = {base + path for path in (HEALTH, HEALTHZ, READYZ)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] in self._health:
            await self.app(scope, receive, send)
            return
        await super().__call__(scope, receive, send)


class LoopbackOnly:
    """ASGI middleware for a server without protection: refuses what did not come in by the loopback.

    `require_protection` sees the address that Streamlit was told; an ASGI server started in another way may listen
    elsewhere, and tells it only with each request.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        server = scope.get("server")
        if scope["type"] in ("http", "websocket") and server is not None and not is_loopback(server[0]):
            await PlainTextResponse(str(Unprotected(server[0])), 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)
