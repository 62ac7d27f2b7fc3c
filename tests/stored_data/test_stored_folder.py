"""Data folders that older versions made open with today's code, and it says the same of them as they did.

The folders were made by ``make_folder.py`` with the code of their time, which wrote down its own figures beside them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.evaluation.parts import stress_part
from detector.evaluation.report import PARTS, read_audit
from detector.evaluation.results import STRESSES
from detector.gallery.filters import GalleryFilter, Order
from detector.gallery.neighbours import nearest
from detector.gallery.selection import Gallery
from detector.jobs import BUILD, EVALUATE
from detector.operations.labels import give_label, undo_labels
from detector.operations.samples import restore_samples
from detector.pipeline.build import BuildResult, build
from detector.serving.invoke import Verdict, invoke
from detector.storage import functions, imports, jobs, keys, models, samples
from detector.storage.database import SCHEMA_VERSION
from detector.storage.evaluations import COVERAGE, UNSEEN
from detector.storage.functions import Function
from detector.storage.models import ModelRow
from detector.storage.samples import Sample
from detector.training.thresholds import Thresholds
from detector.workspace import Workspace
from tests.databases import sqlite_only
from tests.page_app import dashboard, opened_by_pages, words
from tests.stored_data.folders import FOLDERS, figures, unpack

#: What is calculated from stored embeddings is the same on all machines.
STORED = 1e-3
#: What the network makes of a new image differs a little from processor to processor.
EMBEDDED = 2e-2

#: By name: later versions have further columns.
_EMBEDDINGS = "SELECT image_hash, backbone_key, view, dtype, data FROM embeddings ORDER BY 1, 2, 3"

pytestmark = sqlite_only("it was written by an earlier version")


@dataclass(frozen=True)
class Old:
    """A folder of another version, opened; ``said`` is what that version said of it."""

    ws: Workspace
    folder: Path
    said: dict[str, Any]
    asked: dict[str, bytes]
    embedded: list[tuple[Any, ...]]

    @property
    def function(self) -> Function:
        return functions.find_function(self.ws.db, self.said["function"])

    @property
    def live(self) -> ModelRow:
        assert self.function.live_model_id is not None
        return models.get_model(self.ws.db, self.function.live_model_id)

    @property
    def samples(self) -> dict[str, Sample]:
        """Outside the bin, by file name."""
        return {row.file_name: row for row in samples.find_samples(self.ws.db, self.function.id, limit=100)}

    def embedding_rows(self) -> list[tuple[Any, ...]]:
        return _rows(self.folder, _EMBEDDINGS)


def _rows(folder: Path, statement: str) -> list[tuple[Any, ...]]:
    """Read as nothing of the app does."""
    with closing(sqlite3.connect(folder / "detector.sqlite")) as connection:
        return connection.execute(statement).fetchall()


@pytest.fixture(params=FOLDERS)
def old(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Old]:
    said, folder = figures(request.param), unpack(request.param, tmp_path)
    embedded = _rows(folder, _EMBEDDINGS)
    assert len(embedded) == said["rows"]["embeddings"] > 0
    asked = {path.name: path.read_bytes() for path in (tmp_path / "asked").iterdir()}
    with opened_by_pages(folder, monkeypatch) as ws:
        yield Old(ws, folder, said, asked, embedded)


def _predictions(old: Old) -> dict[str, list[float]]:
    stored = dict(_rows(old.folder, "SELECT id, probabilities FROM samples"))
    return {name: np.frombuffer(stored[row.id], np.float32).tolist() for name, row in old.samples.items()}


def _assert_same(found: dict[str, list[float]], said: dict[str, list[float]]) -> None:
    assert found.keys() == said.keys()
    for name, probabilities in said.items():
        assert found[name] == pytest.approx(probabilities, abs=STORED), name


def test_the_version_before_this_one_is_among_them() -> None:
    assert "folder_6" in FOLDERS


def test_it_opens_with_every_row_that_it_had(old: Old) -> None:
    assert old.ws.warning == ""
    assert _rows(old.folder, "SELECT value FROM meta WHERE key = 'schema_version'") == [(str(SCHEMA_VERSION),)]
    for table, n in old.said["rows"].items():
        if table != "meta":
            assert _rows(old.folder, f"SELECT COUNT(*) FROM {table}") == [(n,)], table
    assert [row.version for row in models.list_models(old.ws.db, old.function.id)] == old.said["versions"]
    assert old.function.false_accusation_limit == old.said["tolerated"]
    assert [(key.name, key.revoked_at) for key in keys.list_keys(old.ws.db)] == [("A program", None)]
    ended = {(job.kind, job.state) for job in jobs.list_jobs(old.ws.db, old.function.id, active=False)}
    assert ended == {(BUILD, "done"), (EVALUATE, "cancelled"), (EVALUATE, "done")}


def test_review_shows_the_same_samples_in_the_same_order_with_the_same_counts(old: Old) -> None:
    gallery = Gallery(old.ws, old.function.id)
    shown = gallery.page(GalleryFilter(), Order.LEAST_CONFIDENT, 1, 100)
    assert [sample.file_name for sample in shown.samples] == old.said["order"]
    assert gallery.total == old.said["total"]
    names = {label.id: label.name for label in functions.list_labels(old.ws.db, old.function.id)}
    facets = gallery.facets(GalleryFilter())
    assert facets.agreement == old.said["agreement"]
    assert facets.source == old.said["sources"]
    assert facets.split == old.said["split"]
    assert {names.get(key, key): n for key, n in facets.verdict.items()} == old.said["verdict"]
    counted = samples.count_by(old.ws.db, old.function.id)
    assert {names[key]: n for key, n in counted.by_label.items()} == old.said["labels"]
    _assert_same(_predictions(old), old.said["predictions"])
    for name, alike in old.said["nearest"].items():
        [neighbour] = nearest(old.ws, old.function.id, old.samples[name].id, 1)
        assert neighbour.sample_id == old.samples[alike].id


def test_the_report_of_an_import_is_still_there(old: Old) -> None:
    batch = imports.list_batches(old.ws.db, old.function.id)[0]
    assert batch.title == old.said["report"]["title"]
    rows = imports.batch_rows(old.ws.db, batch.id, ("present", "conflict", "rejected"))
    assert {row.file: row.outcome for row in rows} == old.said["report"]["rows"]


def test_what_training_and_audit_found_is_read_back(old: Old) -> None:
    assert old.live.cross_validation is not None
    assert old.live.cross_validation["accuracy"] == pytest.approx(old.said["accuracy"])
    assert old.live.thresholds is not None
    assert old.live.thresholds["above"] == pytest.approx(old.said["thresholds"])
    assert old.live.holdout_score is not None
    assert {key: old.live.holdout_score[key] for key in old.said["locked_test"]} == old.said["locked_test"]
    audit = read_audit(old.ws.db, old.live)
    # What that version did not measure yet: the page offers to examine the model, and promises nothing until then.
    new = {stress_part(name) for name in STRESSES} - {f"stress/{name}" for name in ("jpeg-95", "messenger")}
    assert audit.done & set(PARTS) == set(PARTS) - {UNSEEN, COVERAGE} - new
    assert not audit.complete
    thresholds = Thresholds.from_json(old.live.thresholds)
    assert thresholds.unseen is None
    assert audit.flipped == old.said["flipped"]
    found, said = json.loads(json.dumps(audit.to_json())), old.said["audit"]
    assert found["shortcut"] == said["shortcut"]["shortcut"]
    assert found["duplicates"] == said["duplicates"]
    assert found["sources"] == said["sources"]["sources"]
    assert found["learning_curve"] == said["learning_curve"]
    # Counts by label came later; what was stored without them stays without.
    stresses = {score["name"]: score for score in found["stress"] if score.pop("by_label") == {}}
    assert stresses == {part.removeprefix("stress/"): said[part]["score"] for part in said if part.startswith("stress")}


def test_new_images_get_the_same_verdicts(old: Old) -> None:
    answers = invoke(old.ws, old.function.id, list(old.asked.items()))
    assert len(answers) == len(old.said["asked"]) == 2
    for answer in answers:
        assert isinstance(answer, Verdict)
        said = old.said["asked"][answer.name]
        assert answer.verdict == said["verdict"]
        scores = {score.label: score.confidence for score in answer.scores}
        assert scores == pytest.approx(said["scores"], abs=EMBEDDED)


def test_nothing_is_embedded_or_trained_again_when_nothing_has_changed(old: Old) -> None:
    built = build(old.ws, old.function.id)
    assert (built.embedded, built.trained) == (0, False)
    assert built.model is not None
    # What its samples' files cover is found when it is first used.
    assert replace(built.model, coverage=None) == replace(old.live, coverage=None)
    assert old.embedding_rows() == old.embedded
    _assert_same(_predictions(old), old.said["predictions"])


def test_retraining_after_a_change_and_after_its_undo_gives_the_same_figures(old: Old) -> None:
    said = old.said["retrained"]
    labels = {label.name: label for label in functions.list_labels(old.ws.db, old.function.id)}
    for name in said["files"]:
        sample = old.samples[name]
        [other] = [label for label in labels.values() if label.id != sample.label_id]
        give_label(old.ws, old.function.id, [sample.id], other)

    def retrained(name: str) -> BuildResult:
        built = build(old.ws, old.function.id)
        assert built.model is not None
        assert built.model.cross_validation is not None
        assert (built.embedded, built.trained) == (0, True)
        assert built.model.cross_validation["accuracy"] == pytest.approx(said[name]["accuracy"])
        _assert_same(_predictions(old), said[name]["predictions"])
        return built

    retrained("changed")
    for _ in said["files"]:
        undo_labels(old.ws, old.function.id)
    retrained("undone")
    # The very model that the older version had made.
    assert said["undone"]["accuracy"] == old.said["accuracy"]
    assert old.embedding_rows() == old.embedded


def test_what_lies_in_the_bin_comes_back_with_its_label(old: Old) -> None:
    [(key,)] = _rows(old.folder, "SELECT id FROM samples WHERE deleted_at IS NOT NULL")
    restore_samples(old.ws, old.function.id, [key])
    restored = samples.get_sample(old.ws.db, key)
    assert restored.file_name not in old.said["predictions"]
    assert restored.label_id is not None
    # It went into the bin before it was looked at.
    assert build(old.ws, old.function.id).embedded == 1
    assert len(old.embedding_rows()) == len(old.embedded) + 1


@pytest.mark.slow
def test_its_pages_open(old: Old) -> None:
    right = round(old.said["accuracy"] * old.live.sample_count)
    for title, name, said in (
        ("Functions", "functions.py", f"{old.said['total']} samples"),
        ("Metrics", "metrics.py", f"{right} of {old.live.sample_count} right"),
        ("Review", "review.py", f"{old.said['total']} samples"),
        ("Invoke", "invoke.py", f"{right} of {old.live.sample_count} right"),
        ("API", "api.py", "A program"),
    ):
        app = dashboard(name, old.function.id)
        assert not app.error, (name, app.error)
        assert [item.value for item in app.title] == [title]
        assert said in words(app) + str([item.value.to_dict() for item in app.dataframe]), name
