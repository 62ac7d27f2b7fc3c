"""Ports for servers of tests."""

from __future__ import annotations

import os
import random
import socket

# Below those that the system gives to outgoing connections. The workers of a test run take every so-manyth each: a
# port that is free now may not be a moment later, and a server of another test would answer in place of one's own.
_PORTS = range(20_000, 32_000)
_WORKERS = 16
#: What was given before, and may not have been taken yet: two servers of one test never get the same.
_given: set[int] = set()


def free_port() -> int:
    """A port of localhost that nobody listens on, and that no other worker of this test run is given."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    chances = random.SystemRandom()
    while True:
        port = chances.choice(_PORTS[worker % _WORKERS :: _WORKERS])
        if port in _given:
            continue
        with socket.socket() as asked:
            try:
                asked.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
