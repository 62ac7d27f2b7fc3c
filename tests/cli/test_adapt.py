"""``adapt``: a folder of labelled pictures moves the border, ``--undo`` moves it back; sentences for the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from detector.pipeline.build import build
from detector.storage import functions
from detector.workspace import Workspace
from tests.command_line import Ran, run_here
from tests.factories import LABELS, labelled_function, make_image, workspace
from tests.operations.another_place import picture

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    opened = workspace(tmp_path_factory.mktemp("adapt") / "data")
    function = labelled_function(opened, 12, "Adapted")
    functions.set_false_accusation_limit(opened.db, function.id, 0.3)
    assert build(opened, function.id).trained
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures below a folder for each label, some of them in folders of their own."""
    root = tmp_path_factory.mktemp("place")
    for label in LABELS:
        for seed in range(500, 511):
            path = root / label / ("camera" if seed % 2 else "") / f"{seed}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(seed, label))
    return root


def adapt(ws: Workspace, *arguments: str | Path) -> Ran:
    return run_here(ws.settings.data_dir, "adapt", "Adapted", *arguments)


def label_of_a_new_picture(ws: Workspace, folder: Path) -> dict[str, object]:
    path = folder / "new.png"
    path.write_bytes(picture(702, "synthetic"))
    return run_here(ws.settings.data_dir, "invoke", "Adapted", path).json


def test_a_folder_adapts_and_undo_takes_it_back(ws: Workspace, place: Path, tmp_path: Path) -> None:
    before = label_of_a_new_picture(ws, tmp_path)
    assert before["labelName"] == "real"
    ran = adapt(ws, place)
    assert ran.code == 0
    assert "Of your 11 synthetic pictures 11 were called real, now 0." in ran.out
    assert "Model 1 is adapted to 22 pictures of yours." in ran.out
    after = label_of_a_new_picture(ws, tmp_path)
    assert after["labelName"] == "synthetic"
    assert after["grade"] in ("moderate", "can't tell")
    if after["grade"] == "moderate":
        assert str(after["reason"]).startswith("Adapted to 22 pictures of yours, and so moderate at most.")
    undone = adapt(ws, "--undo")
    assert (undone.code, undone.sentence) == (0, "It answers as it was trained again.")
    assert label_of_a_new_picture(ws, tmp_path) == before
    assert adapt(ws, "--undo", "--json").json["undone"] is False


def test_json_has_the_figures_before_and_after_with_intervals(ws: Workspace, place: Path) -> None:
    again = place / "real" / "again.png"
    again.write_bytes(picture(500, "real"))
    try:
        ran = adapt(ws, place, "--json")
        assert ran.code == 0
        [refused] = ran.json["refused"]
        assert refused["file"] == "real/again.png"
        assert refused["error"] in ran.err
        real, synthetic = ran.json["labels"]
        assert (real["label"], real["n"], synthetic["n"]) == ("real", 11, 11)
        assert (synthetic["before"]["right"], synthetic["after"]["right"]) == (0, 11)
        assert synthetic["after"]["interval"][0] < 1.0
        assert real["falselyAccusedAtMost"] > 0.2
        assert ran.json["balancedAccuracy"] == {"before": 0.5, "after": 1.0}
        assert ran.json["offset"] > 0
        assert adapt(ws, "--undo", "--json").json["undone"] is True
    finally:
        again.unlink()


def test_what_cannot_be_done_is_a_sentence(ws: Workspace, place: Path, tmp_path: Path) -> None:
    assert "No folder was given." in adapt(ws).err
    assert "is no folder" in adapt(ws, tmp_path / "nowhere").err
    assert "Give a folder or --undo." in adapt(ws, place, "--undo").err
    (tmp_path / "loose.png").write_bytes(make_image(1))
    assert "loose.png lies in no label's folder." in adapt(ws, tmp_path).err
    few = tmp_path / "few"
    (few / "real").mkdir(parents=True)
    (few / "real" / "sample.png").write_bytes(make_image(1))
    ran = adapt(ws, few)
    assert ran.code == 1
    assert "real/sample.png is a sample of this function already" in ran.err
    assert ran.sentence.startswith(
        "There are 0 real and 0 synthetic pictures after 1 were left out; it takes 10 of each"
    )
    (few / "real").rename(few / "photos")
    assert "Expected pictures of real and synthetic; found 'photos'." in adapt(ws, few).err
