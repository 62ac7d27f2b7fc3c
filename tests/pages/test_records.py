"""The Invoke page's pieces about records: keep, dispute, list, delete, and one record at its own address."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from streamlit.testing.v1 import AppTest

from detector.imaging import sha256_hex
from detector.operations.records import set_keeping, sweep_records
from detector.pipeline.build import build
from detector.storage import functions, records, samples
from detector.storage.functions import Function
from detector.storage.posted_samples import find_sample_id
from detector.workspace import Workspace
from pages import _records
from tests.factories import labelled_function, make_image
from tests.made_evidence import HOSTILE, evidence_json, hostile_json, kept
from tests.page_app import PATIENCE, opened_by_pages, words

#: What the Invoke page does with these pieces, with a picture that a test chooses.
SCRIPT = """
import streamlit as st
from detector.evidence.explain import explain
from detector.imaging import inspect_image
from pages._records import QUERY, record_buttons, records_list, show_record
from pages._state import workspace
from tests.factories import make_image

function_id = st.query_params["function"]
if QUERY in st.query_params:
    show_record(function_id, st.query_params[QUERY])
else:
    data = make_image(900)
    evidence = explain(workspace(), function_id, "seen.png", data)
    thumbnail = inspect_image(data, "seen.png", workspace().limits).thumbnail
    complete = "later" not in st.query_params
    record_buttons(function_id, evidence, data, "seen.png", thumbnail, complete=complete)
    records_list(function_id)
