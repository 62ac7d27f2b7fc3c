"""Each kind of damage, done for real, is found, named, and mended or honestly not; and then the check is clean."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import func, select

from detector.jobs import BUILD
from detector.storage import jobs
from detector.storage.schema import labels, models, samples
from detector.upkeep.check import check_all
from detector.worker.running import run_pending
from detector.workspace import Workspace
from tests.upkeep.damages import DAMAGES, Damage


def _kept(ws: Workspace) -> list[int]:
    with ws.db.read() as connection:
        return [
            int(connection.scalar(select(func.count()).select_from(table)) or 0) for table in (samples, labels, models)
        ]


@pytest.mark.slow
@pytest.mark.parametrize("name", DAMAGES)
def test_a_damage_is_found_named_and_repaired_and_then_the_check_is_clean(ws: Workspace, name: str) -> None:
    damage: Damage = DAMAGES[name]
    damage.do(ws, np.random.default_rng(7))
    kept = _kept(ws)
    found = check_all(ws)
    assert not found.ok
    assert {problem.kind for problem in found.problems} == {damage.kind}
    assert not any(problem.repaired for problem in found.problems)
    assert all(len(problem.what) < 600 and problem.what.endswith((".", "--repair")) for problem in found.problems)
    mended = check_all(ws, repair=True)
    assert mended.ok == damage.mended, mended.problems
    assert _kept(ws) == kept
    again = check_all(ws, repair=True)
    if damage.mended:
        assert again.problems == ()
        assert check_all(ws).problems == ()
    else:
        # What is lost is lost: it is said again, and nothing more is done.
        assert [problem.repaired for problem in again.problems] == [False]


@pytest.mark.long
@pytest.mark.parametrize("name", ["an embedding is no number", "a model is cut", "a confidence is no probability"])
def test_what_was_taken_away_is_made_again_by_the_build_that_was_asked_for(ws: Workspace, name: str) -> None:
    with ws.db.read() as connection:
        [function_id] = connection.scalars(select(samples.c.function_id).distinct())
    DAMAGES[name].do(ws, np.random.default_rng(3))
    assert check_all(ws, repair=True).ok
    assert [job.kind for job in jobs.list_jobs(ws.db)] == [BUILD]
    run_pending(ws, function_id)
    assert check_all(ws).problems == ()
    with ws.db.read() as connection:
        lacking = samples.c.confidence.is_(None)
        assert not connection.scalar(select(func.count()).select_from(samples).where(lacking))
