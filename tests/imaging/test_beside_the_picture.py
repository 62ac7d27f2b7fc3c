"""Kind: what is broken, too large or cut off beside an intact picture never costs the picture."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import pytest
from PIL import Image

from detector.errors import ImageDamaged, ImageError
from detector.imaging import decode_image, inspect_image
from tests.imaging.pictures import FORMATS, LIMITS, difference, encode, picture, with_orientation

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::UserWarning")

SOURCE = picture(120, 80)
PNG = encode(SOURCE, "PNG")
LARGE = zlib.compress(b"{'node': 1}" * 300_000)


def chunk(kind: bytes, body: bytes, checksum_off: int = 0) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) ^ checksum_off)


def decoded(data: bytes) -> Image.Image:
    """The pixels, after the reduced road has agreed that the file can be used."""
    facts = inspect_image(data, "picture", LIMITS).facts
    result = decode_image(data, "picture", LIMITS)
    assert facts == result.facts
    assert facts.byte_count == len(data)
    return result.pixels


def assert_taken(data: bytes, intact: bytes) -> None:
    assert difference(decoded(data), decoded(intact)) == 0


ANCILLARY = {
    "large zTXt": chunk(b"zTXt", b"workflow\0\0" + LARGE),
    "large iTXt": chunk(b"iTXt", b"prompt\0\1\0\0\0" + LARGE),
    "text with a wrong checksum": chunk(b"tEXt", b"prompt\0a cat", 1),
    "zTXt of an unknown method": chunk(b"zTXt", b"prompt\0\7" + LARGE),
    "zTXt that does not unpack": chunk(b"zTXt", b"prompt\0\0xxxx"),
    "large profile": chunk(b"iCCP", b"name\0\0" + LARGE),
    "profile that ends after its name": chunk(b"iCCP", b"name"),
    "profile of an unknown method": chunk(b"iCCP", b"name\0\1xxx"),
    "short pHYs": chunk(b"pHYs", b"ab"),
    "short tIME": chunk(b"tIME", b"ab"),
    "short gAMA": chunk(b"gAMA", b"a"),
    "short cHRM": chunk(b"cHRM", b"a"),
    "empty sRGB": chunk(b"sRGB", b""),
    "EXIF of noise": chunk(b"eXIf", b"\xee" * 60),
    "EXIF with a wrong checksum": chunk(b"eXIf", b"MM\0*", 1),
    "private chunk with a wrong checksum": chunk(b"abCd", b"x" * 100_000, 1),
    "chunk with a name that is none": chunk(b"a\xff1d", b"x"),
    "short acTL": chunk(b"acTL", b"x"),
    "fcTL of no animation": chunk(b"fcTL", b"xx"),
    "fdAT of no animation": chunk(b"fdAT", b"x"),
    "short tRNS": chunk(b"tRNS", b"x"),
    "100 MB of texts": b"".join(chunk(b"zTXt", b"k%d\0\0" % n + zlib.compress(b"b" * 1_000_000)) for n in range(100)),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ANCILLARY)
def test_a_broken_chunk_beside_the_picture_does_not_cost_a_png(kind: str) -> None:
    """Kind: of a PNG, only the picture's own chunks decide; before it, behind it, and cut off behind it."""
    extra = ANCILLARY[kind]
    for data in (PNG[:33] + extra + PNG[33:], PNG[:-12] + extra + PNG[-12:], PNG[:-12] + extra[:-5]):
        assert_taken(data, PNG)


def test_the_names_of_texts_that_are_too_large_are_kept() -> None:
    """Kind: the shortcut audit compares the names of texts; those of large ones stay a fact of the file."""
    data = PNG[:33] + ANCILLARY["large zTXt"] + ANCILLARY["large iTXt"] + chunk(b"tEXt", b"Software\0x") + PNG[33:]
    facts = decode_image(data, "picture", LIMITS).facts
    assert facts.extra["text_keys"] == ["Software", "prompt", "workflow"]


