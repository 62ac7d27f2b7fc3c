"""Makes a data folder with the code of another version, and writes down what that code says of it.

The test beside this file opens what was made here with today's code. Run it where that other version is checked out,
on the CPU::

    git worktree add --detach ../before 4e92945
    cd ../before
    PYTHONPATH=. python ../checkout/tests/stored_data/make_folder.py ../checkout/tests/stored_data

It writes two files, named by the version of the tables: ``folder_6.zip``, with the folder under ``data/`` and two
images that it has never seen under ``asked/``, and ``folder_6.json`` with the figures. Ids and times are new at every
run, and with them the ZIP; the images, labels, embeddings and figures are the same.

A version of the tables that is in somebody's hands keeps its files for ever: a later one gets files of its own.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
import sys
import tempfile
import zipfile
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

#: By name, since they have other names in the code of today.
build = import_module("detector.build").build
set_tolerated = import_module("detector.tolerance").set_tolerated
put_aside_samples = import_module("detector.locked_test").put_aside_samples
invoke = import_module("detector.invoke").invoke
background = import_module("detector.jobs")
database = import_module("detector.storage.database")
annotating = import_module("detector.storage.annotating")
evaluations = import_module("detector.storage.evaluations")
functions = import_module("detector.storage.functions")
imports = import_module("detector.storage.imports")
jobs = import_module("detector.storage.jobs")
keys = import_module("detector.storage.keys")
models = import_module("detector.storage.models")
samples = import_module("detector.storage.samples")
delete_samples = import_module("detector.storage.bin").delete_samples
batch = import_module("detector.importing.batch")
selection = import_module("detector.gallery.selection")
neighbours = import_module("detector.gallery.neighbours")
filters = import_module("detector.gallery.filters")
Settings = import_module("detector.settings").Settings
Workspace = import_module("detector.workspace").Workspace

LABELS = ("real", "synthetic")
SOURCES = {"real": ("camera", "scanner"), "synthetic": ("sdxl", "flux")}
NAME = "Photographs"
#: So few images of a label vouch for a verdict at this limit only.
TOLERATED = 0.5
SWEEP = {"c": [1.0, 10.0, 100.0], "class_weight": ["none"]}
PER_LABEL = 9
#: Given another label than their kind, so that there is something to doubt and no figure is 100 %.
MISTAKEN = ("real-03.jpg", "synthetic-05.jpg")
#: Labels that are changed and given back, for the figures of a retraining.
CHANGED = ("real-01.jpg", "synthetic-02.jpg")


def picture(label: str, seed: int, side: int = 72) -> bytes:
    """A JPEG of coloured blobs; "synthetic" ones carry faint stripes, fainter in some than in others."""
    rng = np.random.default_rng([seed, LABELS.index(label)])
    blobs = Image.fromarray(rng.integers(40, 216, (6, 6, 3), dtype=np.uint8))
    pixels = np.asarray(blobs.resize((side, side), Image.Resampling.BICUBIC), dtype=np.int16)
    pixels = pixels + rng.integers(-6, 7, pixels.shape)
    if label == "synthetic":
        pixels = pixels + int(rng.integers(2, 12)) * (np.arange(side) % 4 < 2)[None, :, None]
    file = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=88)
    return file.getvalue()


def opened(folder: Path) -> Any:
    return Workspace.open(Settings(data_dir=folder, precision="float32", retrain_delay=0.0))


def bring(ws: Any, function_id: str, title: str, items: list[Any]) -> None:
    """Import files, with a report of its own."""
    batch_id = imports.create_batch(ws.db, function_id, "upload", title)
    looked = batch.import_items(ws, function_id, batch_id, items, len(items))
    imports.finish_batch(ws.db, batch_id, "done", looked)


def train(ws: Any, function_id: str) -> None:
    """Train as a server does, by a job."""
    background.request_build(ws, function_id)
    background.run_pending(ws, function_id)


def make(folder: Path) -> str:
    """Everything that a folder holds after some days of use; returns the function's id."""
    ws = opened(folder)
    function = functions.create_function(ws.db, NAME, backbone_id="efficientnet-lite0", label_names=LABELS)
    functions.set_sweep_settings(ws.db, function.id, SWEEP)
    items = []
    for number in range(PER_LABEL):
        for label in LABELS:
            name = f"{label}-{number:02d}.jpg"
            given = LABELS[1 - LABELS.index(label)] if name in MISTAKEN else label
            data, source = picture(label, number), SOURCES[label][number % 2]
            items.append(batch.Incoming(name, lambda data=data: data, given, source=source))
    half = len(items) // 2
    bring(ws, function.id, "First images", items[:half])
    train(ws, function.id)
    # One that is there already, one under another label, and one that is no image.
    again, other = picture("real", 0), picture("synthetic", 1)
    bring(
        ws,
        function.id,
        "More images",
        [
            *items[half:],
            batch.Incoming("copy.jpg", lambda: again, "real"),
            batch.Incoming("other.jpg", lambda: other, "real"),
            batch.Incoming("broken.jpg", lambda: again[:40], "real"),
        ],
    )
    by_name = {sample.file_name: sample for sample in samples.find_samples(ws.db, function.id, limit=100)}
    delete_samples(ws.db, function.id, [by_name["real-08.jpg"].id])
    put_aside_samples(ws, function.id, [by_name["real-04.jpg"].id, by_name["synthetic-04.jpg"].id])
    annotating.annotate(ws.db, [by_name["synthetic-08.jpg"].id], None)
    set_tolerated(ws, function.id, TOLERATED)
    train(ws, function.id)
    # The one of the first version had not begun.
    while job := jobs.claim(ws.db, (background.EVALUATE,)):
        background.run_job(ws, job)
    # The secret is shown once and kept by nobody.
    keys.create_key(ws.db, "A program")
    ws.close()
    return str(function.id)


