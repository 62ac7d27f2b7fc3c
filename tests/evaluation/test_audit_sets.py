"""The development image sets, audited whole by the command: what a user gets to read, and how long it takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from detector.evaluation.results import STRESSES
from tests.command_line import OFFLINE, run
from tests.conftest import processor_seconds_of_commands
from tests.databases import copy_data
from tests.shared_data import require

pytestmark = [pytest.mark.slow, pytest.mark.long]

#: Processor time, beside that of importing and training the same set.
MOST_TIMES_TRAINING = 5


def audited(data_dir: Path, name: str) -> tuple[dict[str, Any], float]:
    """The audit of a function, and the processor time that it took."""
    before = processor_seconds_of_commands()
    ran = run(data_dir, "audit", name, "--json")
    assert ran.code == 0, ran.err
    return json.loads(ran.out), processor_seconds_of_commands() - before


def test_mixed2000_is_audited_whole_in_a_few_times_the_time_of_its_training(
    mixed2000_data: Path, tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    copy_data(mixed2000_data, data_dir)
    found, seconds = audited(data_dir, "mixed2000")
    trained = float((mixed2000_data.parent / "mixed2000-made").read_text(encoding="utf-8"))
    print(f"trained in {trained:.0f} s, audited in {seconds:.0f} s of processor time")
    assert seconds <= MOST_TIMES_TRAINING * trained
    assert not found["shortcut"]["warning"]
    assert [row["name"] for row in found["stress"]] == list(STRESSES)
    assert all(row["n"] == 500 and row["accuracy"] > 0.8 and row["flipped"] < 0.2 for row in found["stress"])
    sources = {row["source"]: row for row in found["sources"]}
    assert len(sources) == 14
    assert sum(row["n"] for row in sources.values()) == 2000
    synthetic = [row for row in sources.values() if row["label"] == "synthetic"]
    unseen = sum(row["accuracy_unseen"] * row["n"] for row in synthetic) / 1000
    seen = sum(row["accuracy"] * row["n"] for row in synthetic) / 1000
    assert 0.8 < unseen < seen - 0.03
    points = found["learning_curve"]["points"]
    assert points[0]["accuracy"] < points[-1]["accuracy"]
    assert points[-1]["n"] == 1600
    assert "never seen" in found["summary"][1]


def test_files_that_give_the_answer_away_are_the_first_thing_said(tmp_path: Path) -> None:
    folder = require("confounded_png_vs_jpeg")
    trained = run(tmp_path, "train", folder, *OFFLINE, "--json")
    assert trained.code == 0, trained.err
    found, _ = audited(tmp_path, folder.name)
    assert found["shortcut"]["warning"]
    assert found["shortcut"]["roc_auc"] > 0.95
    assert found["summary"][0].startswith("This score cannot be trusted yet")
    assert "normalise and retrain" in found["summary"][2]
