"""Samples taken away: the table, the ZIP in label folders, and the way back in."""

from __future__ import annotations

import csv
import io
import tracemalloc
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from detector.errors import NotFound
from detector.gallery.export import export_csv, export_zip
from detector.gallery.filters import GalleryFilter, Order
from detector.gallery.selection import matching_ids
from detector.imaging import sha256_hex
from detector.importing.batch import run_import, zip_payload
from detector.importing.guessing import suggest
from detector.storage import annotating, functions, imports, predictions, samples
from detector.storage.functions import Function
from detector.storage.imports import ImageRow, NewSample
from detector.storage.models import add_model
from detector.storage.predictions import PredictionRow, ReviewScore
from detector.storage.trash import delete_samples
from detector.workspace import Workspace
from tests.factories import add_images, empty_function, images, label_ids, labelled_function, make_image, workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return workspace(tmp_path / "data")


def _ids(ws: Workspace, function: Function) -> list[str]:
    return matching_ids(ws, function.id, GalleryFilter(), Order.OLDEST)


def _rows(data: bytes) -> list[dict[str, str]]:
    assert data.startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def _table(ws: Workspace, function: Function, sample_ids: Iterable[str] | None = None) -> list[dict[str, str]]:
    ids = _ids(ws, function) if sample_ids is None else list(sample_ids)
    return _rows(b"".join(export_csv(ws, function.id, ids)))


def _archive(ws: Workspace, function: Function, sample_ids: Iterable[str] | None = None) -> zipfile.ZipFile:
    ids = _ids(ws, function) if sample_ids is None else list(sample_ids)
    archive = zipfile.ZipFile(io.BytesIO(b"".join(export_zip(ws, function.id, ids))))
    assert archive.testzip() is None
    return archive


def _model(ws: Workspace, function: Function) -> str:
    names = label_ids(ws, function)
    row = add_model(
        *(ws.db, ws.blobs, function.id, b"model", None),
        backbone_id="b",
        backbone_key="b:1",
        precision="float32",
        normalise=None,
        label_ids=list(names.values()),
        label_names=list(names),
        sample_count=2,
        training_fingerprint="f",
        hyperparameters={},
        sweep=[],
        cross_validation=None,
        thresholds=None,
        note="",
        seconds=0.0,
    )
    return row.id


def _predict(ws: Workspace, function: Function, sample: str, label: str, values: list[float]) -> None:
    row = PredictionRow(sample, label, max(values), 0.5, True, np.array(values, np.float32).tobytes())
    predictions.write_predictions(ws.db, function.id, _model(ws, function), [row])


def test_the_table_tells_everything_by_name_and_in_the_order_asked_for(ws: Workspace) -> None:
    function = labelled_function(ws, 2)
    ids, sample_ids = label_ids(ws, function), _ids(ws, function)
    first = sample_ids[0]
    _predict(ws, function, first, ids["synthetic"], [0.25, 0.75])
    samples.write_groups(ws.db, function.id, [(first, "g1")])
    predictions.write_review_scores(ws.db, function.id, [ReviewScore(first, 0.125, None)])
    samples.set_source(ws.db, function.id, [first], "camera")
    samples.set_split(ws.db, function.id, [first], "test")
    functions.rename_label(ws.db, ids["real"], "photograph")
    annotating.annotate(ws.db, sample_ids[1:2], None)

    rows = _table(ws, function, reversed(sample_ids))
    assert [row["sample"] for row in rows] == sample_ids[::-1]
    row, other = rows[-1], rows[-2]
    sample = samples.get_sample(ws.db, first)
    assert row | {"annotated_at": ""} == {
        "sample": first,
        "file": "real-0.png",
        "sha256": sample.image_hash,
        "label": "photograph",
        "prediction": "synthetic",
        "confidence": "0.75",
        "out_of_fold": "True",
        "source": "camera",
        "external_id": "",
        "split": "test",
        "annotated_at": "",
        "annotated_by": "import",
        "import": "Test files",
        "near_duplicate_group": "g1",
        "label_quality": "0.125",
        "confidence: photograph": "0.25",
        "confidence: synthetic": "0.75",
    }
    assert row["annotated_at"].endswith("Z")
    assert np.datetime64(row["annotated_at"][:-1]) == np.datetime64(int(sample.annotated_at or 0), "s")
    assert (other["label"], other["prediction"], other["annotated_at"], other["confidence: synthetic"]) == ("",) * 4


