"""Over the API: pictures that the function's settings want are kept behind the answer, and every answer is counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from detector.operations.capture import CaptureSettings, change_capture
from detector.storage.invoke_days import read_invokes
from detector.storage.schema import samples
from tests.api.server import Caller, Server
from tests.factories import LABELS, make_image

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def path(server: Server) -> str:
    """The path of a trained function of this module."""
    caller = server.caller()
    made = caller.create_function("Captures")
    for label in LABELS:
        for seed in range(4):
            assert caller.post_image(made, make_image(seed, label), label).status_code == 200
    caller.wait_until_trained(made)
    return made


def function_of(path: str) -> str:
    return path.rpartition("_")[2]


def captured(server: Server, path: str) -> dict[str, str]:
    """Why each captured sample is there, by its file name."""
    query = select(samples.c.file_name, samples.c.captured).where(
        samples.c.function_id == function_of(path), samples.c.captured.is_not(None)
    )
    with server.workspace.db.read() as connection:
        return {row.file_name: row.captured for row in connection.execute(query)}


def soon(find: Callable[[], Any], wanted: Any) -> None:
    """What happens behind an answer has happened a moment later."""
    deadline = time.monotonic() + 300
    while find() != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    assert find() == wanted


def invoked(caller: Caller, path: str, name: str, seed: int, query: str = "") -> dict[str, Any]:
    answer = caller.post(f"{path}/invoke{query}", files={"data": (name, make_image(seed))})
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


@pytest.mark.long
def test_what_the_settings_want_is_kept_one_or_many_and_no_more_than_the_bound(
    server: Server, caller: Caller, path: str
) -> None:
    # Eight samples are too few for any verdict: each is can't tell.
    assert invoked(caller, path, "off.png", 100)["grade"] == "can't tell"
    change_capture(server.workspace, function_of(path), CaptureSettings(low_grade=True, a_month=4))
    invoked(caller, path, "one.png", 101)
    soon(lambda: captured(server, path), {"one.png": "low grade"})
    invoked(caller, path, "again.png", 101)
    files = [("data", (f"batch-{seed}.png", make_image(seed))) for seed in range(102, 107)]
    files.insert(1, ("data", ("broken.png", b"no image")))
    answers = caller.post(f"{path}/invoke/batch", files=files).json()
    assert ["grade" in answer for answer in answers] == [True, False, True, True, True, True]
    kept = {f"batch-{seed}.png": "low grade" for seed in range(102, 105)}
    soon(lambda: captured(server, path), {"one.png": "low grade", **kept})
    # By one's own wish, whatever the bound.
    invoked(caller, path, "wish.png", 110, "?capture=true")
    soon(lambda: captured(server, path), {"one.png": "low grade", **kept, "wish.png": "asked"})
    change_capture(server.workspace, function_of(path), CaptureSettings())
    invoked(caller, path, "off again.png", 111)
    soon(lambda: captured(server, path), {"one.png": "low grade", **kept, "wish.png": "asked"})


def test_every_answer_is_counted_and_no_failure(server: Server, caller: Caller) -> None:
    own = caller.create_function("Counted")
    for label in LABELS:
        for seed in range(4):
            assert caller.post_image(own, make_image(seed, label), label).status_code == 200
    caller.wait_until_trained(own)
    assert read_invokes(server.workspace.db, function_of(own)) == []
    for seed in range(3):
        invoked(caller, own, "a.png", seed)
    assert caller.post(f"{own}/invoke", files={"data": b"no image"}).status_code == 400
    files = [("data", ("a.png", make_image(1))), ("data", ("b.png", b"no image"))]
    assert caller.post(f"{own}/invoke/batch", files=files).status_code == 200
    soon(lambda: sum(item.count for item in read_invokes(server.workspace.db, function_of(own))), 4)
    [found] = read_invokes(server.workspace.db, function_of(own))
    assert found.door == "api"
    assert found.counts["format"] == {"PNG": 4}
    assert found.counts["side"] == {"6": 4}
