"""A page with nothing but what the Invoke page shows of many pictures, for tests of it."""

from __future__ import annotations

import streamlit as st

from pages import _invoke_runs as runs

function_id = st.query_params["function"]
run_id = st.query_params.get("run")
if run_id is None:
    runs.many_ways(function_id)
    files = st.file_uploader("Images", accept_multiple_files=True)
    if files and st.button("Judge"):
        runs.open_run(runs.start_run(function_id, [(file.name, file.getvalue()) for file in files]))
    runs.recent_runs(function_id)
elif (picture := st.query_params.get("picture")) is not None:
    st.caption(f"Looking at {runs.run_picture(function_id, run_id, int(picture))[0]}")
    runs.picture_bar(run_id, int(picture))
else:
    runs.run_view(function_id, run_id)
