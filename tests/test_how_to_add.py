"""The recipes of CONTRIBUTING.md, followed: each test adds one of a kind through its public table and nothing else."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
import torch
from streamlit.testing.v1 import AppTest
from torch import nn

from detector.backbones import FAMILIES, SPECS, Availability, BackboneFamily, BackboneSpec, resolve
from detector.backbones.network import Backbone, weights_fingerprint
from detector.datasets import SampleImage
from detector.errors import BackboneUnavailable, InvalidInput
from detector.evaluation.examination import Examination
from detector.evaluation.parts import PARTS, AuditPart, Measured
from detector.evaluation.report import Audit, read_audit
from detector.importing.entries import Entry, FolderSource
from detector.importing.labelling import LabelPlan
from detector.importing.opening import KINDS, ImportKind, ReadyMade, nothing_spooled, open_source, spooled_files
from detector.importing.spool import sweep_spool
from detector.jobs import EVALUATE, request_build, request_import
from detector.progress import Report
from detector.serving.invoke import Verdict, invoke
from detector.settings import Settings
from detector.storage import evaluations, functions, jobs, models, samples
from detector.storage.functions import Function
from detector.worker.running import run_job, run_pending
from detector.workspace import Workspace
from pages._figure import figure_card
from pages._metrics_figures import FIGURES, MetricsFigure, Shown
from tests.factories import LABELS, add_images, empty_function, images, labelled_function, make_image, stored_batch
from tests.page_app import dashboard, opened_by_pages, page
from tests.stored import query


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    with opened_by_pages(tmp_path / "data", monkeypatch) as opened:
        yield opened


@dataclass(frozen=True)
class LabelShare:
    """What the added part of an audit finds: how many samples carry the first label."""

    first: int
    of: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LabelShare:
        return cls(**data)


def _count_labels(examination: Examination, report: Report) -> Measured:
    report("evaluate", 0, 0, "Counting labels", None)
    y = examination.audit_data.y
    return LabelShare(int((y == 0).sum()), len(y)), []


def _draw_label_share(shown: Shown) -> None:
    found = shown.audit.results["label_share"]
    figure = go.Figure(go.Bar(x=[found.first, found.of - found.first]))
    sentence = f"The first label has {found.first} of {found.of}"
    figure_card("Share of the first label", figure, sentence, "label-share", "Counted, not measured.")


def captions(app: AppTest) -> str:
    return " ".join(caption.value for caption in app.caption)


def trained_function(ws: Workspace) -> Function:
    function = labelled_function(ws, 8)
    request_build(ws, function.id)
    run_pending(ws, function.id)
    return functions.get_function(ws.db, function.id)


def audited(ws: Workspace, function: Function) -> tuple[Audit, list[str]]:
    """The audit that the training asked for, run as the worker runs it, and what it reported."""
    claimed = jobs.claim(ws.db, (EVALUATE,), function.id)
    assert claimed is not None
    said: list[str] = []
    run_job(ws, claimed, lambda _phase, _done, _total, message, _rate: said.append(message))
    assert jobs.get_job(ws.db, claimed.id).state == "done"
    return read_audit(ws.db, models.get_model(ws.db, str(function.live_model_id))), said


@pytest.mark.slow
def test_an_audit_part_that_is_added_to_the_table_runs_in_an_audit_and_is_read_back(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = trained_function(ws)
    monkeypatch.setitem(PARTS, "label_share", AuditPart("label_share", _count_labels, LabelShare))
    found, said = audited(ws, function)
    assert found.complete
    assert "Counting labels" in said
    assert found.results["label_share"] == LabelShare(8, 16)
    assert found.to_json()["label_share"] == {"first": 8, "of": 16}
    stored = evaluations.read_parts(ws.db, found.model.id)
    assert stored["label_share"] == {"result": {"first": 8, "of": 16}}
    # The parts that were there before are stored as before.
    assert set(stored["shortcut"]) == {"shortcut"}
    assert set(stored["stress/webp-60"]) == {"score"}
    assert {"points", "sentence"} <= set(stored["learning_curve"])

    # Its figure is drawn because the part is finished and found something.
    figure = MetricsFigure("label share", _draw_label_share, "right", part="label_share")
    monkeypatch.setitem(FIGURES, figure.name, figure)
    assert "The first label has 8 of 16" in captions(dashboard("metrics.py", function.id))

    # A version without the part leaves alone what one with it has stored.
    monkeypatch.delitem(PARTS, "label_share")
    without = read_audit(ws.db, found.model)
    assert without.complete
    assert "label_share" not in without.to_json()
    assert "The first label has" not in captions(dashboard("metrics.py", function.id))


class TinyNetwork(nn.Module):
    """(B, 3, S, S) -> (B, 24): a layer of edge detectors, by mean and by deviation."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 12, 3)

    def forward(self, images: Any) -> Any:
        maps = self.layer(images).flatten(2)
        return torch.cat([maps.mean(dim=2), maps.std(dim=2)], dim=1)


