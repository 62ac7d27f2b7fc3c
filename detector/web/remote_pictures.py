"""A picture by its address, fetched so that nobody can make this server call where only it can reach.

Whoever names an address has this server open a connection: to a router, a neighbour, or the service that hands a
machine its own passwords. So the address must be of https and without a password, every address that its name stands
for must be a public one, the connection goes to the very address that was looked at (a name that answers differently
the second time gains nothing), and who is at its other end is looked at once more. Each step of a redirection is a new
address. Bytes and time are bounded.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from detector.errors import AddressRefused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: From the first look at the name to the last byte.
SECONDS = 20.0
REDIRECTIONS = 3
_LONGEST = 2048
_PIECE = 65_536
_HTTPS = 443

#: Networks of IPv6 whose addresses hold one of IPv4, and where in it: the first translates, the second tunnels.
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
#: A host made of digits only, or of numbers in other ways of writing (0x7f.1, 0177.0.0.1): read by systems, not people.
_NUMBERS = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+))*\.?", re.IGNORECASE)


#: Letters, digits, dots and hyphens of a name, or the numbers of an address.
_HOST = re.compile(r"[a-z0-9._-]{1,253}|[0-9a-f:.]+(%[0-9a-z]+)?", re.IGNORECASE)
_UNREADABLE_HOST = "The name of the host cannot be read. Copy the address again."
#: Not open although Python's table (of 2023) does not say so: site-local, documentation, and what speaks protocols.
_NOT_OPEN = tuple(map(ipaddress.ip_network, ("fec0::/10", "3fff::/20", "192.0.0.0/24", "192.88.99.0/24")))


@dataclass(frozen=True)
class RemotePicture:
    """A file that was fetched; ``name`` is the last part of its address."""

    name: str
    data: bytes


def is_public(address: Address) -> bool:
    """Whether an address belongs to the open internet, and so does an IPv4 address that it carries inside."""
    inside: Address | None = None
    if isinstance(address, ipaddress.IPv6Address):
        inside = address.ipv4_mapped or address.sixtofour
        if inside is None and address in _TRANSLATED:
            inside = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if address.teredo is not None:
            return False
    if inside is not None:
        return is_public(inside)
    if any(address.version == network.version and address in network for network in _NOT_OPEN):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def fetch_picture(
    url: str,
    max_bytes: int,
    *,
    seconds: float = SECONDS,
    allowed: Callable[[Address], bool] = is_public,
    port: int = _HTTPS,
    context: ssl.SSLContext | None = None,
) -> RemotePicture:
    """Fetch a file.

    Parameters
    ----------
    url : str
        ``https://host/path``.
    max_bytes : int
        A larger file is refused, at its announcement where it has one.
    seconds : float
        For all of it, redirections included.
    allowed : callable
        Which addresses may be connected to.
    port : int
        The only one.
    context : ssl.SSLContext, optional
        Who is believed to be who they say; the system's list where there is none.

    Raises
    ------
    AddressRefused
        With what is wrong, and what to do.
    """
    end = time.monotonic() + seconds
    context = context or ssl.create_default_context()
    for _ in range(REDIRECTIONS + 1):
        if time.monotonic() > end:
            raise AddressRefused("The site took too long. Save the picture and drop the file instead.")
        host, path = _parts(url, port)
        connection = _Connection(host, port, context, allowed, end)
        try:
            answer, data = connection.get(path, max_bytes)
        finally:
            connection.end()
        if answer.status in (301, 302, 303, 307, 308):
            url = _onwards(url, answer.headers.get("Location", ""), host)
            continue
        if answer.status != http.client.OK:
            raise AddressRefused(f"{host} answered with {answer.status}. Save the picture and drop the file instead.")
        return RemotePicture(_name(path, host), data)
    raise AddressRefused(f"{host} leads on to other addresses too often. Give the picture's own address.")


def _onwards(url: str, location: str, host: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise AddressRefused(f"{host} leads on to something that is no address. Save the picture.") from None


def _parts(url: str, port: int) -> tuple[str, str]:
    """Host and path of an address that is allowed to be asked."""
    if len(url) > _LONGEST or any(ord(character) <= 32 or ord(character) == 127 for character in url):
        raise AddressRefused("The address is too long, or has spaces or control characters in it. Copy it again.")
    try:
        parts = urlsplit(url)
        host, given = parts.hostname, parts.port
    except ValueError:
        raise AddressRefused("This is not an address. Give one that begins with https://.") from None
    if parts.scheme != "https" or not host:
        raise AddressRefused("Only addresses that begin with https:// are fetched. Save the picture and drop the file.")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused("The address has a name or password in it. Save the picture and drop the file instead.")
    if (given or _HTTPS) != port:
        raise AddressRefused(f"Only the usual port of https is asked, not {given}. Save the picture and drop the file.")
    if _NUMBERS.fullmatch(host) and not _is_written_plainly(host):
        raise AddressRefused("The host is a number. Give the address with the name of its site.")
    try:
        host = host.encode("idna").decode() if not host.isascii() else host
    except UnicodeError:
        raise AddressRefused(_UNREADABLE_HOST) from None
    # What is no letter of a name may become one of ASCII that ends it: a space, a slash.
    if not _HOST.fullmatch(host):
        raise AddressRefused(_UNREADABLE_HOST)
    path = parts.path or "/"
    path = "".join(character if character.isascii() else _coded(character) for character in path)
    query = "".join(character if character.isascii() else _coded(character) for character in parts.query)
    return host, f"{path}?{query}" if query else path


def _coded(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())


def _is_written_plainly(host: str) -> bool:
    try:
        return str(ipaddress.ip_address(host)) == host
    except ValueError:
        return False


def _name(path: str, host: str) -> str:
    name = PurePosixPath(unquote(urlsplit(path).path, errors="replace")).name
    return "".join(character for character in name if character.isprintable())[:120] or host


class _Connection(http.client.HTTPSConnection):
    """A connection to one of a name's addresses, all of which were looked at; it is cut when the time is over."""

    def __init__(
        self, host: str, port: int, context: ssl.SSLContext, allowed: Callable[[Address], bool], end: float
    ) -> None:
        super().__init__(host, port, context=context)
        self._ssl, self._allowed, self._end = context, allowed, end
        self._cut: threading.Timer | None = None
        self._over = False

    def connect(self) -> None:
        """Resolve once, look at every address, connect, and look at who is there."""
        found = self._resolved()
        for *_, address in found:
            self._look(str(address[0]))
        raw = self._first(found)
        self._look(str(raw.getpeername()[0]))
        # The handshake comes after the timer, which is to cut it, too.
        wrapped = self._ssl.wrap_socket(raw, server_hostname=self.host, do_handshake_on_connect=False)
        self._cut = threading.Timer(max(self._end - time.monotonic(), 0.0), self._stop, (wrapped,))
        self._cut.daemon = True
        self._cut.start()
        self.sock = wrapped
        wrapped.do_handshake()

    def _resolved(self) -> Sequence[tuple[Any, ...]]:
        """All addresses of the name, waited for only so long: the system's own search knows no time limit."""
        answer: Future[Sequence[tuple[Any, ...]]] = Future()

        def ask() -> None:
            try:
                answer.set_result(socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM))
            except BaseException as error:
                answer.set_exception(error)

        threading.Thread(target=ask, name="resolve", daemon=True).start()
        try:
            return answer.result(max(self._end - time.monotonic(), 0.0))
        except TimeoutError:
            raise AddressRefused(
                f"{self.host} took too long to be found. Save the picture and drop the file."
            ) from None
        except (OSError, UnicodeError):
            raise AddressRefused(f"There is no site called {self.host}. Check the address.") from None

    def get(self, path: str, max_bytes: int) -> tuple[http.client.HTTPResponse, bytes]:
        """Ask, and read at most so many bytes of the answer. Raises AddressRefused."""
        try:
            self.request("GET", path, headers={"Accept": "image/*", "Accept-Encoding": "identity"})
            answer = self.getresponse()
            announced = answer.headers.get("Content-Length", "")
            too_large = announced.isdecimal() and int(announced[:20]) > max_bytes
            data = bytearray()
            while answer.status == http.client.OK and not too_large and (piece := answer.read(_PIECE)):
                data += piece
                too_large = len(data) > max_bytes
            answer.close()
        except AddressRefused:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            # Its own limit may strike a moment before the one of all together does.
            if self._over or isinstance(error, TimeoutError):
                raise AddressRefused(f"{self.host} took too long. Save the picture and drop the file.") from None
            why = "cannot prove who it is" if isinstance(error, ssl.SSLError) else "cannot be reached"
            raise AddressRefused(f"{self.host} {why}. Save the picture and drop the file.") from None
        if self._over:
            raise AddressRefused(f"{self.host} took too long. Save the picture and drop the file.")
        if too_large:
            raise AddressRefused(f"The file is larger than {max_bytes / 1e6:,.0f} MB, which is the most that is taken.")
        return answer, bytes(data)

    def end(self) -> None:
        """Close it. Not `close`, which is called as soon as the head of an answer is there."""
        if self._cut is not None:
            self._cut.cancel()
        self.close()

    def _first(self, found: Sequence[tuple[Any, ...]]) -> socket.socket:
        """A connection to the first of the addresses that answers."""
        for family, kind, protocol, _, address in found:
            raw = socket.socket(family, kind, protocol)
            try:
                raw.settimeout(max(self._end - time.monotonic(), 0.1))
                raw.connect(address)
            except OSError:
                raw.close()
                continue
            return raw
        raise AddressRefused(f"{self.host} cannot be reached. Check the address.")

    def _look(self, address: str) -> None:
        if not self._allowed(ipaddress.ip_address(address.partition("%")[0])):
            raise AddressRefused(
                f"{self.host} is not on the open internet, and only what is there is fetched. Save the picture and "
                "drop the file."
            )

    def _stop(self, wrapped: ssl.SSLSocket) -> None:
        self._over = True
        with contextlib.suppress(OSError):
            # Not the wrapped one's own way, which takes the ciphers away from whoever is reading.
            socket.socket.shutdown(wrapped, socket.SHUT_RDWR)
