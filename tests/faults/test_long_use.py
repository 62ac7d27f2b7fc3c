"""A short form of ``python -m tests.benchmarks --only soak``: what one invoke, page change and session leave behind."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.api.server import SETTINGS, Caller, Server
from tests.benchmarks.soak import MOST_DESCRIPTORS, MOST_THREADS, PAGES, Held, held_by
from tests.factories import LABELS, make_image
from tests.visitor import Visitor

pytestmark = [pytest.mark.slow, pytest.mark.faults]

#: An event loop of Streamlit's, for each session that it keeps for two minutes after its browser has gone.
_OF_A_KEPT_SESSION = 3
#: Some 100 MB come and go again (88, 94 and 103 were seen); why is not known. What grows by megabytes with each invoke,
#: page change or session is found here; the benchmark, which is longer, has a bound of 40 MB.
_MOST_MB = 250.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("long"), {**SETTINGS, "DETECTOR_COPIES": "0"})
    yield running
    running.stop()
    assert "Traceback" not in running.log, running.log


def assert_flat(before: Held, after: Held, descriptors: int = MOST_DESCRIPTORS) -> None:
    assert after.threads - before.threads <= MOST_THREADS, (before, after)
    assert after.descriptors - before.descriptors <= descriptors, (before, after)
    assert after.memory_mb - before.memory_mb <= _MOST_MB, (before, after)


def test_invokes_page_changes_and_sessions_leave_nothing_behind(server: Server) -> None:
    caller: Caller = server.caller()
    path = caller.create_function()
    for seed, label in itertools.product(range(8), LABELS):
        assert caller.post_image(path, make_image(seed, label), label).status_code == 200
    caller.wait_until_trained(path)
    query, files = f"function={path.rpartition('_')[2]}", itertools.cycle(make_image(500 + seed) for seed in range(20))
    window = Visitor(server.address, "review", query=query)

    def invoke(times: int) -> None:
        for _ in range(times):
            assert caller.post(f"{path}/invoke", files={"data": ("a.png", next(files))}).status_code == 200

    def leaf(times: int) -> None:
        for page in itertools.islice(itertools.cycle(PAGES), times):
            window.turn_to(page, query)
            assert window.titles

    # Loads the network, draws each page once, and fills what is meant to be filled.
    for _ in range(2):
        invoke(30)
        leaf(2 * len(PAGES))
    before = held_by(server.pid)
    invoke(100)
    assert_flat(before, held_by(server.pid))
    before = held_by(server.pid)
    leaf(40)
    assert_flat(before, held_by(server.pid))
    before = held_by(server.pid)
    for _ in range(12):
        Visitor(server.address, "review", query=query).close()
    assert_flat(before, held_by(server.pid), 12 * _OF_A_KEPT_SESSION + MOST_DESCRIPTORS)
    window.close()
