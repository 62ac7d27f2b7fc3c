"""The head of a request: its largest size, as in every other web server, and what it says of the body."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import Headers

#: Between two pieces of a body, or before the first. A signed address of ours has up to 8 kB.
MOST_BYTES = 64 * 1024

_REFUSAL = b"The address and headers of this request are too large. Send less.\n"


def announced_length(headers: Headers) -> int | None:
    """What a request says of its body's length: 0 where it has none, None where it does not say."""
    if "transfer-encoding" in headers:
        return None
    length = headers.get("content-length", "0")
    # No number of 20 digits is one of bytes.
    return int(length) if length.isascii() and length.isdecimal() and len(length) < 20 else None


def bound_heads() -> None:
    """Call while the application is imported.

    uvicorn bounds the head of a request where h11 reads it, and not where httptools does: a single header grows in its
    memory for as long as somebody sends, before any of our code is asked. The same holds for what stands between and
    behind the pieces of a chunked body.
    """
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as Protocol
    except ImportError:
        return
    if hasattr(Protocol, "no_body_since"):
        return
    parse, take_body, complete = Protocol.data_received, Protocol.on_body, Protocol.on_message_complete

    def data_received(self: Any, data: bytes) -> None:
        self.no_body_since += len(data)
        parse(self, data)
        if self.no_body_since > MOST_BYTES and not self.transport.is_closing():
            # In the middle of an answer another one would be taken for a part of it.
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(_response())
            self.transport.close()

    def on_body(self: Any, body: bytes) -> None:
        self.no_body_since = 0
        take_body(self, body)

    def on_message_complete(self: Any) -> None:
        self.no_body_since = 0
        complete(self)

    for name, value in {
        "no_body_since": 0,
        "data_received": data_received,
        "on_body": on_body,
        "on_message_complete": on_message_complete,
    }.items():
        setattr(Protocol, name, value)


def _response() -> bytes:
    return (
        b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
        b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(_REFUSAL), _REFUSAL)
    )
