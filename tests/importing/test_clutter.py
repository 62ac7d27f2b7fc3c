"""The kind: what a NAS, a system or a program leaves beside pictures is no sample, wherever pictures come from."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from detector.importing import FolderSource, ZipLimits, ZipSource
from detector.importing.clutter import clutter_in, is_clutter, passed_over

LIMITS = ZipLimits(max_entries=1000, max_entry_bytes=1_000_000, max_total_bytes=3_000_000)

CLUTTER = [
    "@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", "#recycle/a.jpg", "#snapshot/2024/a.jpg", "@Recycle/a.jpg",
    "@Recently-Snapshot/x/a.jpg", ".@__thumb/a.jpg", "@__thumb/a.jpg", "__MACOSX/real/._a.jpg", "._a.jpg", ".DS_Store",
    ".Spotlight-V100/a.jpg", ".Trashes/501/a.jpg", ".Trash-1000/files/a.jpg", "Icon\r", "Network Trash Folder/a.jpg",
    "Thumbs.db", "thumbs.db", "THUMBS.DB", "ehthumbs.db", "desktop.ini", "$RECYCLE.BIN/S-1-5/a.jpg",
    "System Volume Information/a.jpg", "lost+found/a.jpg", ".thumbnails/normal/a.png", ".picasa.ini", "Picasa.ini",
    ".picasaoriginals/a.jpg", "~$notes.docx", "a.jpg~", "#a.jpg#", ".a.jpg.swp", "a.jpg.part", "a.jpg.crdownload",
    "a.jpg.tmp", ".ipynb_checkpoints/a.jpg", ".git/a.jpg", "found.000/a.jpg", "a.lnk",
]  # fmt: skip
SAMPLES = [
    "a.jpg", "real/a.jpg", "eaDir/a.jpg", "thumbs/a.jpg", "recycle/a.jpg", "@home/a.jpg", "#1/a.jpg", "icon/a.jpg",
    "part/a.jpg", "temp/a.jpg", "desktop/a.jpg", "thumbs.database.jpg", "~a.jpg", "a#.jpg", "found/000.jpg",
]  # fmt: skip


@pytest.mark.parametrize("path", CLUTTER)
def test_what_systems_and_programs_leave_behind_is_clutter(path: str) -> None:
    assert is_clutter(path)
    assert is_clutter(f"real/deep/{path}")


@pytest.mark.parametrize("path", SAMPLES)
def test_what_only_resembles_clutter_is_not(path: str) -> None:
    assert clutter_in(path) is None


def test_every_source_passes_over_the_same_files_and_counts_them(tmp_path: Path) -> None:
    """One list for folder, ZIP and upload: none of them may take what another leaves out."""
    paths = [path for path in (*CLUTTER, *SAMPLES) if "\r" not in path]
    # A folder and a file of one name cannot lie beside each other on a disk that ignores case.
    paths = [path for path in paths if path not in ("thumbs.db", "THUMBS.DB", ".picasa.ini")]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out:
        for path in paths:
            file = tmp_path / "folder" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(path.encode())
            out.writestr(path, path)
    (tmp_path / "a.zip").write_bytes(archive.getvalue())
    with (
        FolderSource(tmp_path / "folder") as folder,
        ZipSource(tmp_path / "a.zip", LIMITS) as zipped,
    ):
        for source in (folder, zipped):
            assert [entry.path for entry in source.entries()] == sorted(SAMPLES)
            assert "@eaDir" in source.passed_over
            # Asked again they are not counted twice.
            before = len(source.passed_over)
            source.entries()
            assert len(source.passed_over) == before


def test_what_was_passed_over_is_said_in_one_sentence() -> None:
    assert passed_over([]) == ""
    assert passed_over(["Thumbs.db"]) == "1 file or folder of systems and programs was passed over: Thumbs.db."
    many = passed_over([*["@eaDir"] * 3, "a~", "b~", "c~", "d~"])
    assert many.startswith("7 files and folders of systems and programs were passed over: @eaDir, ")
    assert many.endswith(" and 1 more names.")
