"""Inner blocks from the switch to the verdict: with a small transformer whose weights lie in a checkpoint file."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from detector.backbones.registry import OFFLINE
from detector.errors import InvalidInput
from detector.operations.functions import change_backbone, change_sweep_settings, create_function
from detector.operations.inner_blocks import use_inner_blocks
from detector.pipeline.build import BuildResult, put_back
from detector.progress import Report, silent
from detector.serving.invoke import Verdict, invoke
from detector.settings import Settings
from detector.storage import functions, samples
from detector.storage.functions import Function
from detector.worker.running import run_pending
from detector.workspace import Workspace
from tests.backbones.small_clip import TRANSFORMER, SmallClip, make_small_clip
from tests.command_line import run
from tests.factories import add_images, images, labelled_function, make_image, workspace
from tests.page_app import dashboard, opened_by_pages, words
from tests.stored import query

pytestmark = pytest.mark.slow

COUNT = 16
INNER = {"block_2", "block_3", "block_4", "block_5", "patch_mean"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> SmallClip:
    return make_small_clip(tmp_path_factory.mktemp("clip"), {**TRANSFORMER, "layers": 6}, name="inner-road-test")


@pytest.fixture
def ws(clip: SmallClip, tmp_path: Path) -> Iterator[Workspace]:
    opened = Workspace.open(
        Settings(data_dir=tmp_path / "data", clip_checkpoint=clip.setting, precision="float32", retrain_delay=0.0)
    )
    yield opened
    opened.close()


def made(ws: Workspace, clip: SmallClip) -> Function:
    function = create_function(ws, "Road", ("real", "synthetic"), clip.spec.id)
    add_images(ws, function, images(COUNT))
    return function


def built(ws: Workspace, function: Function, report: Report = silent) -> BuildResult:
    result = run_pending(ws, function.id, report)
    assert result is not None
    return result


def trained(ws: Workspace, function: Function) -> BuildResult:
    change_sweep_settings(ws, function.id, {})
    return built(ws, function)


def ask(ws: Workspace, function: Function, seed: int, label: str = "real") -> Verdict:
    (verdict,) = invoke(ws, function.id, [("a.png", make_image(seed, label))])
    assert isinstance(verdict, Verdict)
    return verdict


def keys(ws: Workspace) -> dict[str, int]:
    """Backbone key -> images embedded under it."""
    sql = "SELECT backbone_key, COUNT(*) FROM embeddings WHERE view = 'whole' GROUP BY 1"
    return dict(query(ws.settings.data_dir, sql))


@pytest.mark.long
def test_the_switch_brings_named_features_into_the_sweep_and_leaves_the_old_embeddings_and_model(
    ws: Workspace, clip: SmallClip
) -> None:
    function = made(ws, clip)
    first = trained(ws, function).model
    assert first is not None
    assert {row["features"] for row in first.sweep} == {"projected", "pre_projection", "all"}
    assert keys(ws) == {first.backbone_key: 2 * COUNT}
    before = ask(ws, function, 1)
    meanwhile: dict[str, Verdict] = {}

    def ask_meanwhile(phase: str, done: int, _total: int, _message: str, _rate: float | None) -> None:
        if phase in ("embed", "train") and done:
            meanwhile.setdefault(phase, ask(ws, function, 1))

    use_inner_blocks(ws, function.id, True)
    second = built(ws, function, ask_meanwhile)
    assert set(meanwhile) == {"embed", "train"}
    assert all((verdict.model_id, verdict.scores) == (first.id, before.scores) for verdict in meanwhile.values())
    assert (second.trained, second.embedded) == (True, 2 * COUNT)
    assert second.model is not None
    assert second.model.backbone_key == f"{first.backbone_key}:inner-1"
    assert {row["features"] for row in second.model.sweep} == {"projected", "pre_projection", "all"} | INNER
    assert keys(ws) == {first.backbone_key: 2 * COUNT, second.model.backbone_key: 2 * COUNT}
    assert ask(ws, function, 1).model_version == 2

    # The way back looks at no picture again, and gives what was there before.
    use_inner_blocks(ws, function.id, False)
    third = built(ws, function)
    assert (third.embedded, third.trained) == (0, True)
    assert third.model is not None
    assert third.model.cross_validation == first.cross_validation
    assert ask(ws, function, 1).scores == before.scores
    # An older version answers with the backbone that it was trained on, whatever the switch says now.
    put_back(ws, function.id, second.model.id)
    assert ask(ws, function, 1).model_version == 2


def test_a_model_of_inner_blocks_says_of_an_upload_what_it_says_of_the_same_sample(
    ws: Workspace, clip: SmallClip
) -> None:
    function = made(ws, clip)
    add_images(ws, function, [("unlabelled.png", make_image(500), None)])
    use_inner_blocks(ws, function.id, True)
    change_sweep_settings(ws, function.id, {"features": ["block_3"]})
    model = built(ws, function).model
    assert model is not None
    assert {row["features"] for row in model.sweep} == {"block_3"}
    [sample] = [row for row in samples.find_samples(ws.db, function.id, limit=100) if row.label_id is None]
    verdict = ask(ws, function, 500)
    assert sample.confidence == pytest.approx(verdict.scores[0].confidence, abs=1e-6)
    names = {label.id: label.name for label in functions.list_labels(ws.db, function.id)}
    assert names[str(sample.predicted_label_id)] == verdict.scores[0].label


def test_settings_that_name_inner_blocks_go_with_the_switch(ws: Workspace, clip: SmallClip) -> None:
    """Else every training from then on would fail: the name is known no more."""
    function = made(ws, clip)
    use_inner_blocks(ws, function.id, True)
    settings = {"features": ["block_3", "projected"], "folds": 3}
    change_sweep_settings(ws, function.id, settings)
    use_inner_blocks(ws, function.id, True)
    assert functions.get_function(ws.db, function.id).sweep_settings == settings
    use_inner_blocks(ws, function.id, False)
    assert functions.get_function(ws.db, function.id).sweep_settings == {"features": ["projected"], "folds": 3}
    change_sweep_settings(ws, function.id, {"features": ["patch_mean"], "folds": 3})
    use_inner_blocks(ws, function.id, False)
    assert functions.get_function(ws.db, function.id).sweep_settings == {"folds": 3}
    assert built(ws, function).trained


@pytest.mark.long
def test_a_backbone_that_is_no_transformer_refuses_the_switch_and_outlives_it(ws: Workspace, clip: SmallClip) -> None:
    function = made(ws, clip)
    use_inner_blocks(ws, function.id, True)
    # Switched on before: the wish stays, and the offline backbone gives what it has.
    change_backbone(ws, function.id, OFFLINE)
    model = built(ws, function).model
    assert model is not None
    assert model.backbone_key.endswith(":float32")
    assert ask(ws, function, 1).model_version == 1
    with pytest.raises(InvalidInput) as caught:
        use_inner_blocks(ws, function.id, True)
    assert "EfficientNet-Lite0 (offline) is no transformer" in str(caught.value)
    change_backbone(ws, function.id, clip.spec.id)
    model = built(ws, function).model
    assert model is not None
    assert model.backbone_key.endswith(":inner-1")


def test_the_page_offers_the_switch_and_acts_on_it(
    clip: SmallClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DETECTOR_CLIP_CHECKPOINT", clip.setting)
    with opened_by_pages(tmp_path / "data", monkeypatch) as ws:
        # The test's own settings name no weights file; the pages' do.
        with contextlib.closing(Workspace.open(replace(ws.settings, clip_checkpoint=clip.setting))) as opened:
            function = made(opened, clip)
            trained(opened, function)
        app = dashboard("metrics.py", function.id)
        [switch] = [toggle for toggle in app.toggle if toggle.label == "Use inner blocks of the backbone too"]
        assert (switch.value, switch.disabled) == (False, False)
        switch.set_value(True).run()
        assert not app.exception, app.exception
        assert functions.get_function(ws.db, function.id).inner_features
        [switch] = [toggle for toggle in app.toggle if toggle.label == "Use inner blocks of the backbone too"]
        assert switch.value
        # The audit waited from before; the build is what the switch asks for.
        assert query(tmp_path / "data", "SELECT kind FROM jobs WHERE state = 'queued' ORDER BY kind")[0] == ("build",)


@pytest.mark.long
def test_the_page_says_in_one_sentence_why_the_offline_backbone_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened_by_pages(tmp_path / "data", monkeypatch) as ws:
        function = labelled_function(ws, 6)
        trained(ws, function)
        app = dashboard("metrics.py", function.id)
        [switch] = [toggle for toggle in app.toggle if toggle.label == "Use inner blocks of the backbone too"]
        assert (switch.value, switch.disabled) == (False, True)
        assert "EfficientNet-Lite0 (offline) is no transformer, so it has no inner blocks" in words(app)


@pytest.mark.long
def test_the_command_says_and_sets_it(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = create_function(ws, "Offline", ("real", "synthetic"), OFFLINE)
    other = functions.create_function(ws.db, "Clip", backbone_id="pe-core-l-14-336")
    refused = run(tmp_path, "inner-blocks", "Offline", "on")
    assert (refused.code, "is no transformer" in refused.sentence) == (1, True)
    said = run(tmp_path, "inner-blocks", "Offline")
    assert said.out.startswith("Inner blocks are not used. EfficientNet-Lite0 (offline) is no transformer")
    set_on = run(tmp_path, "inner-blocks", "Clip", "on")
    assert (set_on.code, set_on.out) == (0, "Inner blocks are used from the next model on.\n")
    assert "A new model follows" in set_on.err
    assert run(tmp_path, "inner-blocks", other.id, "--json").json == {
        "function": other.id,
        "inner_blocks": True,
        "why_not": None,
    }
    assert json.loads(run(tmp_path, "inner-blocks", "Clip", "off", "--json").out)["inner_blocks"] is False
    assert not functions.get_function(ws.db, function.id).inner_features
    ws.close()
