"""Review and the other pages' database from 1,000 to 1,000,000 samples, on SQLite or PostgreSQL."""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Engine, event

from detector.gallery.columns import columns_of
from detector.gallery.filters import ANY, NONE, GalleryFilter, Order
from detector.gallery.selection import Gallery
from detector.settings import Settings
from detector.storage import annotating, functions
from detector.workspace import Workspace
from tests import databases
from tests.benchmarks.figure import Figure
from tests.benchmarks.gallery import filters
from tests.benchmarks.machine import peak_bytes
from tests.factories import label_ids

SIZES = (1_000, 10_000, 100_000, 1_000_000)
PAGES = ("functions.py", "import_images.py", "review.py", "metrics.py", "invoke.py", "api.py")
_CHECKOUT = Path(__file__).resolve().parents[2]
_TILES = 96


def gallery_million_ms(folder: Path) -> Figure:
    """Any filter, order and page of Review with the counts of every choice, by number of samples."""
    found = [_measured(folder / str(n), n) for n in SIZES]
    last = found[-1]
    by_size = {
        f"{what} at {', '.join(f'{n:,}' for n in SIZES)}": [each[name] for each in found]
        for name, what in (
            ("p95_ms", "95th percentile, ms"),
            ("median_ms", "median, ms"),
            ("slowest_ms", "the slowest, ms"),
            ("cpu_p95_ms", "95th percentile of this process's CPU time, ms"),
            ("first_look_ms", "first look of a filter that was not looked at before, 95th percentile, ms"),
            ("cold_s", "the very first look after a start, s"),
            ("first_page_ms", "first page of Review without filters, 95th percentile, ms"),
            ("after_label_ms", "a look after a label was given, median, ms"),
            ("columns_mb", "memory that Review takes, MB"),
            ("peak_mb", "peak memory of the process, MB"),
            ("bytes_a_sample", "bytes of database a sample"),
        )
    }
    pages = {f"database of {name}, first and again, ms at {SIZES[-1]:,}": last["pages"][name] for name in last["pages"]}
    return Figure(
        "gallery_million_ms",
        f"any filter, order and page of Review at {SIZES[-1]:,} samples with all counts, 95th percentile",
        last["p95_ms"],
        "ms",
        100,
        at_least=False,
        measurements=by_size | pages,
        note=f"{last['looks']} looks; the very first one after a start reads all samples and is named apart.",
    )


def _measured(folder: Path, n: int) -> dict[str, Any]:
    """One process makes the samples, another one looks at them: its memory holds nothing else."""
    url = databases.database_url(folder)
    setting = {"DETECTOR_DATABASE_URL": url} if url else {}
    for step in ("make", "look"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.million", step, str(folder), str(n)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            cwd=_CHECKOUT,
            env=os.environ | setting | {"DETECTOR_DATA_DIR": str(folder), "HF_ENDPOINT": "http://127.0.0.1:9"},
        )
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _look(ws: Workspace) -> dict[str, Any]:
    function = functions.list_functions(ws.db)[0].function
    ids = label_ids(ws, function)
    process = psutil.Process()
    before, start = process.memory_info().rss, time.perf_counter()
    columns_of(ws, function.id)
    cold = time.perf_counter() - start
    took, first, first_page, cpu = [], [], [], []
    seen = set()
    for where, order, stacked in itertools.product(_wheres(ids), Order, (True, False)):
        for number in (1, 2, 90):
            start, used = time.perf_counter(), time.process_time()
            gallery = Gallery(ws, function.id)
            gallery.page(where, order, number, _TILES, stacked)
            gallery.facets(where)
            took.append(1000 * (time.perf_counter() - start))
            cpu.append(1000 * (time.process_time() - used))
            if (where, order, stacked) not in seen:
                first.append(took[-1])
            if where == GalleryFilter() and number == 1:
                first_page.append(took[-1])
            seen.add((where, order, stacked))
    resident = process.memory_info().rss
    result = {
        "looks": len(took),
        "p95_ms": _p95(took),
        "median_ms": statistics.median(took),
        "slowest_ms": max(took),
        "cpu_p95_ms": _p95(cpu),
        "first_look_ms": _p95(first),
        "cold_s": cold,
        "first_page_ms": _p95(first_page),
        "after_label_ms": _after_labels(ws, function.id, ids["real"], ids["synthetic"]),
        "columns_mb": (resident - before) / 1e6,
        "peak_mb": peak_bytes() / 1e6,
        "bytes_a_sample": _stored_bytes(ws) / len(columns_of(ws, function.id)),
    }
    return result | {"pages": _pages(function.id)}


def _wheres(ids: dict[str, str]) -> list[GalleryFilter]:
    return [
        *filters(ids),
        GalleryFilter(flips=ANY),
        GalleryFilter(captured=ANY, label=NONE),
        GalleryFilter(bin=True),
    ]


def _after_labels(ws: Workspace, function_id: str, *labels: str) -> float:
    took = []
    for number, label in enumerate(labels * 4):
        columns = columns_of(ws, function_id)
        annotating.annotate(ws.db, [columns.ids[len(columns) // 2 + number // 2].decode()], label)
        start = time.perf_counter()
        gallery = Gallery(ws, function_id)
        gallery.page(GalleryFilter(), Order.LEAST_CONFIDENT, 1, _TILES, stacked=True)
        gallery.facets(GalleryFilter())
        took.append(1000 * (time.perf_counter() - start))
    return statistics.median(took)


def _pages(function_id: str) -> dict[str, list[float]]:
    """What each page waits for its database, the first time and the second: milliseconds."""
    spent: list[float] = []

    @event.listens_for(Engine, "before_cursor_execute")
    def begun(_connection: Any, _cursor: Any, _statement: str, _values: Any, context: Any, _many: bool) -> None:
        context.begun = time.perf_counter()

    @event.listens_for(Engine, "after_cursor_execute")
    def ended(_connection: Any, _cursor: Any, _statement: str, _values: Any, context: Any, _many: bool) -> None:
        spent.append(1000 * (time.perf_counter() - context.begun))

    from tests.page_app import dashboard

    found: dict[str, list[float]] = {name: [] for name in PAGES}
    for name in (*PAGES, *PAGES):
        spent.clear()
        dashboard(name, function_id)
        found[name].append(sum(spent))
    return found


def _stored_bytes(ws: Workspace) -> float:
    if ws.db.engine.dialect.name == "sqlite":
        return sum(path.stat().st_size for path in ws.settings.data_dir.glob("detector.sqlite*"))
    with ws.db.read() as connection:
        return float(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar() or 0)


def _p95(numbers: list[float]) -> float:
    return statistics.quantiles(numbers, n=20)[-1]


if __name__ == "__main__":
    step, where, many = sys.argv[1:]
    opened = Workspace.open(
        Settings(data_dir=Path(where), precision="float32", database_url=os.environ.get("DETECTOR_DATABASE_URL", ""))
    )
    if step == "make":
        # Not above: what trains and validates would lie in the memory of the process that only looks.
        from tests.made_million import made_many

        made_many(opened, int(many))
    else:
        print(json.dumps(_look(opened)))
    opened.close()
