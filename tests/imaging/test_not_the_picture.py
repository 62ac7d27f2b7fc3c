"""Kind: the picture is taken, not the first thing in a container; what is whole but not read is called by its name."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass, field

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from detector.errors import CameraRawFile, ImageDamaged, ImageNotSupported, NotAnImage
from detector.imaging import decode_image, inspect_image
from tests.imaging.pictures import LIMITS, difference, encode, picture

SOURCE = picture(120, 80)
THUMBNAIL = picture(30, 20, seed=7)


@dataclass
class Page:
    """A page of a TIFF to be written; ``below`` are its sub-directories."""

    pixels: np.ndarray
    tags: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    below: list[Page] = field(default_factory=list)


def write_tiff(*pages: Page, order: str = "<", big: bool = False) -> bytes:
    """An uncompressed TIFF; ``order`` "<" or ">", ``big`` with places of 8 bytes."""
    out = bytearray(b"II" if order == "<" else b"MM")
    out += struct.pack(order + "HHH", 43, 8, 0) if big else struct.pack(order + "H", 42)
    place = "Q" if big else "I"
    link = len(out)
    out += bytes(8 if big else 4)

    def write(page: Page) -> tuple[int, int]:
        nonlocal out
        below = [write(sub)[0] for sub in page.below]
        strip = len(out)
        samples = page.pixels.astype(page.pixels.dtype.newbyteorder(order)).tobytes()
        out += samples + bytes(len(samples) % 2)
        depth = page.pixels.shape[2] if page.pixels.ndim == 3 else 1
        kinds = {"u": 1, "i": 2, "f": 3}

        def shorts(*values: int) -> tuple[int, bytes]:
            return 3, struct.pack(f"{order}{len(values)}H", *values)

        def longs(*values: int) -> tuple[int, bytes]:
            return 4, struct.pack(f"{order}{len(values)}I", *values)

        tags = {
            256: longs(page.pixels.shape[1]), 257: longs(page.pixels.shape[0]),
            258: shorts(*[page.pixels.itemsize * 8] * depth), 259: shorts(1), 262: shorts(2 if depth == 3 else 1),
            273: longs(strip), 277: shorts(depth), 278: longs(page.pixels.shape[0]), 279: longs(len(samples)),
            339: shorts(*[kinds[page.pixels.dtype.kind]] * depth),
        }  # fmt: skip
        if below:
            tags[330] = longs(*below)
        for tag, (kind, value) in page.tags.items():
            tags[tag] = (
                kind,
                value if kind in (1, 2, 7) else struct.pack(f"{order}{'H' if kind == 3 else 'I'}", int(value)),
            )
        entries, long = b"", {}
        for tag, (_, value) in sorted(tags.items()):
            if len(value) > (8 if big else 4):
                long[tag] = len(out)
                out += value + bytes(len(value) % 2)
        start = len(out)
        for tag, (kind, value) in sorted(tags.items()):
            size = {1: 1, 2: 1, 3: 2, 4: 4, 7: 1}[kind]
            held = struct.pack(order + place, long[tag]) if tag in long else value.ljust(8 if big else 4, b"\0")
            entries += struct.pack(order + "HH" + place, tag, kind, len(value) // size) + held
        out += struct.pack(order + ("Q" if big else "H"), len(tags)) + entries
        end = len(out)
        out += bytes(8 if big else 4)
        return start, end

    for page in pages:
        start, end = write(page)
        struct.pack_into(order + place, out, link, start)
        link = end
    return bytes(out)


def marked(image: Image.Image, mark: int, *below: Page, tag: int = 254) -> Page:
    return Page(np.asarray(image), {tag: (4 if tag == 254 else 3, b"%d" % mark)}, list(below))


FULL, SMALL = np.asarray(SOURCE), np.asarray(THUMBNAIL)
LAYOUTS = [("<", False), (">", False), ("<", True)]


@pytest.mark.parametrize(("order", "big"), LAYOUTS)
def test_a_page_marked_as_reduced_or_as_a_mask_is_not_the_picture(order: str, big: bool) -> None:
    """Kind: every way in which a TIFF says that something is not its picture, in every byte order."""
    for pages in (
        [marked(THUMBNAIL, 1), Page(FULL)],
        [marked(THUMBNAIL, 2, tag=255), Page(FULL)],
        [marked(SOURCE.convert("L"), 4), Page(FULL)],
        [marked(THUMBNAIL, 1), marked(THUMBNAIL.convert("L"), 5), Page(FULL), Page(SMALL)],
        [marked(THUMBNAIL, 1, Page(FULL))],
        [marked(THUMBNAIL, 1, marked(THUMBNAIL, 1), Page(FULL))],
        [Page(SMALL, below=[Page(FULL)])],
        [Page(FULL, below=[marked(THUMBNAIL, 1)])],
        [Page(FULL, below=[Page(SMALL)])],
        [Page(FULL), marked(THUMBNAIL, 1)],
        [Page(FULL), Page(SMALL)],
    ):
        data = write_tiff(*pages, order=order, big=big)
        result = decode_image(data, "scan.tif", LIMITS)
        assert difference(result.pixels, SOURCE) == 0
        assert result.facts.byte_count == len(data)
        assert inspect_image(data, "scan.tif", LIMITS).facts == result.facts


def test_a_tiff_of_nothing_but_reduced_copies_is_refused_by_that_name() -> None:
    """Kind: no preview is taken without a word."""
    with pytest.raises(ImageNotSupported) as refused:
        decode_image(write_tiff(marked(THUMBNAIL, 1), marked(THUMBNAIL, 1)), "scan.tif", LIMITS)
    assert str(refused.value).startswith("scan.tif is a TIFF that holds nothing but reduced copies of a picture")


def raw_tiffs() -> dict[str, tuple[bytes, str]]:
    sensor = np.arange(120 * 80, dtype=np.uint16).reshape(80, 120)
    array = Page(sensor, {262: (3, b"32803")})
    linear = Page(FULL, {262: (3, b"34892")})
    version = {50706: (1, b"\1\4\0\0")}
    reduced = {254: (4, b"1")}
    files: dict[str, tuple[bytes, str]] = {}
    for order, big in LAYOUTS:
        layout = {"order": order, "big": big}
        for name, page, kind in (
            ("with a version", Page(SMALL, {**reduced, **version}, [array]), "DNG"),
            ("with a version, without any mark", Page(SMALL, version, [Page(FULL)]), "DNG"),
            ("linear", Page(SMALL, {**reduced, **version}, [linear]), "DNG"),
            ("without a version", Page(SMALL, reduced, [array]), "TIFF/EP"),
            ("without a mark", Page(SMALL, {}, [array]), "TIFF/EP"),
            ("alone", array, "TIFF/EP"),
            ("behind a full preview", Page(FULL, {271: (2, b"NIKON CORPORATION\0")}, [linear, array]), "NEF"),
            ("of a maker", Page(SMALL, {**reduced, 271: (2, b"SONY\0")}, [array]), "ARW"),
            ("of a compression", Page(SMALL, reduced, [Page(sensor, {259: (3, b"34713")})]), "NEF"),
        ):
            files[f"{name} {order}{'big' if big else ''}"] = write_tiff(page, **layout), kind  # type: ignore[arg-type]
    files["on the second page"] = write_tiff(Page(SMALL), array), "TIFF/EP"
    return files


RAW = raw_tiffs() | {
    "RAF": (b"FUJIFILMCCD-RAW 0201" + bytes(200), "RAF"),
    "CR2": (b"II*\0\x10\0\0\0CR\2\0" + bytes(200), "CR2"),
    "CR3": (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(200), "CR3"),
    "ORF": (b"IIRO\x08\0\0\0" + bytes(200), "ORF"),
    "RW2": (b"IIU\0\x08\0\0\0" + bytes(200), "RW2"),
    "X3F": (b"FOVb" + bytes(200), "X3F"),
    "IIQ": (b"II*\0\x08\0\0\0IIII" + bytes(200), "IIQ"),
    "MRW": (b"\0MRM" + bytes(200), "MRW"),
    "CRW": (b"II\x1a\0\0\0HEAPCCDR" + bytes(200), "CRW"),
}


@pytest.mark.parametrize("kind", RAW)
def test_a_camera_raw_file_is_refused_by_that_name(kind: str) -> None:
    """Kind: all but photographs would come in as thumbnails, which the label would be learned from."""
    data, raw = RAW[kind]
    for call in (decode_image, inspect_image):
        with pytest.raises(CameraRawFile) as refused:
            call(data, "DSC_1.jpg", LIMITS)
        assert refused.value.raw == raw
        assert str(refused.value) == (
            f"DSC_1.jpg is a camera raw file ({raw}). Export it as JPEG or TIFF and use that file."
        )


def test_directories_that_lead_in_a_circle_or_out_of_the_file_end() -> None:
    """Kind: the search for the picture is bounded, whatever the file says."""
    data = bytearray(write_tiff(marked(THUMBNAIL, 1), marked(THUMBNAIL, 1)))
    first = struct.unpack_from("<I", data, 4)[0]
    second_link = len(data) - 4
    for target in (first, len(data), 2**32 - 1, second_link):
        struct.pack_into("<I", data, second_link, target)
        with pytest.raises(ImageNotSupported):
            decode_image(bytes(data), "scan.tif", LIMITS)


def test_the_primary_picture_of_a_heic_is_taken_and_not_its_first() -> None:
    """Kind: HEIC holds many pictures and says which is the picture."""
    file = pillow_heif.from_pillow(THUMBNAIL)
    file.add_from_pillow(SOURCE)
    out = io.BytesIO()
    file.save(out, primary_index=1)
    result = decode_image(out.getvalue(), "IMG_1.HEIC", LIMITS)
    assert result.pixels.size == SOURCE.size
    assert difference(result.pixels, SOURCE) < 8


@pytest.mark.parametrize("dtype", ["float64", "float16", "float32", "uint32", "uint64", "int16"])
def test_a_tiff_of_samples_that_are_not_read_is_told_from_a_damaged_one(dtype: str) -> None:
    """Kind: whole but not supported; the same cut off is damaged."""
    whole = write_tiff(Page(FULL.astype(dtype)))
    with pytest.raises(ImageNotSupported) as refused:
        decode_image(whole, "scan.tif", LIMITS)
    words = str(refused.value)
    assert words.startswith("scan.tif is a TIFF of 3 ")
    assert f"{np.dtype(dtype).itemsize * 8} bits" in words
    assert "not supported. Save the picture as JPEG or PNG." in words
    # The directory lies behind the strip, so the strip is what is made too long here.
    at = whole.rindex(struct.pack("<HHII", 279, 4, 1, FULL.size * np.dtype(dtype).itemsize))
    with pytest.raises(ImageDamaged):
        decode_image(whole[:at] + struct.pack("<HHII", 279, 4, 1, 10**8) + whole[at + 12 :], "scan.tif", LIMITS)


def test_a_grey_floating_point_tiff_is_taken() -> None:
    """Kind: of the samples that Pillow reads, none is refused."""
    ramp = np.tile(np.linspace(0, 1, 5, dtype=np.float32), (2, 1))
    for order in "<>":
        pixels = decode_image(write_tiff(Page(ramp), order=order), "scan.tif", LIMITS).pixels
        assert np.asarray(pixels)[0, :, 0].tolist() == [0, 64, 128, 191, 255]


def test_a_tiff_of_a_compression_that_is_not_read_is_not_called_damaged() -> None:
    """Kind: whole but not supported."""
    for number, name in ((34712, "JPEG 2000"), (50002, "JPEG XL"), (34887, "LERC"), (12345, "number 12345")):
        with pytest.raises(ImageNotSupported) as refused:
            decode_image(write_tiff(Page(FULL, {259: (3, b"%d" % number)})), "scan.tif", LIMITS)
        assert refused.value.kind == f"a TIFF compressed as {name}"


def test_jpegs_that_are_not_read_are_called_by_their_names() -> None:
    """Kind: whole but not supported. The frame's marker or depth says so; what follows it does not matter here."""
    data = encode(SOURCE, "JPEG")
    at = data.index(b"\xff\xc0")
    for frame, kind in (
        (b"\xff\xc3", "a lossless JPEG"),
        (b"\xff\xf7", "a JPEG-LS file"),
        (b"\xff\xc5", "a hierarchical JPEG"),
    ):
        with pytest.raises(ImageNotSupported) as refused:
            decode_image(data[:at] + frame + data[at + 2 :], "scan.jpg", LIMITS)
        assert refused.value.kind == kind
    for change, kind in (
        (slice(at + 4, at + 5, None), "a JPEG of 12 bits a sample"),
        (slice(at + 5, at + 7, None), "a JPEG that tells its height only after the picture"),
    ):
        changed = data[: change.start] + (b"\x0c" if "12" in kind else b"\0\0") + data[change.stop :]
        with pytest.raises(ImageNotSupported) as refused:
            decode_image(changed, "scan.jpg", LIMITS)
        assert refused.value.kind == kind


