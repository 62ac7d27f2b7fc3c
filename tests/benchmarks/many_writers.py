"""Two servers, their workers and twenty clients that write for five minutes on one PostgreSQL database."""

from __future__ import annotations

import statistics
from pathlib import Path

from tests.benchmarks.figure import Figure
from tests.databases import postgresql_url
from tests.many_clients import CLIENTS, assert_all_there_once, assert_no_two_at_once, two_servers, write_together

SECONDS = 300


def many_writers(folder: Path) -> Figure:
    """How long a writer waits for its answer; nothing may be lost, nothing twice, and no answer an error but 429."""
    with two_servers(folder, postgresql_url(folder)) as servers:
        paths, said = write_together(servers, SECONDS)
        ws = servers[0].workspace
        assert_all_there_once(ws, paths, said)
        assert_no_two_at_once(ws)
    by_action: dict[str, list[float]] = {}
    for one in said:
        for action, some in one.waits.items():
            by_action.setdefault(action, []).extend(some)
    waits = [wait for some in by_action.values() for wait in some]
    told_to_wait = sum(n for one in said for (_, status), n in one.answers.items() if status == 429)
    return Figure(
        "many_writers",
        f"an answer to one of {CLIENTS} clients that write to two servers on PostgreSQL for 5 minutes, 95th percentile",
        statistics.quantiles(waits, n=20)[-1],
        "s",
        5.0,
        at_least=False,
        measurements={
            "median, max": [statistics.median(waits), max(waits)],
            "answers a second": [len(waits) / SECONDS],
            "told to wait": [told_to_wait],
            **{f"{action}, median and max": [statistics.median(some), max(some)] for action, some in by_action.items()},
        },
        note="Nothing lost, nothing twice, no error but 429; while it writes, both workers train.",
    )
