"""Who asks for work in the background, and what is known of it here: kinds of jobs and requests for them.

Who runs them stands in `detector.worker`.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import Any

from detector.errors import NotFound
from detector.storage import imports, jobs
from detector.storage.database import now
from detector.storage.jobs import Job
from detector.storage.room import require_room
from detector.storage.stored_names import COPIES as COPIES
from detector.storage.stored_names import EVALUATE as EVALUATE
from detector.storage.stored_names import IN_THE_BACKGROUND as IN_THE_BACKGROUND
from detector.storage.stored_names import INVOKE as INVOKE
from detector.storage.stored_names import NO_TRAINING
from detector.storage.trouble import may_pass
from detector.workspace import Workspace

IMPORT, BUILD = "import", "build"

#: What a job is cancelled with whose model is not live any more.
SUPERSEDED = "A newer model took its place."

#: Payload of a build that ends after the embedding.
_ONLY_EMBED = {"only": "embed"}
#: How long posted samples gather before they are embedded together.
_GATHER_SECONDS = 2.0


def request_build(ws: Workspace, function_id: str, delay: float = 0.0) -> str:
    """Ask for a build; requests that come before it starts are one build. Returns the job's id."""
    return jobs.enqueue(ws.db, function_id, BUILD, {}, delay)


def request_import(ws: Workspace, function_id: str, payload: dict[str, Any], origin: str) -> tuple[str, str]:
    """Open an import batch and queue its job; returns (batch id, job id). Raises TooLittleRoom."""
    require_room(ws.settings)
    batch_id = imports.create_batch(ws.db, function_id, origin, payload["title"])
    return batch_id, jobs.enqueue(ws.db, function_id, IMPORT, {**payload, "batch": batch_id})


def request_run(ws: Workspace, function_id: str, run_id: str) -> str:
    """Ask for the pictures of a run of invokes to be judged. Returns the job's id."""
    return jobs.enqueue(ws.db, function_id, INVOKE, {"run": run_id})


def request_retraining(ws: Workspace, function_id: str) -> None:
    """Say that labels were changed by hand: a build follows after the pause of the settings."""
    _ask(ws, function_id, {}, ws.settings.retrain_delay)


def request_audit(ws: Workspace, function_id: str, model_id: str) -> str:
    """Ask for the audit of a model; those of its older versions that still wait are not needed any more."""
    for job in jobs.list_jobs(ws.db, function_id):
        if job.kind == EVALUATE and job.state == "queued" and job.payload != {"model": model_id}:
            jobs.finish(ws.db, job.id, "cancelled", SUPERSEDED)
    return jobs.enqueue(ws.db, function_id, EVALUATE, {"model": model_id})


def request_copies(ws: Workspace, function_id: str) -> str:
    """Ask for the degraded copies that a function's training samples lack; a build follows. Returns the job's id."""
    return jobs.enqueue(ws.db, function_id, COPIES, {})


def request_embedding(ws: Workspace, function_id: str) -> None:
    """Say that a sample came in by itself: embedding starts soon, the build when no more have come for a while.

    Embedding is not put off by the next sample, or a steady stream of them would leave all the work to its end.
    """
    _ask(ws, function_id, _ONLY_EMBED, _GATHER_SECONDS, postpone=False)
    _ask(ws, function_id, {}, ws.settings.retrain_delay)


def is_preparation(job: Job) -> bool:
    """Whether a job only embeds what has come, before the build that was asked for along with it."""
    return job.payload == _ONLY_EMBED


def is_training(ws: Workspace, function_id: str) -> bool:
    """Whether work is queued or running after which the function may have another model or other predictions."""
    return any(job.kind not in NO_TRAINING for job in jobs.list_jobs(ws.db, function_id))


@dataclass
class Unwritten:
    """What is known of the queue and could not be written into it, as on a full disk.

    Attributes
    ----------
    waiting : what jobs wait for, by their ids
    trouble : why jobs cannot even be taken; None where they can
    asked : builds that this process could not put into the queue
    """

    waiting: dict[str, str] = field(default_factory=dict)
    trouble: str | None = None
    asked: list[tuple[str, dict[str, Any], float, bool]] = field(default_factory=list)

    def waits_for(self, job: Job) -> str | None:
        """What a job waits for that could not be written into its row; None for all others."""
        sentence = self.waiting.get(job.id)
        if sentence is not None:
            return sentence
        return self.trouble if job.state == "queued" and job.run_after <= now() else None

    def ask_again(self, ws: Workspace) -> None:
        """Put the builds into the queue that could not be put there. Raises as long as that is not possible."""
        while self.asked:
            function_id, payload, delay, postpone = self.asked[0]
            with contextlib.suppress(NotFound):
                jobs.enqueue(ws.db, function_id, BUILD, payload, delay, postpone)
            del self.asked[0]


#: Of each database that this process runs jobs of, by its address.
_unwritten: dict[str, Unwritten] = {}


def keep_unwritten(ws: Workspace, unwritten: Unwritten | None) -> None:
    """From now on this is what could not be written of a workspace's queue; None: nobody here will write it."""
    if unwritten is None:
        _unwritten.pop(ws.settings.url, None)
    else:
        _unwritten[ws.settings.url] = unwritten


def as_known(job: Job) -> Job:
    """A job's row as this process knows it to be, where it could not be written so: the disk is full."""
    for unwritten in list(_unwritten.values()):
        sentence = unwritten.waits_for(job)
        if sentence is not None:
            return replace(job, state="queued", message=sentence, rate=None)
    return job


def _ask(ws: Workspace, function_id: str, payload: dict[str, Any], delay: float, postpone: bool = True) -> None:
    """Ask for a build after a change that is stored: it must not look as if that had failed."""
    try:
        jobs.enqueue(ws.db, function_id, BUILD, payload, delay, postpone)
    except Exception as error:
        unwritten = _unwritten.get(ws.settings.url)
        if unwritten is None or may_pass(error) is None:
            raise
        wanted = (function_id, payload, delay, postpone)
        if wanted not in unwritten.asked:
            unwritten.asked.append(wanted)