OTHERS = {
    "a Photoshop file": b"8BPS\0\1" + bytes(40),
    "a JPEG XL file": b"\xff\x0a" + bytes(40),
    "a JPEG 2000 file": encode(SOURCE, "JPEG2000"),
    "an OpenEXR file": b"v/1\x01" + bytes(40),
    "an icon file (ICO)": encode(SOURCE, "ICO"),
    "a portable pixmap (PNM)": encode(SOURCE, "PPM"),
    "an SVG drawing": b"<?xml version='1.0'?>\n<!-- x --><svg xmlns='http://www.w3.org/2000/svg'/>",
    "a PDF document": b"%PDF-1.7\n",
    "a video": b"\0\0\0\x18ftypisom\0\0\2\0isommp42",
}


@pytest.mark.parametrize("kind", OTHERS)
def test_files_of_other_kinds_are_called_by_their_names(kind: str) -> None:
    """Kind: whole but not supported; still no image that can be read, to those who ask for that."""
    with pytest.raises(NotAnImage) as refused:
        decode_image(OTHERS[kind], "holiday.jpg", LIMITS)
    assert isinstance(refused.value, ImageNotSupported)
    assert str(refused.value) == (
        f"holiday.jpg is {kind}; that kind is not supported. Save the picture as JPEG or PNG."
    )


def test_a_png_rewritten_for_iphone_apps_and_a_bmp_for_printers_are_not_called_damaged() -> None:
    """Kind: whole but not supported."""
    png = encode(SOURCE, "PNG")
    body = b"\x50\0\x20\x02"
    apple = struct.pack(">I", 4) + b"CgBI" + body + struct.pack(">I", zlib.crc32(b"CgBI" + body))
    packed = zlib.compress(bytes(80 * 361))[2:-4]
    idat = struct.pack(">I", len(packed)) + b"IDAT" + packed + struct.pack(">I", zlib.crc32(b"IDAT" + packed))
    with pytest.raises(ImageNotSupported) as refused:
        decode_image(png[:8] + apple + png[8:33] + idat + png[-12:], "icon.png", LIMITS)
    assert refused.value.kind == "a PNG rewritten for iPhone apps (CgBI)"
    bmp = encode(SOURCE, "BMP")
    with pytest.raises(ImageNotSupported) as refused:
        decode_image(bmp[:30] + b"\4\0\0\0" + bmp[34:], "print.bmp", LIMITS)
    assert refused.value.kind == "a BMP of 24 bits a pixel with compression 4"
