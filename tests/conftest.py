"""What tests of several folders share: the database, a set that is trained once, and a main module that stays."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests import databases
from tests.command_line import OFFLINE, run_measured
from tests.shared_data import require


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--database postgresql``: every data folder of the tests uses a real PostgreSQL server instead of SQLite."""
    parser.addoption("--database", choices=(databases.SQLITE, databases.POSTGRESQL), default=databases.SQLITE)


def pytest_configure(config: pytest.Config) -> None:
    databases.choose(config.getoption("--database"))


def pytest_unconfigure() -> None:
    databases.stop_server()


@pytest.fixture(autouse=True, scope="session")
def _components_looked_for_once() -> Iterator[None]:
    """Each page that runs without a server reads what every installed package says of itself: 0.7 s of a core."""
    # Tests without a page need not wait for Streamlit.
    if "streamlit" not in sys.modules:
        yield
        return
    from streamlit.components.v2 import manifest_scanner

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", cache(manifest_scanner.scan_component_manifests))
        yield


@pytest.fixture(autouse=True, scope="session")
def _embeddings_remembered() -> Iterator[None]:
    """The same pictures are embedded once a run: it was a fifth of all that the tests calculate."""
    # Tests that embed nothing need not wait for torch.
    if "torch" not in sys.modules:
        yield
        return
    from tests.remembered import embeddings_remembered

    with embeddings_remembered():
        yield


@pytest.fixture
def nothing_remembered() -> Iterator[None]:
    """For tests of what a network is asked, what it says of pictures together and alone, and how long it takes."""
    from tests.remembered import embeddings_calculated

    with embeddings_calculated():
        yield


@pytest.fixture(autouse=True, scope="module")
def _databases_of_a_file() -> Iterator[None]:
    yield
    databases.give_databases_back()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files with long tests first: what begins last should end soon, or one worker waits for the other."""
    if databases.chosen() != databases.SQLITE:
        left_out = [item for item in items if _has_one(item, ("names_database",))]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    first = {item.path for item in items if _has_one(item, ("slow", "browser"))}
    items.sort(key=lambda item: item.path not in first)
    # What only a line of its own runs is slow as well: an expression on the command line replaces the usual one.
    for item in items:
        if _has_one(item, ("long", "postgresql", "cluster", "faults")):
            item.add_marker("slow")


def _has_one(item: pytest.Item, markers: Iterable[str]) -> bool:
    return any(item.get_closest_marker(name) for name in markers)


@pytest.fixture(scope="session")
def mixed2000_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with mixed2000 as a trained function, for all workers of a run. Copy it before changing it."""
    folder = require("mixed2000")
    of_the_run = tmp_path_factory.getbasetemp()
    # Each process of a run has a PostgreSQL server of its own.
    if "PYTEST_XDIST_WORKER" in os.environ and databases.chosen() == databases.SQLITE:
        of_the_run = of_the_run.parent
    data_dir, made = of_the_run / "mixed2000", of_the_run / "mixed2000-made"
    with FileLock(of_the_run / "mixed2000.lock"):
        if not made.exists():
            # As many threads on every machine: each holds a batch.
            trained, peak = run_measured(data_dir, "train", folder, *OFFLINE, "--json", DETECTOR_THREADS="2")
            assert trained.code == 0, trained.err
            made.write_text(json.dumps({"result": trained.json, "peak_bytes": peak}), encoding="utf-8")
    return data_dir


@pytest.fixture
def mixed2000_training(mixed2000_data: Path) -> dict[str, Any]:
    """How `mixed2000_data` was made: "result", what the command printed, and "peak_bytes" of its process."""
    return dict(json.loads(mixed2000_data.with_name("mixed2000-made").read_text(encoding="utf-8")))


@pytest.fixture(autouse=True)
def main_module() -> Iterator[None]:
    """Streamlit's AppTest puts the page in the place of the main module, which new processes then run again."""
    kept = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = kept
