from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import CHECKOUT, OFFLINE, environment
from tests.shared_data import require
from tests.stored import outcome, row_counts

pytestmark = pytest.mark.slow

MOST_BYTES = 3e9


@dataclass(frozen=True)
class Job:
    result: dict[str, Any]
    peak_bytes: int


# A process inherits the peak of the one that starts it, here a test run of gigabytes: a small one stands in between.
IN_BETWEEN = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
with open(sys.argv[1], "w") as out:
    out.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""


def train(folder: Path, root: Path) -> Job:
    """``train`` as in the README; the operating system says how much memory that one process took at its peak."""
    command = [sys.executable, "-m", "detector", "train", str(folder), "--json", *OFFLINE]
    ran = subprocess.run(
        [sys.executable, "-c", IN_BETWEEN, str(root / "peak"), *command],
        cwd=CHECKOUT,
        # As many threads on every machine: each holds a batch.
        env=environment(root / "data", DETECTOR_THREADS="2"),
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    peak = int((root / "peak").read_text(encoding="utf-8")) * (1 if sys.platform == "darwin" else 1024)
    return Job(json.loads(ran.stdout), peak)


@pytest.mark.long
def test_two_thousand_images_become_a_good_detector_in_memory_and_only_once(tmp_path: Path) -> None:
    folder = require("mixed2000")
    job = train(folder, tmp_path)
    validation = job.result["cross_validation"]
    assert (job.result["samples"], job.result["annotated"], job.result["rejected"]) == (2000, 2000, [])
    assert validation["accuracy"] >= 0.945
    for label in ("real", "synthetic"):
        scores = validation["labels"][label]
        low, high = scores["interval"]
        assert low < scores["accuracy"] < high < low + 0.04
        assert scores["n"] == 1000
    assert job.peak_bytes < MOST_BYTES

    rows, before = row_counts(tmp_path / "data"), outcome(tmp_path / "data")
    again = train(folder, tmp_path)
    assert (again.result["imported"], again.result["already_there"]) == (0, 2000)
    assert row_counts(tmp_path / "data") == rows
    assert outcome(tmp_path / "data") == before
    assert again.result["model"] == job.result["model"]
    assert again.result["cross_validation"] == validation
    assert again.result["seconds"]["total"] < job.result["seconds"]["total"] / 2
