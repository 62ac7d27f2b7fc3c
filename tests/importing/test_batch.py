"""Imports from ZIPs and folders into a real data folder."""

from __future__ import annotations

import errno
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from detector.errors import ArchiveError, InvalidInput
from detector.gallery.filters import GalleryFilter, Order
from detector.gallery.selection import matching_ids
from detector.importing.batch import (
    CHUNK,
    Incoming,
    folder_payload,
    import_items,
    run_import,
    sample_payload,
    zip_payload,
)
from detector.importing.guessing import suggest
from detector.importing.labelling import LabelPlan
from detector.storage import functions, imports, samples
from detector.storage.functions import Function
from detector.storage.imports import ImportCounts
from detector.storage.sample_records import SampleRecord, read_records
from detector.storage.samples import SampleFilter
from detector.workspace import Workspace
from tests.factories import empty_function, images, make_image, stored_batch, workspace, write_zip

FOLDERS = LabelPlan("folders", level=0)


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return workspace(tmp_path / "data")


@pytest.fixture
def function(ws: Workspace) -> Function:
    return empty_function(ws)


def _zip(ws: Workspace, files: dict[str, bytes], plan: LabelPlan) -> dict[str, Any]:
    return zip_payload(write_zip(ws.spool / "test.zip", files), plan, "test.zip")


def _import(ws: Workspace, function: Function, payload: dict[str, Any]) -> str:
    batch_id = imports.create_batch(ws.db, function.id, "zip", payload["title"])
    looked = run_import(ws, function.id, batch_id, payload)
    imports.finish_batch(ws.db, batch_id, "done", looked)
    return batch_id


def _records(ws: Workspace, function: Function) -> Iterator[SampleRecord]:
    return read_records(ws.db, function.id, matching_ids(ws, function.id, GalleryFilter(), Order.OLDEST))


def _names(ws: Workspace, function: Function) -> dict[str, str | None]:
    """File name -> label of all samples."""
    return {record.file_name: record.label for record in _records(ws, function)}


def _cifake(per_folder: int) -> dict[str, bytes]:
    """An archive laid out as the public CIFAKE set."""
    return {
        f"{split}/{folder}/{number:04d}.png": make_image(10 * number + (split == "test"), label, 32)
        for number in range(per_folder)
        for split in ("train", "test")
        for folder, label in (("REAL", "real"), ("FAKE", "synthetic"))
    }


def test_a_zip_with_labels_from_folders(ws: Workspace, function: Function) -> None:
    files = {f"{label}/{name}": data for name, data, label in images(3)}
    batch = _import(ws, function, _zip(ws, files, FOLDERS))
    assert _names(ws, function) == {path: path.split("/")[0] for path in files}
    assert imports.batch_counts(ws.db, batch) == ImportCounts(imported=6)
    assert stored_batch(ws, batch).total == 6


def test_the_layout_of_the_cifake_archive_with_its_suggested_plan(ws: Workspace, function: Function) -> None:
    files = _cifake(3)
    plan = suggest(files, ["real", "synthetic"]).plan
    _import(ws, function, _zip(ws, files, plan))
    wanted = {path: {"REAL": "real", "FAKE": "synthetic"}[path.split("/")[1]] for path in files}
    assert _names(ws, function) == wanted
    assert [label.name for label in functions.list_labels(ws.db, function.id)] == ["real", "synthetic"]


def test_sources_come_from_their_level_or_from_one_tag(ws: Workspace, function: Function) -> None:
    files = {"real/camera/a.png": make_image(1), "real/phone/b.png": make_image(2)}
    _import(ws, function, _zip(ws, files, LabelPlan("folders", level=0, source_level=1)))
    assert {record.file_name: record.source for record in _records(ws, function)} == {
        "real/camera/a.png": "camera",
        "real/phone/b.png": "phone",
    }
    other = empty_function(ws, "Other")
    _import(ws, other, _zip(ws, files, LabelPlan("one", label="real", source="fixed")))
    assert {record.source for record in _records(ws, other)} == {"fixed"}