def test_an_orientation_survives_a_broken_chunk_beside_it() -> None:
    """Kind: only the broken one of several chunks is dropped."""
    data = encode(SOURCE, "PNG", exif=with_orientation(6))
    broken = data[:33] + ANCILLARY["text with a wrong checksum"] + data[33:]
    assert decode_image(broken, "picture", LIMITS).facts.orientation == 6
    assert_taken(broken, data)


def test_an_animated_png_with_a_broken_text_is_still_animated() -> None:
    """Kind: only the broken one of several chunks is dropped."""
    data = encode(SOURCE, "PNG", save_all=True, append_images=[picture(120, 80, seed=1)])
    broken = data[:33] + ANCILLARY["text with a wrong checksum"] + data[33:]
    assert decode_image(broken, "picture", LIMITS).facts.animated
    assert_taken(broken, data)


def test_a_png_without_its_end_or_with_bytes_behind_it_is_whole() -> None:
    """Kind: the picture's data decide where a file ends."""
    for data in (PNG[:-12], PNG[:-7], PNG + b"appended" * 10):
        assert_taken(data, PNG)


def test_damage_to_the_picture_of_a_png_is_still_damage() -> None:
    """Kind: what is dropped beside the picture hides no damage to the picture."""
    palette = encode(SOURCE.quantize(16), "PNG")
    at = palette.index(b"PLTE") + 4 + 16 * 3
    extra = ANCILLARY["text with a wrong checksum"]
    for data in (
        PNG[:29] + b"xxxx" + PNG[33:],
        palette[:at] + b"xxxx" + palette[at + 4 :],
        PNG[: len(PNG) // 2],
        PNG[:33] + extra + PNG[33 : len(PNG) // 2],
        PNG[:33] + extra + PNG[33:-80],
        PNG[:200] + bytes([PNG[200] ^ 1]) + PNG[201:],
    ):
        with pytest.raises(ImageDamaged):
            decode_image(data, "picture", LIMITS)


def jpegs() -> Iterator[tuple[str, bytes]]:
    for mode in ("RGB", "L", "CMYK"):
        for quality in (50, 95):
            for progressive in (False, True):
                for restart in (0, 1):
                    options = {"restart_marker_rows": restart} if restart else {}
                    name = f"{mode} {quality} {'progressive ' if progressive else ''}{restart}"
                    source = SOURCE.convert(mode)
                    yield name, encode(source, "JPEG", quality=quality, progressive=progressive, **options)
    yield "restarts at every block", encode(SOURCE, "JPEG", restart_marker_blocks=1)
    yield "one colour", encode(Image.new("RGB", (50, 50), (12, 200, 99)), "JPEG")
    yield "grey", encode(Image.new("L", (50, 50), 128), "JPEG")


JPEGS = dict(jpegs())


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_that_lacks_only_its_end_mark_is_taken(kind: str) -> None:
    """Kind: whole picture, end mark missing in whole or in half."""
    data = JPEGS[kind]
    for lost in (1, 2):
        assert_taken(data[:-lost], data)
    assert_taken(data + b"appended" * 10, data)


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_that_lacks_more_than_its_end_mark_is_refused_or_has_lost_nothing(kind: str) -> None:
    """Kind: cut off by a byte, by a row of blocks, by any tenth; and with the rest filled up with zeros."""
    data = JPEGS[kind]
    whole = decode_image(data, "picture", LIMITS).pixels
    refused = 0
    lost = {3, 4, 5, 6, 8, 11, 17, 30, 60, 120, *(len(data) * tenth // 10 for tenth in range(1, 10))}
    for bytes_lost in (number for number in lost if number < len(data)):
        try:
            pixels = decode_image(data[:-bytes_lost], "picture", LIMITS).pixels
        except ImageError:
            refused += 1
            continue
        assert difference(pixels, whole) == 0, bytes_lost
    # The last scan of a progressive file may hold next to nothing.
    assert refused >= 10


def test_a_progressive_jpeg_cut_off_between_two_scans_is_refused() -> None:
    """Kind: such a file decodes without a complaint, only less sharply."""
    data = encode(SOURCE, "JPEG", progressive=True)
    scans = [at for at in range(len(data) - 1) if data[at : at + 2] == b"\xff\xda"]
    assert len(scans) > 5
    for at in scans[1:]:
        tables = data.rfind(b"\xff\xc4", 0, at)
        for end in (at, tables if tables > scans[0] else at):
            with pytest.raises(ImageDamaged):
                decode_image(data[:end], "picture", LIMITS)


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


SEGMENTS = {
    "short JFIF": segment(0xE0, b"JFIF\0"),
    "short Adobe": segment(0xEE, b"Adobe"),
    "Photoshop that ends in a record": segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4"),
    "Photoshop with a short resolution": segment(0xED, b"Photoshop 3.0\0" + b"8BIM\x03\xed\0\0\0\0\0\x03abc"),
    "short profile": segment(0xE2, b"ICC_PROFILE\0"),
    "one of seven parts of a profile": segment(0xE2, b"ICC_PROFILE\0\5\7" + b"x" * 9),
    "EXIF of noise": segment(0xE1, b"Exif\0\0" + b"\xff" * 40),
    "empty EXIF": segment(0xE1, b"Exif\0\0"),
    "EXIF that leads nowhere": segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(range(200))),
    "MPF that leads nowhere": segment(0xE2, b"MPF\0II*\0\xff\xff\xff\xff"),
    "XMP of noise": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0\xff<x"),
    "empty comment": segment(0xFE, b""),
}


@pytest.mark.parametrize("kind", SEGMENTS)
def test_a_broken_segment_beside_the_picture_does_not_cost_a_jpeg(kind: str) -> None:
    """Kind: of a JPEG, only the picture's own segments decide, wherever the broken one stands."""
    for intact in (JPEGS["RGB 95 0"], JPEGS["CMYK 50 progressive 1"]):
        after_first = 2 + 2 + int.from_bytes(intact[4:6], "big")
        for at in (2, after_first):
            data = intact[:at] + SEGMENTS[kind] + intact[at:]
            assert_taken(data, intact)
            assert_taken(data[:-2], intact)
            with pytest.raises(ImageDamaged):
                decode_image(data[:-200], "picture", LIMITS)


def tiff_with_tags(intact: bytes, *tags: tuple[int, int, int, int]) -> bytes:
    """A copy with a new directory at its end that has these tags (number, type, count, place) too."""
    at = struct.unpack("<I", intact[4:8])[0]
    count = struct.unpack("<H", intact[at : at + 2])[0]
    entries = [intact[at + 2 + 12 * n : at + 14 + 12 * n] for n in range(count)]
    entries += [struct.pack("<HHII", *tag) for tag in tags]
    entries.sort(key=lambda entry: int.from_bytes(entry[:2], "little"))
    padding = bytes(len(intact) % 2)
    return (
        intact[:4] + struct.pack("<I", len(intact) + len(padding)) + intact[8:] + padding
        + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    )  # fmt: skip


TAGS = {
    "description outside the file": (270, 2, 100, 10**9),
    "description longer than the file": (270, 2, 2**31, 8),
    "XMP outside the file": (700, 1, 5000, 10**8),
    "XMP of another type": (700, 3, 2, 5),
    "profile outside the file": (34675, 7, 5000, 10**8),
    "profile of noise": (34675, 7, 50, 8),
    "EXIF outside the file": (34665, 4, 1, 10**9),
    "EXIF that is none": (34665, 4, 1, 9),
    "place that is none": (34853, 4, 1, 7),
    "unknown type": (270, 99, 5, 5),
    "resolution of text": (283, 2, 8, 8),
    "IPTC outside the file": (33723, 4, 99, 10**7),
    "sub-directory outside the file": (330, 4, 1, 10**9),
    "orientation that is none": (274, 3, 1, 77),
}


@pytest.mark.parametrize("kind", TAGS)
@pytest.mark.parametrize("compression", ["raw", "tiff_adobe_deflate"])
def test_a_broken_tag_beside_the_picture_does_not_cost_a_tiff(kind: str, compression: str) -> None:
    """Kind: of a TIFF, only the tags that the picture needs decide."""
    intact = encode(SOURCE, "TIFF", compression=compression)
    assert_taken(tiff_with_tags(intact, TAGS[kind]), intact)


@pytest.mark.parametrize("kind", ["WEBP", "lossless WEBP", "HEIF"])
@pytest.mark.parametrize("metadata", ["exif", "xmp"])
def test_metadata_cut_off_behind_the_picture_do_not_cost_a_webp_or_heic(kind: str, metadata: str) -> None:
    """Kind: the picture's own chunks or items are whole, what stands behind them is not."""
    options = {"lossless": True} if kind == "lossless WEBP" else {}
    file_format = kind.removeprefix("lossless ")
    plain = encode(SOURCE, file_format, **options)
    data = encode(SOURCE, file_format, **{metadata: b"Exif\0\0" + b"\xee" * 300}, **options)
    for lost in (0, 5, 100, 250):
        assert_taken(data[: len(data) - lost], plain)
    with pytest.raises(ImageDamaged):
        decode_image(data[:-500], "picture", LIMITS)


@pytest.mark.parametrize("file_format", ["AVIF", "HEIF"])
def test_broken_exif_does_not_cost_an_avif_or_heic(file_format: str) -> None:
    """Kind: metadata of noise in a container that is read before the picture."""
    exif = Image.Exif()
    exif[0x010F] = "a maker with a name that is long enough"
    data = encode(SOURCE, file_format, exif=exif.tobytes())
    end = data.index(b"a maker with")
    start = max(data.rfind(header, 0, end) for header in (b"MM\0*", b"II*\0"))
    assert 0 < start < end
    assert_taken(data[:start] + b"\xee" * 20 + data[start + 20 :], data)


EXTENSIONS = {
    "empty application": b"!\xff\0",
    "short application": b"!\xff\x03abc\0",
    "short profile": b"!\xff\x0bICCRGBG1012\x05abcde\0",
    "short loop": b"!\xff\x0bNETSCAPE2.0\x01\1\0",
    "short control": b"!\xf9\x01\0\0",
    "comment": b"!\xfe\x05abcde\0",
    "unknown": b"!\x77\x02ab\0",
}


@pytest.mark.parametrize("kind", EXTENSIONS)
def test_a_broken_extension_beside_the_picture_does_not_cost_a_gif(kind: str) -> None:
    """Kind: of a GIF, only its picture decides; the extension before it, behind it, and cut off behind it."""
    intact = encode(SOURCE, "GIF")
    at = 13 + 3 * 256
    extra = EXTENSIONS[kind]
    for data in (intact[:at] + extra + intact[at:], intact[:-1] + extra + b";", intact[:-1] + extra[:-2]):
        assert_taken(data, intact)


@pytest.mark.parametrize("file_format", FORMATS)
def test_bytes_behind_the_file_do_not_cost_the_picture(file_format: str) -> None:
    """Kind: programs append data of their own."""
    intact = encode(SOURCE, file_format)
    assert_taken(intact + b"appended " * 100, intact)


def test_intact_files_never_take_the_second_road() -> None:
    """Kind: facts and pixels of intact files are what one decode gives; sealed here by what Pillow itself gives."""
    for file_format in FORMATS:
        data = encode(SOURCE, file_format)
        if file_format != "HEIF":
            reference = Image.open(io.BytesIO(data)).convert("RGB")
            assert decoded(data).tobytes() == reference.tobytes()
