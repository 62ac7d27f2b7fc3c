"""Content credentials: integrity, trust and revocation apart, for real files that are signed here."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from detector.imaging.provenance import Provenance, read_provenance
from tests.app_server import CHECKOUT
from tests.imaging.pictures import encode, picture
from tests.imaging.provenance.signing import AI, CAPTURE, chain, signed

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "HEIF")


def signed_words(provenance: Provenance) -> dict[str, str]:
    return {item.kind: item.value for item in reversed(provenance.in_tier("signed"))}


@pytest.fixture(scope="module")
def photo() -> bytes:
    return signed(encode(picture(160, 120), "JPEG"), source_type=CAPTURE)


@pytest.fixture
def trust_list(tmp_path: Path) -> Path:
    (tmp_path / "trusted.pem").write_bytes(chain().root)
    return tmp_path / "trusted.pem"


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_signature_is_read_in_every_format_that_carries_one(file_format: str) -> None:
    said = signed_words(read_provenance(signed(encode(picture(), file_format), file_format, source_type=AI)))
    assert said["integrity"] == "valid: the file is as it was signed"
    assert said["ai-source-type"] == "made by an AI system (trainedAlgorithmicMedia)"


def test_integrity_trust_and_revocation_are_three_statements(photo: bytes, trust_list: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(chain("Somebody else").root)
    said = {name: signed_words(read_provenance(photo, path)) for name, path in
            (("none", None), ("ours", trust_list), ("another", other))}  # fmt: skip
    assert {words["integrity"] for words in said.values()} == {"valid: the file is as it was signed"}
    assert {words["revocation"] for words in said.values()} == {"not checked"}
    assert said["none"]["trust"] == "not checked against a trust list"
    assert said["ours"]["trust"] == "trusted: the signer is on your list"
    assert said["another"]["trust"] == "untrusted: the signer is not on your list"


def test_a_trust_list_that_cannot_be_read_is_said_and_trusts_nobody(photo: bytes, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("no certificate")
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    for path in (tmp_path / "missing.pem", empty, broken, tmp_path):
        said = signed_words(read_provenance(photo, path))
        assert not said["trust"].startswith("trusted")
        assert said["integrity"].startswith("valid")
    assert "DETECTOR_C2PA_TRUST" in signed_words(read_provenance(photo, empty))["trust"]


def test_who_signed_with_what_and_how_the_picture_was_made_are_told(photo: bytes) -> None:
    provenance = read_provenance(photo)
    said = signed_words(provenance)
    assert said["issuer"] == "Test News Agency"
    assert said["generator"] == "Test camera 1.0"
    assert said["source-type"] == "taken with a digital camera (digitalCapture)"
    assert said["action"] == "created, with Test camera"
    assert said["date"] == "no time stamp"
    assert "Test News Agency" in provenance.headline
    assert "was not established" in provenance.headline


def test_a_picture_of_an_ai_service_says_so_under_its_signature() -> None:
    """As DALL-E and ChatGPT write it."""
    made = signed(
        encode(picture(), "PNG"), "PNG", by=chain("OpenAI"), program="OpenAI-API", source_type=AI, title="image.png"
    )
    provenance = read_provenance(made)
    assert signed_words(provenance)["generator"] == "OpenAI-API 1.0"
    assert "OpenAI" in provenance.headline
    assert "an AI system made it or a part of it" in provenance.headline


def test_ingredients_are_told_with_their_titles_and_what_they_are_to_the_picture(photo: bytes) -> None:
    ingredients = (("original.jpg", "parentOf", photo), ("cloud.jpg", "componentOf", encode(picture(), "JPEG")))
    provenance = read_provenance(signed(encode(picture(), "JPEG"), ingredients=ingredients))
    found = [item.value for item in provenance.statements if item.kind == "ingredient"]
    assert found == ["made from: original.jpg", "contains: cloud.jpg"]


def test_an_edited_picture_of_an_ai_system_is_told_by_the_credentials_of_what_it_was_made_from(photo: bytes) -> None:
    made = signed(encode(picture(seed=3), "JPEG"), by=chain("OpenAI"), source_type=AI)
    edited = signed(encode(picture(), "JPEG"), program="Editor", ingredients=(("dalle.jpg", "parentOf", made),))
    twice = signed(encode(picture(), "JPEG"), program="Editor", ingredients=(("edited.jpg", "parentOf", edited),))
    for data in (edited, twice):
        provenance = read_provenance(data)
        found = [item for item in provenance.statements if item.kind == "ai-source-type"]
        assert [(item.tier, item.name) for item in found] == [("signed", "Digital source type of an ingredient")]
        assert "an AI system made it or a part of it" in provenance.headline
    clean = signed(encode(picture(), "JPEG"), ingredients=(("photo.jpg", "parentOf", photo),))
    assert not any(item.kind == "ai-source-type" for item in read_provenance(clean).statements)


def test_what_broken_credentials_of_an_ingredient_say_is_not_shown() -> None:
    made = bytearray(signed(encode(picture(seed=3), "JPEG"), source_type=AI))
    made[-40] ^= 1
    data = signed(encode(picture(), "JPEG"), program="Editor", ingredients=(("dalle.jpg", "parentOf", bytes(made)),))
    provenance = read_provenance(data)
    assert signed_words(provenance)["integrity"].startswith("valid")
    assert not any(item.kind == "ai-source-type" for item in provenance.statements)
    assert any(item.value == "at least one of them does not hold" for item in provenance.statements)


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_changed_byte_of_the_picture_makes_it_invalid(file_format: str) -> None:
    """Nothing that it claims is shown as signed any more: not the issuer, not the program, not the actions."""
    clean = encode(picture(160, 120), file_format)
    made = bytearray(signed(clean, file_format, source_type=AI))
    # A piece of the picture's own data, found by what is in the file without a signature.
    at = made.find(clean[len(clean) // 2 : len(clean) // 2 + 24])
    assert at > 0
    made[at + 7] ^= 0x10
    provenance = read_provenance(bytes(made))
    said = signed_words(provenance)
    assert said["integrity"].startswith("invalid: ")
    assert said.keys() == {"integrity", "trust", "revocation"}
    assert said["trust"] == said["revocation"] == "not checked"
    assert "may be forged" in provenance.headline
    assert "may be forged" in provenance.in_tier("signed")[0].proves


def test_what_was_changed_is_told_in_words(photo: bytes) -> None:
    changed = bytearray(photo)
    changed[-40] ^= 0x01
    assert signed_words(read_provenance(bytes(changed)))["integrity"] == (
        "invalid: the picture or the file was changed after it was signed"
    )
    # A statement of the manifest itself: the name of a program of the same length.
    forged = photo.replace(b"Test camera", b"Best camera")
    assert signed_words(read_provenance(forged))["integrity"].startswith("invalid: ")
    assert not any("Best camera" in item.value for item in read_provenance(forged).in_tier("signed"))


def test_the_source_type_of_broken_credentials_is_no_signed_fact() -> None:
    changed = bytearray(signed(encode(picture(), "JPEG"), source_type=AI))
    changed[-40] ^= 0x01
    provenance = read_provenance(bytes(changed))
    stated = [item for item in provenance.in_tier("stated") if item.kind == "ai-source-type"]
    assert len(stated) == 1
    assert "may be forged" in stated[0].proves
    assert "signature of" not in provenance.headline


@pytest.mark.slow
def test_an_expired_certificate_makes_it_invalid() -> None:
    end = time.time() + 3
    made = signed(encode(picture(), "JPEG"), by=chain("Once an agency", seconds=2))
    while time.time() < end:
        time.sleep(0.1)
    said = signed_words(read_provenance(made))
    assert said["integrity"].startswith("invalid: ")
    assert "certificate" in said["integrity"]


@pytest.mark.parametrize("kept", [0, 8, 60, 400, 2000])
@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_a_manifest_that_is_cut_off_is_invalid_with_a_reason(file_format: str, kept: int) -> None:
    """The chunk is whole and says its length; what is missing is the end of what lies in it."""
    made = signed(encode(picture(), file_format), file_format, source_type=AI)
    order = "big" if file_format == "PNG" else "little"
    name = b"caBX" if file_format == "PNG" else b"C2PA"
    at = made.index(name)
    at_size = at - 4 if file_format == "PNG" else at + 4
    begin = at + 4 if file_format == "PNG" else at + 8
    size = int.from_bytes(made[at_size : at_size + 4], order)
    kept -= kept % 2
    assert kept < size
    cut = bytearray(made[: begin + kept] + made[begin + size :])
    cut[at_size : at_size + 4] = kept.to_bytes(4, order)
    if file_format == "WEBP":
        cut[4:8] = (len(cut) - 8).to_bytes(4, "little")
    said = signed_words(read_provenance(bytes(cut)))
    assert said["integrity"].startswith("invalid: they are damaged or not complete (")
    assert "issuer" not in said


def test_a_manifest_of_random_bytes_is_invalid_and_no_crash(photo: bytes) -> None:
    at = photo.index(b"jumb") + 4
    rubbish = photo[: at + 40] + bytes((7 * n) % 251 for n in range(600)) + photo[at + 640 :]
    said = signed_words(read_provenance(rubbish))
    assert said["integrity"].startswith("invalid: ")
    assert said.keys() == {"integrity", "trust", "revocation"}


def test_saving_a_picture_again_removes_the_credentials_and_that_says_nothing(photo: bytes) -> None:
    stripped = encode(Image.open(io.BytesIO(photo)), "JPEG", quality=90)
    provenance = read_provenance(stripped)
    assert provenance.in_tier("signed") == ()
    assert provenance.headline == (
        "The file carries no statement about its origin. That says nothing: most files have none."
    )


def test_a_manifest_put_into_another_picture_is_invalid(photo: bytes) -> None:
    """The simplest forgery: the segments of a signed photograph, copied."""
    start = photo.index(b"\xff\xeb")
    end = start
    while photo[end : end + 2] == b"\xff\xeb":
        end += 2 + int.from_bytes(photo[end + 2 : end + 4], "big")
    other = encode(picture(160, 120, seed=9), "JPEG")
    said = signed_words(read_provenance(other[:2] + photo[start:end] + other[2:]))
    assert said["integrity"].startswith("invalid: ")


@pytest.mark.long
def test_a_compressed_manifest_is_read_unless_it_grows_beyond_what_a_picture_needs() -> None:
    def made(size: int) -> bytes:
        return signed(encode(picture(), "PNG"), "PNG", thumbnail=bytes(size), compressed=True)

    small, large = made(100_000), made(17_000_000)
    assert len(large) < 200_000
    assert signed_words(read_provenance(small))["integrity"].startswith("valid")
    assert signed_words(read_provenance(large)) == {"unreadable": "could not be read: they are too large"}


_WITHOUT_LIBRARY = """
import pathlib, sys
sys.modules["c2pa"] = None
from detector.imaging.provenance import read_provenance
found = read_provenance(pathlib.Path(sys.argv[1]).read_bytes())
print(found.headline, *(item.value for item in found.in_tier("signed")), sep="\\n")
"""


def test_without_the_library_one_statement_says_that_they_could_not_be_read(photo: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(photo)
    command = [sys.executable, "-c", _WITHOUT_LIBRARY, str(tmp_path / "a.jpg")]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "The file seems to carry content credentials that could not be read. Nothing follows from them.",
        "could not be read: the library c2pa-python is not installed",
    ], done.stderr


@pytest.mark.slow
def test_the_page_needs_neither_the_library_nor_torch_before_a_file_asks_for_it() -> None:
    code = "import sys, pages._provenance; print({'c2pa', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
