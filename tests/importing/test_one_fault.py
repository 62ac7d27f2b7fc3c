"""One call of the disk that fails must not give up an import, nor leave half of anything."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from detector.imaging import sha256_hex
from tests.app_server import CHECKOUT
from tests.faulty_disk import library
from tests.one_fault import FILES

pytestmark = pytest.mark.slow

SHARDS = 4


def _start(folder: Path, first: int, step: int, **faults: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.one_fault", folder, str(first), str(step)],
        cwd=CHECKOUT,
        env=os.environ | {"LD_PRELOAD": str(library(folder.parent)), "FAULT_ERRNO": str(errno.EIO), **faults},
        stdout=subprocess.PIPE,
    )


def _results(process: subprocess.Popen[bytes]) -> list[dict[str, Any]]:
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return list(json.loads(out))


@pytest.mark.long
def test_whichever_write_flush_or_rename_fails_once_the_import_ends_as_if_it_had_not(tmp_path: Path) -> None:
    """Kind: one failed flush gave up a whole import (1,000 pictures) and left files that no row named.

    Every write, flush and rename of images, database and its journal fails once, each in an import of its own.
    """
    folders = [tmp_path / f"shard-{number}" / "data" for number in range(SHARDS)]
    for folder in folders:
        folder.mkdir(parents=True)
    started = [_start(folder, first, SHARDS, FAULT_PATH=str(folder)) for first, folder in enumerate(folders, start=1)]
    results = [item for process in started for item in _results(process)]
    assert len(results) > 40
    for result in results:
        del result["calls"]
        assert result == {
            "samples": 3,
            "thumbnails": 3,
            "said": "",
            "job": "done",
            "batch": "done",
            "total": len(FILES),
            "counts": [3, 1, 0, 1],
            "rows without a file": [],
            "files without a row": [],
            "unfinished": [],
            "spool": [],
        }


def test_a_file_that_the_disk_never_takes_is_a_line_in_the_report_and_the_others_come_in(tmp_path: Path) -> None:
    """Kind: as above, where trying again does not help: a bad spot of the disk."""
    folder = tmp_path / "shard" / "data"
    folder.mkdir(parents=True)
    (flag := tmp_path / "flag").touch()
    bad = sha256_hex(FILES["real/b.png"])
    result = _results(_start(folder, 0, 1, FAULT_PATH=bad, FAULT_FLAG=str(flag)))[0]
    assert (result["samples"], result["counts"], result["total"]) == (2, [2, 1, 0, 2], len(FILES))
    assert (result["job"], result["batch"]) == ("done", "done")
    assert [result["rows without a file"], result["files without a row"], result["unfinished"]] == [[], [], []]
