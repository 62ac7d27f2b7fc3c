"""Camera fields, tables, traces of editors and colour profiles: hints, and what is certain of them."""

from __future__ import annotations

import pytest
from PIL import ImageCms

from detector.imaging.provenance import read_provenance
from detector.imaging.provenance.hints import profile_name
from tests.imaging.pictures import encode, picture
from tests.imaging.provenance.files import exif, jpeg_with, phone


def hints(data: bytes) -> dict[str, str]:
    return {item.kind: item.value for item in read_provenance(data).in_tier("hint")}


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "PNG", "AVIF", "TIFF"])
def test_the_fields_of_a_phone_are_hints_and_nothing_more(file_format: str) -> None:
    data = encode(picture(), file_format, exif=phone())
    found = hints(data)
    assert found["camera"] == "Fairphone FP5"
    assert found["software"] == "FP5.TT4G.A.153"
    if file_format != "TIFF":  # of which Pillow writes the first directory alone
        assert found["camera-lens"] == "FP5 main camera"
        assert found["date"] == "2026:11:03 10:12:11"
    provenance = read_provenance(data)
    assert provenance.in_tier("signed") == provenance.in_tier("stated") == ()
    assert provenance.headline == (
        "The file carries the fields of a camera (Fairphone FP5). Anybody can write, copy or remove them."
    )


def test_no_camera_fields_say_nothing() -> None:
    provenance = read_provenance(encode(picture(), "PNG"))
    assert [(item.kind, item.value) for item in provenance.statements] == [("no-camera", "no camera fields")]
    assert "says nothing" in provenance.statements[0].proves
    assert provenance.headline == (
        "The file carries no statement about its origin. That says nothing: most files have none."
    )


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 75, 91, 100])
def test_the_standards_tables_are_told_with_their_quality(quality: int) -> None:
    found = hints(encode(picture(), "JPEG", quality=quality))
    assert found["tables"] == f"the standard's, at quality {quality}"


def test_tables_that_are_not_the_standards_are_told_without_a_guess_whose_they_are() -> None:
    tables = [[2 + n // 3 for n in range(64)], [3 + n // 2 for n in range(64)]]
    assert hints(encode(picture(), "JPEG", qtables=tables))["tables"] == "not the standard's"
    # One number of a standard table is enough.
    assert hints(encode(picture(), "JPEG", qtables=[[16] * 64, [17] * 64]))["tables"] == "not the standard's"


def test_traces_of_an_editor_are_told() -> None:
    resources = b"8BIM\x03\xed\x00\x00" + (16).to_bytes(4, "big") + bytes(16)
    data = jpeg_with((0xED, b"Photoshop 3.0\x00" + resources), (0xEC, b"Ducky\x00\x01\x00\x04\x00\x00\x00\x3c"))
    assert hints(data)["editor"] == "Photoshop resources and a segment of Photoshop's Save for Web"
    assert "editor" not in hints(encode(picture(), "JPEG"))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_name_of_a_colour_profile_is_told(file_format: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    name = profile_name(profile)
    assert "sRGB" in name
    assert hints(encode(picture(), file_format, icc_profile=profile))["colour-profile"] == name


def test_software_that_is_an_ai_system_is_a_statement() -> None:
    provenance = read_provenance(encode(picture(), "JPEG", exif=exif({305: "Midjourney"})))
    assert "made by an AI system (Software: Midjourney)" in provenance.headline
