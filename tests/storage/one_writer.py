"""``python -m tests.storage.one_writer``: one of several processes that write the same at once, each in some threads.

What each thread has got is printed as a list of JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from detector.errors import Conflict
from detector.jobs import BUILD
from detector.settings import Settings
from detector.storage import embeddings, functions, imports, jobs, models
from detector.storage.models import _add_row
from detector.storage.posted_samples import PostedSample, add_posted
from detector.workspace import Workspace
from tests.factories import make_image, new_sample

THREADS = 4
PICTURES, ROUNDS = 12, 15


def posts(ws: Workspace, function_ids: list[str], number: int) -> list[str]:
    """Every picture to every function, in an order of its own; the ids that were answered."""
    new = [new_sample(ws, make_image(seed), f"{seed}.png").image for seed in range(PICTURES)]
    order = np.random.default_rng(number).permutation(len(new))
    got: list[str] = []
    for function_id in function_ids if number % 2 else reversed(function_ids):
        for start in range(0, len(new), 4):
            some = [new[place] for place in order[start : start + 4]]
            answers = add_posted(
                ws.db,
                [PostedSample(function_id, item, f"{place}.png", "real", "same") for place, item in enumerate(some)],
            )
            got += [answer for answer in answers if isinstance(answer, str)]
            assert all(isinstance(answer, str | Conflict) for answer in answers), answers
    return got


def imported(ws: Workspace, function_ids: list[str], number: int) -> list[str]:
    """The same pictures by import."""
    new = [new_sample(ws, make_image(seed), f"{seed}.png") for seed in range(PICTURES)]
    order = np.random.default_rng(number).permutation(len(new))
    found = imports.add_samples(ws.db, function_ids[number % 2], None, [new[place] for place in order])
    return [item.sample_id for item in found if item.outcome == "imported"]


def claims(ws: Workspace, function_ids: list[str], number: int) -> list[str]:
    """Every job that it gets, ended at once."""
    got = []
    while (job := jobs.claim(ws.db, (BUILD,))) is not None:
        running = [other for other in jobs.list_jobs(ws.db, job.function_id) if other.state == "running"]
        assert [other.id for other in running] == [job.id]
        jobs.finish(ws.db, job.id, "done", lease=job.lease)
        got.append(job.id)
    return got


def labels(ws: Workspace, function_ids: list[str], number: int) -> list[str]:
    """Labels that all of them need."""
    for word in range(ROUNDS):
        functions.ensure_labels(ws.db, function_ids[0], [f"label {word}", f"Label {word}"])
    return []


def versions(ws: Workspace, function_ids: list[str], number: int) -> list[str]:
    """Models, each of which is the next version."""
    facts: dict[str, Any] = dict.fromkeys(("backbone_id", "backbone_key", "precision", "training_fingerprint"), "a")
    facts |= {"label_ids": [], "label_names": [], "sample_count": 0, "hyperparameters": {}, "sweep": [], "seconds": 0.0}
    for place in range(ROUNDS):
        _add_row(ws.db, function_ids[0], f"{number}-{place}", facts)
    return [str(model.version) for model in models.list_models(ws.db, function_ids[0])]


def numbers(ws: Workspace, function_ids: list[str], number: int) -> list[str]:
    """Embeddings of all images, in an order of its own."""
    hashes = embeddings.missing_images(ws.db, function_ids[0], "no key")
    order = np.random.default_rng(number).permutation(len(hashes))
    rows = [(hashes[place], {"whole": np.zeros(4, np.float32), "detail": np.zeros(4, np.float32)}) for place in order]
    for place in range(ROUNDS):
        embeddings.write_embeddings(ws.db, f"key {place}", rows, [])
    return []


ACTIONS: dict[str, Callable[[Workspace, list[str], int], list[str]]] = {
    action.__name__: action for action in (posts, imported, claims, labels, versions, numbers)
}


def main(name: str, url: str, folder: str, first: str, *function_ids: str) -> None:
    """Do it in all threads at once; the numbers of this process's threads begin at ``first``."""
    ws = Workspace.open(Settings(data_dir=Path(folder), database_url=url))
    with ThreadPoolExecutor(THREADS) as pool:
        ran = [pool.submit(ACTIONS[name], ws, list(function_ids), int(first) + n) for n in range(THREADS)]
        print(json.dumps([work.result() for work in ran]))
    ws.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
