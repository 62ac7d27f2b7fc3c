"""Who asks: the address of the connection, or what a proxy says whom the settings name. Nobody else is believed."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

import uvicorn.config
from starlette.types import ASGIApp, Receive, Scope, Send

from detector.errors import InvalidInput

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_SCHEMES = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}


@dataclass(frozen=True)
class TrustedProxies:
    """Addresses and networks whose ``X-Forwarded-For`` and ``X-Forwarded-Proto`` count."""

    networks: tuple[_Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> TrustedProxies:
        """Read ``DETECTOR_TRUSTED_PROXIES``: addresses and networks, separated by commas; empty: nobody.

        Raises
        ------
        InvalidInput
            A part is neither. Names are none of them, ``*`` least of all: everybody could then say who they are.
        """
        found = []
        for part in filter(None, (item.strip() for item in text.split(","))):
            try:
                network = ipaddress.ip_network(part)
            except ValueError as error:
                raise InvalidInput(
                    f"DETECTOR_TRUSTED_PROXIES names {part!r}; expected addresses and networks separated by commas, "
                    "such as 127.0.0.1, 10.0.0.0/8. Correct or unset it."
                ) from error
            if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
                inside = int(network.network_address) & 0xFFFFFFFF
                network = ipaddress.IPv4Network((inside, network.prefixlen - 96))
            found.append(network)
        return cls(tuple(found))

    def __contains__(self, address: _Address | None) -> bool:
        return address is not None and any(address in network for network in self.networks)

    def client(self, peer: _Address, forwarded: str) -> _Address:
        """Whom a request comes from.

        Parameters
        ----------
        peer : address
            The other end of the connection.
        forwarded : str
            All ``X-Forwarded-For`` lines in their order, joined by commas. Each proxy adds at the right end the address
            that it saw; what stands left of that was sent to it and may be made up.

        Returns
        -------
        address
            The right-most one that is no trusted proxy. The peer where it is no trusted proxy itself, and where
            anything stands in that place that is no address.
        """
        if peer not in self:
            return peer
        for part in reversed(forwarded.split(",")):
            address = _address(part)
            if address is None:
                break
            if address not in self:
                return address
        return peer


class ForwardedFor:
    """ASGI middleware: ``scope["client"]`` and ``scope["scheme"]`` as a trusted proxy says, else as they are.

    It stands in the place of uvicorn's own (`leave_out_uvicorns_own`) and comes before all others. ``Forwarded`` and
    ``X-Real-IP`` are not read at all.
    """

    def __init__(self, app: ASGIApp, proxies: TrustedProxies) -> None:
        self._app, self._proxies = app, proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connected = scope.get("client")
        peer = _address(connected[0]) if connected else None
        if connected is not None and peer is not None:
            client = self._proxies.client(peer, b",".join(_lines(scope, b"x-forwarded-for")).decode("latin-1"))
            # Also without a proxy: a server on "::" sees 127.0.0.1 as ::ffff:127.0.0.1.
            scope = {**scope, "client": (str(client), connected[1] if client == peer else 0)}
            if peer in self._proxies:
                said = b",".join(_lines(scope, b"x-forwarded-proto")).rpartition(b",")[2].strip().lower()
                scheme = _SCHEMES.get(said)
                if scheme is not None:
                    scope["scheme"] = scheme.replace("http", "ws") if scope["type"] == "websocket" else scheme
        await self._app(scope, receive, send)


def leave_out_uvicorns_own() -> None:
    """Call while the application is imported: uvicorn wraps it afterwards.

    Its ``ProxyHeadersMiddleware`` believes everybody on the loopback (and whom the variable ``FORWARDED_ALLOW_IPS``
    names, which hosts set to ``*``), and it overwrites the address of the connection: behind it nobody can tell any
    more who has connected. Streamlit has no option to leave it out.
    """
    uvicorn.config.ProxyHeadersMiddleware = _unwrapped  # type: ignore[misc, assignment]


def _unwrapped(app: Any, trusted_hosts: Any = None) -> Any:
    return app


def _lines(scope: Scope, wanted: bytes) -> list[bytes]:
    return [value for name, value in scope["headers"] if name == wanted]


def _address(text: str) -> _Address | None:
    """An address with or without a port; one form for each, so that nobody is two."""
    text = text.strip()
    if text.startswith("["):
        text, _, port = text[1:].partition("]")
        if port and not port.startswith(":"):
            return None
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        # The part after % is a name for a network card, and may be any text.
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
