"""What tests of several folders share: a set that is imported, embedded and trained once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command_line import OFFLINE, run
from tests.shared_data import require


@pytest.fixture(scope="session")
def mixed2000_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with mixed2000 as a trained function. Takes half a minute; copy it before changing it."""
    folder = require("mixed2000")
    data_dir = tmp_path_factory.mktemp("mixed2000")
    trained = run(data_dir, "train", folder, *OFFLINE, "--json")
    assert trained.code == 0, trained.err
    return data_dir
