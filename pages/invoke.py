"""Invoke: drop one or many images and read what the function says, and what that is worth."""

from __future__ import annotations

import streamlit as st

from detector.errors import DetectorError, NoModel
from detector.serving.model import what_is_missing
from detector.serving.thresholds import with_thresholds
from detector.storage import invoke_runs, models
from pages._adapt import adapt_fold, adapted_note
from pages._address import from_address
from pages._capture import capture_fold, keeping_sentence
from pages._copies import are_copies, copies_view
from pages._coverage import unlike_switch
from pages._drop import drop_place, empty_the_place
from pages._examples import example, examples, forget_example
from pages._invoke_runs import many_ways, open_run, picture_bar, recent_runs, run_picture, run_view, start_run
from pages._limit import limit_fold
from pages._records import QUERY, records_list, show_record
from pages._rerun_guard import end_page
from pages._single import single
from pages._state import escape, go, heading, require_function, workspace

chosen = require_function()
function_id = chosen.function.id


def _run(run_id: str) -> None:
    """Many pictures, or one of them."""
    position = st.query_params.get("picture", "")
    if not position.isdecimal() or len(position) > 9:
        run_view(function_id, run_id)
        return
    name, data = run_picture(function_id, run_id, int(position))
    picture_bar(run_id, int(position))
    # By the version that judged the others: a picture must not change its verdict by being opened.
    judge = invoke_runs.get_run(workspace().db, run_id).model_id
    single(chosen.function, models.get_model(workspace().db, judge) if judge else model, name, data, counted=False)


def _given() -> list[tuple[str, bytes]]:
    """What was dropped, pasted, chosen, fetched or taken from the examples."""
    uploads = drop_place(function_id, large=example(function_id) is None)
    if uploads:
        forget_example(function_id)
        return [(upload.name, upload.getvalue()) for upload in uploads]
    known = example(function_id)
    return [known] if known is not None else []


def _pictures() -> None:
    files = _given()
    from_address(function_id)
    if not files:
        st.caption(escape(keeping_sentence(chosen.function)))
        examples(function_id)
        with st.expander("Thousands of pictures: a ZIP or a folder", key=f"many-open-{function_id}"):
            many_ways(function_id)
        recent_runs(function_id)
    elif len(files) == 1:
        single(chosen.function, model, *files[0])
    elif are_copies(files):
        copies_view(chosen.function, files)
    else:
        run_id = start_run(function_id, files)
        empty_the_place(function_id)
        open_run(run_id)


record_id = st.query_params.get(QUERY)
if chosen.function.live_model_id is None:
    heading("Invoke", "Here you give the function new images, and it says what they are.")
    if record_id:
        show_record(function_id, record_id)
    else:
        st.info(escape(what_is_missing(workspace(), function_id)))
        if st.button("Import images", type="primary"):
            go("import_images.py", function_id)
    # What was kept stays there without a model.
    records_list(function_id)
    end_page()
model = with_thresholds(workspace(), models.get_model(workspace().db, chosen.function.live_model_id))
heading("Invoke", f"One picture or many, what model {model.version} of {chosen.shown} says, and what that is worth.")
adapted_note(function_id, model)
try:
    if record_id:
        show_record(function_id, record_id)
    elif run_id := st.query_params.get("run"):
        _run(run_id)
    else:
        _pictures()
except NoModel as error:
    st.error(escape(str(error)))
    end_page()
except DetectorError as error:
    st.error(escape(str(error)))
records_list(function_id)
capture_fold(chosen.function)
limit_fold(chosen.function, model)
unlike_switch(model, chosen.function.judge_unlike)
adapt_fold(function_id, model)
