"""Makes a small database with the code of each version of the tables that was ever in somebody's hands.

For each version the newest commit of it is checked out beside this checkout, and its own code makes a function, labels,
samples, a model and a history in a folder that is thrown away again; what stays is the SQLite file::

    python -m tests.stored_data.make_schemas tests/stored_data

It writes ``schema_N.sqlite.gz`` and ``schema_N.json``, which says what that version's tables held. Ids and times are
new at every run; what was made here once stays for ever, and a later version gets files of its own.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

#: The newest commit of each version.
COMMITS = {
    1: "bc4c9e6",
    2: "84c0985",
    3: "7a9891e",
    4: "efaa832",
    5: "fc5a903",
    6: "d3dd72d",
    7: "44594a5",
    8: "c06fd29",
    9: "5ac7107",
    10: "d5b4326",
    11: "72da53c",
}
NAME, LABELS = "Photographs", ("real", "synthetic")
PER_LABEL = 6


def picture(label: str, seed: int) -> bytes:
    rng = np.random.default_rng([seed, LABELS.index(label)])
    pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((32, 32), Image.Resampling.NEAREST).save(file, "JPEG", quality=80)
    return file.getvalue()


def module(*names: str) -> Any:
    """The first of these that this version has: modules were given other names."""
    for name in names:
        with suppress(ModuleNotFoundError):
            return import_module(name)
    raise ModuleNotFoundError(names[0])


def make(folder: Path) -> None:
    """What a folder holds after a day, made by whatever version of the code is found first."""
    functions, imports = import_module("detector.storage.functions"), import_module("detector.storage.imports")
    batch, settings = import_module("detector.importing.batch"), import_module("detector.settings").Settings
    ws = import_module("detector.workspace").Workspace.open(settings(data_dir=folder))
    function = functions.create_function(ws.db, NAME, backbone_id="efficientnet-lite0", label_names=LABELS)
    batch_id = imports.create_batch(ws.db, function.id, "upload", "First images")
    items = [
        batch.Incoming(f"{label}-{seed}.jpg", partial(picture, label, seed), label)
        for seed in range(PER_LABEL)
        for label in LABELS
    ]
    imports.finish_batch(ws.db, batch_id, "done", batch.import_items(ws, function.id, batch_id, items, len(items)))
    module("detector.pipeline.build", "detector.build").build(ws, function.id)
    annotating = module("detector.storage.annotating", "detector.storage.samples")
    samples = import_module("detector.storage.samples")
    ids = sorted(sample.id for sample in samples.find_samples(ws.db, function.id, limit=100))
    labels = {label.name: label.id for label in functions.list_labels(ws.db, function.id)}
    annotating.annotate(ws.db, ids[:2], None)
    annotating.annotate(ws.db, ids[:1], labels["real"])
    import_module("detector.storage.jobs").enqueue(ws.db, function.id, "build", {})
    with suppress(ModuleNotFoundError):
        import_module("detector.storage.keys").create_key(ws.db, "A program")
    ws.close()


def said(database: Path) -> dict[str, Any]:
    """What its tables hold, by SQLite alone."""
    with closing(sqlite3.connect(database)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        tables = sorted(name for name in names if not name.startswith("sqlite_"))
        return {
            "rows": {name: connection.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in tables},
            "labels": dict(
                connection.execute(
                    "SELECT samples.file_name, labels.name FROM samples LEFT JOIN labels ON labels.id = label_id"
                )
            ),
            "history": [
                list(row)
                for row in connection.execute(
                    "SELECT sample_id, label_id, previous_label_id, by FROM annotation_history ORDER BY sequence"
                )
            ],
        }


def main(out: Path) -> None:
    checkout = Path(__file__).resolve().parents[2]
    for version, commit in COMMITS.items():
        with tempfile.TemporaryDirectory() as made:
            code, folder = Path(made) / "code", Path(made) / "data"
            subprocess.run(["git", "worktree", "add", "-q", "--detach", code, commit], cwd=checkout, check=True)
            try:
                environment = {key: value for key, value in os.environ.items() if not key.startswith("DETECTOR_")}
                subprocess.run(
                    [sys.executable, Path(__file__).resolve(), "--make", folder],
                    cwd=code,
                    env=environment | {"PYTHONPATH": str(code)},
                    check=True,
                )
            finally:
                subprocess.run(["git", "worktree", "remove", "--force", code], cwd=checkout, check=True)
            database = folder / "detector.sqlite"
            with closing(sqlite3.connect(database, isolation_level=None)) as connection:
                # Without the name of the machine.
                connection.execute("UPDATE jobs SET owner = NULL")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                connection.execute("PRAGMA journal_mode=DELETE")
                connection.execute("VACUUM")
            (out / f"schema_{version}.sqlite.gz").write_bytes(gzip.compress(database.read_bytes(), 9, mtime=0))
            text = json.dumps(said(database), indent=1, sort_keys=True)
            (out / f"schema_{version}.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "--make":
        make(Path(sys.argv[2]))
    else:
        main(Path(sys.argv[1]).resolve())
