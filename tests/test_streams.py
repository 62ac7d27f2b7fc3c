"""The real command line with standard streams that are closed, full, cut off or in another alphabet."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.command_line import CHECKOUT, OFFLINE, Ran, environment
from tests.made_folders import make_folder

pytestmark = pytest.mark.slow

PYTHON = f"'{sys.executable}' -m detector"


def shell(folder: Path, line: str, **variables: str) -> Ran:
    """A line for bash, in which D stands for the command; the code is that of D where it is the first of a pipe."""
    process = subprocess.run(
        ["bash", "-c", line.replace("D ", f"{PYTHON} ") + "\nexit ${PIPESTATUS[0]}"],
        cwd=CHECKOUT,
        env=environment(folder / "data") | variables,
        capture_output=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    return Ran(process.returncode, process.stdout.decode(errors="replace"), process.stderr.decode(errors="replace"))


@pytest.mark.parametrize("variables", [{}, {"PYTHONUNBUFFERED": "1"}])
@pytest.mark.long
def test_an_answer_that_cannot_be_written_is_a_sentence_about_the_output(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    """The kind: exit code 120 and Python's own words where standard output is full; never the data folder's fault."""
    for command in ("D functions --json", "D openapi"):
        ran = shell(tmp_path, f"{command} > /dev/full", **variables)
        assert ran.code == 1
        assert ran.err.startswith("The answer could not be written to the standard output (No space left on device).")
        assert len(ran.err.splitlines()) == 1


@pytest.mark.long
def test_who_reads_only_the_beginning_gets_no_complaint(tmp_path: Path) -> None:
    for line in ("D openapi | head -n 1", "D openapi | true"):
        ran = shell(tmp_path, line)
        assert (ran.code, ran.err) == (1, "")


@pytest.mark.long
def test_what_is_said_beside_the_answer_may_go_nowhere(tmp_path: Path) -> None:
    """The kind: a full, closed or cut-off stderr ended the work, or what was said came among the JSON."""
    folder = make_folder(tmp_path / "set", {"real": 3, "synthetic": 3})
    fixed = {"DETECTOR_PRECISION": "float32"}
    for number, sink in enumerate(("2>/dev/full", "2>&-", "2> >(head -c 1 >/dev/null)")):
        ran = shell(tmp_path, f"D train '{folder}' --function {number} --json {' '.join(OFFLINE)} {sink}", **fixed)
        assert ran.code == 0
        assert json.loads(ran.out)["model"]["version"] == 1


def test_closed_streams_are_no_numbers_for_files_of_ours(tmp_path: Path) -> None:
    """The kind: the first file that is opened takes the number of a closed stream, and gets what is said there."""
    ran = shell(tmp_path, "D keys create --name K <&- >&- 2>&-")
    assert ran == Ran(0, "", "")
    assert "K" in shell(tmp_path, "D keys list").out
    for file in (tmp_path / "data").iterdir():
        assert b"Keep the secret" not in (file.read_bytes() if file.is_file() else b"")
    closed = shell(tmp_path, "D password <&-")
    assert closed.code == 1
    assert closed.err.startswith("The password has 0 characters")


@pytest.mark.parametrize(
    "variables", [{}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "ascii"}]
)
@pytest.mark.long
def test_names_that_are_no_text_are_a_sentence_whatever_the_alphabet(tmp_path: Path, variables: dict[str, str]) -> None:
    for command in (
        "D export $'\\xff' x.csv",
        "D audit $'\\xff'",
        "printf 'ab\\xff' | D password; exit ${PIPESTATUS[1]}",
    ):
        ran = shell(tmp_path, command, **variables)
        assert ran.code == 1, command
        assert len(ran.err.splitlines()) == 1
        assert "Traceback" not in ran.err


def test_a_working_directory_that_is_gone_is_a_sentence(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    ran = shell(tmp_path, f"cd '{gone}'; rmdir '{gone}'; D train some", PYTHONPATH=str(CHECKOUT))
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 1
    assert "Traceback" not in ran.err


@pytest.mark.long
@pytest.mark.parametrize("seconds", [0.3, 1.5, 4.0])
def test_a_command_that_is_stopped_says_nothing_of_its_own_code(tmp_path: Path, seconds: float) -> None:
    """The kind: Ctrl+C while the program is being loaded, while it works, and a second time while it ends."""
    folder = make_folder(tmp_path / "set", {"real": 20, "synthetic": 20})
    process = subprocess.Popen(
        [sys.executable, "-m", "detector", "train", str(folder), *OFFLINE],
        cwd=CHECKOUT,
        env=environment(tmp_path / "data"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(seconds)
    for _ in range(2):
        if process.poll() is None:
            os.kill(process.pid, signal.SIGINT)
            time.sleep(0.5)
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    assert process.returncode in (130, -signal.SIGINT, 0)
    assert not out or process.returncode == 0
