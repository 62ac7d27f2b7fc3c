from __future__ import annotations

import contextlib
import io
import os
import struct
import tracemalloc
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.errors import ArchiveError, EntryUnreadable, ImageError, ImageTooManyBytes, NotFound
from detector.importing import FolderSource, ZipLimits, ZipSource
from detector.importing.entries import read_file

LIMITS = ZipLimits(max_entries=100, max_entry_bytes=1_000_000, max_total_bytes=3_000_000)


def make_zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def listed(source: FolderSource | ZipSource) -> list[str]:
    return [entry.path for entry in source.entries()]


def test_a_zip_lists_files_in_order_and_leaves_out_what_systems_leave_behind(tmp_path: Path) -> None:
    files = {
        "b/2.jpg": b"two",
        "a/1.jpg": b"one",
        "notes.txt": b"text",
        "inner.zip": b"PK",
        "__MACOSX/a/._1.jpg": b"x",
        "a/.DS_Store": b"x",
        "a/Thumbs.db": b"x",
        ".hidden/3.jpg": b"x",
        "empty/": b"",
    }
    with ZipSource(make_zip(tmp_path / "a.zip", files), LIMITS) as source:
        entries = source.entries()
        assert [entry.path for entry in entries] == ["a/1.jpg", "b/2.jpg", "inner.zip", "notes.txt"]
        assert [entry.read() for entry in entries] == [b"one", b"two", b"PK", b"text"]
        assert entries[0].size == 3


def test_names_inside_a_zip_are_only_ever_shown(tmp_path: Path) -> None:
    files = {"../../etc/passwd": b"1", "/root/x.jpg": b"2", "real\\cam\\y.jpg": b"3", "a/\x07bell.jpg": b"4"}
    with ZipSource(make_zip(tmp_path / "a.zip", files), LIMITS) as source:
        assert listed(source) == ["a/\N{REPLACEMENT CHARACTER}bell.jpg", "etc/passwd", "real/cam/y.jpg", "root/x.jpg"]
        assert [entry.read() for entry in source.entries()] == [b"4", b"1", b"3", b"2"]
    assert [child.name for child in tmp_path.iterdir()] == ["a.zip"]


def test_two_entries_of_one_name_are_both_read(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.jpg", b"first")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("x.jpg", b"second")
    with ZipSource(path, LIMITS) as source:
        assert sorted(entry.read() for entry in source.entries()) == [b"first", b"second"]


def test_what_is_no_zip_is_refused_in_a_sentence(tmp_path: Path) -> None:
    whole = make_zip(tmp_path / "whole.zip", {"a.jpg": b"x" * 5000}, zipfile.ZIP_STORED).read_bytes()
    for name, data in {"text.zip": b"hello", "empty.zip": b"", "cut.zip": whole[:3000]}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ArchiveError) as refused:
            ZipSource(tmp_path / name, LIMITS)
        assert str(refused.value).startswith(f"{name} is not a ZIP archive")


def test_more_entries_than_allowed_are_refused_even_where_the_last_record_lies(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "many.zip", {f"{i}.jpg": b"" for i in range(101)})
    data = bytearray(path.read_bytes())
    end = data.rindex(b"PK\x05\x06")
    for count in (101, 1):
        data[end + 8 : end + 12] = struct.pack("<HH", count, count)
        path.write_bytes(data)
        with pytest.raises(ArchiveError) as refused:
            ZipSource(path, LIMITS)
        assert "more than 100 files" in str(refused.value)


def test_the_entries_of_a_zip64_archive_are_counted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 10)
    path = make_zip(tmp_path / "many.zip", {f"{i:03d}.jpg": b"x" for i in range(60)})
    assert b"PK\x06\x06" in path.read_bytes()
    with ZipSource(path, LIMITS) as source:
        assert len(source.entries()) == 60
    with pytest.raises(ArchiveError):
        ZipSource(path, ZipLimits(59, 10, 10))


