"""A server whose jobs cannot be started ends, with the sentence that says why."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import time
from detector.errors import InvalidInput
from detector.web.opening import Opening

def start(made):
    raise InvalidInput("The jobs cannot be started.")

opening = Opening(lambda: 7)
opening.wait()
opening.when_made(start)
time.sleep(20)
"""


def test_a_start_that_fails_ends_the_process_with_its_sentence() -> None:
    ended = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (1, "The jobs cannot be started.\n")
