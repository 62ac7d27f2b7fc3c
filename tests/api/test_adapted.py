"""An adapted function over HTTP: the answer, its grade and its reason, while the server runs and after a restart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from detector.operations import recentring
from detector.pipeline.build import build
from detector.storage import functions
from tests.api.server import Caller, Server
from tests.factories import LABELS, labelled_function
from tests.operations.another_place import picture, pictures

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    yield running
    running.stop()
    assert "Traceback" not in running.log, running.log


def asked(caller: Caller, path: str) -> list[dict[str, Any]]:
    one = caller.post(f"{path}/invoke", files={"data": ("new.png", picture(703, "synthetic"))}).json()
    files = [("data", (f"{label}.png", picture(704, label))) for label in LABELS]
    return [one, *caller.post(f"{path}/invoke/batch", files=files).json()]


@pytest.mark.long
def test_what_the_api_says_is_shifted_capped_and_explained_until_it_is_undone(server: Server) -> None:
    ws = server.workspace
    function = labelled_function(ws, 12)
    functions.set_false_accusation_limit(ws.db, function.id, 0.3)
    build(ws, function.id)
    caller, path = server.caller(), f"/v1/functions/{function.id}"
    before = asked(caller, path)
    assert [item["labelName"] for item in before] == ["real", "real", "real"]
    recentring.adapt(ws, recentring.try_on(ws, function.id, pictures()))
    after = asked(caller, path)
    assert [item["labelName"] for item in after] == ["synthetic", "real", "synthetic"]
    assert {item["grade"] for item in after} <= {"moderate", "can't tell"}
    for item in after:
        if item["grade"] == "moderate":
            assert item["reason"].startswith("Adapted to 24 pictures of yours, and so moderate at most.")
    server.kill()
    server.start()
    assert asked(server.caller(), path) == after
    recentring.undo(ws, function.id)
    assert asked(server.caller(), path) == before
