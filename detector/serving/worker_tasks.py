"""Shared work among ``worker`` processes: whoever runs the job offers pieces of it, and works on them too."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

from detector.errors import SharedWorkFailed
from detector.serving.shared_task import At, SharedWork
from detector.storage import tasks
from detector.storage.tasks import Task
from detector.workspace import Workspace

#: Tasks offered and not yet done, for each worker: an upper bound of what lies in the table at once.
_AHEAD = 3
_TEND_SECONDS = 1.0
_TAKE_BACK_SECONDS = 5.0
_POLL_SECONDS = 0.2
#: How often whoever works on a task says that it lives.
KEEP_SECONDS = 5.0


def among_workers(
    ws: Workspace,
    job_id: str,
    work: SharedWork,
    parameters: dict[str, Any],
    batches: Sequence[list[Any]],
    workers: int,
    at: At,
) -> list[dict[str, Any]]:
    """Offer batches as tasks of a job that this process runs, and work on them beside the others.

    Parameters
    ----------
    workers : int
        How many processes take part, this one included.
    at : callable
        Hears how many items are done, about once a second. What it raises ends the work.

    Returns
    -------
    The results, in the order of the batches.
    """
    # Of an attempt that was killed: what it stored counts, and is not among these batches.
    tasks.clear_tasks(ws.db, job_id)
    offer = _Offer(ws, job_id, work, parameters, batches, _AHEAD * workers, at)
    try:
        while not offer.is_done:
            offer.tend()
            task = tasks.take_task(ws.db, job_id)
            if task is not None:
                offer.do(task)
            elif not offer.is_done:
                time.sleep(_POLL_SECONDS)
        return [offer.pieces[position] for position in range(len(batches))]
    finally:
        # Where even this cannot be written, they are swept when the job has ended.
        with contextlib.suppress(Exception):
            tasks.clear_tasks(ws.db, job_id)


class TaskSigns:
    """What whoever works on a task says of it: begun, something done, still there.

    Parameters
    ----------
    work : SharedWork
        What is done of it counts only where it is stored at once.
    """

    def __init__(self, ws: Workspace, task: Task, work: SharedWork) -> None:
        self._ws, self._task, self._resumes = ws, task, work.resumes
        self._calls = 0
        self._kept = 0.0

    def at(self, _done: int) -> None:
        """Called by the work: once when it begins with the items, then whenever some are done. Raises JobTakenOver."""
        self._calls += 1
        moment = time.monotonic()
        if self._calls == 1:
            tasks.begin_task(self._ws.db, self._task)
        elif self._calls == 2 or moment - self._kept >= KEEP_SECONDS:
            tasks.keep_task(self._ws.db, self._task, progressed=self._resumes)
        else:
            return
        self._kept = moment


class _Offer:
    """What is offered of one job, and what has come of it."""

    def __init__(
        self,
        ws: Workspace,
        job_id: str,
        work: SharedWork,
        parameters: dict[str, Any],
        batches: Sequence[list[Any]],
        ahead: int,
        at: At,
    ) -> None:
        self._ws, self._job_id, self._work, self._parameters = ws, job_id, work, parameters
        self._batches, self._ahead, self._at = batches, ahead, at
        self._offered = 0
        self._tended = self._taken_back = float("-inf")
        self.pieces: dict[int, dict[str, Any]] = {}

    @property
    def is_done(self) -> bool:
        return len(self.pieces) == len(self._batches)

    def tend(self, in_hand: int = 0) -> None:
        """Collect what has ended, offer more, and take back what dead workers had; ``in_hand``: items done here."""
        moment = time.monotonic()
        if moment - self._tended < _TEND_SECONDS and self._offered - len(self.pieces) > 1:
            return
        self._tended = moment
        if moment - self._taken_back >= _TAKE_BACK_SECONDS:
            self._taken_back = moment
            tasks.take_back_tasks(self._ws.db, self._job_id)
        for ended in tasks.collect_tasks(self._ws.db, self._job_id):
            if ended.result is None:
                raise SharedWorkFailed(ended.message)
            self.pieces[ended.position] = ended.result
        while self._offered < len(self._batches) and self._offered - len(self.pieces) < self._ahead:
            tasks.put_task(
                self._ws.db,
                self._job_id,
                self._offered,
                self._work.name,
                self._parameters,
                self._batches[self._offered],
            )
            self._offered += 1
        self._at(sum(int(piece["done"]) for piece in self.pieces.values()) + in_hand)

    def do(self, task: Task) -> None:
        """Work on one here, with an eye on the others."""
        signs = TaskSigns(self._ws, task, self._work)

        def at(done: int) -> None:
            signs.at(done)
            self.tend(done)

        tasks.finish_task(self._ws.db, task, self._work.run(self._ws, task.parameters, task.items, at))
        self._tended = float("-inf")
