"""How long a build will take: measured, remembered on this machine only, and never made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detector.pipeline import speed
from detector.pipeline.embedding import embed_missing, function_backbone
from tests.command_line import run
from tests.factories import add_images, empty_function, make_image, workspace

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nothing_remembered")]

BACKBONE = "efficientnet-lite0"


def test_where_nothing_was_measured_nothing_is_claimed(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    assert speed.estimate(ws, BACKBONE, 2000) is None
    assert speed.expected_time(ws, BACKBONE, 2000) == ""
    ws.close()


def test_a_measurement_becomes_an_estimate_for_the_backbone_measured(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    rate = speed.measure(ws, BACKBONE, seconds=0.2)
    assert rate > 0
    assert speed.estimate(ws, BACKBONE, 1000) == pytest.approx(1000 / rate)
    assert speed.estimate(ws, "clip-vit-b-32-openai", 1000) is None
    ws.close()


def test_the_estimate_is_said_in_words(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    speed.note_rate(ws, BACKBONE, 16.0, "bench")
    assert speed.expected_time(ws, BACKBONE, 2000) == "about 2 min for 2,000 images on this machine"
    assert speed.expected_time(ws, BACKBONE, 1) == "about 1 s for 1 image on this machine"
    assert speed.expected_time(ws, BACKBONE, 0) == ""
    ws.close()


def test_a_build_of_ones_own_images_counts_more_than_made_ones(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    speed.note_rate(ws, BACKBONE, 10.0, "build")
    speed.note_rate(ws, BACKBONE, 100.0, "bench")
    assert speed.estimate(ws, BACKBONE, 100) == 10
    ws.close()


def test_what_another_machine_measured_does_not_count(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    speed.note_rate(ws, BACKBONE, 10.0, "bench")
    file = tmp_path / "speed.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | {"machine": "another"}))
    assert speed.estimate(ws, BACKBONE, 100) is None
    ws.close()


@pytest.mark.parametrize("text", ["", "no json", "[]", "{}"])
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    ws = workspace(tmp_path)
    (tmp_path / "speed.json").write_text(text)
    assert speed.estimate(ws, BACKBONE, 100) is None
    speed.note_rate(ws, BACKBONE, 10.0, "bench")
    assert speed.estimate(ws, BACKBONE, 100) == 10
    ws.close()


@pytest.mark.long
@pytest.mark.parametrize(("images", "known"), [(20, False), (speed.LEAST_IMAGES, True)])
def test_a_long_enough_build_leaves_its_rate(tmp_path: Path, images: int, known: bool) -> None:
    ws = workspace(tmp_path)
    function = empty_function(ws)
    add_images(ws, function, [(f"{seed}.png", make_image(seed, size=32), "real") for seed in range(images)])
    assert embed_missing(ws, function.id, function_backbone(ws, function)) == images
    assert (speed.estimate(ws, BACKBONE, 100) is not None) == known
    ws.close()


@pytest.mark.long
def test_the_command_measures_what_is_here_and_says_why_the_others_are_not(tmp_path: Path) -> None:
    ran = run(tmp_path / "data", "bench", "--json")
    assert ran.code == 0, ran.err
    rows = {row["id"]: row for row in json.loads(ran.out)}
    assert rows[BACKBONE]["images_per_second"] > 0
    assert all(row["sentence"] for row in rows.values())
    ws = workspace(tmp_path / "data")
    stored = json.loads((tmp_path / "data" / "speed.json").read_text(encoding="utf-8"))
    assert stored["backbones"][BACKBONE]["bench"]["rate"] == rows[BACKBONE]["images_per_second"]
    ws.close()
