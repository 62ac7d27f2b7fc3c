"""An import of one archive in a process of its own: ``python -m tests.faults.hostile_import FOLDER ARCHIVE``.

Prints as JSON what the database and the disk hold afterwards, and how much memory the import took at most.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
from pathlib import Path

from sqlalchemy import select

from detector.imaging import sha256_hex
from detector.importing.batch import zip_payload
from detector.importing.labelling import LabelPlan
from detector.jobs import IMPORT, request_import
from detector.settings import Settings
from detector.storage import jobs
from detector.storage.schema import images, import_rows, samples, thumbnails
from detector.worker.running import run_job
from detector.workspace import Workspace
from tests.factories import empty_function


def main(folder: Path, archive: Path) -> None:
    ws = Workspace.open(Settings(data_dir=folder, threads=2))
    function = empty_function(ws)
    path = ws.spool / "ab12.zip"
    shutil.copyfile(archive, path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _, job_id = request_import(ws, function.id, zip_payload(path, LabelPlan("none"), "evil.zip"), "zip")
    job = jobs.claim(ws.db, (IMPORT,))
    assert job is not None
    said = ""
    try:
        run_job(ws, job)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    with ws.db.read() as connection:
        reported = connection.execute(select(import_rows.c.file, import_rows.c.outcome, import_rows.c.reason)).all()
        names = list(connection.scalars(select(samples.c.file_name)))
        hashes = sorted(connection.scalars(select(images.c.hash)))
        small = [bytes(data).hex() for data in connection.scalars(select(thumbnails.c.data))]
    stored = sorted((folder / "blobs" / "images").rglob("*")) if (folder / "blobs").exists() else []
    files = [item for item in stored if item.is_file()]
    assert all(sha256_hex(item.read_bytes()) == item.name for item in files)
    found = {
        "said": said or jobs.get_job(ws.db, job_id).message,
        "state": jobs.get_job(ws.db, job_id).state,
        "report": [list(row) for row in reported],
        "samples": names,
        "rows": hashes,
        "files": sorted(item.name for item in files),
        "spool": [item.name for item in ws.spool.iterdir()],
        "thumbnails": small,
        "taken_mb": taken / 1024,
    }
    ws.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