def _tiny_weights(spec: BackboneSpec) -> Path:
    return Path(spec.pretrained)


def _load_tiny(spec: BackboneSpec, precision: str, settings: Settings) -> Backbone:
    network = TinyNetwork()
    network.load_state_dict(torch.load(_tiny_weights(spec), weights_only=True))
    features = {"edges": slice(0, 24)}
    return Backbone(spec, network, features, weights_fingerprint(network.state_dict()), precision, settings.threads)


def _tiny_availability(spec: BackboneSpec, settings: Settings) -> Availability:
    if _tiny_weights(spec).is_file():
        return Availability(True, "package", "The weights are those of a test.")
    return Availability(False, "no", "Not available: there is no such file.", "there is no such file")


@pytest.mark.slow
def test_a_backbone_family_that_is_added_to_the_table_embeds_images_and_trains(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = BackboneSpec(
        id="tiny-edges",
        title="Edges of the tests",
        family="tiny",
        architecture="one layer",
        pretrained=str(tmp_path / "tiny.pt"),
        licence="none",
        download_bytes=0,
        image_size=32,
        description="Random weights.",
    )
    remedy = "Write the file of weights."
    monkeypatch.setitem(FAMILIES, "tiny", BackboneFamily(_load_tiny, _tiny_availability, remedy))
    monkeypatch.setitem(SPECS, spec.id, spec)
    with pytest.raises(BackboneUnavailable) as refused:
        resolve(spec.id, ws.settings)
    assert "there is no such file" in str(refused.value)
    assert remedy in str(refused.value)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(TinyNetwork().state_dict(), spec.pretrained)
    chosen = resolve(spec.id, ws.settings)
    function = functions.create_function(ws.db, "Tiny", backbone_id=chosen.spec.id, label_names=LABELS)
    add_images(ws, function, images(8))
    request_build(ws, function.id)
    result = run_pending(ws, function.id)
    assert result is not None
    assert result.trained
    live = models.get_model(ws.db, str(functions.get_function(ws.db, function.id).live_model_id))
    assert live.backbone_id == spec.id
    keys = query(ws.settings.data_dir, "SELECT backbone_key, COUNT(*) FROM embeddings WHERE view = 'whole' GROUP BY 1")
    ((key, embedded),) = keys
    assert key.startswith("tiny-edges:")
    assert embedded == 16
    (verdict,) = invoke(ws, function.id, [("new.png", make_image(99, "synthetic"))])
    assert isinstance(verdict, Verdict)


def test_every_backbone_of_the_registry_is_of_a_family_that_is_there() -> None:
    assert {spec.family for spec in SPECS.values()} <= FAMILIES.keys()


class AlbumSource(FolderSource):
    """The added kind of import: a file with the path of one image a line, each with the folder that it lies in."""

    def __init__(self, album: Path) -> None:
        super().__init__(album.parent)
        self._album = album

    def entries(self) -> list[Entry]:
        files = [Path(line) for line in self._album.read_text(encoding="utf-8").splitlines()]
        return [Entry(f"{file.parent.name}/{file.name}", file.stat().st_size, file.read_bytes) for file in files]


def _open_album(_ws: Workspace, payload: Mapping[str, Any], _report: Report) -> AlbumSource:
    return AlbumSource(Path(payload["path"]))


def test_an_import_kind_that_is_added_to_the_table_imports_images_and_clears_the_spool(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KINDS, "album", ImportKind("album", _open_album, spooled_files))
    function = empty_function(ws)
    lines = []
    for name, data, label in images(3):
        file = tmp_path / "pictures" / label / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        lines.append(f"{file}\n")
    album = ws.spool / "ab12.zip"
    album.write_text("".join(lines), encoding="utf-8")
    os.utime(album, (0, 0))
    plan = LabelPlan("folders", level=0)
    payload = {"from": "album", "path": str(album), "plan": plan.to_json(), "title": "holiday.album"}
    batch_id, _ = request_import(ws, function.id, payload, "album")
    # However old, what a job still reads is kept.
    sweep_spool(ws)
    assert album.exists()

    run_pending(ws, function.id)
    batch = stored_batch(ws, batch_id)
    assert (batch.state, batch.total) == ("done", 6)
    names = {label.id: label.name for label in functions.list_labels(ws.db, function.id)}
    found = samples.find_samples(ws.db, function.id, limit=None)
    assert sorted(names[str(sample.label_id)] for sample in found) == ["real"] * 3 + ["synthetic"] * 3
    assert not album.exists()


def test_an_import_kind_whose_images_bring_their_labels_needs_no_plan(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [SampleImage(name, data, label, f"source of {label}", "") for name, data, label in images(3)]
    kind = ImportKind("drawn", lambda _ws, _payload, _report: ReadyMade(made, len(made)), nothing_spooled)
    monkeypatch.setitem(KINDS, "drawn", kind)
    function = empty_function(ws)
    request_import(ws, function.id, {"from": "drawn", "title": "Drawn"}, "drawn")
    run_pending(ws, function.id)
    found = samples.find_samples(ws.db, function.id, limit=None)
    assert sorted(str(sample.source) for sample in found) == ["source of real"] * 3 + ["source of synthetic"] * 3
    with pytest.raises(InvalidInput, match="no files that could be listed"):
        open_source(ws, {"from": "drawn", "title": "Drawn"})


@pytest.mark.slow
def test_a_figure_that_is_added_to_the_table_shows_on_the_metrics_page(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = trained_function(ws)
    before = page("metrics.py", function.id)

    def draw(shown: Shown) -> None:
        figure = go.Figure(go.Bar(x=[score.n for score in shown.cv.labels.values()], y=shown.names))
        figure_card("Images by label", figure, f"All {shown.cv.n} images.", "by-label", "Counted, not measured.")

    monkeypatch.setitem(FIGURES, "by label", MetricsFigure("by label", draw, "lower right"))
    # Not drawn: no such part is finished.
    monkeypatch.setitem(FIGURES, "waits", MetricsFigure("waits", _draw_label_share, "end", part="label_share"))
    after = page("metrics.py", function.id)
    assert len(after.get("plotly_chart")) == len(before.get("plotly_chart")) + 1
    assert "All 16 images." in captions(after)
    assert [text.value for text in after.markdown].count("**Images by label**") == 1


def test_each_recipe_of_contributing_names_a_test_of_this_file_and_files_that_are_there() -> None:
    checkout = Path(__file__).parent.parent
    text = (checkout / "CONTRIBUTING.md").read_text(encoding="utf-8")
    recipes = re.split(r"^### ", text.partition("## How to add ...")[2], flags=re.MULTILINE)[1:]
    titles = [recipe.splitlines()[0] for recipe in recipes]
    assert titles == ["An audit part", "An import kind", "A backbone family", "A figure"]
    for recipe in recipes:
        (named,) = re.findall(r"`(test_\w+)`", recipe)
        assert callable(globals()[named])
        files = re.findall(r"`((?:detector|pages|tests|docs)/[^`]*)`", recipe)
        assert [file for file in files if not (checkout / file).exists()] == []
