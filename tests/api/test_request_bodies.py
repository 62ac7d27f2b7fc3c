"""Base64 as programs write it and browsers read it, and what is none."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.api.request_bodies import decode_data_uri
from detector.errors import InvalidInput

DATA = bytes(range(256)) + b"\xfb\xff\xfe" * 5
PLAIN = base64.b64encode(DATA).decode()


@pytest.mark.parametrize(
    "uri",
    [
        f"data:image/png;base64,{PLAIN}",
        f"data:image/png;base64,{PLAIN}\n",
        f"data:image/png;base64,{base64.encodebytes(DATA).decode()}",
        "data:image/png;base64,\r\n" + base64.encodebytes(DATA).decode().replace("\n", "\r\n"),
        f"data:image/png;base64,  {PLAIN[:7]}\t{PLAIN[7:9]}\f{PLAIN[9:]} \v",
        f"data:image/png;base64,{PLAIN.rstrip('=')}",
        f"data:image/png;base64,{base64.urlsafe_b64encode(DATA).decode()}",
        f"data:image/png;base64,{base64.urlsafe_b64encode(DATA).decode().rstrip('=')}",
        f"data:image/png;base64,{quote(PLAIN, safe='')}",
        f"data:image/png;base64,{PLAIN[:8]}%0D%0A{PLAIN[8:]}",
        f"DATA:;charset=utf-8; BASE64 ,{PLAIN}",
        f" \ndata:image/svg+xml;name=a b;base64,{PLAIN}",
    ],
)
def test_what_every_decoder_accepts_is_accepted(uri: str) -> None:
    """The kind: base64 in lines, with space, without padding, in the alphabet for addresses, in an address's signs."""
    assert decode_data_uri(uri) == DATA


@pytest.mark.parametrize(
    "encoded",
    [
        *(PLAIN[:5], PLAIN[:-3], PLAIN[:8] + "!" + PLAIN[8:], PLAIN[:8] + "=" + PLAIN[8:], PLAIN + PLAIN[:4] + "===="),
        *("QUJD\u00e9", "QUJD\ud800", "QUJD\0", "QQ==QQ==", "====", "%%%", "%zz", "QUJD,QUJD", "QUJD%00"),
        "\u0661\u0662\u0663\u0664",
    ],
)
def test_what_is_damaged_is_refused(encoded: str) -> None:
    """The kind: characters that are missing, that are none of the alphabet, and ends in the middle."""
    with pytest.raises(InvalidInput, match="damaged or cut off"):
        decode_data_uri(f"data:image/png;base64,{encoded}")


@pytest.mark.parametrize(
    "text", ["", PLAIN, f"data:image/png,{PLAIN}", "data:;base64", "https://example.org/a;base64,"]
)
def test_what_is_no_data_uri_is_called_so(text: str) -> None:
    with pytest.raises(InvalidInput, match="not a data URI"):
        decode_data_uri(text)


@given(st.binary(max_size=300), st.lists(st.tuples(st.integers(0, 500), st.sampled_from(" \t\r\n\f\v")), max_size=9))
def test_space_anywhere_changes_nothing(data: bytes, spaces: list[tuple[int, str]]) -> None:
    encoded = base64.b64encode(data).decode()
    for place, space in spaces:
        encoded = encoded[: place % (len(encoded) + 1)] + space + encoded[place % (len(encoded) + 1) :]
    assert decode_data_uri(f"data:image/png;base64,{encoded}") == data
