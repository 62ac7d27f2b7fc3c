"""A backup of a real server while ten clients write to it, then restored on another path and into PostgreSQL."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select

from detector.settings import load_settings
from detector.storage.schema import functions, labels, samples
from detector.workspace import Workspace
from tests.api.server import SETTINGS, Caller, Server
from tests.benchmarks.figure import Figure
from tests.command_line import CHECKOUT, environment
from tests.databases import postgresql_url
from tests.factories import LABELS, make_image, write_zip

SAMPLES, CLIENTS = 10_000, 10
_SIDE = 32
#: Clients write for so long before the backup begins: how long they wait then is what waiting during it is compared to.
_BEFORE = 15.0
_NAME = "Press photos"


@dataclass
class Client:
    """What one client was told.

    Attributes
    ----------
    given : (when it was answered, sample, label), in that order
    waits : (when it was asked, seconds until the answer)
    """

    given: list[tuple[float, str, str]] = field(default_factory=list)
    waits: list[tuple[float, float]] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)


def backup_s(folder: Path, count: int = 0) -> Figure:
    """From the command to a backup that was read back, and from there to two servers that say the same.

    ``BACKUP_SAMPLES`` in the environment makes it shorter, to try it.
    """
    count = count or int(os.environ.get("BACKUP_SAMPLES", SAMPLES))
    data, archive = folder / "data", folder / "all.backup"
    source = environment(data, **SETTINGS)
    files = {f"{label}/{seed}.png": make_image(seed, label, _SIDE) for seed in range(count // 2) for label in LABELS}
    pictures = write_zip(folder / "pictures.zip", files)
    _detector(source, "train", pictures, "--function", _NAME, "--backbone", "efficientnet-lite0")
    server = Server(folder, SETTINGS)
    try:
        clients, began, ended, made = _backed_up_while_written(server, archive, source)
    finally:
        server.stop()
    assert "Traceback" not in server.log, server.log
    assert not [status for client in clients for status in client.refused if status != 429]
    asked = folder / "asked"
    asked.mkdir()
    for seed in range(20):
        (asked / f"{seed}.png").write_bytes(make_image(10**6 + seed, LABELS[seed % 2], _SIDE))
    says = _verdicts(source, asked)
    seconds: dict[str, float] = {}
    for name, url in (("SQLite", {}), ("PostgreSQL", {"DETECTOR_DATABASE_URL": postgresql_url(folder / "empty")})):
        target = environment(folder / name, **SETTINGS)
        target.pop("DETECTOR_DATABASE_URL", None)
        target |= url
        start = time.monotonic()
        _detector(target, "restore", archive, "--json")
        seconds[name] = time.monotonic() - start
        _assert_nothing_lost(target, clients, began, ended)
        assert _verdicts(target, asked) == says, name
        checked = json.loads(_detector(target, "check", "--json"))
        assert checked["ok"], checked["problems"]
    quiet = [wait for client in clients for when, wait in client.waits if when < began]
    busy = [wait for client in clients for when, wait in client.waits if began <= when < ended]
    return Figure(
        "backup_s",
        f"a backup of a server with {count:,} samples while {CLIENTS} clients write to it, read back and compared",
        ended - began,
        "s",
        120.0,
        at_least=False,
        measurements={
            "size, MB": [archive.stat().st_size / 1e6],
            "restored on another path, s": [seconds["SQLite"]],
            "restored into PostgreSQL, s": [seconds["PostgreSQL"]],
            "a write before it, median and 95th percentile, s": [*_usual(quiet)],
            "a write during it, median and 95th percentile, s": [*_usual(busy)],
            "writes during it": [len(busy)],
        },
        note="Every label that was confirmed before the backup began is in both restored servers, no sample is in "
        "them that nobody posted, both say the same of 20 pictures that neither has seen, and a check of both finds "
        f"nothing. The backup said: {sum(made['tables'].values()):,} rows.",
    )


def _backed_up_while_written(
    server: Server, archive: Path, source: Mapping[str, str]
) -> tuple[list[Client], float, float, dict[str, Any]]:
    caller = server.caller()
    paths = [caller.create_function(f"Written {number}") for number in range(4)]
    stop = threading.Event()
    clients = [Client() for _ in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        ran = [
            pool.submit(_write, Caller(caller.address, caller.token), number, paths, client, stop)
            for number, client in enumerate(clients)
        ]
        try:
            time.sleep(_BEFORE)
            began = time.monotonic()
            made = json.loads(_detector(source, "backup", archive, "--json"))
            ended = time.monotonic()
        finally:
            stop.set()
        for work in ran:
            work.result()
    return clients, began, ended, made


def _write(caller: Caller, number: int, paths: list[str], client: Client, stop: threading.Event) -> None:
    """Post new pictures and change their labels, until it is told to stop."""
    chance, seed = random.Random(number), 10_000_000 * (number + 1)
    where: dict[str, tuple[str, str]] = {}
    while not stop.is_set():
        start = time.monotonic()
        if where and chance.random() < 0.5:
            sample_id = chance.choice(list(where))
            path, before = where[sample_id]
            label = next(label for label in LABELS if label != before)
            answer = caller.put(f"{path}/samples/{sample_id}/annotation", json={"labelName": label})
        else:
            seed += 1
            path, label, sample_id = chance.choice(paths), chance.choice(LABELS), ""
            answer = caller.post_image(path, make_image(seed, "real", _SIDE), label)
        end = time.monotonic()
        client.waits.append((start, end - start))
        if answer.status_code != 200:
            client.refused.append(answer.status_code)
            time.sleep(0.2)
            continue
        sample_id = sample_id or answer.json()["id"]
        where[sample_id] = (path, label)
        client.given.append((end, sample_id, label))


def _assert_nothing_lost(target: Mapping[str, str], clients: list[Client], began: float, ended: float) -> None:
    with closing(Workspace.open(load_settings(dict(target)))) as ws, ws.db.read() as connection:
        statement = (
            select(samples.c.id, labels.c.name)
            .join(functions, functions.c.id == samples.c.function_id)
            .outerjoin(labels, labels.c.id == samples.c.label_id)
            .where(functions.c.name.startswith("Written"))
        )
        found = {f"sample_{row[0]}": row[1] for row in connection.execute(statement)}
    assert found.keys() <= {sample_id for client in clients for _, sample_id, _ in client.given}
    for client in clients:
        before: dict[str, str] = {}
        during: dict[str, set[str]] = {}
        for when, sample_id, label in client.given:
            if when < began:
                before[sample_id] = label
            elif when < ended:
                during.setdefault(sample_id, set()).add(label)
        for sample_id, label in before.items():
            # Labelled again while the backup ran: it is of one moment, before or after that.
            assert found.get(sample_id) in {label} | during.get(sample_id, set()), sample_id


def _verdicts(target: Mapping[str, str], pictures: Path) -> list[Any]:
    """What the function says of each picture; the last digits differ with the order of additions."""
    lines = [json.loads(line) for line in _detector(target, "invoke", _NAME, pictures, "--json").splitlines()]
    assert len(lines) == 20
    return [_rounded(line) for line in lines]


def _rounded(said: Any) -> Any:
    if isinstance(said, dict):
        return {key: _rounded(value) for key, value in said.items()}
    if isinstance(said, list):
        return [_rounded(value) for value in said]
    return round(said, 4) if isinstance(said, float) else said


def _usual(waits: list[float]) -> tuple[float, float]:
    return statistics.median(waits), statistics.quantiles(waits, n=20)[-1]


def _detector(target: Mapping[str, str], *arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "detector", *map(str, arguments)],
        cwd=CHECKOUT,
        env=dict(target),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{arguments[0]}: {done.stderr[-3000:]}"
    return done.stdout