def test_confidences_stay_with_their_labels_when_one_is_deleted(ws: Workspace) -> None:
    function = labelled_function(ws, 1, labels=("drawn", "real", "synthetic"))
    ids, sample_ids = label_ids(ws, function), _ids(ws, function)
    _predict(ws, function, sample_ids[0], ids["real"], [0.1, 0.6, 0.3])
    functions.delete_label(ws.db, ids["drawn"])
    row = _table(ws, function)[0]
    found = {name: round(float(value), 3) for name, value in row.items() if name.startswith("confidence: ")}
    assert found == {"confidence: real": 0.6, "confidence: synthetic": 0.3}
    # The next prediction is written without it.
    _predict(ws, function, sample_ids[0], ids["real"], [0.75, 0.25])
    row = _table(ws, function)[0]
    assert (row["confidence: real"], row["confidence: synthetic"]) == ("0.75", "0.25")


def test_cells_that_a_spreadsheet_would_run_are_escaped(ws: Workspace) -> None:
    function = empty_function(ws, labels=("=1+1", "real"))
    add_images(ws, function, [("@SUM(A1).png", make_image(1), "=1+1"), ("+1.png", make_image(2), None)])
    samples.set_source(ws.db, function.id, _ids(ws, function), "-cmd")
    cells = [cell for row in _table(ws, function) for cell in row.values()]
    assert {"'=1+1", "'@SUM(A1).png", "'+1.png", "'-cmd"} <= set(cells)
    with _archive(ws, function) as archive:
        rows = _rows(archive.read("samples.csv"))
        assert archive.read("=1+1/@SUM(A1).png") == make_image(1)
    assert rows[0]["path"] == "'=1+1/@SUM(A1).png"
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]


def test_what_is_gone_or_foreign_is_passed_over_and_the_bin_can_be_taken_along(ws: Workspace) -> None:
    function, other = labelled_function(ws, 1), labelled_function(ws, 1, name="Other")
    first, second = _ids(ws, function)
    asked = [first, "0" * 16, *_ids(ws, other), second]
    delete_samples(ws.db, function.id, [first])
    assert [row["sample"] for row in _table(ws, function, asked)] == [first, second]
    assert _table(ws, function, []) == []
    with pytest.raises(NotFound):
        next(export_csv(ws, "nobody", []))


def test_a_zip_holds_the_original_bytes_in_label_folders_and_the_table(ws: Workspace) -> None:
    function = labelled_function(ws, 2)
    unlabelled = [("real/deep/cam.png", make_image(90), None), ("other/CAM.png", make_image(91), None)]
    add_images(ws, function, unlabelled)
    with _archive(ws, function) as archive:
        assert sorted(archive.namelist()) == [
            *("no label/CAM (2).png", "no label/cam.png", "real/real-0.png", "real/real-1.png", "samples.csv"),
            *("synthetic/synthetic-0.png", "synthetic/synthetic-1.png"),
        ]
        assert all(archive.read(f"{label}/{name}") == data for name, data, label in images(2))
        assert archive.read("no label/CAM (2).png") == make_image(91)
        assert {info.compress_type for info in archive.infolist() if info.filename != "samples.csv"} == {
            zipfile.ZIP_STORED
        }
        rows = _rows(archive.read("samples.csv"))
    assert [row["sample"] for row in rows] == _ids(ws, function)
    assert (rows[-1]["file"], rows[-1]["path"], rows[-1]["problem"]) == ("other/CAM.png", "no label/CAM (2).png", "")


def test_labels_whose_names_are_no_folder_names_get_folders_of_their_own(ws: Workspace) -> None:
    labels = ("a/b", "a:b", "A_B", "no label", "samples.csv", "con", "..")
    function = empty_function(ws, labels=labels)
    add_images(ws, function, [("x.png", make_image(seed), label) for seed, label in enumerate(labels)])
    with _archive(ws, function) as archive:
        assert archive.namelist() == [
            *("a_b/x.png", "a_b (2)/x.png", "A_B (3)/x.png", "no label (2)/x.png", "samples.csv (2)/x.png"),
            *("_con/x.png", "_/x.png", "samples.csv"),
        ]


def test_a_missing_file_is_a_line_in_the_table(ws: Workspace) -> None:
    function = labelled_function(ws, 2)
    lost = _ids(ws, function)[1]
    ws.blobs.delete_image(samples.get_sample(ws.db, lost).image_hash)
    with _archive(ws, function) as archive:
        assert len(archive.namelist()) == 4
        rows = {row["sample"]: row for row in _rows(archive.read("samples.csv"))}
    assert len(rows) == 4
    assert rows[lost]["path"] == ""
    assert "missing" in rows[lost]["problem"]
    assert [row["problem"] for row in rows.values()].count("") == 3


