"""Threads that run queued jobs: a lane for each kind, and one that watches over them."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from detector.errors import DetectorError, StorageFull
from detector.importing.run_files import sweep_runs
from detector.importing.spool import sweep_spool, sweep_temporary
from detector.jobs import IN_THE_BACKGROUND, Unwritten, keep_unwritten
from detector.operations.records import sweep_records
from detector.storage import jobs, tasks, workers
from detector.storage.database import now
from detector.storage.jobs import Job
from detector.storage.tasks import Task
from detector.storage.trouble import may_pass
from detector.storage.workers import TASKS
from detector.system.logs import note_job
from detector.system.priority import lower_thread_priority
from detector.worker.running import ALIVE_SECONDS, KINDS, run_job
from detector.workspace import Workspace

if TYPE_CHECKING:
    from detector.worker.shared_tasks import TaskTaker

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.5
_WATCH_SECONDS = 1.0
_ORPHAN_SECONDS = 15.0
_SWEEP_SECONDS = 3600.0
_STOP_SECONDS = 5.0
#: A job that may begin so soon is waited for by whoever ends when nothing is left.
_SOON_SECONDS = 60.0

#: Pauses of a job that the machine could not carry out, as on a full disk, one after the other; the last one stays.
PAUSES = (2.0, 5.0, 10.0, 20.0)


@dataclass
class _Waiting:
    """A job that the machine could not carry out, until its row says so."""

    sentence: str
    until: float


class JobRunner:
    """Threads that run queued jobs until they are told to stop. One per process.

    Parameters
    ----------
    kinds : sequence of str
        Of `KINDS`: what it does.
    signs : bool
        Say in the table of workers that this process is there, so that others offer it pieces of their work.
    patience : float
        Seconds in which the threads may come to the end of what they have in hand when they are told to stop.

    Attributes
    ----------
    unwritten : Unwritten
        What it knows of the queue and could not write into it.
    """

    def __init__(
        self, ws: Workspace, kinds: Sequence[str] = tuple(KINDS), signs: bool = False, patience: float = _STOP_SECONDS
    ) -> None:
        self._ws, self._kinds, self._signs, self._patience = ws, tuple(kinds), signs, patience
        self._stop = threading.Event()
        # Held while a job is taken or taken back, so that nobody takes for an orphan what was taken just now.
        self._taking = threading.Lock()
        self._running: set[str] = set()
        self._waiting: dict[str, _Waiting] = {}
        self._attempts: dict[str, int] = {}
        self.unwritten = Unwritten()
        self._complained = ""
        #: What it has in hand of other processes' jobs.
        self._task: Task | None = None
        #: What each lane has in hand.
        self._in_hand: dict[tuple[str, ...], Job] = {}
        self._tasks: TaskTaker | None = None
        self._lanes = {KINDS[kind]: self._thread(KINDS[kind]) for kind in kinds}
        self._watcher = threading.Thread(target=self._watch, name="jobs-watch", daemon=True)

    def start(self) -> None:
        """Take back what a dead process left behind, then run."""
        try:
            jobs.requeue_orphans(self._ws.db)
            sweep_spool(self._ws)
            sweep_records(self._ws)
            sweep_runs(self._ws)
            if self._signs:
                workers.sign_worker(self._ws.db, self._kinds)
        except Exception as error:
            # A full disk must not keep the pages from being shown; it is done again later.
            self._complain(error)
        keep_unwritten(self._ws, self.unwritten)
        for thread in (*self._lanes.values(), self._watcher):
            thread.start()

    def stop(self) -> None:
        """Ask the threads to end and wait a little; a job in the middle is resumed at the next start."""
        self._stop.set()
        deadline = time.monotonic() + self._patience
        for thread in (self._watcher, *self._lanes.values()):
            thread.join(max(deadline - time.monotonic(), 0.0))
        keep_unwritten(self._ws, None)
        if self._signs:
            with contextlib.suppress(Exception):
                workers.remove_worker(self._ws.db)

    def wrong(self) -> str:
        """Why no jobs are run now, in words for anybody; empty where they are."""
        dead = [lane[0] for lane, thread in self._lanes.items() if not thread.is_alive()]
        return f"the lane of {', '.join(dead)} does not run" if dead else ""

    @property
    def is_busy(self) -> bool:
        """Whether it has anything in hand, or could take something at once."""
        if self._running or self._task is not None:
            return True
        kinds = [kind for name in self._kinds for kind in KINDS[name]]
        soon = now() + _SOON_SECONDS
        waiting = (job for job in jobs.list_jobs(self._ws.db, limit=1000) if job.state == "queued")
        return any(job.kind in kinds and job.run_after <= soon for job in waiting)

    def _thread(self, lane: tuple[str, ...]) -> threading.Thread:
        if lane == KINDS[TASKS]:
            return threading.Thread(target=self._run_tasks, name="jobs-tasks", daemon=True)
        return threading.Thread(target=self._run, args=(lane,), name=f"jobs-{lane[0]}", daemon=True)

    def _has_own_work(self) -> bool:
        in_hand = list(self._in_hand.items())
        return any(job.id in self._running for lane, job in in_hand if lane != IN_THE_BACKGROUND)

    def _run_tasks(self) -> None:
        lower_thread_priority()
        while not self._stop.wait(_POLL_SECONDS):
            try:
                while self._take_task():
                    pass
            except _Stopping:
                return
            except Exception as error:
                self._complain(error)

    def _take_task(self) -> bool:
        """Do one piece of another process's job; False where there is none, or work of its own is to be done."""
        if self._tasks is not None:
            self._tasks.give_back_kept()
        # What nobody waits for is no such work: it gives way to the very work that is shared.
        if self._stop.is_set() or self._has_own_work():
            return False
        taker = self._task_taker()
        self._task = taker.take(self._running)
        if self._task is None:
            return False
        try:
            taker.do(self._task, self._interrupt)
        finally:
            self._task = None
        return True

    def _task_taker(self) -> TaskTaker:
        if self._tasks is None:
            # Here, not above: it brings the network's libraries, and most workers never take a task.
            from detector.worker.shared_tasks import TaskTaker

            self._tasks = TaskTaker(self._ws)
        return self._tasks

    def _run(self, lane: tuple[str, ...]) -> None:
        lower_thread_priority()
        while not self._stop.is_set():
            note_job("")
            try:
                with self._taking:
                    job = jobs.claim(self._ws.db, lane)
                    if job is not None:
                        self._running.add(job.id)
                        self._in_hand[lane] = job
            except Exception as error:
                self._complain(error)
                self.unwritten.trouble = str(trouble) if (trouble := may_pass(error)) is not None else None
                self._stop.wait(_POLL_SECONDS)
                continue
            self.unwritten.trouble = None
            if job is None:
                self._stop.wait(_POLL_SECONDS)
                continue
            note_job(job.id)
            # The lane must outlive any single job.
            try:
                run_job(self._ws, job, self._interrupt, patient=True)
            except _Stopping:
                with contextlib.suppress(Exception):
                    jobs.requeue(self._ws.db, job.id, job.lease)
                return
            except Exception as error:
                if may_pass(error) is not None:
                    self._put_off(job, error)
                    continue
                if isinstance(error, DetectorError):
                    log.info("job ended: %s", error)
                else:
                    log.exception("job failed")
                    self._stop.wait(_POLL_SECONDS)
            self._attempts.pop(job.id, None)
            self._running.discard(job.id)

    def _restart_lanes(self) -> None:
        """A lane is a thread, and what no job may raise ends it: an extension's panic, the end of the interpreter."""
        for lane, thread in list(self._lanes.items()):
            if thread.is_alive() or self._stop.is_set():
                continue
            job = self._in_hand.get(lane)
            log.error("the lane of %s died and is started again; it had job %s in hand", lane[0], job and job.id)
            with self._taking:
                if job is not None and job.id in self._running and job.id not in self._waiting:
                    jobs.requeue_crashed(self._ws.db, jobs.this_process(), job.id)
                    self._running.discard(job.id)
            self._lanes[lane] = self._thread(lane)
            self._lanes[lane].start()

    def _put_off(self, job: Job, error: Exception) -> None:
        attempt = self._attempts.get(job.id, 0)
        self._attempts[job.id] = attempt + 1
        pause = PAUSES[min(attempt, len(PAUSES) - 1)]
        trouble = may_pass(error)
        sentence = (
            str(trouble) if isinstance(trouble, StorageFull) else f"{trouble} This work is tried again by itself."
        )
        if attempt == 0:
            log.warning("a job waits: %s", error)
        self._waiting[job.id] = _Waiting(sentence, time.monotonic() + pause)
        self.unwritten.waiting[job.id] = sentence
        self._write_what_waits()

    def _watch(self) -> None:
        """What must be done even while every lane has work for hours."""
        lower_thread_priority()
        last = dict.fromkeys(("orphans", "alive", "sweep", "sign"), time.monotonic())
        last["sweep"] -= _SWEEP_SECONDS

        def is_time(what: str, seconds: float) -> bool:
            moment = time.monotonic()
            if moment - last[what] < seconds:
                return False
            last[what] = moment
            return True

        while not self._stop.wait(_WATCH_SECONDS):
            try:
                self._restart_lanes()
                self._write_what_waits()
                self.unwritten.ask_again(self._ws)
                if is_time("alive", ALIVE_SECONDS) and self._running:
                    jobs.say_alive(self._ws.db)
                if self._signs and is_time("sign", ALIVE_SECONDS):
                    workers.sign_worker(self._ws.db, self._kinds)
                if is_time("orphans", _ORPHAN_SECONDS):
                    tasks.sweep_tasks(self._ws.db)
                    with self._taking:
                        jobs.requeue_orphans(self._ws.db, self._running)
                if is_time("sweep", _SWEEP_SECONDS):
                    sweep_spool(self._ws)
                    sweep_runs(self._ws)
                    sweep_temporary(self._ws)
                    sweep_records(self._ws)
                    workers.sweep_workers(self._ws.db)
            except Exception as error:
                self._complain(error)

    def _write_what_waits(self) -> None:
        for job_id, waiting in list(self._waiting.items()):
            try:
                jobs.put_off(self._ws.db, job_id, waiting.sentence, max(waiting.until - time.monotonic(), 0.0))
            except Exception as error:
                self._complain(error)
                return
            # Only now: until its row says that it waits, nobody may take it for an orphan.
            with self._taking:
                self._running.discard(job_id)
                self._waiting.pop(job_id, None)
                self.unwritten.waiting.pop(job_id, None)

    def _complain(self, error: Exception) -> None:
        """Into the log, once for as long as it is the same: it may itself lie on the disk that is full."""
        trouble = may_pass(error)
        if trouble is None:
            log.error("the queue of jobs cannot be read or written", exc_info=error)
        elif str(trouble) != self._complained:
            log.warning("the queue of jobs cannot be read or written: %s", error)
        self._complained = str(trouble)

    def _interrupt(self, *_progress: object) -> None:
        if self._stop.is_set():
            raise _Stopping


class _Stopping(BaseException):
    """The server is stopping: leave the job as it is, to be resumed."""
