"""With the setting, every line of a process is one JSON object, with the request or job that it belongs to."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading

import pytest

from detector.settings import CHECKOUT
from detector.system.logs import JsonLines, in_job, in_request, note_job, request_id_of

PROGRAM = """
import logging, warnings
from detector.system.logs import in_job, in_request, set_up_logs
uvicorn = logging.getLogger("uvicorn.error")
uvicorn.propagate = False
uvicorn.addHandler(logging.StreamHandler())
set_up_logs(KIND)
set_up_logs(KIND)
log = logging.getLogger("detector.somewhere")
with in_request("abc"), in_job("j1"):
    log.info("first\\nsecond line \\u2028 and %s", "so")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("it failed")
logging.getLogger("uvicorn.error").error("of the server")
logging.getLogger("somelibrary").info("not wanted")
warnings.warn("take care")
"""


def lines(kind: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("KIND", repr(kind))],
        cwd=CHECKOUT,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stderr.splitlines()


def test_every_line_is_one_object_and_names_its_request_and_job() -> None:
    first, failed, server, warned = (json.loads(line) for line in lines("json"))
    assert (first["request_id"], first["job_id"], first["level"]) == ("abc", "j1", "info")
    assert first["message"] == "first\nsecond line \u2028 and so"
    assert first["time"].endswith("+00:00")
    assert "request_id" not in failed
    assert "ZeroDivisionError" in failed["error"]
    assert (server["logger"], server["message"]) == ("uvicorn.error", "of the server")
    assert "take care" in warned["message"]


def test_without_it_lines_are_as_python_writes_them() -> None:
    found = lines("text")
    assert "it failed" in found[0]
    assert not any(line.startswith("{") for line in found)


def test_a_thread_of_jobs_names_the_job_that_it_works_on_and_no_other_thread_does() -> None:
    record = logging.LogRecord("detector.x", logging.INFO, "", 0, "said", None, None)
    said: list[dict[str, str]] = []

    def work() -> None:
        for job in ("one", ""):
            note_job(job)
            said.append(json.loads(JsonLines().format(record)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert said[0]["job_id"] == "one"
    assert "job_id" not in said[1]
    assert "job_id" not in json.loads(JsonLines().format(record))
    with in_job("two"), in_request("r"):
        assert json.loads(JsonLines().format(record))["job_id"] == "two"


@pytest.mark.parametrize("evil", [None, "", "a" * 65, 'x"y', "x\ny", "ü"])
def test_what_is_no_sane_id_gets_another_one(evil: str | None) -> None:
    assert len(request_id_of(evil)) == 16
    assert request_id_of("5f-3.A_z") == "5f-3.A_z"
