"""Files that hold together just far enough to be read on: archives and pictures end as such or in a named error."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from sqlalchemy import select

from detector.errors import ArchiveError, DetectorError, ImageError
from detector.imaging import ImageLimits, inspect_image
from detector.imaging.provenance import read_provenance
from detector.importing import ZipLimits, ZipSource
from detector.importing.batch import zip_payload
from detector.importing.labelling import LabelPlan
from detector.jobs import IMPORT, request_import
from detector.storage import imports, jobs
from detector.storage.database import new_id
from detector.storage.schema import images, import_rows, thumbnails
from detector.worker.running import run_job
from detector.workspace import Workspace
from tests.factories import empty_function, make_image, workspace
from tests.faults import fuzzing
from tests.faulty_disk import image_files, left_over
from tests.imaging.pictures import encode, picture

LIMITS = ImageLimits(max_bytes=1_000_000, max_pixels=1_000_000)
ZIP_LIMITS = ZipLimits(max_entries=50, max_entry_bytes=200_000, max_total_bytes=500_000)
JPEG = encode(picture(), "JPEG")
PICTURES = st.one_of(
    fuzzing.pngs(),
    fuzzing.tiffs(),
    fuzzing.riffs(),
    fuzzing.isobmff(),
    fuzzing.jpegs(JPEG),
)
NAMES = st.one_of(
    st.sampled_from(
        [
            *(b"real/a.png", b"synthetic/a.png", b"../../x.png", b"/etc/passwd", b"C:\\x.png", b"\\\\host\\x.png"),
            *(b"a\0b.png", b"", b"/", b"a/" * 90 + b"x.png", b"x" * 5000, b"real/A.PNG", b"labels.csv", b"x.zip"),
        ]
    ),
    st.binary(max_size=30),
)
CONTENTS = st.one_of(
    st.sampled_from(
        [make_image(1, size=16), make_image(2, "synthetic", 16), b"file,label\na.png,real\n", bytes(300_000)]
    ),
    st.binary(max_size=200),
    PICTURES,
)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.faults
@fuzzing.fuzz(400)
@given(PICTURES)
def test_pictures_whose_parts_lie_end_in_a_picture_or_a_named_error(data: bytes) -> None:
    """Checksums hold, so that all behind them is reached; what is said of a picture is plain JSON, and bounded."""
    found, said_of_it = None, "hostile "
    try:
        found = inspect_image(data, "hostile", LIMITS)
    except ImageError as error:
        said_of_it = str(error)
    event(said_of_it[:40] if found is None else f"a picture of {found.facts.format}")
    assert said_of_it.startswith("hostile ")
    assert len(said_of_it) < 2000
    if found is not None:
        assert found.facts.width * found.facts.height <= LIMITS.max_pixels
        assert len(json.dumps(found.facts.to_json())) < 20_000
        small = inspect_image(found.thumbnail, "small", LIMITS).facts
        assert max(small.width, small.height) <= 512
    said = read_provenance(data)
    assert all(character.isprintable() for item in said.statements for character in item.name + item.value)


@pytest.mark.faults
@fuzzing.fuzz(250)
@given(fuzzing.zips(NAMES, CONTENTS))
def test_archives_of_which_every_field_lies_end_in_files_within_the_limits_or_named_errors(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "lying.zip"
    path.write_bytes(data)
    total = 0
    with contextlib.suppress(ArchiveError), ZipSource(path, ZIP_LIMITS) as source:
        entries = source.entries()
        assert len(entries) <= ZIP_LIMITS.max_entries
        assert len({entry.path for entry in entries}) == len(entries)
        for entry in entries:
            assert entry.path.isprintable()
            assert ".." not in entry.path.split("/")
            assert not entry.path.startswith("/")
            with contextlib.suppress(ImageError):
                read = entry.read()
                assert len(read) <= ZIP_LIMITS.max_entry_bytes
                total += len(read)
    assert total <= ZIP_LIMITS.max_total_bytes


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    opened = workspace(tmp_path_factory.mktemp("fuzzed"), max_image_mb=1, threads=2)
    yield opened
    opened.close()


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@fuzzing.fuzz(30)
@given(archive=fuzzing.zips(NAMES, CONTENTS), by=st.sampled_from([LabelPlan("none"), LabelPlan("folders", level=0)]))
def test_whatever_archive_is_imported_rows_and_files_are_one_and_the_same(
    ws: Workspace, archive: bytes, by: LabelPlan
) -> None:
    """The whole road, one data folder for all of them: none may harm what others brought."""
    function = empty_function(ws, f"Fuzz {new_id()}")
    path = ws.spool / "ab12.zip"
    path.write_bytes(archive)
    outside = _everything(ws.settings.data_dir.parent)
    batch, job_id = request_import(ws, function.id, zip_payload(path, by, "fuzz.zip"), "zip")
    job = jobs.claim(ws.db, (IMPORT,))
    assert job is not None
    assert job.id == job_id
    with contextlib.suppress(DetectorError):
        run_job(ws, job)
    assert jobs.get_job(ws.db, job_id).state in ("done", "failed")
    with ws.db.read() as connection:
        hashes = set(connection.scalars(select(images.c.hash)))
        small = set(connection.scalars(select(thumbnails.c.image_hash)))
        reported = connection.execute(
            select(import_rows.c.file, import_rows.c.reason).where(import_rows.c.batch_id == batch)
        ).all()
    blobs = ws.settings.data_dir / "blobs"
    assert image_files(blobs) == hashes == small
    assert left_over(blobs) == []
    assert list(ws.spool.iterdir()) == []
    counts = imports.batch_counts(ws.db, batch)
    assert counts.imported + counts.present + counts.conflict + counts.rejected >= len(reported) - 1
    for file, reason in reported:
        assert len(file) <= 4096
        assert str(ws.settings.data_dir) not in (reason or "")
    # Nothing was written beside the data folder.
    assert _everything(ws.settings.data_dir.parent) == outside


def _everything(folder: Path) -> set[str]:
    """What lies in a folder, the data folder of the test left out."""
    return {item.name for item in folder.iterdir()}
