from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from detector.cli.sources import _sources, add_source_commands
from detector.errors import InvalidInput
from detector.evaluation.audit import audit
from detector.evaluation.report import read_audit
from detector.jobs import EVALUATE, request_build
from detector.operations.sources import set_source
from detector.storage import functions, jobs, models, samples
from detector.worker.running import BACKGROUND_LANES, run_job, run_pending
from tests.factories import labelled_function, workspace

pytestmark = pytest.mark.slow


def test_sources_given_after_the_audit_are_looked_at(tmp_path: Path) -> None:
    """The audit said for ever that no sample had a source: it was complete, and nothing asked for it again."""
    ws = workspace(tmp_path)
    function = labelled_function(ws, 8)
    request_build(ws, function.id)
    run_pending(ws, function.id)
    before = audit(ws, function.id)
    assert before.sources is not None
    assert (before.sources.sources, before.sources.untagged) == ((), 16)
    waiting = jobs.claim(ws.db, (EVALUATE,))
    assert waiting is not None
    run_job(ws, waiting)

    ids = sorted(sample.id for sample in samples.find_samples(ws.db, function.id, limit=100))
    assert set_source(ws, function.id, ids[:8], "camera") == 8
    live = str(functions.get_function(ws.db, function.id).live_model_id)
    assert not read_audit(ws.db, models.get_model(ws.db, live)).complete
    job = jobs.claim(ws.db, BACKGROUND_LANES[-1])
    assert job is not None
    assert job.payload == {"model": live}
    run_job(ws, job)
    after = read_audit(ws.db, models.get_model(ws.db, live))
    assert after.complete
    assert after.sources is not None
    assert sum(row.n for row in after.sources.sources) == 8
    assert after.sources.untagged == 8
    # The other parts stay as they were.
    assert (after.shortcut, after.stress, after.duplicates) == (before.shortcut, before.stress, before.duplicates)

    # The same source again changes nothing, and so asks for nothing.
    assert set_source(ws, function.id, ids[:8], "camera") == 0
    assert jobs.list_jobs(ws.db, function.id) == []


def test_sources_given_while_they_are_being_looked_at_are_not_lost(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = labelled_function(ws, 8)
    request_build(ws, function.id)
    run_pending(ws, function.id)
    ids = [sample.id for sample in samples.find_samples(ws.db, function.id)]
    running = jobs.claim(ws.db, (EVALUATE,))
    assert running is not None

    def tag(_phase: str, _done: int, _total: int, message: str, _rate: float | None) -> None:
        if message == "Comparing near-duplicates":
            set_source(ws, function.id, ids[:4], "camera")

    run_job(ws, running, tag)
    (following,) = jobs.list_jobs(ws.db, function.id)
    assert jobs.claim(ws.db, (EVALUATE,)) is not None
    run_job(ws, following)
    found = audit(ws, function.id)
    assert found.sources is not None
    assert found.sources.untagged == 12


def test_a_function_without_a_model_gets_its_sources_all_the_same(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = labelled_function(ws, 2)
    ids = [sample.id for sample in samples.find_samples(ws.db, function.id)]
    assert set_source(ws, function.id, ids, "camera") == 4
    assert jobs.list_jobs(ws.db, function.id) == []


def test_a_source_for_all_samples_has_to_be_asked_for(tmp_path: Path) -> None:
    """Without a filter every sample lost the source it had, and nothing keeps what it was."""
    ws = workspace(tmp_path)
    function = labelled_function(ws, 2)
    parser = argparse.ArgumentParser()
    add_source_commands(parser.add_subparsers())
    wanted = ["sources", function.id, "--set", "camera"]
    with pytest.raises(InvalidInput, match="nothing says which"):
        _sources(ws, parser.parse_args(wanted))
    assert {item.source for item in samples.count_sources(ws.db, function.id)} == {None}
    assert _sources(ws, parser.parse_args([*wanted, "--files", "*"])) == 0
    assert {item.source for item in samples.count_sources(ws.db, function.id)} == {"camera"}
