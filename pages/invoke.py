"""Invoke: drop one or many images and read what the function says, and what that is worth."""

from __future__ import annotations

import streamlit as st

from detector.errors import NoModel
from detector.serving.model import what_is_missing
from detector.serving.thresholds import with_thresholds
from detector.storage import models
from pages._adapt import adapt_fold, adapted_note
from pages._coverage import unlike_switch
from pages._drop import drop_place
from pages._examples import example, examples, forget_example
from pages._limit import limit_fold
from pages._single import single
from pages._state import escape, go, heading, require_function, workspace

chosen = require_function()
function_id = chosen.function.id
if chosen.function.live_model_id is None:
    heading("Invoke", "Here you give the function new images, and it says what they are.")
    st.info(escape(what_is_missing(workspace(), function_id)))
    if st.button("Import images", type="primary"):
        go("import_images.py", function_id)
    st.stop()
model = with_thresholds(workspace(), models.get_model(workspace().db, chosen.function.live_model_id))
heading("Invoke", f"One picture, what model {model.version} of {chosen.shown} says of it, and what that is worth.")
adapted_note(function_id, model)
uploads = drop_place(function_id, large=example(function_id) is None)
if uploads:
    forget_example(function_id)
given = [(upload.name, upload.getvalue()) for upload in uploads] or [item for item in [example(function_id)] if item]
try:
    if given:
        single(chosen.function, model, *given[0])
except NoModel as error:
    st.error(escape(str(error)))
    st.stop()
if not given:
    st.caption("The picture stays on this machine and is not kept unless you ask for it.")
    examples(function_id)
limit_fold(chosen.function, model)
unlike_switch(model, chosen.function.judge_unlike)
adapt_fold(function_id, model)