def gallery_order(ws: Any, function_id: str) -> list[str]:
    gallery = selection.Gallery(ws, function_id)
    page = gallery.page(filters.GalleryFilter(), filters.Order.LEAST_CONFIDENT, 1, 100)
    return [sample.file_name for sample in page.samples]


def predictions(ws: Any, function_id: str) -> dict[str, Any]:
    """By file name: the probability of each label, in the order of the labels."""
    rows = samples.find_samples(ws.db, function_id, limit=100)
    with ws.db.read() as connection:
        stored = {row.id: row.probabilities for row in connection.exec_driver_sql("SELECT * FROM samples")}
    return {
        row.file_name: [round(float(value), 6) for value in np.frombuffer(stored[row.id], np.float32)] for row in rows
    }


def nearest_of_each(ws: Any, function_id: str) -> dict[str, str]:
    """By file name: the file that looks most like it."""
    names = {row.id: row.file_name for row in samples.find_samples(ws.db, function_id, limit=100)}
    return {name: names[neighbours.nearest(ws, function_id, key, 1)[0].sample_id] for key, name in names.items()}


def figures(ws: Any, function_id: str, asked: dict[str, bytes]) -> dict[str, Any]:
    """What the code says of the folder."""
    function = functions.get_function(ws.db, function_id)
    live = models.get_model(ws.db, function.live_model_id)
    counts = samples.count_by(ws.db, function_id)
    names = {label.id: label.name for label in functions.list_labels(ws.db, function_id)}
    gallery = selection.Gallery(ws, function_id)
    facets = gallery.facets(filters.GalleryFilter())
    with ws.db.read() as connection:
        tables = [
            name
            for (name,) in connection.exec_driver_sql(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            )
        ]
        row_counts = {
            name: connection.exec_driver_sql(f"SELECT COUNT(*) FROM {name}").scalar() for name in sorted(tables)
        }
    [newest, *_] = imports.list_batches(ws.db, function_id)
    return {
        "schema": database.SCHEMA_VERSION,
        "function": NAME,
        "rows": row_counts,
        "versions": [row.version for row in models.list_models(ws.db, function_id)],
        "tolerated": function.tolerated,
        "thresholds": live.thresholds["above"],
        "accuracy": live.cross_validation["accuracy"],
        "labels": {names[key]: n for key, n in counts.by_label.items()},
        "total": gallery.total,
        "agreement": facets.agreement,
        "verdict": {names.get(key, key): n for key, n in facets.verdict.items()},
        "sources": facets.source,
        "split": facets.split,
        "order": gallery_order(ws, function_id),
        "nearest": nearest_of_each(ws, function_id),
        "predictions": predictions(ws, function_id),
        "locked_test": {key: live.locked_test[key] for key in ("n", "correct", "look")},
        "report": {
            "title": newest.title,
            "rows": {
                row.file: row.outcome
                for row in imports.batch_rows(ws.db, newest.id, ("present", "conflict", "rejected"))
            },
        },
        "audit": evaluations.read_parts(ws.db, live.id),
        "flipped": evaluations.count_flipped(ws.db, live.id),
        "asked": {
            answer.name: {
                "verdict": answer.verdict,
                "scores": {score.label: round(score.confidence, 6) for score in answer.scores},
            }
            for answer in invoke(ws, function_id, list(asked.items()))
        },
    }


def after_a_change(folder: Path, function_id: str) -> dict[str, Any]:
    """What the code says after two labels were changed, and after that was undone."""
    ws = opened(folder)
    ids = {label.name: label.id for label in functions.list_labels(ws.db, function_id)}
    by_name = {sample.file_name: sample for sample in samples.find_samples(ws.db, function_id, limit=100)}
    annotating.annotate(ws.db, [by_name[CHANGED[0]].id], ids["synthetic"])
    annotating.annotate(ws.db, [by_name[CHANGED[1]].id], ids["real"])
    found = {}
    for name in ("changed", "undone"):
        built = build(ws, function_id)
        found[name] = {
            "accuracy": built.model.cross_validation["accuracy"],
            "predictions": predictions(ws, function_id),
        }
        annotating.undo_last(ws.db, function_id)
        annotating.undo_last(ws.db, function_id)
    ws.close()
    return {"files": list(CHANGED), **found}


def clean(folder: Path) -> None:
    """One database file without its logs, and without the name of the machine that ran the jobs."""
    with closing(sqlite3.connect(folder / "detector.sqlite", isolation_level=None)) as connection:
        connection.execute("UPDATE jobs SET owner = NULL")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("VACUUM")
        connection.execute("PRAGMA journal_mode=DELETE")


def main(out: Path) -> None:
    for name in [name for name in os.environ if name.startswith("DETECTOR_")]:
        del os.environ[name]
    asked = {f"new-{label}.jpg": picture(label, 100) for label in LABELS}
    with tempfile.TemporaryDirectory() as made:
        folder, copy = Path(made) / "data", Path(made) / "copy"
        function_id = make(folder)
        shutil.copytree(folder, copy)
        ws = opened(folder)
        found = figures(ws, function_id, asked)
        ws.close()
        found["retrained"] = after_a_change(copy, function_id)
        clean(folder)
        with zipfile.ZipFile(out / f"folder_{database.SCHEMA_VERSION}.zip", "w") as archive:
            files = {
                f"data/{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*") if path.is_file()
            }
            for name, data in sorted((files | {f"asked/{name}": data for name, data in asked.items()}).items()):
                archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_LZMA)
    text = json.dumps(found, indent=1, ensure_ascii=False, sort_keys=True)
    (out / f"folder_{database.SCHEMA_VERSION}.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
