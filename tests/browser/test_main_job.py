"""The main job, done as a new user does it: in the browser, from nothing to a verdict."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from detector.storage import functions, models, samples
from detector.storage.samples import Sort
from detector.words import interval, percent, share
from tests.browser.archives import cifake_files, folder_files, picture, write_archive
from tests.browser.conftest import Server
from tests.shared_data import require

if TYPE_CHECKING:
    from tests.browser.dashboard import Dashboard

pytestmark = pytest.mark.browser


def test_from_a_folder_of_images_to_a_verdict(dashboard: Dashboard, server: Server, tmp_path: Path) -> None:
    folder = require("genimage_mini")
    db = server.workspace.db
    archive = write_archive(tmp_path / "genimage_mini.zip", folder_files(folder))

    dashboard.sees("Build a detector of AI-generated images", "1 Import", "Try the built-in sample")
    function_id = dashboard.create_function("Story")

    dashboard.drop_archive(archive)
    dashboard.sees("247 files will be imported: 193 as synthetic, 54 as real.")
    dashboard.press("Start the import")
    dashboard.sees_progress()
    report = dashboard.wait_for_report("genimage_mini.zip")
    assert "247 imported · 0 rejected" in " ".join(report.inner_text().split())
    sources = {sample.source for sample in samples.find_samples(db, function_id, limit=300)}
    assert sources == {"natural", "adm", "biggan", "glide", "midjourney", "sd14", "sd15", "vqdm", "wukong"}

    dashboard.open("Metrics")
    dashboard.wait_for_model(1)
    dashboard.sees_no_progress()
    measured = models.list_models(db, function_id)[0].cross_validation
    assert measured is not None
    dashboard.sees(percent(measured["accuracy"]), "247 labelled samples", f"{measured['folds']} folds")
    for score in measured["labels"].values():
        figures = f"{share(score['correct'], score['n'])} · {interval(score['interval'])}"
        dashboard.sees(percent(score["accuracy"]), figures)
    assert dashboard.count_charts() >= 8

    dashboard.open("Review")
    dashboard.choose("Order", "least confident first")
    dashboard.sees("247 of 247 samples · least confident first · predictions are out-of-fold, from model 1")
    expected = [sample.id for sample in samples.find_samples(db, function_id, sort=Sort.LEAST_CONFIDENT, limit=48)]
    assert dashboard.tiles() == expected
    confidences = dashboard.tile_confidences()
    assert confidences == sorted(confidences)
    assert dashboard.query["function"] == function_id
    assert dashboard.query["sort"] == "least-confident"
    dashboard.choose("Says and label", "differs")
    differing = dashboard.tiles()
    assert 0 < len(differing) < 247
    dashboard.reload()
    dashboard.sees("least confident first")
    assert dashboard.tiles() == differing
    assert dashboard.query["agreement"] == "differs"

    unsure = samples.get_sample(db, differing[0])
    names = {label.id: label.name for label in functions.list_labels(db, function_id)}
    other = next(label_id for label_id in names if label_id != unsure.label_id)
    dashboard.click_tile(unsure.id)
    dashboard.sees("1 selected")
    dashboard.press(names[other])
    dashboard.sees("from model 2")
    assert samples.get_sample(db, unsure.id).label_id == other
    assert functions.find_live(db, function_id) == models.list_models(db, function_id)[0].id

    dashboard.open("Invoke")
    dashboard.give_files(next((folder / "synthetic" / "midjourney").iterdir()))
    dashboard.sees("The function says", "Confidence", "model 2 was right")
    dashboard.give_files(*sorted((folder / "real" / "natural").iterdir())[:3])
    dashboard.sees("synthetic", "Download as CSV")
    rows = list(csv.DictReader(dashboard.download("Download as CSV").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 4
    assert {row["Says"] for row in rows} <= {"real", "synthetic"}
    assert all(float(row["real"]) + float(row["synthetic"]) == pytest.approx(1) for row in rows)


def test_the_public_cifake_archive_imports_in_a_handful_of_clicks(
    dashboard: Dashboard, server: Server, tmp_path: Path
) -> None:
    archive = write_archive(tmp_path / "archive.zip", cifake_files(train=40, test=10))
    function_id = dashboard.create_function("CIFAKE")

    dashboard.drop_archive(archive)
    dashboard.sees("100 files will be imported: 50 as real, 50 as synthetic.")
    dashboard.unfold("Source, and how many")
    dashboard.type_number("At most this many images a label, chosen at random (0: all)", 20)
    dashboard.sees("40 files will be imported: 20 as real, 20 as synthetic.")
    dashboard.press("Start the import")

    report = dashboard.wait_for_report("archive.zip")
    assert "40 imported · 0 rejected" in " ".join(report.inner_text().split())
    names = {label.id: label.name for label in functions.list_labels(server.workspace.db, function_id)}
    counts = samples.count_by(server.workspace.db, function_id).by_label
    assert {names[label_id]: n for label_id, n in counts.items()} == {"real": 20, "synthetic": 20}
    dashboard.open("Metrics")
    dashboard.wait_for_model(1)


def test_bad_archives_and_files_end_in_sentences(dashboard: Dashboard, server: Server, tmp_path: Path) -> None:
    text = tmp_path / "letter.zip"
    text.write_text("Dear archive, you are a letter.\n" * 50, encoding="utf-8")
    whole = picture(0, smooth=False)
    mixed = write_archive(
        tmp_path / "mixed.zip",
        [
            *((f"real/{seed}.jpg", picture(seed, smooth=False)) for seed in range(6)),
            ("real/cut.jpg", whole[: len(whole) // 2]),
            ("real/empty.png", b""),
            ("real/notes.txt", b"These are my best photographs."),
            ("real/renamed.jpg", b"<html>not a picture</html>"),
        ],
    )
    dashboard.create_function("Hostile")
    for title, sentence in (
        ("Metrics", "Import labelled images first"),
        ("Review", "Here you will see every image"),
        ("Invoke", "Here you give the function new images"),
    ):
        dashboard.open(title)
        dashboard.sees(sentence)

    dashboard.open("Import")
    dashboard.drop_archive(text)
    dashboard.sees("letter.zip is not a ZIP archive")
    dashboard.press("Choose another archive")
    dashboard.drop_archive(mixed)
    dashboard.sees("10 files will be imported: 10 as real.")
    dashboard.press("Start the import")
    report = dashboard.wait_for_report("mixed.zip")
    assert "6 imported · 4 rejected" in " ".join(report.inner_text().split())
    table = dashboard.table_text(report)
    assert "real/cut.jpg is damaged or cut off and cannot be decoded." in table
    assert "real/empty.png is empty (0 bytes)." in table
    assert "real/notes.txt is not an image that can be read." in table
    assert "real/renamed.jpg is not an image that can be read." in table

    dashboard.sees_no_progress()
    for title in ("Metrics", "Invoke"):
        dashboard.open(title)
        dashboard.sees("Only real has samples", "synthetic")


def test_the_built_in_sample_is_marked_as_a_simulation_and_fits_a_phone(dashboard: Dashboard, server: Server) -> None:
    dashboard.press("Try the built-in sample")
    dashboard.wait_for_report("Built-in sample")
    dashboard.open("Metrics")
    dashboard.wait_for_model(1)
    dashboard.sees("a simulation: its figures say nothing about real generators")
    dashboard.sees_no_progress()

    dashboard.resize(420, 900)
    for page in ("functions", "import", "review", "metrics", "invoke"):
        dashboard.visit(page)
        assert dashboard.widest() <= 420, page


def test_the_page_says_which_backbone_auto_chose_and_why(dashboard: Dashboard, server: Server) -> None:
    why = "EfficientNet-Lite0 (offline) was chosen automatically. CLIP ViT-B-32-256 (DataComp) cannot be had"
    dashboard.press("Create a function")
    start = time.monotonic()
    dashboard.unfold("Backbone")
    dashboard.dialog_says(why)
    assert time.monotonic() - start < 5
    dashboard.reload()
    dashboard.create_function("Automatic")
    dashboard.hover_help("EfficientNet-Lite0 (offline)")
    dashboard.tooltip_says(why)
