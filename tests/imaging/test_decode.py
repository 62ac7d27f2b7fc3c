from __future__ import annotations

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from detector.errors import EmptyFile, ImageDamaged, ImageError, ImageTooManyBytes, ImageTooManyPixels, NotAnImage
from detector.imaging import ImageLimits, decode_image, inspect_image
from tests.imaging.pictures import FORMATS, LIMITS, difference, encode, picture, with_orientation
from tests.shared_data import require

FILES = {name: encode(picture(), name) for name in FORMATS}
FILES["progressive JPEG"] = encode(picture(), "JPEG", progressive=True)
FILES["lossless WEBP"] = encode(picture(), "WEBP", lossless=True)
FILES["deflated TIFF"] = encode(picture(), "TIFF", compression="tiff_adobe_deflate")
FILES["animated GIF"] = encode(picture(), "GIF", save_all=True, append_images=[picture(seed=1)])
FILES["palette BMP"] = encode(picture().quantize(16), "BMP")


def decoded(data: bytes) -> Image.Image:
    return decode_image(data, "picture", LIMITS).pixels


def assert_picture_or_named_error(data: bytes) -> None:
    error = facts = None
    try:
        facts = inspect_image(data, "hostile", LIMITS).facts
    except ImageError as raised:
        error = raised
    if facts is not None:
        assert facts.width * facts.height <= LIMITS.max_pixels
    else:
        assert error is not None
        assert error.name == "hostile"
        assert str(error).startswith("hostile ")


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_accepted_format_decodes_to_the_picture_that_was_saved(file_format: str) -> None:
    result = decode_image(FILES[file_format], "picture", LIMITS)
    assert result.facts.format == file_format
    assert (result.facts.width, result.facts.height) == (48, 32) == result.pixels.size
    assert result.facts.byte_count == len(FILES[file_format])
    assert result.pixels.mode == "RGB"
    assert difference(result.pixels, picture()) < (14 if file_format == "GIF" else 8)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientation_is_undone_as_pillow_undoes_it(file_format: str, orientation: int) -> None:
    data = encode(picture(), file_format, exif=with_orientation(orientation))
    result = decode_image(data, "picture", LIMITS)
    reference = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    assert difference(result.pixels, reference) == 0
    assert (result.facts.width, result.facts.height) == reference.size
    assert result.facts.orientation == orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_heic_comes_out_as_upright_as_a_jpeg(orientation: int) -> None:
    """HEIC turns the picture in its own container; undoing the EXIF value as well would turn it twice."""
    exif = with_orientation(orientation)
    result = decode_image(encode(picture(), "HEIF", exif=exif.tobytes()), "IMG_1.HEIC", LIMITS)
    assert difference(result.pixels, decoded(encode(picture(), "JPEG", exif=exif))) < 10
    assert (result.facts.width, result.facts.height) == result.pixels.size


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_unreadable_exif_does_not_cost_the_picture() -> None:
    data = encode(picture(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff" + b"\xee" * 40)
    assert decode_image(data, "picture", LIMITS).facts.orientation == 1


def test_transparency_becomes_white_in_every_mode_that_has_it() -> None:
    rgba = Image.new("RGBA", (8, 8), (200, 0, 0, 0))
    rgba.paste((0, 0, 200, 255), (0, 0, 4, 8))
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([200, 0, 0, 0, 0, 200])
    palette.paste(1, (0, 0, 4, 8))
    for data in (
        encode(rgba, "PNG"),
        encode(rgba, "WEBP", lossless=True, exact=True),
        encode(rgba, "TIFF"),
        encode(palette, "PNG", transparency=0),
        encode(palette, "GIF", transparency=0),
        encode(rgba.convert("RGB"), "PNG", transparency=(200, 0, 0)),
    ):
        pixels = decoded(data)
        assert pixels.getpixel((1, 1)) == (0, 0, 200)
        assert pixels.getpixel((6, 1)) == (255, 255, 255)


def test_half_transparent_grey_is_blended_with_white() -> None:
    pixels = decoded(encode(Image.new("LA", (4, 4), (100, 128)), "PNG"))
    assert pixels.getpixel((0, 0)) == (177, 177, 177)


def test_grey_and_one_bit_pictures_become_rgb() -> None:
    assert decoded(encode(Image.new("L", (4, 4), 77), "JPEG")).getpixel((0, 0)) == (77, 77, 77)
    one_bit = decode_image(encode(Image.new("1", (4, 4), 1), "PNG"), "mask", LIMITS)
    assert one_bit.pixels.getpixel((0, 0)) == (255, 255, 255)
    assert one_bit.facts.mode == "1"


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_and_not_clipped(file_format: str) -> None:
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16)
    data = encode(Image.fromarray(np.tile(ramp, (4, 1))), file_format)
    row = np.asarray(decoded(data))[0, :, 0]
    assert row.tolist() == list(range(256))


def test_16_bit_colour_png_is_scaled_and_not_clipped() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    row = b"\x00" + struct.pack(">6H", 0, 0x8000, 0xFFFF, 0x4000, 0x0100, 0xC0FF)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    data += chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    assert np.asarray(decoded(data)).tolist() == [[[0, 128, 255], [64, 1, 192]]]


def test_floating_point_and_32_bit_tiffs_are_scaled() -> None:
    ramp = np.tile(np.linspace(0, 1, 5, dtype=np.float32), (2, 1))
    expected = [0, 64, 128, 191, 255]
    assert np.asarray(decoded(encode(Image.fromarray(ramp), "TIFF")))[0, :, 0].tolist() == expected
    integers = Image.fromarray((ramp * 65535).astype(np.int32))
    assert np.asarray(decoded(encode(integers, "TIFF")))[0, :, 0].tolist() == [0, 64, 127, 191, 255]
    with_gap = Image.fromarray(np.array([[np.nan, 1.0]], dtype=np.float32))
    assert np.asarray(decoded(encode(with_gap, "TIFF")))[0, :, 0].tolist() == [0, 255]


def test_cmyk_jpeg_with_adobe_inversion_has_the_right_colours() -> None:
    """Adobe's CMYK JPEGs store inverted values; Pillow writes and reads them so. A negative would be red for cyan."""
    result = decode_image(encode(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG", quality=95), "print", LIMITS)
    red, green, blue = result.pixels.getpixel((8, 8))
    assert result.facts.mode == "CMYK"
    assert red < 10
    assert green > 245
    assert blue > 245


def test_lab_tiff_becomes_rgb() -> None:
    source = Image.new("RGB", (4, 4), (200, 60, 30))
    lab = ImageCms.profileToProfile(
        source, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    assert difference(decoded(encode(lab, "TIFF")), source) < 4


def test_only_the_first_frame_counts_and_the_facts_say_that_there_are_more() -> None:
    for file_format in ("GIF", "WEBP", "PNG", "TIFF", "AVIF"):
        frames = [picture(seed=1)]
        data = encode(picture(), file_format, save_all=True, append_images=frames)
        result = decode_image(data, "moving", LIMITS)
        assert result.facts.animated, file_format
        assert difference(result.pixels, picture()) < 14, file_format
    assert not decode_image(FILES["GIF"], "still", LIMITS).facts.animated


def test_a_phone_photo_of_several_pictures_is_a_jpeg() -> None:
    data = encode(picture(), "MPO", save_all=True, append_images=[picture(seed=1)])
    result = decode_image(data, "IMG_2.JPG", LIMITS)
    assert result.facts.format == "JPEG"
    assert result.facts.extra["multi_picture"] is True
    assert difference(result.pixels, picture()) < 8


@pytest.mark.parametrize("quality", [10, 50, 75, 92, 100])
def test_jpeg_facts_name_quality_subsampling_and_progression(quality: int) -> None:
    data = encode(picture(), "JPEG", quality=quality, subsampling=0, progressive=True)
    extra = decode_image(data, "picture", LIMITS).facts.extra
    assert extra["jpeg_quality"] == quality
    assert extra["subsampling"] == "4:4:4"
    assert extra["progressive"] is True
    assert extra["has_exif"] is False


def test_empty_and_foreign_files_are_named() -> None:
    with pytest.raises(EmptyFile) as empty:
        decode_image(b"", "a.jpg", LIMITS)
    assert empty.value.name == "a.jpg"
    for data in (
        b"hello, this is a text file\n",
        b"BMW is a maker of cars, and this is a text about it",
        b"%PDF-1.7",
        b"\x00",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp42",
    ):
        with pytest.raises(NotAnImage):
            decode_image(data, "renamed.jpg", LIMITS)


def test_formats_that_are_not_on_the_list_are_refused() -> None:
    for file_format in ("PPM", "TGA", "ICO", "PCX", "JPEG2000"):
        data = encode(picture(), file_format)
        with pytest.raises(NotAnImage):
            decode_image(data, "old.jpg", LIMITS)


def test_too_many_bytes_are_refused_before_anything_is_parsed() -> None:
    with pytest.raises(ImageTooManyBytes) as refused:
        decode_image(b"x" * 1001, "big.png", ImageLimits(max_bytes=1000, max_pixels=100))
    assert (refused.value.found, refused.value.limit) == (1001, 1000)


def huge_headers() -> dict[str, bytes]:
    """Files of a few hundred bytes whose headers claim pictures of billions of pixels."""
    png = bytearray(encode(Image.new("L", (1, 1)), "PNG"))
    png[16:24] = struct.pack(">II", 60_000, 60_000)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    gif = bytearray(encode(Image.new("L", (1, 1)), "GIF"))
    gif[6:10] = struct.pack("<HH", 60_000, 60_000)
    bmp = bytearray(encode(Image.new("L", (1, 1)), "BMP"))
    bmp[18:26] = struct.pack("<ii", 60_000, 60_000)
    jpeg = bytearray(encode(Image.new("L", (8, 8)), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 60_000, 60_000)
    webp = b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4)
    webp += (59_999).to_bytes(3, "little") * 2
    entries = [(256, 4, 60_000), (257, 4, 60_000), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (278, 4, 60_000)]
    tiff = b"II*\x00" + struct.pack("<IH", 8, len(entries))
    tiff += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries) + bytes(4)
    return {"PNG": bytes(png), "GIF": bytes(gif), "BMP": bytes(bmp), "JPEG": bytes(jpeg), "WEBP": webp, "TIFF": tiff}


@pytest.mark.parametrize("file_format", ["PNG", "GIF", "BMP", "JPEG", "WEBP", "TIFF"])
def test_headers_that_claim_billions_of_pixels_are_refused_without_decoding(file_format: str) -> None:
    with pytest.raises(ImageTooManyPixels) as refused:
        inspect_image(huge_headers()[file_format], "bomb", LIMITS)
    assert (refused.value.width, refused.value.height) == (60_000, 60_000)
    assert refused.value.limit == LIMITS.max_pixels


@pytest.mark.parametrize("file_format", ["AVIF", "HEIF"])
def test_pictures_above_the_pixel_limit_are_refused(file_format: str) -> None:
    with pytest.raises(ImageTooManyPixels) as refused:
        decode_image(FILES[file_format], "large", ImageLimits(max_bytes=10**6, max_pixels=1000))
    assert refused.value.width * refused.value.height == 48 * 32


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", FILES)
def test_a_file_cut_off_anywhere_is_refused_or_has_lost_nothing_of_the_picture(kind: str) -> None:
    """A photograph whose lower half is grey would be learned as a property of its label."""
    data = FILES[kind]
    whole = decoded(data)
    step = max(1, len(data) // 150)
    refused = 0
    for end in (*range(1, len(data) - 16, step), *range(len(data) - 16, len(data))):
        try:
            pixels = decoded(data[:end])
        except ImageError:
            refused += 1
            continue
        assert difference(pixels, whole) == 0, f"cut at {end} of {len(data)}"
    # An animation that is cut behind its first frame has lost nothing that is used.
    assert refused > (60 if kind == "animated GIF" else 100)


@pytest.mark.slow
def test_a_large_jpeg_cut_off_at_its_end_is_found_by_the_reduced_decoding_too() -> None:
    for progressive in (False, True):
        data = encode(picture(2000, 1500), "JPEG", progressive=progressive)
        assert inspect_image(data, "photo", LIMITS).facts.width == 2000
        for lost in (20, 500, len(data) // 2):
            with pytest.raises(ImageDamaged):
                inspect_image(data[:-lost], "photo", LIMITS)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(FILES)), st.data())
def test_mutated_files_end_in_a_picture_or_a_named_error(kind: str, draw: st.DataObject) -> None:
    data = bytearray(FILES[kind])
    # The interesting fields lie in the first bytes.
    places = st.one_of(st.integers(0, min(len(data) - 1, 120)), st.integers(0, len(data) - 1))
    for place, value in draw.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=12)):
        data[place] = value
    cut = draw.draw(st.integers(0, len(data)))
    assert_picture_or_named_error(bytes(data[:cut] if draw.draw(st.booleans()) else data))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\x00", b"MM\x00*", b""]),
    st.binary(max_size=300),
)
def test_arbitrary_bytes_end_in_a_named_error(start: bytes, rest: bytes) -> None:
    assert_picture_or_named_error(start + rest)


def test_many_threads_get_what_one_gets() -> None:
    work = [FILES[kind] for kind in FILES] * 6
    alone = [decoded(data).tobytes() for data in work]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: decoded(data).tobytes(), work))
    assert together == alone


def test_real_files_of_the_development_sets_all_decode() -> None:
    for name in ("confounded_png_vs_jpeg", "genimage_mini"):
        for path in sorted(require(name).rglob("*.*g"))[::5]:
            result = decode_image(path.read_bytes(), path.name, ImageLimits(64_000_000, 100_000_000))
            assert result.pixels.size == (result.facts.width, result.facts.height)