def test_one_bad_file_costs_one_line(ws: Workspace, function: Function) -> None:
    files = {
        "real/a.png": make_image(1),
        "real/notes.txt": b"not a picture",
        "real/empty.png": b"",
        "real/cut.png": make_image(2)[:-40],
        "real/z.png": make_image(3),
    }
    batch = _import(ws, function, _zip(ws, files, FOLDERS))
    assert set(_names(ws, function)) == {"real/a.png", "real/z.png"}
    reasons = {row.file: row.reason for row in imports.batch_rows(ws.db, batch, ["rejected"])}
    assert set(reasons) == {"real/notes.txt", "real/empty.png", "real/cut.png"}
    assert "not an image" in reasons["real/notes.txt"]
    assert "empty" in reasons["real/empty.png"]


def test_at_most_n_per_label_is_met_exactly_with_bad_and_repeated_files_among_them(
    ws: Workspace, function: Function
) -> None:
    """Repeated pictures used to use up places, so that fewer than N became samples."""
    files = {f"{label}/{name}": data for name, data, label in images(20)}
    for number in range(20):
        files[f"real/bad-{number}.jpg"] = b"no picture"
        files[f"synthetic/copy-{number}.png"] = make_image(0, "synthetic")
    plan = LabelPlan("folders", level=0, per_label=9, seed=3)
    batch = _import(ws, function, _zip(ws, files, plan))
    assert Counter(_names(ws, function).values()) == {"real": 9, "synthetic": 9}
    assert imports.batch_counts(ws.db, batch).imported == 18


def test_more_per_label_than_one_chunk_and_fewer_than_asked(ws: Workspace, function: Function) -> None:
    many, few = CHUNK + 10, 5
    files = {f"real/{n}.png": make_image(n, "real", 16) for n in range(many)}
    files |= {f"synthetic/{n}.png": make_image(n, "synthetic", 16) for n in range(few)}
    plan = LabelPlan("folders", level=0, per_label=many - 3)
    _import(ws, function, _zip(ws, files, plan))
    assert Counter(_names(ws, function).values()) == {"real": many - 3, "synthetic": few}


def test_the_choice_of_n_per_label_is_seeded_and_repeatable(ws: Workspace) -> None:
    files = {f"{label}/{name}": data for name, data, label in images(15)}
    chosen = []
    for seed in (1, 1, 2):
        function = empty_function(ws, f"Seed {seed}")
        _import(ws, function, _zip(ws, files, LabelPlan("folders", level=0, per_label=4, seed=seed)))
        chosen.append(set(_names(ws, function)))
    assert chosen[0] == chosen[1] != chosen[2]


def test_importing_the_same_choice_again_adds_nothing(ws: Workspace, function: Function) -> None:
    files = {f"{label}/{name}": data for name, data, label in images(10)}
    payload = _zip(ws, files, LabelPlan("folders", level=0, per_label=4))
    _import(ws, function, payload)
    before = _names(ws, function)
    again = _import(ws, function, payload)
    assert _names(ws, function) == before
    assert imports.batch_counts(ws.db, again) == ImportCounts(present=8)


class _KillError(BaseException):
    """Stands for the end of the process: nothing catches it."""


@pytest.mark.slow
@pytest.mark.parametrize("per_label", [None, 70])
def test_a_killed_import_run_again_ends_like_one_that_was_not(
    ws: Workspace, function: Function, per_label: int | None
) -> None:
    files = {f"{label}/{name}": data for name, data, label in images(90)}
    files |= {f"real/bad-{number}.png": b"bad" for number in range(20)}
    files["synthetic/copy.png"] = files["synthetic/synthetic-3.png"]
    files["real/conflict.png"] = files["synthetic/synthetic-4.png"]
    payload = _zip(ws, files, LabelPlan("folders", level=0, per_label=per_label))
    uninterrupted = empty_function(ws, "Uninterrupted")
    expected = imports.batch_counts(ws.db, _import(ws, uninterrupted, payload))

    def kill(_phase: str, done: int, _total: int, _message: str, _rate: float | None) -> None:
        if done:
            raise _KillError

    batch = imports.create_batch(ws.db, function.id, "zip", "test.zip")
    with pytest.raises(_KillError):
        run_import(ws, function.id, batch, payload, kill)
    assert 0 < samples.count_samples(ws.db, function.id) < samples.count_samples(ws.db, uninterrupted.id)
    run_import(ws, function.id, batch, payload)
    assert _names(ws, function) == _names(ws, uninterrupted)
    assert imports.batch_counts(ws.db, batch) == expected
    assert expected.imported == samples.count_samples(ws.db, function.id)


def test_folder_names_with_odd_spaces_are_trimmed_labels(ws: Workspace, function: Function) -> None:
    _import(ws, function, _zip(ws, {"my  class /a.png": make_image(1)}, FOLDERS))
    assert _names(ws, function) == {"my  class /a.png": "my  class"}


