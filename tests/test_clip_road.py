"""The CLIP road from end to end, with a small registered configuration whose weights lie in a checkpoint file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from detector.backbones import resolve
from detector.backbones.registry import OFFLINE
from detector.errors import BackboneUnavailable, ImageError
from detector.importing.batch import folder_payload
from detector.importing.labelling import LabelPlan
from detector.jobs import request_build, request_import
from detector.pipeline.build import BuildResult
from detector.progress import Report, silent
from detector.serving.invoke import Verdict, invoke
from detector.settings import Settings
from detector.storage import functions, jobs, models, samples
from detector.storage.functions import Function
from detector.worker.running import run_pending
from detector.workspace import Workspace
from tests.backbones.small_clip import SmallClip, make_small_clip
from tests.made_folders import made_image, make_folder
from tests.stored import number, query

pytestmark = pytest.mark.slow

PLAN = LabelPlan(mode="folders", level=0, source_level=1)
COUNT = 16


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> SmallClip:
    return make_small_clip(tmp_path_factory.mktemp("clip"), name="small-clip-road")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("images"), {"real": COUNT, "synthetic": COUNT})


@pytest.fixture
def ws(clip: SmallClip, tmp_path: Path) -> Iterator[Workspace]:
    opened = Workspace.open(Settings(data_dir=tmp_path / "data", clip_checkpoint=clip.setting))
    yield opened
    opened.close()


def create(ws: Workspace, choice: str) -> Function:
    chosen = resolve(choice, ws.settings)
    return functions.create_function(
        ws.db, "Road", backbone_id=chosen.spec.id, backbone_reason=chosen.sentence, label_names=("real", "synthetic")
    )


def bring_in(ws: Workspace, function: Function, folder: Path) -> BuildResult:
    request_import(ws, function.id, folder_payload(folder, PLAN), "test")
    result = run_pending(ws, function.id)
    assert result is not None
    return result


def change_backbone(ws: Workspace, function: Function, choice: str, report: Report = silent) -> BuildResult:
    chosen = resolve(choice, ws.settings)
    functions.set_backbone(ws.db, function.id, chosen.spec.id, chosen.sentence)
    request_build(ws, function.id)
    result = run_pending(ws, function.id, report)
    assert result is not None
    return result


def ask(ws: Workspace, function: Function, folder: Path, label: str, number_of: int = 0) -> Verdict:
    (verdict,) = invoke(ws, function.id, [("a.png", (folder / label / f"{number_of:03d}.png").read_bytes())])
    assert isinstance(verdict, Verdict)
    return verdict


def keys(ws: Workspace) -> dict[str, int]:
    """Backbone id -> images embedded with it."""
    rows = query(ws.settings.data_dir, "SELECT backbone_key, COUNT(*) FROM embeddings WHERE view = 'whole' GROUP BY 1")
    return {key.split(":")[0]: count for key, count in rows}


def test_import_training_and_invoke_with_clip_weights_from_a_checkpoint(
    ws: Workspace, clip: SmallClip, folder: Path, tmp_path: Path
) -> None:
    function = create(ws, "auto")
    assert function.backbone_id == clip.spec.id
    assert str(clip.checkpoint) in function.backbone_reason
    result = bring_in(ws, function, folder)
    assert result.trained
    assert result.embedded == 2 * COUNT
    assert keys(ws) == {clip.spec.id: 2 * COUNT}
    # Pictures larger than the network's input also have their details looked at.
    assert number(tmp_path / "data", "SELECT COUNT(*) FROM embeddings WHERE view = 'detail'") == 2 * COUNT
    model = result.model
    assert model is not None
    assert model.backbone_key.startswith(f"{clip.spec.id}:")
    assert {row["features"] for row in model.sweep} >= {"projected", "pre_projection"}
    assert model.cross_validation is not None
    assert model.cross_validation["n"] == 2 * COUNT
    assert model.cross_validation["accuracy"] > 0.8
    for label in ("real", "synthetic"):
        image = tmp_path / f"new {label}.png"
        made_image(label, 4000).save(image)
        answers = invoke(ws, function.id, [(image.name, image.read_bytes()), ("bad.png", b"no image")])
        assert isinstance(answers[0], Verdict)
        assert answers[0].label == label
        assert [score.confidence for score in answers[0].scores] == sorted(
            (score.confidence for score in answers[0].scores), reverse=True
        )
        assert isinstance(answers[1], ImageError)
    again = bring_in(ws, function, folder)
    assert (again.embedded, again.trained) == (0, False)


@pytest.mark.long
def test_changing_the_backbone_embeds_and_trains_anew_while_the_old_model_answers(
    ws: Workspace, clip: SmallClip, folder: Path
) -> None:
    function = create(ws, OFFLINE)
    first = bring_in(ws, function, folder).model
    assert first is not None
    before = ask(ws, function, folder, "real")
    assert before.model_version == 1
    meanwhile: dict[str, Verdict] = {}

    def ask_meanwhile(phase: str, done: int, _total: int, _message: str, _rate: float | None) -> None:
        if phase in ("embed", "train") and done:
            meanwhile.setdefault(phase, ask(ws, function, folder, "real"))

    second = change_backbone(ws, function, clip.spec.id, ask_meanwhile)
    assert set(meanwhile) == {"embed", "train"}
    for verdict in meanwhile.values():
        assert (verdict.model_id, verdict.scores) == (first.id, before.scores)
    assert second.embedded == 2 * COUNT
    assert keys(ws) == {OFFLINE: 2 * COUNT, clip.spec.id: 2 * COUNT}
    assert second.model is not None
    assert (second.trained, second.model.version, second.model.backbone_id) == (True, 2, clip.spec.id)
    assert functions.get_function(ws.db, function.id).live_model_id == second.model.id
    after = ask(ws, function, folder, "real")
    assert (after.model_id, after.model_version) == (second.model.id, 2)
    predicted_by = query(ws.settings.data_dir, "SELECT DISTINCT predicted_by FROM samples")
    assert predicted_by == [(second.model.id,)]

    # The way back costs a training, no second look at the images; and the same data gives the same numbers.
    third = change_backbone(ws, function, OFFLINE)
    assert (third.embedded, third.trained) == (0, True)
    assert third.model is not None
    assert third.model.version == 3
    assert third.model.cross_validation == first.cross_validation
    assert ask(ws, function, folder, "real").scores == before.scores


def test_a_change_to_a_backbone_whose_weights_go_missing_leaves_the_old_model_answering(
    clip: SmallClip, folder: Path, tmp_path: Path
) -> None:
    gone = tmp_path / "gone.pt"
    gone.write_bytes(clip.checkpoint.read_bytes())
    ws = Workspace.open(Settings(data_dir=tmp_path / "data", clip_checkpoint=f"{clip.spec.id}:{gone}"))
    try:
        function = create(ws, OFFLINE)
        bring_in(ws, function, folder)
        before = ask(ws, function, folder, "synthetic")
        chosen = resolve(clip.spec.id, ws.settings)
        functions.set_backbone(ws.db, function.id, chosen.spec.id, chosen.sentence)
        gone.unlink()
        job_id = request_build(ws, function.id)
        with pytest.raises(BackboneUnavailable) as caught:
            run_pending(ws, function.id)
        assert "does not exist" in caught.value.why
        assert jobs.get_job(ws.db, job_id).state == "failed"
        assert functions.get_function(ws.db, function.id).training_note == str(caught.value)
        assert ask(ws, function, folder, "synthetic").scores == before.scores
        assert len(models.list_models(ws.db, function.id)) == 1
        assert samples.count_samples(ws.db, function.id) == 2 * COUNT
    finally:
        ws.close()
