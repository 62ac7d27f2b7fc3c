"""Run under ``faulty_disk.c``: an import for each call of the disk that may fail, and what each left behind.

Usage: python -m tests.one_fault FOLDER FIRST STEP; prints a JSON list: an import without a fault, then those whose
FIRST call fails, the one STEP later, and so on. FIRST 0: only the one without.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path

from sqlalchemy import func, select

from detector.errors import DetectorError
from detector.importing.batch import zip_payload
from detector.importing.labelling import LabelPlan
from detector.jobs import IMPORT, request_import
from detector.settings import Settings
from detector.storage import imports, jobs
from detector.storage.schema import images, samples, thumbnails
from detector.worker.running import run_job
from detector.workspace import Workspace
from tests.factories import empty_function, make_image, stored_batch, write_zip
from tests.faulty_disk import image_files, left_over

FILES = {
    "real/a.png": make_image(1),
    "real/b.png": make_image(2),
    "real/again.png": make_image(1),
    "synthetic/c.png": make_image(1, "synthetic"),
    "synthetic/notes.txt": b"no picture",
}


def one(folder: Path, number: int) -> dict[str, object]:
    """An import whose n-th call fails; 0: none."""
    faults = ctypes.CDLL(os.environ["LD_PRELOAD"])
    faults.fault_at(0)
    ws = Workspace.open(Settings(data_dir=folder / f"data-{number}", threads=2))
    function = empty_function(ws)
    path = write_zip(ws.spool / "ab12.zip", FILES)
    batch, job_id = request_import(ws, function.id, zip_payload(path, LabelPlan("folders", level=0), "files"), "zip")
    job = jobs.claim(ws.db, (IMPORT,))
    assert job is not None
    faults.fault_at(number)
    said = ""
    try:
        run_job(ws, job)
    except DetectorError as error:
        said = str(error)
    calls = faults.fault_calls()
    faults.fault_at(0)
    blobs = ws.settings.data_dir / "blobs"
    with ws.db.read() as connection:
        hashes = set(connection.scalars(select(images.c.hash)))
        found = {
            "samples": connection.scalar(select(func.count()).select_from(samples)),
            "thumbnails": connection.scalar(select(func.count()).select_from(thumbnails)),
        }
    counts = imports.batch_counts(ws.db, batch)
    result = {
        **found,
        "calls": calls,
        "said": said,
        "job": jobs.get_job(ws.db, job_id).state,
        "batch": stored_batch(ws, batch).state,
        "total": stored_batch(ws, batch).total,
        "counts": [counts.imported, counts.present, counts.conflict, counts.rejected],
        "rows without a file": sorted(hashes - image_files(blobs)),
        "files without a row": sorted(image_files(blobs) - hashes),
        "unfinished": left_over(blobs),
        "spool": [item.name for item in ws.spool.iterdir()],
    }
    ws.close()
    return result


def main(folder: Path, first: int, step: int) -> None:
    results = [one(folder, 0)]
    if first:
        results += [one(folder, number) for number in range(first, int(str(results[0]["calls"])) + 1, step)]
    print(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
