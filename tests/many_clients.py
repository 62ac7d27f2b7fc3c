"""Many clients write at once to two servers of one PostgreSQL database; afterwards all of it must be there, once."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import func, select

from detector.storage import jobs
from detector.storage.schema import annotation_history, labels
from detector.storage.schema import samples as table
from detector.workspace import Workspace
from tests.api.server import SETTINGS, Caller, Server
from tests.factories import LABELS, make_image

CLIENTS = 20
_SIDE = 32
#: Pictures that several clients post, each of which one of them may keep.
_COMMON = 40


@dataclass
class Said:
    """What the servers have confirmed to one client.

    Attributes
    ----------
    labels : label by id of a sample that is there, in the order in which they were posted
    changes : how often each of these was given a label
    external_ids : the id of its own that each of them was posted with
    answers : how often which action got which status
    waits : how long each answer took, in seconds, by action
    """

    labels: dict[str, str] = field(default_factory=dict)
    changes: Counter[str] = field(default_factory=Counter)
    external_ids: dict[str, str] = field(default_factory=dict)
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    waits: dict[str, list[float]] = field(default_factory=dict)


@contextmanager
def two_servers(folder: Path, url: str) -> Iterator[list[Server]]:
    """Two servers, each with its worker, on one data folder and one database. None of them may show a traceback."""
    started: list[Server] = []
    settings = {**SETTINGS, "DETECTOR_DATA_DIR": str(folder / "data"), "DETECTOR_DATABASE_URL": url}
    try:
        for number in range(2):
            own = folder / str(number)
            own.mkdir()
            started.append(Server(own, settings))
        yield started
    finally:
        for server in started:
            server.stop()
    for server in started:
        assert "Traceback" not in server.log, server.log


def write_together(servers: Sequence[Server], seconds: float, functions: int = 4) -> tuple[list[str], list[Said]]:
    """Have all clients post, label, delete and invoke for a while; returns the functions and what was confirmed."""
    caller = servers[0].caller()
    trained = caller.create_function("Trained")
    for seed, label in itertools.product(range(4), LABELS):
        assert caller.post_image(trained, make_image(seed, label), label).status_code == 200
    caller.wait_until_trained(trained)
    paths = [caller.create_function(f"Written {number}") for number in range(functions)]
    end = time.monotonic() + seconds
    callers = [server.caller() for server in servers]
    with ThreadPoolExecutor(CLIENTS) as pool:
        ran = [
            pool.submit(_client, Caller(caller.address, caller.token), number, trained, paths, end)
            for number, caller in zip(range(CLIENTS), itertools.cycle(callers), strict=False)
        ]
        return paths, [work.result() for work in ran]


def _client(caller: Caller, number: int, trained: str, paths: list[str], end: float) -> Said:
    chance, said = random.Random(number), Said()
    place = 0
    where: dict[str, str] = {}
    while time.monotonic() < end:
        action = chance.choices(("post", "post common", "label", "delete", "invoke"), (10, 3, 4, 2, 2))[0]
        if action in ("label", "delete") and not where:
            continue
        place += 1
        sample_id = chance.choice(list(where)) if where else ""
        start = time.monotonic()
        if action.startswith("post"):
            common = action == "post common"
            seed = chance.randrange(_COMMON) if common else 1000 + 100_000 * number + place
            path, label, external_id = chance.choice(paths), chance.choice(LABELS), f"{number}-{place}"
            answer = caller.post_image(path, make_image(seed, "real", _SIDE), label, externalId=external_id)
            if answer.status_code == 200:
                sample_id = answer.json()["id"]
                where[sample_id] = path
                said.labels[sample_id], said.external_ids[sample_id] = label, external_id
                said.changes[sample_id] += 1
        elif action == "label":
            other = next(label for label in LABELS if label != said.labels[sample_id])
            answer = caller.put(f"{where[sample_id]}/samples/{sample_id}/annotation", json={"labelName": other})
            if answer.status_code == 200:
                said.labels[sample_id] = other
                said.changes[sample_id] += 1
        elif action == "delete":
            answer = caller.delete(f"{where[sample_id]}/samples/{sample_id}")
            if answer.status_code == 200:
                del where[sample_id], said.labels[sample_id], said.external_ids[sample_id], said.changes[sample_id]
        else:
            answer = caller.post(f"{trained}/invoke", files={"data": make_image(place % 8, "real")})
        said.waits.setdefault(action, []).append(time.monotonic() - start)
        said.answers[(action, answer.status_code)] += 1
        if answer.status_code == 429:
            time.sleep(0.2)
    return said


def assert_all_there_once(ws: Workspace, paths: Sequence[str], said: Sequence[Said]) -> None:
    """What was confirmed is there, with the label that was given last, and nothing else; no error but 429."""
    answers = sum((one.answers for one in said), Counter[tuple[str, int]]())
    # The same picture twice is no error of the server: it says that it has it.
    unexpected = {key: n for key, n in answers.items() if key[1] not in (200, 429) and key != ("post common", 409)}
    assert not unexpected
    assert {action for action, status in answers if status == 200} == {
        *("post", "post common", "label", "delete", "invoke")
    }
    ids = [path.rsplit("_", 1)[1] for path in paths]
    statement = (
        select(table.c.id, labels.c.name, table.c.external_id, func.count(annotation_history.c.sequence))
        .join(labels, labels.c.id == table.c.label_id)
        .outerjoin(annotation_history, annotation_history.c.sample_id == table.c.id)
        .where(table.c.function_id.in_(ids), table.c.deleted_at.is_(None))
        .group_by(table.c.id, labels.c.name, table.c.external_id)
    )
    with ws.db.read() as connection:
        stored = {f"sample_{row[0]}": tuple(row[1:]) for row in connection.execute(statement)}
    confirmed = {
        sample_id: (label, one.external_ids[sample_id], one.changes[sample_id])
        for one in said
        for sample_id, label in one.labels.items()
    }
    assert sum(len(one.labels) for one in said) == len(confirmed)
    assert stored == confirmed


def assert_no_two_at_once(ws: Workspace) -> None:
    """Two jobs of one function and kind have never run at the same time."""
    ran: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for job in jobs.list_jobs(ws.db, active=False, limit=100_000):
        if job.started_at is not None and job.finished_at is not None:
            ran.setdefault((job.function_id, job.kind), []).append((job.started_at, job.finished_at))
    assert ran
    for spans in ran.values():
        spans.sort()
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
