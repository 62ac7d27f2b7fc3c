"""``python -m tests.benchmarks.sharing``: workers that share one build are killed again and again; what it costs.

The same made images are imported twice: one process trains on the first set alone, and three Dask workers or three
``detector worker`` processes on PostgreSQL share the second while some of them, and the scheduler, are killed with -9
at moments that a seed decides. It ends with an error where an image is embedded twice or not at all, or where the
model's file is another one by a single byte. What is given with ``--set`` holds for all who share, such as the place
of the pictures.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from detector.backbones import OFFLINE
from detector.jobs import request_build
from detector.settings import load_settings
from detector.storage import functions, jobs
from detector.workspace import Workspace
from tests.cluster.dask_processes import DaskProcesses
from tests.cluster.one_machine import (
    SETTINGS,
    embedded,
    failed,
    images_embedded,
    live_model_file,
    stored_embeddings,
    train_alone,
    until,
)
from tests.cluster.worker_processes import WorkerProcesses
from tests.command_line import environment
from tests.factories import add_images, images
from tests.postgres import postgres
from tests.s3_server import BUCKET, S3Server
from tests.task_counts import count_tasks

PATIENCE = 3600.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("how", choices=("dask", "workers"))
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--s3", action="store_true", help="those who share have pictures and models in an S3 server")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="DETECTOR_NAME is VALUE")
    options = parser.parse_args()
    given = {f"DETECTOR_{name}": value for name, _, value in (each.partition("=") for each in options.set)}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        alone, alone_function = _imported(environment(folder / "alone", **SETTINGS), options.images)
        start = time.monotonic()
        expected = train_alone(alone, alone_function)
        alone_seconds = time.monotonic() - start

        settings = {**SETTINGS, **given}
        if options.s3:
            settings |= _s3(stack, folder)
        if options.how == "workers":
            settings["DETECTOR_DATABASE_URL"] = stack.enter_context(postgres(folder))
        shared_environment = environment(folder / "shared", **settings)
        shared, function = _imported(shared_environment, options.images)
        moments = random.Random(options.seed)
        start = time.monotonic()
        if options.how == "dask":
            job_id = _on_dask(stack, folder, shared, shared_environment, function, options, moments)
        else:
            job_id = _among_workers(stack, folder, shared, shared_environment, function, options, moments)
        shared_seconds = time.monotonic() - start
        n = options.images
        found = {"rows": embedded(shared), "images": images_embedded(shared), "failed": failed(shared)}
        right = {
            "none_twice_none_missing": found == {"rows": n, "images": n, "failed": 0},
            "numbers_equal": stored_embeddings(shared) == stored_embeddings(alone),
            "model_equal": live_model_file(shared, function) == expected,
            "no_task_left": not count_tasks(shared.db),
            "job_done": jobs.get_job(shared.db, job_id).state == "done",
        }
        print(
            json.dumps(
                {
                    **{
                        "how": options.how,
                        "s3": options.s3,
                        "images": n,
                        "kills": options.kills,
                        "cores": os.cpu_count(),
                    },
                    **{"alone_s": round(alone_seconds, 1), "shared_with_kills_s": round(shared_seconds, 1)},
                    **right,
                },
                indent=2,
            )
        )
        return 0 if all(right.values()) else 1


def _s3(stack: ExitStack, folder: Path) -> dict[str, str]:
    server = S3Server(folder)
    stack.callback(server.stop)
    server.client().create_bucket(Bucket=BUCKET)
    # This process looks into the store as well.
    os.environ.update(server.environment())
    return {"DETECTOR_STORE": f"s3://{BUCKET}/shared", **server.environment()}


def _imported(variables: dict[str, str], number: int) -> tuple[Workspace, functions.Function]:
    ws = Workspace.open(load_settings(variables))
    function = functions.create_function(ws.db, "Shared", backbone_id=OFFLINE, label_names=("real", "synthetic"))
    add_images(ws, function, images(number // 2))
    return ws, function


def _on_dask(
    stack: ExitStack,
    folder: Path,
    ws: Workspace,
    variables: dict[str, str],
    function: functions.Function,
    options: argparse.Namespace,
    moments: random.Random,
) -> str:
    cluster = DaskProcesses(folder / "dask", variables)
    stack.callback(cluster.stop)
    cluster.start_scheduler()
    cluster.start_workers(3)
    runner = WorkerProcesses(folder / "logs", {**variables, "DETECTOR_DASK": cluster.address})
    stack.callback(runner.stop)
    runner.start()

    def kill(number: int) -> None:
        if number % 2:
            cluster.kill_scheduler()
            cluster.stop()
            cluster.start_scheduler()
            cluster.start_workers(3)
        else:
            cluster.kill_worker()
            cluster.start_workers(1)

    return _built_with_kills(ws, function, options, moments, kill)


def _among_workers(
    stack: ExitStack,
    folder: Path,
    ws: Workspace,
    variables: dict[str, str],
    function: functions.Function,
    options: argparse.Namespace,
    moments: random.Random,
) -> str:
    workers = WorkerProcesses(folder / "logs", variables)
    stack.callback(workers.stop)
    workers.start(3)

    def kill(_number: int) -> None:
        workers.end(moments.randrange(3))
        workers.start()

    return _built_with_kills(ws, function, options, moments, kill)


def _built_with_kills(
    ws: Workspace,
    function: functions.Function,
    options: argparse.Namespace,
    moments: random.Random,
    kill: Callable[[int], None],
) -> str:
    """Ask for a build, kill somebody a moment after each of the places that it reaches; returns the ended job's id."""
    job_id = request_build(ws, function.id)
    for number, reached in enumerate(_places(options)):
        until(partial(_has, ws, job_id, reached), "the work goes on", PATIENCE)
        time.sleep(moments.uniform(0, 2))
        kill(number)
    until(lambda: jobs.get_job(ws.db, job_id).state in ("done", "failed"), "the job ends", PATIENCE)
    return job_id


def _has(ws: Workspace, job_id: str, reached: int) -> bool:
    job = jobs.get_job(ws.db, job_id)
    assert job.state != "failed", job.message
    return embedded(ws) >= reached


def _places(options: argparse.Namespace) -> list[int]:
    """After how many images something is killed: spread over the first four fifths."""
    return [round(0.8 * options.images * (kill + 0.5) / options.kills) for kill in range(options.kills)]


if __name__ == "__main__":
    sys.exit(main())
