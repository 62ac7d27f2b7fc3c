"""The command line asks for sizes before it reads: memory stays flat, and there is a sentence."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from detector.errors import ArchiveError
from detector.importing.batch import run_import, zip_payload
from detector.importing.labelling import LabelPlan
from detector.jobs import request_build
from detector.storage import functions, imports, samples
from detector.worker.running import run_pending
from detector.workspace import Workspace
from tests.command_line import CHECKOUT, Ran, environment, run
from tests.factories import empty_function, labelled_function, make_image, workspace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is asked of Linux"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A data folder with a function that is called Test and has a model."""
    ws = workspace(tmp_path_factory.mktemp("data"))
    function = labelled_function(ws, 3)
    request_build(ws, function.id)
    run_pending(ws, function.id)
    yield ws
    ws.close()


def _measured(data_dir: Path, folder: Path, *arguments: str | Path) -> tuple[Ran, float]:
    """How a command ended, and the most memory that it took, in MB."""
    out, err = folder / "out", folder / "err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "detector", *map(str, arguments)],
            cwd=CHECKOUT,
            env=environment(data_dir, DETECTOR_PRECISION="float32"),
            stdout=stdout,
            stderr=stderr,
        )
        most = 0.0
        while process.poll() is None:
            # Not what the system says of it when it has ended: that counts what this process had before it.
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                    if line.startswith("VmHWM:"):
                        most = max(most, int(line.split()[1]) / 1024)
            time.sleep(0.01)
    return Ran(process.returncode, out.read_text(), err.read_text()), most


@pytest.mark.long
def test_what_is_no_picture_of_a_fair_size_is_not_read_whole(trained: Workspace, tmp_path: Path) -> None:
    """The kind: a film, a file of holes, a device without an end, a pipe that nobody writes to, and what leads there.

    A film of 1.5 GB took 2.5 GB of memory before it was refused.
    """
    film, pipe, hidden, link = (tmp_path / name for name in ("film.mp4", "pipe.jpg", ".hidden", "link.jpg"))
    with film.open("wb") as file:
        file.write(b"\0\0\0\x18ftypisom\0\0\2\0isommp42")
        file.truncate(1_500_000_000)
    os.mkfifo(pipe)
    os.mkfifo(hidden)
    link.symlink_to("/dev/zero")
    good = tmp_path / "good.png"
    good.write_bytes(make_image(9))
    fair, usual = _measured(trained.settings.data_dir, tmp_path, "invoke", "Test", good)
    assert fair.code == 0, fair.err
    odd = [film, pipe, hidden, link, Path("/dev/zero"), good]
    ran, most = _measured(trained.settings.data_dir, tmp_path, "invoke", "Test", *odd)
    assert ran.code == 1
    lines = {line["file"]: line for line in map(json.loads, ran.out.splitlines())}
    assert set(lines) == {str(path) for path in odd}
    assert "1,500.0 MB" in lines[str(film)]["error"]
    for path in (pipe, hidden, link, Path("/dev/zero")):
        assert "pipe or device" in lines[str(path)]["error"]
    assert lines[str(good)]["labelName"]
    assert most < usual + 100
    # The same files in a folder.
    ran, most = _measured(trained.settings.data_dir, tmp_path, "invoke", "Test", tmp_path)
    assert ran.code == 1
    assert most < usual + 100


@pytest.mark.long
@pytest.mark.parametrize("name", ["holes.csv", "zero.csv", "pipe.csv"])
def test_a_table_of_labels_is_asked_for_its_size(tmp_path: Path, name: str) -> None:
    """The kind: tables of gigabytes, devices and pipes in place of a table."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes(make_image(1))
    os.mkfifo(folder / "table.parquet")
    table = tmp_path / name
    if name == "holes.csv":
        with table.open("wb") as file:
            file.truncate(3_000_000_000)
    elif name == "zero.csv":
        table.symlink_to("/dev/zero")
    else:
        os.mkfifo(table)
    ran, most = _measured(tmp_path / "data", tmp_path, "train", folder, "--labels", table)
    assert ran.code == 1
    assert name in ran.sentence
    assert "Traceback" not in ran.err
    assert most < 800


def _files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _many_of_one(path: Path, count: int) -> Path:
    """An archive whose directory names one picture so many times."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("real/a.png", make_image(1))
    data = path.read_bytes()
    end = data.rindex(b"PK\5\6")
    start = data.index(b"PK\1\2")
    entries = data[start:end] * count
    path.write_bytes(
        data[:start] + entries + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(entries), start, 0)
    )
    return path


def test_an_archive_of_one_file_named_often_leaves_nothing_behind(tmp_path: Path) -> None:
    """On the command line and in an import: a sentence, no sample, no function, no picture in the store."""
    path = _many_of_one(tmp_path / "many.zip", 3000)
    ran = run(tmp_path / "data", "train", path, "--function", "Many")
    assert ran.code == 1
    assert "share the same bytes" in ran.sentence
    ws = workspace(tmp_path / "data")
    assert functions.list_functions(ws.db) == []
    assert not _files_below(tmp_path / "data" / "blobs")
    function = empty_function(ws)
    batch_id = imports.create_batch(ws.db, function.id, "zip", "many.zip")
    with pytest.raises(ArchiveError, match="share the same bytes"):
        run_import(ws, function.id, batch_id, zip_payload(path, LabelPlan("folders", level=0), "many.zip"))
    assert samples.count_samples(ws.db, function.id) == 0
    assert not [path for path in _files_below(tmp_path / "data") if "images" in path.parts]
    ws.close()
