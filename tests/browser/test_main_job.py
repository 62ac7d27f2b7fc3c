"""The main job, done as a new user does it: in the browser, from nothing to a verdict."""

from __future__ import annotations

import codecs
import csv
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from detector.formatting import interval, percent, share
from detector.storage import functions, models, samples
from detector.storage.samples import SampleFilter, Sort
from tests.browser.archives import cifake_files, folder_files, picture, write_archive
from tests.browser.conftest import Server, served
from tests.shared_data import require

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.browser.dashboard import Dashboard

pytestmark = pytest.mark.browser


@pytest.fixture
def server(chromium: Browser, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """As a new user has it: the precision is measured, too, unless the test has nothing to do with it."""
    yield from served(tmp_path, getattr(request, "param", {"DETECTOR_PRECISION": "auto"}))


def _some_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """A few files of every source, and one picture twice: an audit of them all would take minutes."""
    taken: Counter[str] = Counter()
    for name, data in folder_files(folder):
        source = name.rsplit("/", 1)[0]
        taken[source] += 1
        if taken[source] <= (36 if source.startswith("real/") else 6):
            yield name, data
    yield "synthetic/midjourney/again.jpg", min((folder / "synthetic" / "midjourney").iterdir()).read_bytes()


def test_from_a_folder_of_images_to_a_verdict(dashboard: Dashboard, server: Server, tmp_path: Path) -> None:
    folder = require("genimage_mini")
    db = server.workspace.db
    archive = write_archive(tmp_path / "genimage_mini.zip", _some_files(folder))

    dashboard.sees("Build a detector of AI-generated images", "1 Import", "Try the built-in sample")
    function_id = dashboard.create_function("Story")

    dashboard.drop_archive(archive)
    dashboard.sees("85 images found: 49 as synthetic, 36 as real.")
    dashboard.press("Start the import")
    dashboard.sees_progress()
    report = dashboard.wait_for_report("genimage_mini.zip")
    assert "84 imported · 1 already there · 0 rejected" in " ".join(report.inner_text().split())
    sources = {sample.source for sample in samples.find_samples(db, function_id, limit=300)}
    assert sources == {"natural", "adm", "biggan", "glide", "midjourney", "sd14", "sd15", "vqdm", "wukong"}

    dashboard.open("Metrics")
    dashboard.sees_in_time("Model 1 ·")
    dashboard.sees_no_progress()
    measured = models.list_models(db, function_id)[0].cross_validation
    assert measured is not None
    dashboard.sees(percent(measured["accuracy"]), "84 labelled samples", f"{measured['folds']} folds")
    for score in measured["labels"].values():
        figures = f"{share(score['correct'], score['n'])} · {interval(score['interval'])}"
        dashboard.sees(percent(score["accuracy"]), figures)
    assert dashboard.count_charts() >= 8

    dashboard.open("Review")
    dashboard.sees("84 of 84 samples · least confident first · predictions are out-of-fold, from model 1")
    least_sure = samples.find_samples(db, function_id, sort=Sort.LEAST_CONFIDENT, limit=48)
    dashboard.sees_tiles([sample.id for sample in least_sure])
    confidences = dashboard.tile_confidences()
    assert confidences == sorted(confidences)

    dashboard.choose("Order", "most confident first")
    dashboard.choose("Says and label", "differ")
    wrong = SampleFilter(agrees=False)
    surest_errors = samples.find_samples(db, function_id, wrong, Sort.MOST_CONFIDENT, limit=48)
    what = f"{samples.count_samples(db, function_id, wrong)} of 84 samples · most confident first"
    dashboard.sees(what)
    dashboard.sees_tiles([sample.id for sample in surest_errors])
    address = {"function": function_id, "sort": "most-confident", "agreement": "differs"}
    dashboard.address_says(address)
    dashboard.reload()
    dashboard.sees(what)
    dashboard.sees_tiles([sample.id for sample in surest_errors])
    dashboard.address_says(address)

    relabelled = surest_errors[0]
    names = {label.id: label.name for label in functions.list_labels(db, function_id)}
    other = next(label_id for label_id in names if label_id != relabelled.label_id)
    dashboard.click_tile(relabelled.id)
    dashboard.sees("1 selected")
    dashboard.press(names[other])
    dashboard.sees_in_time("from model 2")
    assert samples.get_sample(db, relabelled.id).label_id == other
    assert functions.get_function(db, function_id).live_model_id == models.list_models(db, function_id)[0].id

    dashboard.open("Invoke")
    dashboard.sees("64MB per file")  # what is accepted, not what the server would let through
    dashboard.give_files(min((folder / "synthetic" / "midjourney").iterdir()))
    dashboard.sees("Verdict", "Confidence")
    assert dashboard.verdict() in ("real", "synthetic", "can't tell")
    more = sorted((folder / "real" / "natural").iterdir())[:3]
    # Windows calls the JPEGs of browsers so; the widget compares names with a list.
    more[0] = Path(shutil.copy(more[0], tmp_path / "Größe.jfif"))
    dashboard.give_files(*more)
    # Several are judged behind the page, each with the first one, which still lay in the place.
    dashboard.page.wait_for_url("**run=*")
    dashboard.sees_in_time("Download as CSV")
    # The table's own, unguarded one of the same name is not offered.
    assert dashboard.main.get_by_role("button", name="Download as CSV").count() == 1
    dashboard.sees(*(path.name for path in more))
    data = dashboard.download("Download as CSV").read_bytes()
    # As in the exports: without this mark Excel garbles names that are not ASCII.
    assert data.startswith(codecs.BOM_UTF8)
    rows = list(csv.DictReader(data.decode("utf-8-sig").splitlines()))
    assert len(rows) == 4
    assert {path.name for path in more} <= {row["File"] for row in rows}
    assert {row["Says"] for row in rows} <= {"real", "synthetic", "can't tell"}
    assert all(float(row["real"]) + float(row["synthetic"]) == pytest.approx(1) for row in rows)
    # The fold stays open while one tries limits, though its words change with each.
    dashboard.unfold("False-accusation limit: at most 2 %")
    for percent_limit in (10, 30):
        dashboard.type_number("False-accusation limit, in percent", percent_limit)
        dashboard.sees(f"at most {percent_limit} % wrongly")
    # The field of the limit before goes only at the end of the run.
    dashboard.settled()
    assert dashboard.main.get_by_role("spinbutton").is_visible()


@pytest.mark.long
@pytest.mark.parametrize("server", [{}], indirect=True)
def test_the_public_cifake_archive_imports_in_a_handful_of_clicks(
    dashboard: Dashboard, server: Server, tmp_path: Path
) -> None:
    archive = write_archive(tmp_path / "archive.zip", cifake_files(train=40, test=10))
    function_id = dashboard.create_function("CIFAKE")

    dashboard.drop_archive(archive)
    dashboard.sees("100 images found: 50 as synthetic, 50 as real.")
    dashboard.unfold("Source, and how many")
    dashboard.type_number("At most this many images per label, chosen at random (0: all)", 20)
    dashboard.sees("40 images chosen of 100 found: 20 as synthetic, 20 as real.")
    dashboard.press("Start the import")

    report = dashboard.wait_for_report("archive.zip")
    assert "40 imported · 0 rejected" in " ".join(report.inner_text().split())
    names = {label.id: label.name for label in functions.list_labels(server.workspace.db, function_id)}
    counts = samples.count_by(server.workspace.db, function_id).by_label
    assert {names[label_id]: n for label_id, n in counts.items()} == {"real": 20, "synthetic": 20}
    dashboard.open("Metrics")
    dashboard.sees_in_time("Model 1 ·")


@pytest.mark.long
@pytest.mark.parametrize("server", [{}], indirect=True)
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
    dashboard.drop_archive(mixed)
    dashboard.sees("9 images and 1 other file found: 9 as real.")
    dashboard.press("Start the import")
    report = dashboard.wait_for_report("mixed.zip")
    assert "6 imported · 4 rejected, of 10 found" in " ".join(report.inner_text().split())
    table = dashboard.table_text(report)
    assert "real/cut.jpg is damaged or cut off and cannot be decoded." in table
    assert "real/empty.png is empty (0 bytes)." in table
    assert "real/notes.txt is not an image that can be read." in table
    assert "real/renamed.jpg is not an image that can be read." in table

    dashboard.sees_no_progress()
    for title in ("Metrics", "Invoke"):
        dashboard.open(title)
        dashboard.sees("Training needs two labels", "real 6, synthetic 0", "2 more images as synthetic")


@pytest.mark.long
@pytest.mark.parametrize("server", [{}], indirect=True)
def test_the_built_in_sample_is_marked_as_a_simulation_and_fits_a_phone(dashboard: Dashboard, server: Server) -> None:
    dashboard.press("Try the built-in sample")
    dashboard.wait_for_report("Built-in sample")
    dashboard.open("Metrics")
    dashboard.sees_in_time("Model 1 ·")
    dashboard.sees("a simulation: its figures say nothing about real generators")

    # What an audit adds to a page is as narrow: tests/browser/test_metrics_audit.py.
    dashboard.resize(420, 900)
    for page in ("", "import", "review", "metrics", "invoke"):
        dashboard.visit(page)
        dashboard.fits_in(420)
