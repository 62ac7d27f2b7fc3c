"""The development image sets, audited by the command: what a user gets to read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from detector.evaluation import stress
from detector.evaluation.results import STRESSES
from tests.command_line import OFFLINE, run_here
from tests.databases import copy_data
from tests.shared_data import require

pytestmark = [pytest.mark.slow, pytest.mark.long]

#: Pictures of each label whose files give it away.
EACH = 15
#: Samples that copies are made of, instead of 500: how long a whole audit takes is `audit_ratio` of the benchmarks.
COPIED = 60


def audited(data_dir: Path, name: str) -> dict[str, Any]:
    ran = run_here(data_dir, "audit", name, "--json", DETECTOR_PRECISION="auto")
    assert ran.code == 0, ran.err
    return dict(json.loads(ran.out))


def test_the_audit_of_mixed2000_says_what_it_is_worth(
    mixed2000_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stress, "MOST_SAMPLES", COPIED)
    data_dir = tmp_path / "data"
    copy_data(mixed2000_data, data_dir)
    found = audited(data_dir, "mixed2000")
    print(found["stress"])
    assert not found["shortcut"]["warning"]
    assert [row["name"] for row in found["stress"]] == list(STRESSES)
    assert all(row["n"] == COPIED and row["accuracy"] > 0.8 and row["flipped"] < 0.2 for row in found["stress"])
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
    folder = tmp_path / "images"
    for label in ("real", "synthetic"):
        (folder / label).mkdir(parents=True)
        files = sorted(path for path in (require("confounded_png_vs_jpeg") / label).rglob("*") if path.is_file())
        for path in files[:: len(files) // EACH][:EACH]:
            (folder / label / path.name).symlink_to(path)
    trained = run_here(tmp_path / "data", "train", folder, *OFFLINE, "--json", DETECTOR_PRECISION="auto")
    assert trained.code == 0, trained.err
    found = audited(tmp_path / "data", folder.name)
    assert found["shortcut"]["warning"]
    assert found["shortcut"]["roc_auc"] > 0.95
    assert found["summary"][0].startswith("This score cannot be trusted yet")
    assert "normalise and retrain" in found["summary"][2]
