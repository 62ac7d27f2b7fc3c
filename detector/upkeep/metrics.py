"""What runs and how much, as Prometheus reads it.

Nearly all of it is counted by the database at the moment it is asked: so it holds for all servers and workers
together, and survives a restart. The format is written here, and by no package: it is these few lines, and the usual
package keeps counters of its own in each process, which say nothing of a worker elsewhere.
https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, func, select

from detector import __version__
from detector.storage.database import now
from detector.storage.migrations import SCHEMA_VERSION
from detector.storage.people_schema import upkeep_runs
from detector.storage.room import database_bytes, free_bytes
from detector.storage.schema import embeddings, functions, invoke_days, jobs, labels, samples
from detector.system.counters import counted
from detector.workspace import Workspace

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: Names of labels are people's own: so many get a line, the others share one.
MOST_LABELS = 50
_LONGEST_LABEL = 100
_STATES = ("queued", "running", "done", "failed", "cancelled")
_OTHER = "other"

_Sample = tuple[Mapping[str, str], float]


def metrics(ws: Workspace) -> str:
    """The text for one question. Raises StorageTrouble."""
    with ws.db.read() as connection:
        moment = now()
        parts = [
            _family("build_info", "The version that answers.", [({"version": __version__, **_schema()}, 1)]),
            _family("jobs", "Jobs by state and kind.", _jobs(connection)),
            _family(
                "queue_age_seconds",
                "How long the oldest job that is due has waited; 0: none waits.",
                [({}, _queue_age(connection, moment))],
            ),
            _family("job_images_per_second", "Speed of running jobs, as they report it.", _rates(connection)),
            _family("functions", "Functions.", [({}, _count(connection, functions))]),
            _family("samples", "Samples, without those in the bin.", [({}, _samples(connection))]),
            _family(
                "embeddings",
                "Stored embeddings; deriv() of it is the images embedded per second.",
                [({}, _count(connection, embeddings))],
            ),
            _family(
                "invokes_total",
                "Answered invokes by door, grade and verdict, of functions that are there.",
                _invokes(connection),
                "counter",
            ),
            _family("database_bytes", "Size of the database.", [({}, database_bytes(connection))]),
            *_upkeep(connection, moment),
        ]
    settings = ws.settings
    parts += [
        _family("disk_free_bytes", "Room on the disk of the data folder.", [({}, free_bytes(settings.data_dir))]),
        _family("disk_kept_free_bytes", "Below it no import begins.", [({}, settings.min_free_mb * 1_000_000)]),
        _family(
            "http_requests_total",
            "Requests that this process answered, by part of the server and status.",
            counted("http_requests"),
            "counter",
        ),
        _family("errors_total", "Errors that this process answered with, by kind.", counted("errors"), "counter"),
    ]
    return "".join(parts)


def _family(name: str, help_text: str, found: Iterable[_Sample], kind: str = "gauge") -> str:
    name = f"detector_{name}"
    lines = [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]
    for labelled, value in found:
        shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labelled.items())
        lines.append(f"{name}{{{shown}}} {_number(value)}" if shown else f"{name} {_number(value)}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """As the format wants it; what cannot be seen is dropped first, since a label's name may be anything."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    return shown.replace("\\", "\\\\").replace('"', '\\"')


def _number(value: float) -> str:
    if math.isnan(value) or math.isinf(value):
        return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf")
    return str(int(value)) if value == int(value) else repr(float(value))


def _schema() -> dict[str, str]:
    return {"schema": str(SCHEMA_VERSION)}


def _count(connection: Connection, table: object) -> int:
    return int(connection.scalar(select(func.count()).select_from(table)) or 0)  # type: ignore[arg-type]


def _samples(connection: Connection) -> int:
    return int(connection.scalar(select(func.count()).select_from(samples).where(samples.c.deleted_at.is_(None))) or 0)


def _jobs(connection: Connection) -> list[_Sample]:
    rows = connection.execute(select(jobs.c.state, jobs.c.kind, func.count()).group_by(jobs.c.state, jobs.c.kind)).all()
    known = {(state, kind): int(number) for state, kind, number in rows}
    kinds = sorted({kind for _, kind in known})
    # Zeros too: a line that comes and goes cannot be watched.
    return [({"state": state, "kind": kind}, known.get((state, kind), 0)) for kind in kinds for state in _STATES]


def _queue_age(connection: Connection, moment: float) -> float:
    waiting = connection.execute(
        select(jobs.c.created_at, jobs.c.run_after).where(jobs.c.state == "queued", jobs.c.run_after <= moment)
    )
    return max((moment - max(created, after) for created, after in waiting), default=0.0)


def _rates(connection: Connection) -> list[_Sample]:
    rates: Counter[str] = Counter()
    for kind, rate in connection.execute(
        select(jobs.c.kind, jobs.c.rate).where(jobs.c.state == "running", jobs.c.rate.is_not(None))
    ):
        rates[kind] += rate
    return [({"kind": kind}, rate) for kind, rate in sorted(rates.items())]


def _invokes(connection: Connection) -> list[_Sample]:
    names = {row.id: row.name for row in connection.execute(select(labels.c.id, labels.c.name))}
    found: Counter[tuple[str, str, str]] = Counter()
    for door, number, counts in connection.execute(
        select(invoke_days.c.door, invoke_days.c["count"], invoke_days.c.counts)
    ):
        said = counts.get("said", {})
        for name, times in said.items():
            grade, _, label_id = name.partition(" ")
            verdict = names.get(label_id, _OTHER) if label_id else ""
            found[door, grade, verdict[:_LONGEST_LABEL]] += times
        if (unsaid := number - sum(said.values())) > 0:
            found[door, _OTHER, _OTHER] += unsaid
    most = {name for name, _ in _by_label(found).most_common(MOST_LABELS)}
    shared: Counter[tuple[str, str, str]] = Counter()
    for (door, grade, verdict), times in found.items():
        shared[door, grade, verdict if verdict in most or not verdict else _OTHER] += times
    return [
        ({"door": door, "grade": grade, "verdict": verdict}, times)
        for (door, grade, verdict), times in sorted(shared.items())
    ]


def _by_label(found: Mapping[tuple[str, str, str], int]) -> Counter[str]:
    number: Counter[str] = Counter()
    for (_, _, verdict), times in found.items():
        number[verdict] += times
    return number


def _upkeep(connection: Connection, moment: float) -> list[str]:
    """Of checks and backups: how long ago the last good one was, and whether the last one was good; none: no line."""
    ages: list[_Sample] = []
    well: list[_Sample] = []
    for kind in ("backup", "check"):
        of_kind = select(upkeep_runs.c.at, upkeep_runs.c.ok).where(upkeep_runs.c.kind == kind)
        newest = of_kind.order_by(upkeep_runs.c.at.desc(), upkeep_runs.c.sequence.desc()).limit(1)
        last = connection.execute(newest).one_or_none()
        good = connection.execute(newest.where(upkeep_runs.c.ok.is_(True))).one_or_none()
        if last is not None:
            well.append(({"kind": kind}, int(last.ok)))
        if good is not None:
            ages.append(({"kind": kind}, max(moment - good.at, 0.0)))
    return [
        _family("upkeep_age_seconds", "Since the last good backup and check.", ages),
        _family("upkeep_ok", "Whether the last backup and the last check went well.", well),
    ]
