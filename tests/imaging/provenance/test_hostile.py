"""Files that are made to harm who reads them: nothing raises, nothing grows, and all that is shown is harmless text."""

from __future__ import annotations

import io
import json
import tracemalloc
import unicodedata
import zlib
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.imaging import ImageLimits, decode_image
from detector.imaging.provenance import Provenance, read_provenance
from detector.imaging.provenance.metadata import read_metadata
from detector.imaging.provenance.statement import LONGEST_NAME, LONGEST_VALUE, MOST_CHARACTERS, MOST_STATEMENTS
from tests.imaging.pictures import encode, picture
from tests.imaging.provenance.files import (
    AI_XMP,
    COMFY_TEXT,
    MIDJOURNEY,
    NOVELAI,
    PARAMETERS,
    WORKFLOW_TEXT,
    exif,
    jpeg_with,
    phone,
    png,
    png_with,
    user_comment,
    xmp,
)
from tests.imaging.provenance.signing import AI, chain, signed

NASTY = '<script>alert(1)</script><img src=x onerror=alert(2)>" \u202egnp.exe\u202c \x00\x07\x1b[31m\u200b{{7*7}}'
_LIMITS = ImageLimits(max_bytes=100_000_000, max_pixels=4_000_000)


def check(provenance: Provenance) -> Provenance:
    """What holds of every file, whatever is in it."""
    assert len(provenance.statements) <= MOST_STATEMENTS
    assert sum(len(item.value) for item in provenance.statements) <= MOST_CHARACTERS
    assert [item.tier for item in provenance.statements] == sorted(
        (item.tier for item in provenance.statements), key=("signed", "stated", "hint").index
    )
    for item in provenance.statements:
        assert len(item.value) <= LONGEST_VALUE
        assert len(item.name) <= LONGEST_NAME
        for text in (item.value, item.name, item.proves):
            unseen = [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")]
            assert unseen == []
    assert provenance.headline.endswith(".")
    assert len(provenance.headline) < 400
    json.dumps(provenance.to_json()).encode("ascii")
    return provenance


@cache
def files() -> dict[str, bytes]:
    """A real file of each kind."""
    return {
        "signed JPEG": signed(encode(picture(), "JPEG"), source_type=AI),
        "signed PNG": signed(encode(picture(), "PNG"), "PNG"),
        "signed WebP": signed(encode(picture(), "WEBP"), "WEBP"),
        "signed HEIC": signed(encode(picture(), "HEIF"), "HEIF"),
        "signed TIFF": signed(encode(picture(), "TIFF"), "TIFF"),
        "parameters": png(("parameters", PARAMETERS)),
        "parameters, packed": png(("parameters", PARAMETERS), packed=True),
        "comment": encode(picture(), "JPEG", exif=user_comment(PARAMETERS)),
        "comment, WebP": encode(picture(), "WEBP", exif=user_comment(PARAMETERS)),
        "ComfyUI": png(("prompt", COMFY_TEXT), ("workflow", WORKFLOW_TEXT)),
        "NovelAI": png(("Software", "NovelAI"), ("Comment", json.dumps(NOVELAI))),
        "Midjourney": png(("Description", MIDJOURNEY)),
        "XMP": jpeg_with((0xE1, b"http://ns.adobe.com/xap/1.0/\x00" + AI_XMP), exif=phone()),
        "XMP, AVIF": encode(picture(), "AVIF", xmp=AI_XMP, exif=phone()),
        "XMP, TIFF": encode(picture(), "TIFF", tiffinfo={700: AI_XMP, 271: "Maker"}),
        "GIF": encode(picture(), "GIF"),
        "BMP": encode(picture(), "BMP"),
    }


NAMES = tuple(sorted(files()))


@pytest.mark.parametrize("name", NAMES)
def test_a_real_file_of_each_kind_is_read(name: str) -> None:
    check(read_provenance(files()[name]))


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_flipped_bytes_never_raise(data: st.DataObject) -> None:
    made = bytearray(files()[data.draw(st.sampled_from(NAMES))])
    for _ in range(data.draw(st.integers(1, 12))):
        made[data.draw(st.integers(0, len(made) - 1))] = data.draw(st.integers(0, 255))
    check(read_provenance(bytes(made)))


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_file_that_ends_anywhere_never_raises(data: st.DataObject) -> None:
    made = files()[data.draw(st.sampled_from(NAMES))]
    check(read_provenance(made[: data.draw(st.integers(0, len(made)))] + data.draw(st.binary(max_size=40))))


@settings(max_examples=200, deadline=None)
@given(start=st.sampled_from((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF0000WEBP", b"II*\x00", b"GIF89a", b"")),
       rest=st.binary(max_size=400))  # fmt: skip
def test_bytes_that_are_no_picture_never_raise(start: bytes, rest: bytes) -> None:
    check(read_provenance(start + rest))


def _nasty_files() -> dict[str, bytes]:
    plain = NASTY.replace("\x00", "").replace("\x07", "").replace("\x1b", "")
    escaped = plain.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    text = NASTY.encode()
    records = b"\x1c\x02\x50" + len(text).to_bytes(2, "big") + text
    resource = b"8BIM\x04\x04\x00\x00" + len(records).to_bytes(4, "big") + records + b"\x00" * (len(records) % 2)
    nodes = {NASTY: {"class_type": NASTY, "inputs": {"ckpt_name": NASTY, "sampler_name": NASTY}}}
    return {
        "text": png_with(
            *((kind, b"Nasty <b>" + gap + text) for kind, gap in ((b"tEXt", b"\x00"), (b"iTXt", bytes(5))))
        ),
        "keyword": png_with((b"tEXt", "<script>\u202e".encode() + b"\x00value")),
        "parameters": png_with((b"tEXt", b"parameters\x00" + PARAMETERS.encode() + b", Model: " + text)),
        "graph": png_with((b"tEXt", b"prompt\x00" + json.dumps(nodes).encode())),
        "XMP": jpeg_with(
            (
                0xE1,
                b"http://ns.adobe.com/xap/1.0/\x00"
                + xmp(f"<photoshop:Source>{escaped}</photoshop:Source>", f'xmp:CreatorTool="{escaped}"'),
            )
        ),
        "IPTC": jpeg_with((0xED, b"Photoshop 3.0\x00" + resource)),
        "EXIF": encode(
            picture(),
            "JPEG",
            exif=exif(
                {270: plain, 271: plain, 272: plain, 305: plain, 315: plain}, {37510: b"ASCII\x00\x00\x00" + text}
            ),
        ),
        "comment": jpeg_with((0xFE, text)),
        "signed": signed(
            encode(picture(), "JPEG"), by=chain("<script>alert(1)</script> & \u202eevil"), program=plain, title=plain
        ),
    }


@pytest.mark.parametrize("name", sorted(_nasty_files()))
def test_script_and_signs_without_ink_come_out_as_harmless_text(name: str) -> None:
    provenance = check(read_provenance(_nasty_files()[name]))
    assert any("script" in item.value + item.name for item in provenance.statements), provenance


def test_a_packed_text_that_grows_to_fifty_megabytes_is_cut() -> None:
    bomb = b"zTXt", b"Comment\x00\x00" + zlib.compress(bytes(50_000_000), 9)
    text = b"zTXt", b"prompt\x00\x00" + zlib.compress(b"A" * 50_000_000, 9)
    data = png_with(bomb, text, text, text, text, bomb)
    tracemalloc.start()
    provenance = check(read_provenance(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60_000_000, f"{peak / 1e6:.0f} MB"
    value = next(item.value for item in provenance.statements if item.name == "Prompt")
    assert value.endswith(" characters or more]")
    assert len(value) == LONGEST_VALUE


@pytest.mark.parametrize("number", [10_000])
def test_ten_thousand_chunks_are_bounded_and_hide_nothing_else(number: int) -> None:
    data = png_with(*((b"tEXt", b"Key %d\x00text %d" % (n, n)) for n in range(number)))
    provenance = check(read_provenance(data))
    assert provenance.statements[-1].name == "Not listed"
    assert any(item.kind == "no-camera" for item in provenance.statements)
    assert len(read_metadata(data).texts) <= 200


def _packet(text: bytes) -> Provenance:
    return check(read_provenance(jpeg_with((0xE1, b"http://ns.adobe.com/xap/1.0/\x00" + text[:65_000]))))


def test_entities_are_refused_and_grow_to_nothing() -> None:
    """Billion laughs, and a file of the machine as an entity."""
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "lol"}">' for n in range(10))
    for dtd, entity in (
        (laughs, "&l9;"),
        ('<!ENTITY file SYSTEM "file:///etc/passwd">', "&file;"),
        ('<!ENTITY % far SYSTEM "http://127.0.0.1:9/x.dtd"> %far;', "x"),
    ):
        body = xmp(f"<photoshop:Source>{entity}</photoshop:Source>").decode()
        body = body[body.index("<x:xmpmeta") :]
        provenance = _packet(f"<!DOCTYPE x [{dtd}]>{body}".encode())
        assert [item.kind for item in provenance.in_tier("stated")] == ["unreadable"]


def test_deep_and_broken_xml_is_told_and_what_comes_before_is_kept() -> None:
    tool = xmp(attributes='xmp:CreatorTool="GIMP 3"').decode().split("</rdf:Description>")[0]
    deep = 500 * "<a>" + 500 * "</a>" + "</rdf:Description></rdf:RDF></x:xmpmeta>"
    for rest in (deep, "<a>" * 20_000, "<broken", "\ufffe", "</wrong>"):
        provenance = _packet((tool + rest).encode())
        assert [item.value for item in provenance.in_tier("stated")] == ["GIMP 3", "cannot be read to its end"]


def test_nested_json_is_text_and_no_graph() -> None:
    for text in ("[" * 100_000, '{"a":' * 100_000, '{"1": {"class_type": ' + "[" * 50_000, '{"nodes": ' + "[" * 50_000):
        provenance = check(read_provenance(png(("prompt", text))))
        assert provenance.in_tier("stated")


@pytest.mark.parametrize(
    "graph",
    [
        {"nodes": "no list"},
        {"nodes": [None, 5, [], {"type": 5, "widgets_values": {"a": 1}, "inputs": [1]}]},
        {"1": {"class_type": None, "inputs": None}, "2": {"class_type": ["x"], "inputs": {"text": ["3", 0]}}},
        {"1": {"class_type": "CLIPTextEncode", "inputs": {"text": {"deep": "er"}}}},
        {},
    ],
)
def test_a_graph_of_the_wrong_kinds_is_still_shown(graph: object) -> None:
    assert check(read_provenance(png(("prompt", json.dumps(graph))))).in_tier("stated")


def test_bytes_that_are_no_utf_8_are_shown_as_they_may_be_meant() -> None:
    data = png_with((b"tEXt", b"Title\x00caf\xe9"), (b"iTXt", b"Author\x00\x00\x00\x00\x00\xff\xfe\xfdAda"))
    found = {item.name: item.value for item in check(read_provenance(data)).in_tier("stated")}
    assert found["Title"] == "café"
    assert "Ada" in found["Author"]


def test_places_of_a_heic_that_overlap_without_end_cost_no_more_than_one() -> None:
    """Each piece of an item may name the whole file."""
    data = bytearray(encode(picture(), "AVIF", xmp=AI_XMP, exif=phone()))
    at = data.index(b"iloc")
    data[at + 8 :] = bytes(data[at + 8 :]).replace(b"\x00\x01", b"\xff\xff")
    check(read_provenance(bytes(data)))


def _box(kind: bytes, body: bytes) -> bytes:
    return (8 + len(body)).to_bytes(4, "big") + kind + body


def _avif_of_one_place(items: int, content: bytes) -> bytes:
    """A real AVIF with XMP items behind it that all lie in the same place."""
    start = encode(picture(), "AVIF")
    ids = range(100, 100 + items)
    entries = b"".join(_box(b"infe", b"\x02\x00\x00\x00" + n.to_bytes(2, "big") + b"\x00\x00mime\x00") for n in ids)
    table = _box(b"iinf", bytes(4) + items.to_bytes(2, "big") + entries)

    def meta(at: int) -> bytes:
        place = b"\x00\x00\x00\x01" + at.to_bytes(4, "big") + len(content).to_bytes(4, "big")
        places = b"".join(n.to_bytes(2, "big") + place for n in ids)
        return _box(
            b"meta", bytes(4) + table + _box(b"iloc", bytes(4) + b"\x44\x00" + items.to_bytes(2, "big") + places)
        )

    at = len(start) + len(meta(0)) + 8
    return start + meta(at) + _box(b"free", content)


def _read_within(data: bytes, most: int) -> Provenance:
    tracemalloc.start()
    provenance = check(read_provenance(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < most, f"{peak / 1e6:.0f} MB"
    return provenance


def test_two_hundred_items_of_an_avif_in_one_place_cost_no_more_than_a_few() -> None:
    data = _avif_of_one_place(200, AI_XMP + (4 << 20) * b" ")
    provenance = _read_within(data, 60_000_000)
    assert any(item.value == "Imagen 4" for item in provenance.statements)
    assert len(read_metadata(_avif_of_one_place(200, AI_XMP)).xmp) == 4


def test_a_table_of_an_avif_does_not_reach_beyond_the_box_that_holds_it() -> None:
    """Else each of thousands of tables claims all that follow it, and a file of a megabyte is walked for minutes."""
    data = _avif_of_one_place(1, AI_XMP)
    assert len(read_metadata(data).xmp) == 1
    at = data.rindex(b"iinf")
    size = int.from_bytes(data[at - 4 : at], "big")
    table = data[at - 4 : at - 4 + size]
    # The table's entry lies behind its meta box, and the table claims to be longer than the file.
    claiming = _box(b"meta", bytes(4) + b"\x7f\xff\xff\xff" + table[4:14]) + table[14:]
    assert read_metadata(data[: at - 4] + table[:4] + b"free" + table[8:] + data[at - 4 + size :] + claiming).xmp == []


def test_packets_of_a_png_are_four_at_most_in_both_ways_to_write_them() -> None:
    block = b"\nxmp\n%8d\n" % len(AI_XMP) + AI_XMP.hex().encode()
    for chunk in (
        (b"iTXt", b"XML:com.adobe.xmp" + 5 * b"\x00" + AI_XMP),
        (b"tEXt", b"Raw profile type xmp\x00" + block),
    ):
        found = read_metadata(png_with(*(chunk for _ in range(50))))
        assert found.xmp == 4 * [AI_XMP]


def test_a_profile_in_megabytes_of_pairs_of_digits_is_not_torn_into_a_million_pieces() -> None:
    text = b"\nxmp\n 100\n" + (4 << 20) // 3 * b"20 "
    _read_within(png_with((b"zTXt", b"Raw profile type xmp\x00\x00" + zlib.compress(text))), 60_000_000)


def test_packed_chunks_that_break_after_megabytes_are_given_up_after_the_first_few() -> None:
    """Each costs the time of megabytes and comes to nothing, so that no budget of bytes ends them."""
    broken = zlib.compress(bytes(300_000), 9)[:-4] + bytes(4)
    text, profile = b"XML:com.adobe.xmp\x00\x01\x00\x00\x00", b"a\x00\x00"
    data = png_with(
        *(chunk for _ in range(200) for chunk in ((b"iCCP", profile + broken), (b"iTXt", text + broken))),
        (b"iCCP", profile + zlib.compress(b"whole")),
        (b"iTXt", text + zlib.compress(AI_XMP)),
    )
    found = read_metadata(data)
    assert found.profile == b""
    assert AI_XMP not in found.xmp


def test_comments_tables_and_profiles_of_a_jpeg_are_bounded_all_together() -> None:
    kinds = (
        (0xFE, b"\xf0\x9f\xa6\x8a"),
        (0xDB, b"\x00"),
        (0xE2, b"ICC_PROFILE\x00\x01\x01"),
        (0xED, b"Photoshop 3.0\x00"),
    )
    segments = [(marker, start + 65_000 * b"a") for marker, start in kinds for _ in range(180)]
    found = read_metadata(jpeg_with(*segments))
    assert sum(len(text) for _, text in found.texts) <= 8 << 20
    assert len(found.tables) <= 8
    assert len(found.profile) == len(found.photoshop) == 4 << 20


def test_a_tag_of_a_tiff_that_claims_gigabytes_is_left_out() -> None:
    data = bytearray(encode(picture(), "TIFF", tiffinfo={700: AI_XMP}))
    at = data.index((700).to_bytes(2, "little"))
    data[at + 4 : at + 8] = (0xFFFFFFF0).to_bytes(4, "little")
    assert check(read_provenance(bytes(data))).in_tier("stated") == ()


def test_reading_a_file_changes_nothing_of_how_it_decodes(tmp_path: Path) -> None:
    for name, data in files().items():
        before = decode_image(data, name, _LIMITS).pixels.tobytes()
        read_provenance(data)
        assert decode_image(io.BytesIO(data).getvalue(), name, _LIMITS).pixels.tobytes() == before
