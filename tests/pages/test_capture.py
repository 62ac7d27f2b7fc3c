"""What Invoke says becomes of a picture, before one is given to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from detector.importing.run_files import KEPT_DAYS
from detector.storage import functions
from detector.storage.functions import Function
from pages._capture import keeping_sentence
from tests.factories import empty_function, workspace

UNASKED = "not kept unless you ask for it"


@pytest.fixture
def function(tmp_path: Path) -> Function:
    ws = workspace(tmp_path)
    return functions.get_function(ws.db, empty_function(ws).id)


def test_it_is_said_that_each_verdict_leaves_a_record_where_it_does(function: Function) -> None:
    """Kind: "not kept unless you ask for it" also stood where each verdict was kept with a small copy."""
    assert UNASKED in keeping_sentence(function)
    said = keeping_sentence(replace(function, keep_records=True))
    assert UNASKED not in said
    assert "each verdict is kept as a record with a small copy of the picture" in said
    assert "until it is deleted" in said
    assert "for 30 days" in keeping_sentence(replace(function, keep_records=True, keep_days=30))


def test_records_and_captured_pictures_are_both_said(function: Function) -> None:
    captures = replace(function, capture={"low_grade": True})
    said = keeping_sentence(replace(captures, keep_records=True))
    assert "samples without a label: can't tell" in said
    assert "record with a small copy" in said
    assert "record" not in keeping_sentence(captures)
    assert UNASKED not in keeping_sentence(captures)


def test_it_is_said_that_the_files_of_a_run_stay_for_days(function: Function) -> None:
    for known in (function, replace(function, keep_records=True), replace(function, capture={"unlike": True})):
        assert f"Several different files become a run, whose files are kept for {KEPT_DAYS} days" in keeping_sentence(
            known
        )