def test_an_unlabelled_import(ws: Workspace, function: Function) -> None:
    _import(ws, function, _zip(ws, {"a.png": make_image(1), "deep/b.png": make_image(2)}, LabelPlan("none")))
    assert samples.count_samples(ws.db, function.id, SampleFilter(annotated="none")) == 2


def test_a_zip_beyond_the_limits_stops_and_keeps_what_came_in(tmp_path: Path) -> None:
    size = len(make_image(0))
    ws = workspace(tmp_path, max_zip_gb=(CHUNK + 2) * size / 1e9)
    function = empty_function(ws)
    files = {f"{number:03d}.png": make_image(number) for number in range(CHUNK + 20)}
    payload = _zip(ws, files, LabelPlan("none"))
    with pytest.raises(ArchiveError) as caught:
        _import(ws, function, payload)
    assert "DETECTOR_MAX_ZIP_GB" in str(caught.value)
    assert samples.count_samples(ws.db, function.id) == CHUNK


def test_a_source_that_fails_in_the_middle_keeps_the_files_before_it(ws: Workspace, function: Function) -> None:
    """The next files are asked for before the rows of these are written."""

    def files() -> Iterator[Incoming]:
        for number in range(2 * CHUNK):
            yield Incoming(f"{number}.png", partial(make_image, number, size=16))
        raise InvalidInput("The source is gone.")

    batch = imports.create_batch(ws.db, function.id, "cifake", "Fails")
    with pytest.raises(InvalidInput):
        import_items(ws, function.id, batch, files(), 3 * CHUNK)
    assert samples.count_samples(ws.db, function.id) == 2 * CHUNK


def test_samples_are_in_the_order_of_the_files_and_no_more_are_read_at_once_than_there_are_cores(
    tmp_path: Path,
) -> None:
    ws = workspace(tmp_path, threads=2)
    function = empty_function(ws)
    reading, most = 0, 0
    lock = threading.Lock()

    def read(number: int) -> bytes:
        nonlocal reading, most
        with lock:
            reading += 1
            most = max(most, reading)
        time.sleep(0.002 * (number % 3))
        with lock:
            reading -= 1
        return make_image(number, size=16)

    names = [f"{number:03d}.png" for number in range(2 * CHUNK + 5)]
    batch = imports.create_batch(ws.db, function.id, "upload", "Slow")
    looked = import_items(
        ws, function.id, batch, [Incoming(name, partial(read, n)) for n, name in enumerate(names)], len(names)
    )
    assert looked == len(names)
    assert list(_names(ws, function)) == names
    assert most == 2


@pytest.mark.slow
@pytest.mark.parametrize(("size", "fewest", "most"), [(None, 0, 2 * CHUNK), (1_000_000, 0, 2 * CHUNK), (400, 200, 400)])
def test_a_kill_costs_two_chunks_at_most_and_chunks_of_small_files_grow(
    ws: Workspace, function: Function, size: int | None, fewest: int, most: int
) -> None:
    uncommitted: list[int] = []

    def read(number: int) -> bytes:
        if number % 20 == 19:
            uncommitted.append(number - samples.count_samples(ws.db, function.id))
        return make_image(number, size=8)

    files = [Incoming(f"{number:03d}.png", partial(read, number), size=size) for number in range(400)]
    batch = imports.create_batch(ws.db, function.id, "upload", "Many")
    assert import_items(ws, function.id, batch, files, len(files)) == 400
    assert fewest <= max(uncommitted) <= most
    assert samples.count_samples(ws.db, function.id) == 400


def test_small_files_that_go_together_keep_their_order_and_each_its_own_line(ws: Workspace, function: Function) -> None:
    datas = [make_image(number, size=8) for number in range(40)]
    datas[3] = b""
    datas[9] = datas[8]
    datas[12] = b"no picture"

    def broken() -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    files = [
        Incoming(f"{number:03d}.png", broken if number == 20 else partial(bytes, data), size=len(data))
        for number, data in enumerate(datas)
    ]
    batch = imports.create_batch(ws.db, function.id, "upload", "Together")
    import_items(ws, function.id, batch, files, len(files))
    good = [f"{number:03d}.png" for number in range(40) if number not in (3, 9, 12, 20)]
    assert list(_names(ws, function)) == good
    reasons = {row.file: row.reason for row in imports.batch_rows(ws.db, batch, ["rejected", "present"])}
    assert set(reasons) == {"003.png", "009.png", "012.png", "020.png"}
    assert "008.png" in reasons["009.png"]
    for sample in samples.find_samples(ws.db, function.id):
        assert ws.blobs.image(sample.image_hash) == datas[int(sample.file_name[:3])]