"""

PICTURE = make_image(900)


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        opened_by_pages(tmp_path_factory.mktemp("kept"), monkeypatch) as opened,
    ):
        yield opened


@pytest.fixture(scope="module")
def made(ws: Workspace) -> Function:
    function = labelled_function(ws, 5)
    build(ws, function.id)
    return function


@pytest.fixture
def function(ws: Workspace, made: Function) -> Function:
    records.delete_records(ws.db, made.id, None)
    set_keeping(ws, made.id, False, None)
    return made


def opened(function: Function, **query: str) -> AppTest:
    app = AppTest.from_string(SCRIPT, default_timeout=PATIENCE)
    app.query_params["function"] = function.id
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception, app.exception
    return app


def press(app: AppTest, label: str, which: int = 0) -> None:
    [button] = [button for button in app.button if button.label == label][which : which + 1]
    button.click().run()
    assert not app.exception, app.exception


def total(ws: Workspace, function: Function) -> int:
    return records.count_records(ws.db, function.id)


@pytest.mark.slow
def test_nothing_is_kept_until_keep_is_pressed_and_then_once(ws: Workspace, function: Function) -> None:
    app = opened(function)
    assert total(ws, function) == 0
    assert "Nothing is kept unless" in words(app)
    press(app, "Keep a record")
    [record], _ = records.list_records(ws.db, function.id)
    assert (record.file_name, record.door, record.sha256) == ("seen.png", "page", sha256_hex(PICTURE))
    assert f"?function={function.id}&record={record.id}" in "".join(item.value for item in app.caption)
    [button] = [button for button in app.button if button.label == "Kept"]
    assert button.disabled
    app.run()
    assert total(ws, function) == 1


@pytest.mark.slow
def test_what_is_still_being_looked_at_is_not_kept_yet(ws: Workspace, function: Function) -> None:
    set_keeping(ws, function.id, True, None)
    app = opened(function, later="yes")
    [button] = [button for button in app.button if button.label == "Keep a record"]
    assert button.disabled
    assert total(ws, function) == 0
    # Nor is it taken along: its grade may be more than what survives on the copies.
    labels = {item.proto.label for item in app.get("download_button")}
    assert not labels & {"Report", "Card", "JSON"}
    assert "It can be kept and taken along once its copies were looked at" in words(app)


@pytest.mark.long
def test_by_the_setting_each_verdict_is_kept_and_what_is_deleted_stays_away(ws: Workspace, function: Function) -> None:
    app = opened(function)
    [toggle] = app.toggle
    toggle.set_value(True).run()
    assert functions.get_function(ws.db, function.id).keep_records
    [age] = app.selectbox
    age.select("90 days").run()
    press(app, "Apply")
    assert functions.get_function(ws.db, function.id).keep_days == 90
    app.run()
    assert total(ws, function) == 1
    press(app, "Delete 1 record")
    assert total(ws, function) == 0
    app.run()
    assert total(ws, function) == 0


@pytest.mark.long
def test_an_age_limit_says_what_it_will_delete_and_counts_only_once_it_is_applied(
    ws: Workspace, function: Function
) -> None:
    """Kind: choosing "30 days" in a list, even by a slip of the wheel, deleted all older records for good."""
    ids = [kept(ws, function.id, evidence_json(sha256=f"{number:064x}")).id for number in range(3)]
    records.mark_disputed(ws.db, function.id, ids[0], "real")
    with ws.db.write() as connection:
        for record_id in ids[:2]:
            connection.execute(
                text("UPDATE records SET created_at = created_at - 40 * 86400 WHERE id = :id"), {"id": record_id}
            )
    app = opened(function)
    app.selectbox[0].select("30 days").run()
    assert functions.get_function(ws.db, function.id).keep_days is None
    assert sweep_records(ws) == 0
    assert "2 records are older than that and will be deleted for good, 1 of them disputed" in words(app)
    app.selectbox[0].select("90 days").run()
    assert "No record is older than that" in words(app)
    app.selectbox[0].select("Until they are deleted").run()
    assert "Apply" not in [button.label for button in app.button]
    app.selectbox[0].select("30 days").run()
    # The switch beside it counts at once, and takes nothing along that was not applied.
    app.toggle[0].set_value(True).run()
    assert functions.get_function(ws.db, function.id).keep_records
    assert functions.get_function(ws.db, function.id).keep_days is None
    press(app, "Apply")
    assert functions.get_function(ws.db, function.id).keep_days == 30
    assert "Apply" not in [button.label for button in app.button]
    assert sweep_records(ws) == 2
    assert ids[2] in [record.id for record in records.list_records(ws.db, function.id)[0]]


@pytest.mark.long
def test_this_is_wrong_asks_for_the_label_and_makes_a_sample(ws: Workspace, function: Function) -> None:
    app = opened(function)
    press(app, "Keep a record")
    [button] = [button for button in app.button if button.label == "Put it among the samples"]
    assert button.disabled
    [choice] = app.radio
    choice.set_value(choice.options and functions.list_labels(ws.db, function.id)[1]).run()
    press(app, "Put it among the samples")
    sample_id = find_sample_id(ws.db, function.id, sha256_hex(PICTURE))
    assert sample_id is not None
    assert samples.get_sample(ws.db, sample_id).label_id == functions.list_labels(ws.db, function.id)[1].id
    [record], _ = records.list_records(ws.db, function.id)
    assert record.disputed_label == "synthetic"


@pytest.mark.slow
def test_records_are_searched_shown_in_steps_and_deleted(ws: Workspace, function: Function) -> None:
    for number in range(12):
        kept(ws, function.id, evidence_json(sha256=f"{number:064x}", file=f"Picture-{number}.png"))
    app = opened(function)
    assert len([button for button in app.button if button.label == "Open"]) == 10
    press(app, "Show more of 12")
    assert len([button for button in app.button if button.label == "Open"]) == 12
    app.text_input[0].set_value("picture-11").run()
    assert len([button for button in app.button if button.label == "Open"]) == 1
    app.text_input[0].set_value("nothing").run()
    assert "No record has that" in words(app)
    press(app, "Delete 12 records")
    assert total(ws, function) == 0


@pytest.mark.slow
def test_a_record_opens_at_its_own_address_and_closes(ws: Workspace, function: Function) -> None:
    record = kept(ws, function.id)
    app = opened(function)
    press(app, "Open")
    assert record.id in app.query_params["record"]
    said = words(app)
    for fact in ("meadow.jpg", "strong", "98.7 %", "Model 7", "1 of 2 copies", "Find the first published copy"):
        assert fact in said, fact
    press(app, "Back to Invoke")
    assert "record" not in app.query_params
    gone = opened(function, record="0" * 16)
    assert "There is no such record" in words(gone)
    other = labelled_function(ws, 1, "Other")
    assert "There is no such record" in words(opened(other, record=record.id))


@pytest.mark.slow
def test_a_record_that_is_deleted_on_its_own_page_is_gone(ws: Workspace, function: Function) -> None:
    record = kept(ws, function.id)
    app = opened(function, record=record.id)
    press(app, "Delete this record")
    assert total(ws, function) == 0
    assert "record" not in app.query_params


@pytest.mark.slow
def test_whatever_a_file_says_is_shown_as_text(ws: Workspace, function: Function) -> None:
    record = kept(ws, function.id, hostile_json() | {"file": "[x](javascript:alert(1)) :smile:" + HOSTILE})
    for app in (opened(function, record=record.id), opened(function)):
        assert "<script" not in "".join(str(item.value) for item in app.get("html"))
        markdown = "".join(item.value for item in (*app.markdown, *app.caption))
        assert "[x](javascript" not in markdown
        assert "[x](javascript:alert(1))" in words(app)


def test_all_records_are_downloaded_as_reports_and_json(ws: Workspace, function: Function) -> None:
    ids = {kept(ws, function.id).id, kept(ws, function.id, model_id="f" * 32).id}
    names = zipfile.ZipFile(io.BytesIO(_records._zipped(function.id))).namelist()
    assert {Path(name).suffix for name in names} == {".html", ".json"}
    assert {Path(name).stem.rsplit("-", 1)[1] for name in names} == ids