def _overlapping(kind: str) -> bytes:
    """An archive in which entries share bytes, made of an honest one by changing what its directory says."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        inner = io.BytesIO()
        with zipfile.ZipFile(inner, "w", zipfile.ZIP_STORED) as nested:
            nested.writestr("a.bin", os.urandom(3000))
        archive.writestr("a.bin", os.urandom(3000))
        archive.writestr("b.bin", inner.getvalue())
        archive.writestr("c.bin", os.urandom(3000))
        places = [info.header_offset for info in archive.infolist()]
    data = bytearray(file.getvalue())
    start = data.rindex(b"PK\x05\x06")
    directory = int.from_bytes(data[start + 16 : start + 20], "little")
    first = bytes(data[directory : directory + 46 + 5])
    entry = bytearray(first)
    if kind == "one entry many times":
        entries = first * 90
    elif kind == "begins inside another's bytes":
        # The header inside the archive that lies in this one.
        entry[42:46] = struct.pack("<I", data.index(b"PK\x03\x04", places[1] + 30))
        entries = bytes(data[directory:start]) + bytes(entry)
    elif kind == "runs into the next one":
        entry[20:28] = struct.pack("<II", 3001, 3001)
        entries = bytes(entry) + bytes(data[directory + len(first) : start])
    elif kind == "runs over all others":
        entry[20:28] = struct.pack("<II", directory - 40, directory - 40)
        entries = bytes(entry) + bytes(data[directory + len(first) : start])
    else:  # the last one runs into the directory
        rest = bytearray(data[directory:start])
        rest[-len(first) + 20 : -len(first) + 28] = struct.pack("<II", 3100, 3100)
        entries = bytes(rest)
    count = entries.count(b"PK\x01\x02")
    end = bytearray(data[start:])
    end[8:16] = struct.pack("<HHI", count, count, len(entries))
    return bytes(data[:directory]) + entries + bytes(end)


OVERLAPS = [
    "one entry many times",
    "begins inside another's bytes",
    "runs into the next one",
    "runs over all others",
    "runs into the directory",
]


@pytest.mark.parametrize("kind", OVERLAPS)
def test_an_archive_whose_entries_overlap_is_refused(tmp_path: Path, kind: str) -> None:
    """The kind: entries that share bytes: a small file is unpacked as often as its directory names it.

    3,000 entries of one offset unpacked 11.9 GB under a limit of 50 MB.
    """
    path = tmp_path / "a.zip"
    path.write_bytes(_overlapping(kind))
    with pytest.raises(ArchiveError) as refused:
        ZipSource(path, LIMITS)
    assert "share the same bytes" in str(refused.value)


def test_an_entry_whose_own_header_is_longer_than_its_place_is_not_unpacked(tmp_path: Path) -> None:
    """What the directory does not say: the header before the bytes may be made longer, and moves them."""
    path = make_zip(tmp_path / "a.zip", {"a.bin": b"a" * 3000, "b.bin": b"b" * 3000}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[28:30] = struct.pack("<H", 50)
    path.write_bytes(data)
    with ZipSource(path, LIMITS) as source:
        first, second = source.entries()
        with pytest.raises(EntryUnreadable, match="runs into the next file"):
            first.read()
        assert second.read() == b"b" * 3000


class _Unseekable(io.BytesIO):
    def seekable(self) -> bool:
        return False

    def seek(self, *_: object) -> int:
        raise io.UnsupportedOperation


def test_odd_but_honest_archives_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kind: what looks like an overlap to a careless check: equal files, sizes behind the data, gaps, a program in
    front, 64 bits, entries listed in another order, an archive in the archive."""
    files = {"real/a.bin": b"same" * 700, "real/b.bin": b"same" * 700, "empty.bin": b"", "\xe4\u4e2d.bin": b"x"}
    inner = make_zip(tmp_path / "inner.zip", {"x.bin": b"inside"}, zipfile.ZIP_STORED)
    files["inner.zip"] = inner.read_bytes()
    plain = make_zip(tmp_path / "plain.zip", files, zipfile.ZIP_STORED).read_bytes()
    streamed = _Unseekable()
    with zipfile.ZipFile(streamed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    with_gaps = io.BytesIO()
    with zipfile.ZipFile(with_gaps, "w") as archive:
        for name, data in files.items():
            with_gaps.write(b"gap" * 50)
            archive.start_dir = with_gaps.tell()
            archive.writestr(name, data)
    backwards = io.BytesIO()
    with zipfile.ZipFile(backwards, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.filelist.reverse()
    with monkeypatch.context() as patched:
        patched.setattr(zipfile, "ZIP64_LIMIT", 100)
        large = make_zip(tmp_path / "large.zip", files).read_bytes()
    assert b"PK\x06\x06" in large
    assert b"PK\x07\x08" in streamed.getvalue()
    for data in (
        plain, b"#!/bin/sh\n" * 500 + plain, streamed.getvalue(), with_gaps.getvalue(), backwards.getvalue(), large,
    ):  # fmt: skip
        path = tmp_path / "a.zip"
        path.write_bytes(data)
        with ZipSource(path, LIMITS) as source:
            assert {entry.path: entry.read() for entry in source.entries()} == files


def test_what_is_unpacked_counts_for_each_entry(tmp_path: Path) -> None:
    """Equal names and equal bytes are still entries of their own."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(4):
            archive.writestr("a.bin", b"x" * 900_000)
    with ZipSource(path, LIMITS) as source:
        entries = source.entries()
        assert len({entry.path for entry in entries}) == 4
        for entry in entries[:3]:
            entry.read()
        with pytest.raises(ArchiveError, match="DETECTOR_MAX_ZIP_GB"):
            entries[3].read()


@pytest.mark.parametrize("hides", [False, True])
def test_a_list_of_files_larger_than_any_is_not_read(tmp_path: Path, hides: bool) -> None:
    """The kind: sizes that an archive claims of itself; the list was read whole before it was looked at.

    ``hides``: with the mark of the archive's end once more inside its end, which hid that size from our own check.
    """
    path = tmp_path / "a.zip"
    size = 900_000_000
    offset = int.from_bytes(b"PK\x05\x06", "little") if hides else 0
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(size)
        file.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, size, offset, 0))
    tracemalloc.start()
    with pytest.raises(ArchiveError):
        ZipSource(path, LIMITS)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20_000_000


def test_an_entry_larger_than_allowed_is_one_rejected_file(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"big.bmp": os.urandom(1_000_001), "small.jpg": b"ok"})
    with ZipSource(path, LIMITS) as source:
        big, small = source.entries()
        with pytest.raises(ImageTooManyBytes) as refused:
            big.read()
        assert refused.value.limit == 1_000_000
        assert small.read() == b"ok"


@pytest.mark.parametrize("claimed", [10, 999])
def test_a_header_that_claims_less_than_is_there_gives_a_named_error(tmp_path: Path, claimed: int) -> None:
    path = make_zip(tmp_path / "liar.zip", {"x.jpg": bytes(2_000_000)})
    data = bytearray(path.read_bytes())
    directory = data.rindex(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = struct.pack("<I", claimed)
    data[22:26] = struct.pack("<I", claimed)
    path.write_bytes(data)
    with ZipSource(path, LIMITS) as source:
        (entry,) = source.entries()
        with pytest.raises(EntryUnreadable):
            entry.read()


def test_a_compression_bomb_is_one_rejected_file(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "bomb.zip", {"bomb.bmp": bytes(20_000_000), "ok.jpg": b"ok"})
    limits = ZipLimits(max_entries=10, max_entry_bytes=10**9, max_total_bytes=10**9)
    with ZipSource(path, limits) as source:
        bomb, fine = source.entries()
        with pytest.raises(EntryUnreadable) as refused:
            bomb.read()
        assert "200 times" in str(refused.value)
        assert fine.read() == b"ok"


def test_an_empty_white_picture_may_be_compressed_a_thousandfold(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"white.bmp": bytes(900_000)})
    with ZipSource(path, LIMITS) as source:
        assert len(source.entries()[0].read()) == 900_000


def test_the_total_is_limited_while_reading_and_counts_no_file_twice(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {f"{i}.bin": os.urandom(900_000) for i in range(4)}, zipfile.ZIP_STORED)
    with ZipSource(path, LIMITS) as source:
        entries = source.entries()
        for _ in range(5):
            entries[0].read()
        entries[1].read()
        entries[2].read()
        with pytest.raises(ArchiveError) as refused:
            entries[3].read()
        assert "DETECTOR_MAX_ZIP_GB" in str(refused.value)


def test_encrypted_entries_and_rare_compressions_are_rejected_with_the_reason(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"x.jpg": b"secret"}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with ZipSource(path, LIMITS) as source:
        with pytest.raises(EntryUnreadable) as refused:
            source.entries()[0].read()
        assert "password" in str(refused.value)
    lzma = make_zip(tmp_path / "b.zip", {"x.jpg": bytes(10**6)}, zipfile.ZIP_LZMA)
    with ZipSource(lzma, LIMITS) as source:
        with pytest.raises(EntryUnreadable) as refused:
            source.entries()[0].read()
        assert "Deflate" in refused.value.why


def test_a_damaged_entry_costs_only_itself(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a.jpg": b"a" * 3000, "b.jpg": b"b" * 3000}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[1000] ^= 0xFF
    path.write_bytes(data)
    with ZipSource(path, LIMITS) as source:
        first, second = source.entries()
        with pytest.raises(EntryUnreadable) as refused:
            first.read()
        assert refused.value.name == "a.jpg"
        assert second.read() == b"b" * 3000


def test_many_threads_read_one_archive(tmp_path: Path) -> None:
    files = {f"{i:02d}.bin": os.urandom(20_000) + bytes([i]) for i in range(60)}
    with ZipSource(make_zip(tmp_path / "a.zip", files), LIMITS) as source, ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda entry: (entry.path, entry.read()), source.entries() * 4))
    assert read == sorted(files.items()) * 4


SMALL_ZIP = io.BytesIO()
with zipfile.ZipFile(SMALL_ZIP, "w", zipfile.ZIP_DEFLATED) as small:
    small.writestr("real/a.jpg", b"picture" * 40)
    small.writestr("fake/b.jpg", bytes(range(200)))


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=8), st.integers(0, 10**6))
def test_mutated_archives_end_in_files_or_named_errors(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(SMALL_ZIP.getvalue())
    for place, value in changes:
        data[place % len(data)] = value
    if cut % 4 == 0:
        del data[cut % len(data) :]
    path = tmp_path_factory.getbasetemp() / "mutated.zip"
    path.write_bytes(data)
    with contextlib.suppress(ArchiveError), ZipSource(path, LIMITS) as source:
        for entry in source.entries():
            with contextlib.suppress(ImageError):
                assert isinstance(entry.read(), bytes)


def test_a_folder_is_listed_in_order_with_everything_below_it(tmp_path: Path) -> None:
    for name in ("real/cam/2.jpg", "real/1.jpg", "fake/3.png", "notes.txt", ".git/x", "real/Thumbs.db"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    with FolderSource(tmp_path) as source:
        entries = source.entries()
        assert [entry.path for entry in entries] == ["fake/3.png", "notes.txt", "real/1.jpg", "real/cam/2.jpg"]
        assert entries[3].read() == b"real/cam/2.jpg"
        assert entries[3].size == len(b"real/cam/2.jpg")


def test_links_that_lead_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    root = tmp_path / "root"
    for folder in (outside, root / "real"):
        folder.mkdir(parents=True)
        (folder / "a.jpg").write_bytes(b"a")
    (root / "file.jpg").symlink_to(outside / "a.jpg")
    (root / "folder").symlink_to(outside)
    (root / "gone.jpg").symlink_to(root / "nothing")
    (root / "inside").symlink_to(root / "real")
    (root / "real" / "circle").symlink_to(root)
    with FolderSource(root) as source:
        entries = {entry.path: entry for entry in source.entries()}
        assert sorted(entries) == ["file.jpg", "folder", "gone.jpg", "inside/a.jpg", "real/a.jpg"]
        assert entries["inside/a.jpg"].read() == b"a"
        for path, why in {
            "file.jpg": "out of the folder",
            "folder": "out of the folder",
            "gone.jpg": "not there",
        }.items():
            with pytest.raises(EntryUnreadable) as refused:
                entries[path].read()
            assert why in str(refused.value)


def test_a_file_that_becomes_a_link_after_listing_is_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.jpg").write_bytes(b"a")
    (tmp_path / "secret").write_bytes(b"secret")
    (entry,) = FolderSource(root).entries()
    (root / "a.jpg").unlink()
    (root / "a.jpg").symlink_to(tmp_path / "secret")
    with pytest.raises(EntryUnreadable):
        entry.read()


def test_pipes_large_files_and_vanished_files_do_not_stop_an_import(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "big.jpg").write_bytes(bytes(1001))
    (tmp_path / "gone.jpg").write_bytes(b"x")
    big, gone, pipe = FolderSource(tmp_path, max_entry_bytes=1000).entries()
    with pytest.raises(EntryUnreadable, match="a pipe, socket or device"):
        pipe.read()
    (tmp_path / "gone.jpg").unlink()
    with pytest.raises(ImageTooManyBytes):
        big.read()
    with pytest.raises(EntryUnreadable):
        gone.read()


def test_a_file_that_grows_or_says_nothing_of_its_size_is_bounded(tmp_path: Path) -> None:
    """The kind: sizes that are not those of what is read. Systems make such files up as they are read."""
    made_up = Path("/proc/self/smaps")
    if not made_up.is_file():
        pytest.skip("no such file system here")
    assert made_up.stat().st_size == 0
    assert len(read_file(made_up, "smaps", 10_000_000)) > 5_000
    with pytest.raises(ImageTooManyBytes):
        read_file(made_up, "smaps", 5_000)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as missing:
        FolderSource(tmp_path / "nowhere")
    assert "nowhere" in str(missing.value)


def test_folders_of_a_zip_are_no_files_whoever_wrote_them(tmp_path: Path) -> None:
    """The kind: entries that stand for folders, told by a slash, a backslash, a flag of DOS or a mode of Unix."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("real/", b"")
        for name, system, attributes in (
            ("real/dos", 0, 0x10),
            ("real/unix", 3, 0o40755 << 16),
            ("real/empty file", 3, 0o100644 << 16),
            ("real/plain", 0, 0),
        ):
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = system, attributes
            archive.writestr(info, b"")
        archive.writestr("real/full/", b"a file whose name ends like that of a folder")
    with ZipSource(path, LIMITS) as source:
        assert listed(source) == ["real/empty file", "real/full", "real/plain"]
    backslashes = make_zip(tmp_path / "b.zip", {"real\\": b"", "real\\1.jpg": b"1", "real\\sub\\": b""})
    with ZipSource(backslashes, LIMITS) as source:
        assert listed(source) == ["real/1.jpg"]


def test_names_that_become_alike_are_told_apart(tmp_path: Path) -> None:
    """The kind: entries whose shown paths are equal. Each has a line of its own in the report, or one would vanish."""
    files = {"a/1.jpg": b"1", "a\\1.jpg": b"2", "./a/1.jpg": b"3", "../a/1.jpg": b"4", "a/1 (2).jpg": b"5", "..": b"6"}
    with ZipSource(make_zip(tmp_path / "a.zip", files), LIMITS) as source:
        found = {entry.path: entry.read() for entry in source.entries()}
    assert sorted(found.values()) == [b"1", b"2", b"3", b"4", b"5", b"6"]
    assert set(found) == {*(f"a/1{number}.jpg" for number in ("", " (2)", " (3)", " (4)", " (5)")), "unnamed"}


def test_links_lead_anywhere_only_for_whom_they_may(tmp_path: Path) -> None:
    """The kind: links out of the folder, back up, in circles and to nowhere; strict for a page, followed in a shell."""
    root = tmp_path / "root"
    (root / "real").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "1.jpg").write_bytes(b"1")
    (root / "real" / "out").symlink_to(tmp_path / "outside")
    (root / "real" / "up").symlink_to(root)
    (root / "real" / "nowhere.jpg").symlink_to(tmp_path / "gone")
    (root / "circle").symlink_to(root / "circle")
    assert listed(FolderSource(root)) == ["circle", "real/nowhere.jpg", "real/out"]
    followed = FolderSource(root, follow_links=True).entries()
    assert [entry.path for entry in followed] == ["circle", "real/nowhere.jpg", "real/out/1.jpg"]
    assert followed[-1].read() == b"1"
    for entry in followed[:2]:
        with pytest.raises(EntryUnreadable):
            entry.read()


def test_a_folder_deeper_than_any_collection_ends_in_a_line(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(70):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "1.jpg").write_bytes(b"1")
    (entry,) = FolderSource(tmp_path).entries()
    with pytest.raises(EntryUnreadable, match="more than 64 folders deep"):
        entry.read()
