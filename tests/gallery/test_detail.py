"""What the large view says of one sample."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detector.errors import NotFound
from detector.formatting import day, moment
from detector.gallery.detail import SampleDetail, sample_detail
from detector.gallery.filters import GalleryFilter, Order
from detector.gallery.selection import matching_ids
from detector.operations.capture import capture_now
from detector.pipeline.build import build
from detector.storage import annotating, embeddings, evaluations, functions, models, samples
from detector.storage.evaluations import Flip
from detector.storage.functions import Function
from detector.storage.sample_records import label_confidences
from detector.storage.trash import delete_samples
from detector.workspace import Workspace
from tests.factories import add_images, empty_function, label_ids, labelled_function, make_image, workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return workspace(tmp_path / "data")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Function]:
    """A function with a real model; only to be read."""
    ws = workspace(tmp_path_factory.mktemp("trained"))
    function = labelled_function(ws, 6)
    add_images(ws, function, [("new.png", make_image(60), None)])
    build(ws, function.id)
    return ws, function


def _ids(ws: Workspace, function: Function) -> list[str]:
    return matching_ids(ws, function.id, GalleryFilter(), Order.OLDEST)


def _one(ws: Workspace, data: bytes, name: str, label: str | None = None) -> SampleDetail:
    function = empty_function(ws)
    add_images(ws, function, [(name, data, label)])
    return sample_detail(ws, _ids(ws, function)[0])


def _file(mode: str, file_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(make_image(1, size=96))).convert(mode).resize((1200, 64)).save(file, file_format, **options)
    return file.getvalue()


def test_a_jpeg_says_how_it_was_made(ws: Workspace) -> None:
    exif = Image.Exif()
    exif[0x0110] = "Camera"
    data = _file("RGB", "JPEG", quality=83, subsampling="4:2:0", progressive=True, exif=exif)
    detail = _one(ws, data, "folder/a.jpg")
    facts, imported = dict(detail.facts), samples.get_sample(ws.db, detail.id).created_at
    assert (detail.file_name, detail.width, detail.height) == ("folder/a.jpg", 1200, 64)
    assert facts | {"File size": "", "SHA-256": ""} == {
        "Format": "JPEG",
        "Size": "1,200 x 64 px",
        "File size": "",
        "Colour mode": "RGB",
        "JPEG quality": "about 83",
        "Chroma subsampling": "4:2:0",
        "Progressive": "yes",
        "EXIF": "present",
        "Colour profile": "none",
        "XMP": "none",
        "Imported": f"{_day(imported)}, Test files (upload)",
        "Split": "training",
        "SHA-256": "",
    }
    assert facts["File size"].endswith("kB")
    assert facts["SHA-256"] == f"{detail.image_hash[:12]}…"


def _moment(at: float) -> str:
    return moment(datetime.fromtimestamp(at, UTC))


def _day(at: float) -> str:
    return day(datetime.fromtimestamp(at, UTC))


def test_other_formats_say_only_what_they_know(ws: Workspace) -> None:
    facts = dict(_one(ws, _file("RGBA", "PNG"), "a.png").facts)
    assert (facts["Format"], facts["Colour mode"], facts["EXIF"]) == ("PNG", "RGB with transparency", "none")
    assert not {"JPEG quality", "Chroma subsampling", "Progressive", "Source", "External id"} & set(facts)
    assert dict(_one(ws, _file("L", "WEBP"), "a.webp").facts)["Format"] == "WebP"


def test_where_a_sample_comes_from_and_belongs_is_said(ws: Workspace) -> None:
    function = labelled_function(ws, 1)
    sample = _ids(ws, function)[0]
    samples.set_source(ws.db, function.id, [sample], "camera")
    samples.set_split(ws.db, function.id, [sample], "test")
    facts = dict(sample_detail(ws, sample).facts)
    assert (facts["Source"], facts["Split"]) == ("camera", "locked test set")


def test_the_prediction_and_all_confidences_are_those_of_the_model(trained: tuple[Workspace, Function]) -> None:
    ws, function = trained
    for sample_id in _ids(ws, function):
        detail, sample = sample_detail(ws, sample_id), samples.get_sample(ws.db, sample_id)
        confidences = dict(detail.confidences)
        assert list(confidences) == ["real", "synthetic"]
        assert sum(confidences.values()) == pytest.approx(1)
        assert detail.prediction == max(confidences, key=lambda name: confidences[name])
        assert detail.confidence == sample.confidence == pytest.approx(max(confidences.values()))
        assert (detail.out_of_fold, detail.agrees, detail.failure) == (True, sample.agrees, None)
        assert detail.label == (None if detail.file_name == "new.png" else detail.file_name.split("-")[0])


def test_the_annotation_and_its_history_are_told_newest_first(ws: Workspace) -> None:
    function = labelled_function(ws, 1, labels=("real", "synthetic", "drawn"))
    ids, sample = label_ids(ws, function), _ids(ws, function)[0]
    detail = sample_detail(ws, sample)
    assert (detail.label, detail.annotated_by) == ("real", "by the import")
    assert detail.annotated_at == samples.get_sample(ws.db, sample).annotated_at
    imported = _moment(detail.annotated_at or 0)
    assert detail.history == (f"{imported}: real, by the import",)

    annotating.annotate(ws.db, [sample], ids["drawn"], by="api")
    annotating.annotate(ws.db, [sample], None)
    annotating.annotate(ws.db, [sample], ids["synthetic"])
    annotating.undo_last(ws.db, function.id)
    functions.delete_label(ws.db, ids["drawn"])
    functions.rename_label(ws.db, ids["real"], "photograph")
    detail = sample_detail(ws, sample)
    assert (detail.label, detail.annotated_at, detail.annotated_by) == (None, None, None)
    given, removed, drawn, _ = (_moment(entry.at) for entry in annotating.history(ws.db, sample))
    undone = _moment(annotating.history(ws.db, sample)[0].undone_at or 0)
    assert detail.history == (
        f"{given}: synthetic, by hand; undone {undone}",
        f"{removed}: label removed, by hand (was a label that was deleted since)",
        f"{drawn}: a label that was deleted since, over the API (was photograph)",
        f"{imported}: photograph, by the import",
    )


@pytest.mark.slow
def test_flips_are_those_of_the_live_model_in_the_order_of_the_strip(ws: Workspace) -> None:
    function = labelled_function(ws, 6)
    ids, (first, second, *_) = label_ids(ws, function), _ids(ws, function)
    build(ws, function.id)
    model = functions.get_function(ws.db, function.id).live_model_id
    assert model is not None
    stresses = [("webp", ids["synthetic"]), ("jpeg-50", ids["synthetic"])]
    flips = [Flip(stress, first, label) for stress, label in stresses] + [Flip("webp", second, "0" * 16)]
    evaluations.write_part(ws.db, model, "stress", {}, 0.0, flips)
    assert sample_detail(ws, first).flips == (("JPEG 50", "synthetic"), ("WebP", "synthetic"))
    assert sample_detail(ws, second).flips == (("WebP", "a label that was deleted since"),)
    functions.set_live_model(ws.db, function.id, None)
    assert sample_detail(ws, first).flips == ()


@pytest.mark.slow
def test_a_failed_embedding_is_explained_by_the_file_s_name(ws: Workspace) -> None:
    function = labelled_function(ws, 6)
    first, second, *_ = _ids(ws, function)
    detail = sample_detail(ws, first)
    assert (detail.failure, detail.prediction, detail.confidences) == (None, None, ())
    reason = f"{detail.image_hash} is damaged or cut off and cannot be decoded. Export or download it again."
    embeddings.write_embeddings(ws.db, "another:1", [], [(detail.image_hash, reason)])
    assert sample_detail(ws, first).failure is None
    embeddings.write_embeddings(ws.db, f"{function.backbone_id}:abc:1:float32", [], [(detail.image_hash, reason)])
    explained = "real-0.png is damaged or cut off and cannot be decoded. Export or download it again."
    assert sample_detail(ws, first).failure == explained
    # With a model, only what failed under the model's own numbers counts.
    build(ws, function.id)
    assert sample_detail(ws, first).failure is None
    live = functions.get_function(ws.db, function.id).live_model_id or ""
    embeddings.write_embeddings(ws.db, models.get_model(ws.db, live).backbone_key, [], [(detail.image_hash, reason)])
    assert sample_detail(ws, first).failure == explained
    assert sample_detail(ws, second).failure is None


def test_what_lies_in_the_bin_can_be_looked_at_and_what_is_gone_cannot(ws: Workspace) -> None:
    function = labelled_function(ws, 1)
    sample = _ids(ws, function)[0]
    assert sample_detail(ws, sample).deleted_at is None
    delete_samples(ws.db, function.id, [sample])
    assert sample_detail(ws, sample).deleted_at is not None
    with pytest.raises(NotFound):
        sample_detail(ws, "0" * 16)


def test_confidences_that_cannot_be_told_apart_are_not_shown() -> None:
    names = {"a": "A", "c": "C", "d": "D"}
    three, four = np.array([0.5, 0.25, 0.25], np.float32).tobytes(), np.full(4, 0.25, np.float32).tobytes()
    assert label_confidences(three, ["a", "c", "d"], names) == (("A", 0.5), ("C", 0.25), ("D", 0.25))
    # b was deleted before the prediction, or after it.
    assert label_confidences(three, ["a", "b", "c", "d"], names) == (("A", 0.5), ("C", 0.25), ("D", 0.25))
    assert label_confidences(four, ["a", "b", "c", "d"], names) == (("A", 0.25), ("C", 0.25), ("D", 0.25))
    # One of them before and one after it: which is which?
    assert label_confidences(four, ["a", "b", "c", "d", "e"], names) == ()
    assert label_confidences(None, ["a"], names) == ()


def test_a_captured_picture_says_why_and_when(ws: Workspace) -> None:
    function = empty_function(ws)
    capture_now(ws, function.id, "asked.png", make_image(1))
    add_images(ws, function, [("imported.png", make_image(2), None)])
    asked, imported = (
        dict(sample_detail(ws, sample_id).facts)
        for sample_id in matching_ids(ws, function.id, GalleryFilter(), Order.OLDEST)
    )
    today = day(datetime.now(UTC))
    assert asked["Captured"] == f"{today}, because somebody asked for it"
    assert asked["Imported"] == f"{today}, Captured from invokes (capture)"
    assert "Captured" not in imported
