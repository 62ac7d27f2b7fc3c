"""One server for a module's tests; each test makes functions of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.server import Caller, Server
from tests.factories import LABELS, make_image


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server"))
    yield running
    running.stop()
    assert "Traceback" not in running.log, running.log


@pytest.fixture
def caller(server: Server) -> Iterator[Caller]:
    with server.caller() as session:
        yield session


@pytest.fixture(scope="module")
def trained(server: Server) -> str:
    """The path of a function with a live model; not to be changed."""
    caller = server.caller()
    path = caller.create_function("Trained")
    for label in LABELS:
        for seed in range(4):
            answer = caller.post_image(path, make_image(seed, label), label)
            assert answer.status_code == 200, answer.text
    caller.wait_until_trained(path)
    return path