def test_a_zip_of_too_many_files_is_refused(tmp_path: Path) -> None:
    ws = workspace(tmp_path, max_zip_entries=3)
    payload = _zip(ws, {f"{n}.png": b"x" for n in range(4)}, LabelPlan("none"))
    with pytest.raises(ArchiveError) as caught:
        _import(ws, empty_function(ws), payload)
    assert "DETECTOR_MAX_ZIP_ENTRIES" in str(caught.value)


def test_one_entry_beyond_the_limits_is_one_line(tmp_path: Path) -> None:
    ws = workspace(tmp_path, max_image_mb=1)
    function = empty_function(ws)
    path = ws.spool / "test.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", make_image(1))
        archive.writestr("bomb.png", bytes(2_000_000))
    batch = _import(ws, function, zip_payload(path, LabelPlan("none"), "test.zip"))
    assert list(_names(ws, function)) == ["a.png"]
    [line] = imports.batch_rows(ws.db, batch, ["rejected"])
    assert line.file == "bomb.png"
    assert "DETECTOR_MAX_IMAGE_MB" in line.reason


def test_what_is_no_zip_fails_as_a_whole(ws: Workspace, function: Function) -> None:
    path = ws.spool / "test.zip"
    path.write_bytes(make_image(1))
    with pytest.raises(ArchiveError):
        _import(ws, function, zip_payload(path, LabelPlan("none"), "test.zip"))


def test_an_empty_source_and_one_without_a_match_end_in_a_sentence(ws: Workspace, function: Function) -> None:
    with pytest.raises(InvalidInput) as empty:
        _import(ws, function, _zip(ws, {}, LabelPlan("none")))
    assert "There are no files in test.zip" in str(empty.value)
    plan = LabelPlan("folders", level=0, mapping={"a": None})
    with pytest.raises(InvalidInput) as none:
        _import(ws, function, _zip(ws, {"a/1.png": make_image(1)}, plan))
    assert "None of the 1 files" in str(none.value)


def test_a_folder_of_text_files_is_all_rejected(ws: Workspace, function: Function, tmp_path: Path) -> None:
    folder = tmp_path / "texts" / "real"
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / f"{number}.txt").write_text("words")
    batch = _import(ws, function, folder_payload(tmp_path / "texts", FOLDERS))
    assert imports.batch_counts(ws.db, batch) == ImportCounts(rejected=3)


def test_a_folder_imports_with_its_bytes_untouched(ws: Workspace, function: Function, tmp_path: Path) -> None:
    folder = tmp_path / "set" / "real"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(make_image(1))
    _import(ws, function, folder_payload(tmp_path / "set", FOLDERS))
    [sample] = samples.find_samples(ws.db, function.id)
    assert ws.blobs.image(sample.image_hash) == make_image(1)
    with pytest.raises(InvalidInput):
        _import(ws, function, folder_payload(tmp_path / "missing", FOLDERS))


@pytest.mark.slow
def test_the_built_in_sample_comes_with_labels_and_groups(ws: Workspace, function: Function) -> None:
    batch = _import(ws, function, sample_payload())
    counts = Counter(_names(ws, function).values())
    assert set(counts) == {"real", "synthetic"}
    assert counts["real"] == counts["synthetic"]
    assert imports.batch_counts(ws.db, batch).rejected == 0
    assert all(row.group_key for row in samples.training_rows(ws.db, function.id))


def test_progress_ends_at_the_number_of_files(ws: Workspace, function: Function) -> None:
    heard: list[tuple[str, int, int]] = []

    def report(phase: str, done: int, total: int, _message: str, _rate: float | None) -> None:
        heard.append((phase, done, total))

    files = {f"{label}/{name}": data for name, data, label in images(3)}
    batch = imports.create_batch(ws.db, function.id, "zip", "test.zip")
    assert run_import(ws, function.id, batch, _zip(ws, files, FOLDERS), report) == 6
    assert heard[0] == ("import", 0, 6)
    assert heard[-1] == ("import", 6, 6)
