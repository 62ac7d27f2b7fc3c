"""Files that were made to do harm come in through a real import: what the database and the disk hold afterwards."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from detector.imaging import sha256_hex
from tests.app_server import CHECKOUT
from tests.factories import make_image, write_zip
from tests.faults import hostile_pictures as made

pytestmark = pytest.mark.faults

#: For 120 files, most of them bombs; the archive's and the picture's own bytes lie in memory too.
MOST_MB = 400


def imported(folder: Path, archive: Path) -> dict[str, Any]:
    """What an import of this archive leaves; no row may be without its bytes, and no bytes without their row."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.faults.hostile_import", folder / "data", archive],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    assert found["rows"] == found["files"]
    assert found["spool"] == []
    assert "Traceback" not in ran.stderr
    return found


@pytest.fixture(scope="module")
def given() -> dict[str, bytes]:
    """One archive with all of it, and a good picture at its beginning and at its end."""
    files = {"a good one.png": make_image(1)}
    files |= {f"others/{name}": data for name, data in made.not_pictures().items()}
    files |= made.cut_off()
    files |= {
        "huge.png": made.png_that_claims(50_000, 50_000),
        "more.png": made.png_that_unpacks_to_more(),
        "frames.gif": made.gif_of_frames(),
        "frames.png": made.apng_of_frames(),
        "texts.png": made.png_with_giant_texts(),
        "circle.tiff": made.tiff_of_a_circle(),
        "polyglot.jpg": made.polyglot(),
    }
    files |= {f"place/{name}": data for name, data in made.with_place().items()}
    return {**files, "z good one.png": make_image(2)}


@pytest.fixture(scope="module")
def found(given: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("hostile")
    return imported(folder, write_zip(folder / "evil.zip", given))


def _rejected(found: dict[str, Any]) -> dict[str, str]:
    return {path: reason for path, outcome, reason in found["report"] if outcome == "rejected"}


def test_no_hostile_picture_ends_the_import_or_fills_the_memory(found: dict[str, Any], given: dict[str, bytes]) -> None:
    assert (found["state"], found["said"].count("Error")) == ("done", 0)
    assert {"a good one.png", "z good one.png"} <= set(found["samples"])
    assert len(found["samples"]) + len(_rejected(found)) == len(given)
    assert found["taken_mb"] < MOST_MB


def test_only_the_first_of_a_hundred_thousand_frames_is_read(found: dict[str, Any]) -> None:
    assert {"frames.gif", "frames.png", "texts.png", "polyglot.jpg"} <= set(found["samples"])
    refused = _rejected(found)
    assert "pixel" in refused["huge.png"]


def test_what_is_no_picture_is_refused_whatever_it_is_called(found: dict[str, Any]) -> None:
    refused = _rejected(found)
    for name in made.not_pictures():
        assert f"others/{name}" in refused, name
    for reason in refused.values():
        assert reason.endswith(".")
        assert len(reason) < 500
        assert "Traceback" not in reason


def test_a_photograph_cut_off_at_any_tenth_is_a_line_of_the_report(found: dict[str, Any]) -> None:
    cut = set(made.cut_off())
    assert {path for path in _rejected(found) if path.startswith("cut/")} == cut


def test_no_thumbnail_says_where_a_picture_was_taken(found: dict[str, Any], given: dict[str, bytes]) -> None:
    kept = [name for name in given if name.startswith("place/") and sha256_hex(given[name]) in found["rows"]]
    assert len(kept) == len(made.with_place())
    assert found["thumbnails"]
    for small in map(bytes.fromhex, found["thumbnails"]):
        assert made.SECRET not in small
        assert b"Exif" not in small
        assert b"<script" not in small


def _overlapping(entries: int, quoted: bool) -> bytes:
    """A ZIP bomb as David Fifield makes them: one kernel of 1 MB of zeros that every entry unpacks.

    Full overlap: all entries name the one local header. Quoted overlap: each entry has a header of its own, and its
    stored bytes run over the headers of all that follow, into the same kernel.
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    kernel = packer.compress(bytes(1_000_000)) + packer.flush()
    check = zlib.crc32(bytes(1_000_000))

    def names(number: int) -> bytes:
        return b"%05d.png" % number

    def local(number: int, method: int, crc: int, packed: int, size: int) -> bytes:
        name = names(number)
        return struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, method, 0, 33, crc, packed, size, len(name), 0) + name

    body, facts = b"", []
    if not quoted:
        body = local(0, 8, check, len(kernel), 1_000_000) + kernel
        facts = [(0, 8, check, len(kernel), 1_000_000)] * entries
    else:
        # From the last entry to the first: each quotes the file that was made so far in a block that is not packed.
        plain, body = bytes(1_000_000), local(entries - 1, 8, check, len(kernel), 1_000_000) + kernel
        sizes = [(8, check, len(kernel), 1_000_000)]
        packed, places = kernel, [len(body)]
        for number in range(entries - 2, -1, -1):
            following = body[: len(body) - len(packed)]
            block = struct.pack("<BHH", 0, len(following), len(following) ^ 0xFFFF) + following
            packed, plain = block + packed, following + plain
            crc = zlib.crc32(plain)
            body = local(number, 8, crc, len(packed), len(plain)) + packed
            sizes.append((8, crc, len(packed), len(plain)))
            places.append(len(body))
        facts = [(len(body) - place, *size) for place, size in zip(reversed(places), reversed(sizes), strict=True)]
    directory = b""
    for number, (place, method, crc, packed_size, size) in enumerate(facts):
        name = names(number)
        directory += struct.pack(
            "<4s6H3L5H2L",
            *(b"PK\1\2", 20, 20, 0, method, 0, 33, crc, packed_size, size, len(name), 0, 0, 0, 0, 0, place),
        )
        directory += name
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, len(facts), len(facts), len(directory), len(body), 0)
    return body + directory + end


@pytest.mark.parametrize("quoted", [False, True], ids=["full overlap", "quoted overlap"])
def test_a_real_overlapping_bomb_is_refused_and_leaves_nothing(quoted: bool, tmp_path: Path) -> None:
    """A file of 35 kB whose 500 entries unpack to 500 MB; as a whole it is a ZIP that other programs read."""
    bomb = _overlapping(500, quoted)
    with zipfile.ZipFile(io.BytesIO(bomb)) as archive:
        assert sum(info.file_size for info in archive.infolist()) >= 500_000_000
        # Python's own reader says of some versions that entries overlap; the bytes are there all the same.
        assert len(archive.infolist()) == 500
    (tmp_path / "bomb.zip").write_bytes(bomb)
    found = imported(tmp_path, tmp_path / "bomb.zip")
    assert found["state"] == "failed"
    assert "share the same bytes" in found["said"]
    assert (found["samples"], found["rows"], found["files"]) == ([], [], [])
    assert found["taken_mb"] < 100


def test_an_archive_within_an_archive_is_a_line_of_the_report_and_is_not_opened(tmp_path: Path) -> None:
    data = make_image(3)
    for depth in range(6):
        inner = io.BytesIO()
        with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("picture.png" if depth == 0 else "inner.zip", data)
        data = inner.getvalue()
    found = imported(tmp_path, write_zip(tmp_path / "evil.zip", {"nested.zip": data, "nested.png": data}))
    assert found["samples"] == []
    assert set(_rejected(found)) == {"nested.zip", "nested.png"}
