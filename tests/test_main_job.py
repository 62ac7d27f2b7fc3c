from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.command_line import OFFLINE, run
from tests.databases import copy_data
from tests.shared_data import require
from tests.stored import outcome, row_counts

pytestmark = pytest.mark.slow

MOST_BYTES = 3e9


@pytest.mark.long
def test_two_thousand_images_become_a_good_detector_in_memory_and_only_once(
    mixed2000_data: Path, mixed2000_training: dict[str, Any], tmp_path: Path
) -> None:
    first, data_dir = mixed2000_training["result"], tmp_path / "data"
    validation = first["cross_validation"]
    assert (first["samples"], first["annotated"], first["rejected"]) == (2000, 2000, [])
    assert validation["accuracy"] >= 0.945
    for label in ("real", "synthetic"):
        scores = validation["labels"][label]
        low, high = scores["interval"]
        assert low < scores["accuracy"] < high < low + 0.04
        assert scores["n"] == 1000
    assert mixed2000_training["peak_bytes"] < MOST_BYTES

    copy_data(mixed2000_data, data_dir)
    rows, before = row_counts(data_dir), outcome(data_dir)
    ran = run(data_dir, "train", require("mixed2000"), *OFFLINE, "--json", DETECTOR_THREADS="2")
    assert ran.code == 0, ran.err
    again = ran.json
    assert (again["imported"], again["already_there"]) == (0, 2000)
    assert row_counts(data_dir) == rows
    assert outcome(data_dir) == before
    assert again["model"] == first["model"]
    assert again["cross_validation"] == validation
    assert again["seconds"]["total"] < first["seconds"]["total"] / 2
