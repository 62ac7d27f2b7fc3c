"""What a command says at its end, and when it is stopped."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from detector.cli.score import stopped_by_hand
from detector.cli.sentences import in_sentences
from detector.errors import ClusterUnavailable, StorageFull, StorageTrouble
from detector.workspace import Workspace
from tests.factories import workspace


@pytest.mark.parametrize(
    ("error", "named"), [(ClusterUnavailable("tcp://10.0.0.1:8786", "it is gone"), False), (StorageFull(), True)]
)
def test_a_lost_cluster_is_no_trouble_of_the_data_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: StorageTrouble, named: bool
) -> None:
    ws = workspace(tmp_path)

    def run(opened: list[Workspace]) -> int:
        opened.append(ws)
        raise error

    assert in_sentences(run) == 1
    said = capsys.readouterr().err
    assert str(error) in said
    assert ("The data folder is" in said) == named


@pytest.mark.parametrize(("on_a_cluster", "said"), [(False, "are finished first"), (True, "is not waited for")])
def test_whoever_stops_a_score_is_told_what_becomes_of_what_has_begun(
    capsys: pytest.CaptureFixture[str], on_a_cluster: bool, said: str
) -> None:
    with stopped_by_hand(on_a_cluster) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        deadline = time.monotonic() + 300
        while not stop.is_set() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert stop.is_set()
    assert said in capsys.readouterr().err
