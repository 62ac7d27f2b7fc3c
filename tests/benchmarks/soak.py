"""Long use: whether memory, threads and open files of a real server stay flat.

5,000 invokes, 200 sessions that come and go, 1,000 page changes, in turns; what server and worker hold is written down
before and after each quarter, once the sessions that Streamlit keeps for two minutes are gone: ten minutes of waiting
in all. ``DETECTOR_SOAK=0.1`` makes what is done a tenth as long, and the waiting no shorter.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from tests.api.server import SETTINGS, Caller, Server
from tests.benchmarks.figure import Figure
from tests.factories import LABELS, make_image
from tests.visitor import Visitor

INVOKES, SESSIONS, PAGE_CHANGES = 5000, 200, 1000
_QUARTERS = 4
#: What the last quarter may add. Memory is what the system says, in which freed blocks are kept for the next use.
MOST_MB, MOST_THREADS, MOST_DESCRIPTORS = 40.0, 4, 8
#: Streamlit keeps a session for two minutes after its browser has gone, should it come back: three descriptors each.
_SESSION_KEPT_SECONDS = 125
PAGES = ("", "review", "metrics", "import", "invoke", "api")
_SAMPLES = 20


@dataclass(frozen=True)
class Held:
    """What the server and the processes that it started hold at one moment.

    Attributes
    ----------
    memory_mb : resident memory of all, in megabytes
    server_mb : that of the server's own process
    threads, descriptors : how many threads and open files, sockets and pipes, of all
    """

    memory_mb: float
    server_mb: float
    threads: int
    descriptors: int


def held_by(pid: int) -> Held:
    """Ask the system about a process and those below it."""
    server = psutil.Process(pid)
    own = server.memory_info().rss / 1e6
    memory, threads, descriptors = own, server.num_threads(), server.num_fds()
    for process in server.children(recursive=True):
        memory += process.memory_info().rss / 1e6
        threads += process.num_threads()
        descriptors += process.num_fds()
    return Held(memory, own, threads, descriptors)


def soak(folder: Path) -> Figure:
    """What the last quarter adds to the memory of the server, all three kinds of use taking turns."""
    part = float(os.environ.get("DETECTOR_SOAK", "1"))
    server = Server(folder, {**SETTINGS, "DETECTOR_COPIES": "0"})
    try:
        moments, seconds = _use(server, part)
        log = server.log
    finally:
        server.stop()
    assert "Traceback" not in log, log[-3000:]
    before, after = moments[-2], moments[-1]
    grown = {name: getattr(after, name) - getattr(before, name) for name in asdict(after)}
    flat = (
        grown["memory_mb"] <= MOST_MB and grown["threads"] <= MOST_THREADS and grown["descriptors"] <= MOST_DESCRIPTORS
    )
    return Figure(
        "soak",
        f"{int(INVOKES * part):,} invokes, {int(SESSIONS * part)} sessions opened and closed and "
        f"{int(PAGE_CHANGES * part):,} page changes of a real server: what the last quarter adds to memory",
        # A figure has one number: threads or descriptors that grow miss it too.
        grown["memory_mb"] if flat else max(grown["memory_mb"], MOST_MB + 1),
        "MB",
        MOST_MB,
        at_least=False,
        measurements={
            "memory of server and worker at the quarters, MB": [held.memory_mb for held in moments],
            "of the server alone, MB": [held.server_mb for held in moments],
            "threads": [held.threads for held in moments],
            "descriptors": [held.descriptors for held in moments],
            "seconds, without the waiting": [seconds],
        },
        note=f"Flat means: in the last quarter at most {MOST_MB:.0f} MB, {MOST_THREADS} threads and "
        f"{MOST_DESCRIPTORS} descriptors more. Each page change and session is Streamlit's own messages over a "
        "websocket, each page drawn to its end.",
    )


def _use(server: Server, part: float) -> tuple[list[Held], float]:
    caller = server.caller()
    path = caller.create_function()
    for seed, label in itertools.product(range(_SAMPLES), LABELS):
        assert caller.post_image(path, make_image(seed, label), label).status_code == 200
    caller.wait_until_trained(path)
    function_id = path.rpartition("_")[2]
    pictures = [make_image(1000 + seed, LABELS[seed % 2]) for seed in range(50)]
    query = f"function={function_id}"
    # Loads the network and draws each page once: none of that is growth.
    _invoke(caller, path, pictures[0])
    window = Visitor(server.address, "review", query=query)
    pages = itertools.cycle(PAGES)
    files = itertools.cycle(pictures)
    for _ in PAGES:
        window.turn_to(next(pages), query)
    moments = [settled(server, query)]
    took = 0.0
    for _ in range(_QUARTERS):
        start = time.monotonic()
        for action in _in_turns(
            invoke=int(INVOKES * part / _QUARTERS),
            session=int(SESSIONS * part / _QUARTERS),
            page=int(PAGE_CHANGES * part / _QUARTERS),
        ):
            if action == "invoke":
                _invoke(caller, path, next(files))
            elif action == "session":
                visitor = Visitor(server.address, next(pages), query=query)
                assert visitor.titles
                visitor.close()
            else:
                window.turn_to(next(pages), query)
                assert window.titles
        took += time.monotonic() - start
        moments.append(settled(server, query))
    window.close()
    return moments, took


def _in_turns(**counts: int) -> Iterator[str]:
    """Each name as often as is said, evenly mixed."""
    places = [((number + 0.5) / count, name) for name, count in counts.items() for number in range(count)]
    return (name for _, name in sorted(places))


def _invoke(caller: Caller, path: str, data: bytes) -> None:
    answer = caller.post(f"{path}/invoke", files={"data": ("image.png", data)})
    while answer.status_code == 429:
        time.sleep(0.2)
        answer = caller.post(f"{path}/invoke", files={"data": ("image.png", data)})
    assert answer.status_code == 200, answer.text


def settled(server: Server, query: str) -> Held:
    """What is held once the sessions that ended are gone: the least of a few looks."""
    time.sleep(_SESSION_KEPT_SECONDS)
    # Streamlit looks for sessions that are too old when another one ends.
    Visitor(server.address, "", query=query).close()
    looks = []
    for _ in range(5):
        time.sleep(1)
        looks.append(held_by(server.pid))
    return Held(
        min(look.memory_mb for look in looks),
        min(look.server_mb for look in looks),
        min(look.threads for look in looks),
        min(look.descriptors for look in looks),
    )
