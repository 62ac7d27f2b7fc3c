"""The command that shows and sets which invoked pictures a function keeps."""

from __future__ import annotations

import json
from pathlib import Path

from detector.operations.capture import CaptureSettings
from detector.storage import functions
from tests.command_line import run_here
from tests.factories import empty_function, workspace


def test_the_settings_are_shown_and_set_one_by_one(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = empty_function(ws, "Inbox")
    ws.close()
    assert run_here(tmp_path, "capture", "Inbox").out == "No invoked picture is kept by itself.\n"
    on = run_here(tmp_path, "capture", "Inbox", "--low-grade", "on", "--random", "2.5")
    assert on.code == 0, on.err
    assert on.out == (
        "Invoked pictures are kept, at most 200 a month: those that got can't tell, 2.5 % of all others at random.\n"
        "0 pictures captured this month.\n"
    )
    # What is not named stays as it was.
    told = json.loads(run_here(tmp_path, "capture", "Inbox", "--unlike", "on", "--a-month", "50", "--json").out)
    wanted = {"lowGrade": True, "unlike": True, "randomPercent": 2.5, "aMonth": 50, "thisMonth": 0}
    assert told == {"function": function.id, **wanted}
    ws = workspace(tmp_path)
    assert CaptureSettings.of(functions.get_function(ws.db, function.id)) == CaptureSettings(True, True, 0.025, 50)
    ws.close()
    off = run_here(tmp_path, "capture", "Inbox", "--low-grade", "off", "--unlike", "off", "--random", "0")
    assert off.out == "No invoked picture is kept by itself.\n"


def test_what_cannot_be_set_is_a_sentence(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    empty_function(ws, "Inbox")
    ws.close()
    wrong = run_here(tmp_path, "capture", "Inbox", "--random", "200")
    assert (wrong.code, wrong.sentence) == (1, "200 % of the pictures cannot be drawn. Give 0 to 100 percent.")
    odd = run_here(tmp_path, "capture", "Inbox", "--random", "nan")
    assert (odd.code, odd.sentence) == (1, "nan % of the pictures cannot be drawn. Give 0 to 100 percent.")
    none = run_here(tmp_path, "capture", "Nobody")
    assert none.code == 1