def test_importing_an_exported_zip_gives_the_same_labels(ws: Workspace, tmp_path: Path) -> None:
    function = labelled_function(ws, 3, labels=("real", "synthetic", "Übermalt v1.5"))
    add_images(ws, function, [("u.png", make_image(70), None), ("u.png", make_image(71), None)])
    path = tmp_path / "exported.zip"
    path.write_bytes(b"".join(export_zip(ws, function.id, _ids(ws, function))))

    other = workspace(tmp_path / "other")
    again = empty_function(other)
    with zipfile.ZipFile(path) as archive:
        plan = suggest(archive.namelist(), ["real", "synthetic"]).plan
    batch = imports.create_batch(other.db, again.id, "zip", "exported.zip")
    run_import(other, again.id, batch, zip_payload(path, plan, "exported.zip"))
    assert {row["sha256"]: row["label"] for row in _table(other, again)} == {
        row["sha256"]: row["label"] for row in _table(ws, function)
    }
    assert imports.batch_counts(other.db, batch).imported == 11
    # The table is no image, and the report says so.
    assert [row.file for row in imports.batch_rows(other.db, batch, ["rejected"])] == ["samples.csv"]


def test_a_damaged_file_is_a_line_in_the_table_and_no_picture(ws: Workspace) -> None:
    """The kind: flipped bits were exported as the original."""
    function = labelled_function(ws, 2)
    sample = samples.find_samples(ws.db, function.id)[0]
    [path] = (ws.settings.data_dir / "blobs" / "images").rglob(sample.image_hash)
    path.write_bytes(bytes(path.stat().st_size))
    archive = zipfile.ZipFile(io.BytesIO(b"".join(export_zip(ws, function.id, _ids(ws, function)))))
    assert len(archive.namelist()) == 4
    rows = {row["sample"]: row for row in csv.DictReader(io.StringIO(archive.read("samples.csv").decode("utf-8-sig")))}
    assert "is damaged" in rows[sample.id]["problem"]
    assert [row["problem"] for row in rows.values()].count("") == 3


def _made_of_noise(ws: Workspace, function: Function, n: int, size: int, source: str = "") -> list[str]:
    """Samples whose files are noise: what is exported does not look into them."""
    rng = np.random.default_rng(0)
    for start in range(0, n, 500):
        new = []
        for number in range(start, min(n, start + 500)):
            # Its real name, or it would count as damaged.
            data = rng.bytes(size)
            image_hash = sha256_hex(data) if size else f"{number:064x}"
            if size:
                ws.blobs.put_image(image_hash, data)
            image = ImageRow(image_hash, size, "PNG", 10, 10, {}, "0" * 16, b"")
            new.append(NewSample(f"{number}.png", image, source=source))
        imports.add_samples(ws.db, function.id, None, new)
    return _ids(ws, function)


def _bytes_and_peak(pieces: Iterator[bytes]) -> tuple[int, int]:
    tracemalloc.start()
    try:
        return sum(map(len, pieces)), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_the_memory_of_a_table_does_not_grow_with_the_number_of_samples(ws: Workspace) -> None:
    function = empty_function(ws)
    ids = _made_of_noise(ws, function, 5_000, 0, source="x" * 2_000)
    # What is loaded once, at the first export, is not what is asked about.
    assert sum(map(len, export_csv(ws, function.id, ids[:5]))) > 0
    few, many = (_bytes_and_peak(export_csv(ws, function.id, some)) for some in (ids[:1_000], ids))
    assert many[0] > 10_000_000
    assert many[1] < few[1] + 500_000


@pytest.mark.slow
def test_the_memory_of_a_zip_does_not_grow_with_the_number_of_images(ws: Workspace) -> None:
    function = empty_function(ws)
    ids = _made_of_noise(ws, function, 600, 200_000)
    assert sum(map(len, export_zip(ws, function.id, ids[:5]))) > 0
    size, peak = _bytes_and_peak(export_zip(ws, function.id, ids))
    assert size > 120_000_000
    assert peak < 5_000_000


def test_an_export_that_is_left_in_the_middle_reads_no_further(ws: Workspace) -> None:
    function = empty_function(ws)
    ids = _made_of_noise(ws, function, 50, 100_000)
    pieces = export_zip(ws, function.id, ids)
    first = next(pieces)
    assert len(first) < 1_000_000
    pieces.close()
    with pytest.raises(StopIteration):
        next(pieces)
