"""Work on many pictures that can be shared: here as it always was, on a Dask cluster, or among ``worker`` processes.

One piece is a task: a function that a name stands for, what it needs to know as plain JSON, and some hundreds of
hashes. It skips what is there already and stores what it finds by itself, so it can be begun again by anybody at any
time. Nothing that counts lies with whoever hands the tasks out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from detector.backbones import fetch_weights, get_backbone
from detector.errors import BackboneUnavailable, ClusterUnavailable, SharedWorkFailed
from detector.serving.shared_task import At as At
from detector.serving.shared_task import SharedWork as SharedWork
from detector.serving.shared_task import identity, run_task
from detector.serving.worker_tasks import among_workers
from detector.settings import to_environment
from detector.storage.held import held_job
from detector.storage.workers import TASKS, other_workers
from detector.system.batches import map_batches
from detector.system.dask_cluster import DaskCluster
from detector.workspace import Workspace

if TYPE_CHECKING:
    from detector.backbones import Backbone

#: Items of one task. Fewer than the least of them all are not worth sending anywhere.
MOST_ITEMS, LEAST_ITEMS = 1024, 64
#: So many tasks come to each place, where there are enough items: then nobody waits long for the last one.
_TASKS_EACH = 8


@dataclass(frozen=True)
class Answers:
    """What came of shared work, piece by piece in the order of the items; ``here``: all in this process, in one go."""

    pieces: list[dict[str, Any]]
    here: bool

    @property
    def done(self) -> int:
        """Items that are through."""
        return sum(int(piece["done"]) for piece in self.pieces)


def share(
    ws: Workspace,
    work: SharedWork,
    parameters: dict[str, Any],
    items: Sequence[Any],
    at: At,
    here: Callable[[], dict[str, Any]],
) -> Answers:
    """Have work done wherever the settings say.

    Parameters
    ----------
    parameters : dict
        Plain JSON; the same for all items.
    items : sequence
        Plain JSON, such as hashes of images.
    at : callable
        Hears how many items are done.
    here : callable
        Does all of it in this process, as ``work.run`` would, and tells ``at`` by itself.
    """
    least = LEAST_ITEMS if work.size is None else 0
    if ws.settings.dask and len(items) > least:
        return Answers(_on_dask(ws, work, parameters, items, at), here=False)
    job = held_job(ws.db)
    others = other_workers(ws.db, TASKS) if job is not None and len(items) > least else 0
    if job is not None and others:
        size = work.size or task_size(len(items), others + 1)
        batches = [list(items[start : start + size]) for start in range(0, len(items), size)]
        return Answers(among_workers(ws, job.job_id, work, parameters, batches, others + 1, at), here=False)
    return Answers([here()], here=True)


def _on_dask(
    ws: Workspace, work: SharedWork, parameters: dict[str, Any], items: Sequence[Any], at: At
) -> list[dict[str, Any]]:
    settings = ws.settings
    pieces: list[dict[str, Any]] = []
    done = 0
    # A process that takes part hands nothing on: it does its piece itself.
    environment = to_environment(replace(settings, dask=""))
    with DaskCluster(settings.dask, settings.dask_resources, environment) as cluster:

        def waiting() -> None:
            cluster.require_workers()
            at(done)

        for answer in map_batches(
            partial(run_task, work, parameters, identity(ws)),
            items,
            size=work.size or task_size(len(items), cluster.places),
            workers=1,
            ahead=cluster.ahead,
            executor=cluster,
            waiting=waiting,
        ):
            if "failed" in answer:
                if answer["passes"]:
                    raise ClusterUnavailable(settings.dask, answer["failed"])
                raise SharedWorkFailed(f"Shared work stopped: {answer['failed']}.")
            pieces.append(answer["piece"])
            done += int(answer["piece"]["done"])
            at(done)
    return pieces


def task_size(items: int, places: int) -> int:
    """Items of one task where so many work at the same time."""
    return max(LEAST_ITEMS, min(MOST_ITEMS, math.ceil(items / (max(places, 1) * _TASKS_EACH))))


def backbone_to_json(backbone: Backbone) -> dict[str, Any]:
    """What another process needs to load the same backbone."""
    code = backbone.normalisation.code if backbone.normalisation is not None else None
    return {
        "backbone": backbone.spec.id,
        "precision": backbone.precision,
        "inner": backbone.inner,
        "normalise": code,
        "key": backbone.key,
    }


def backbone_from_json(ws: Workspace, parameters: dict[str, Any]) -> Backbone:
    """The loaded backbone that `backbone_to_json` described; it stays in memory for the next task.

    Raises
    ------
    BackboneUnavailable
        Its weights cannot be had here, or are others than those of whoever shares the work.
    """
    fetch_weights(parameters["backbone"], ws.settings)
    found = get_backbone(parameters["backbone"], parameters["precision"], ws.settings, parameters["inner"])
    found = found.normalising(parameters["normalise"])
    if found.key != parameters["key"]:
        raise BackboneUnavailable(
            parameters["backbone"],
            "its weights on this machine differ from those of the program that shares the work",
            "Give every worker the same weights and the same version of this program.",
        )
    return found
