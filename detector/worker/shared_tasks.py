"""Pieces of other workers' jobs: what can be done, and how one is done when this process has nothing else to do."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection

from detector.errors import BackboneUnavailable, JobTakenOver
from detector.evaluation.stress_copies import STRESS
from detector.pipeline.copies import COPY
from detector.pipeline.embedding import EMBED
from detector.serving.shared_task import SharedWork
from detector.serving.worker_tasks import KEEP_SECONDS, TaskSigns
from detector.storage import tasks
from detector.storage.folder import missing_pictures
from detector.storage.tasks import Task
from detector.storage.trouble import may_pass
from detector.workspace import Workspace

log = logging.getLogger(__name__)

#: What workers can do for each other, by the names that stand in the table of tasks.
WORKS: dict[str, SharedWork] = {work.name: work for work in (EMBED, COPY, STRESS)}

#: What this machine cannot do, such as for want of weights, others may: it asks again only later.
_UNABLE_SECONDS = 60.0


class TaskTaker:
    """Takes tasks of jobs that other processes run, one at a time."""

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self._not_before = 0.0
        #: Tasks that are still this process's only because the database was away when they were to be given back.
        self._kept: list[tuple[Task, bool]] = []

    def give_back_kept(self) -> None:
        """Try again to give back what could not be given back: without that, nobody else would get it for minutes."""
        kept, self._kept = self._kept, []
        for task, died in kept:
            self._give_back(task, died)

    def take(self, running: Collection[str]) -> Task | None:
        """One task, or None where there is none for this process; ``running``: the jobs that it runs itself."""
        if time.monotonic() < self._not_before:
            return None
        return tasks.take_task(self._ws.db, but_of=tuple(running))

    def do(self, task: Task, interrupt: Callable[[], None]) -> None:
        """Work on it to its end.

        Parameters
        ----------
        interrupt : callable
            Called again and again; what it raises ends the work, and another worker may have the task at once.
        """
        work = WORKS.get(task.work)
        if work is None:
            # A newer version of this program offered it.
            self._cannot(task, f"{task.work} is not known here")
            return
        signs = TaskSigns(self._ws, task, work)

        def at(done: int) -> None:
            interrupt()
            signs.at(done)

        try:
            piece = work.run(self._ws, task.parameters, task.items, at)
            if not piece["done"] and (why := missing_pictures(self._ws.db, self._ws.blobs)):
                self._cannot(task, why)
                return
            tasks.finish_task(self._ws.db, task, piece)
        except JobTakenOver as error:
            log.info("a piece of shared work: %s", error)
        except BackboneUnavailable as error:
            self._cannot(task, str(error))
        except Exception as error:
            passes = may_pass(error) is not None
            if passes:
                log.warning("a piece of shared work waits: %s", error)
            else:
                log.exception("a piece of shared work failed")
            self._not_before = time.monotonic() + KEEP_SECONDS
            self._give_back(task, died=not passes)
        except BaseException:
            self._give_back(task)
            raise

    def _cannot(self, task: Task, why: str) -> None:
        log.warning("this worker cannot do a piece of shared work, and leaves it to others: %s", why)
        self._not_before = time.monotonic() + _UNABLE_SECONDS
        self._give_back(task)

    def _give_back(self, task: Task, died: bool = False) -> None:
        try:
            tasks.give_back_task(self._ws.db, task, died)
        except JobTakenOver as error:
            log.info("a piece of shared work: %s", error)
        except Exception as error:
            log.warning("a piece of shared work is given back as soon as that can be written: %s", error)
            self._kept.append((task, died))
