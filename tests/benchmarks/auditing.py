"""What an audit takes beside the training that it examines."""

from __future__ import annotations

import os
from pathlib import Path

from tests.benchmarks.figure import Figure
from tests.command_line import OFFLINE, run
from tests.shared_data import SHARED_DATA


def audit_ratio(folder: Path) -> Figure:
    """mixed2000, trained and audited by the command, each once."""
    trained = _processor_seconds(folder, "train", SHARED_DATA / "mixed2000", *OFFLINE, "--json")
    audited = _processor_seconds(folder, "audit", "mixed2000", "--json")
    return Figure(
        "audit_ratio",
        "processor time of an audit of 2,000 images / of their import and training, offline backbone",
        audited / trained,
        "x",
        5,
        at_least=False,
        measurements={"audit, s": [audited], "import and training, s": [trained]},
    )


def _processor_seconds(data_dir: Path, *arguments: str | Path) -> float:
    """What a command uses of all cores."""
    before = os.times()
    ran = run(data_dir, *arguments)
    after = os.times()
    assert ran.code == 0, ran.err
    return after.children_user + after.children_system - before.children_user - before.children_system
