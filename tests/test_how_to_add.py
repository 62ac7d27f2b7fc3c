"""The recipes of CONTRIBUTING.md, followed: each test adds one of a kind through its public table and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from detector.evaluation.examination import Examination
from detector.evaluation.parts import PARTS, AuditPart, Measured
from detector.evaluation.report import Audit, read_audit
from detector.jobs import EVALUATE, request_build
from detector.progress import Report
from detector.storage import evaluations, functions, jobs, models
from detector.storage.functions import Function
from detector.worker.running import run_job, run_pending
from detector.workspace import Workspace
from tests.factories import labelled_function
from tests.page_app import opened_by_pages


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    with opened_by_pages(tmp_path / "data", monkeypatch) as opened:
        yield opened


@dataclass(frozen=True)
class LabelShare:
    """What the added part of an audit finds: how many samples carry the first label."""

    first: int
    of: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LabelShare:
        return cls(**data)


def _count_labels(examination: Examination, report: Report) -> Measured:
    report("evaluate", 0, 0, "Counting labels", None)
    y = examination.material.y
    return LabelShare(int((y == 0).sum()), len(y)), []


def trained_function(ws: Workspace) -> Function:
    function = labelled_function(ws, 8)
    request_build(ws, function.id)
    run_pending(ws, function.id)
    return functions.get_function(ws.db, function.id)


def audited(ws: Workspace, function: Function) -> tuple[Audit, list[str]]:
    """The audit that the training asked for, run as the worker runs it, and what it reported."""
    claimed = jobs.claim(ws.db, (EVALUATE,), function.id)
    assert claimed is not None
    said: list[str] = []
    run_job(ws, claimed, lambda _phase, _done, _total, message, _rate: said.append(message))
    assert jobs.get_job(ws.db, claimed.id).state == "done"
    return read_audit(ws.db, models.get_model(ws.db, str(function.live_model_id))), said


def test_an_audit_part_that_is_added_to_the_table_runs_in_an_audit_and_is_read_back(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = trained_function(ws)
    monkeypatch.setitem(PARTS, "label_share", AuditPart("label_share", _count_labels, LabelShare))
    found, said = audited(ws, function)
    assert found.complete
    assert "Counting labels" in said
    assert found.results["label_share"] == LabelShare(8, 16)
    assert found.to_json()["label_share"] == {"first": 8, "of": 16}
    stored = evaluations.read_parts(ws.db, found.model.id)
    assert stored["label_share"] == {"result": {"first": 8, "of": 16}}
    # The parts that were there before are stored as before.
    assert set(stored["shortcut"]) == {"shortcut"}
    assert set(stored["stress/webp"]) == {"score"}
    assert {"points", "sentence"} <= set(stored["learning_curve"])

    # A version without the part leaves alone what one with it has stored.
    monkeypatch.delitem(PARTS, "label_share")
    without = read_audit(ws.db, found.model)
    assert without.complete
    assert "label_share" not in without.to_json()
