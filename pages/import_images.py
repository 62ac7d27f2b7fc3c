"""Import: a ZIP, files, or a folder of the server; then labels, progress, and a report of every file."""

from __future__ import annotations

from functools import partial

import streamlit as st

from detector.datasets.cifake import require_cifake
from detector.errors import DetectorError
from detector.formatting import ago, count
from detector.importing.batch import cifake_payload
from detector.importing.pending import Pending
from detector.importing.report import OUTCOMES, report_csv
from detector.jobs import request_import
from detector.storage import imports, jobs
from detector.storage.acting import LABEL, may
from detector.storage.functions import Function
from detector.storage.imports import ImportBatch
from detector.storage.room import lacking_room
from detector.training.thresholds import how_many_images
from pages._import_ways import from_files, from_folder, from_zip, given_files
from pages._jobs import jobs_of
from pages._label_plan import label_plan
from pages._state import (
    escape,
    function_labels,
    go,
    heading,
    require_function,
    workspace,
)
from pages._style import card
from pages._zip_upload import forget_upload

#: Lines of a report in the page; a browser draws no hundred thousand of them.
_SHOWN_ROWS = 1000

_WAYS = {"zip": "ZIP archive", "files": "Files", "folder": "Folder of the server", "cifake": "CIFAKE"}


def _cifake(function_id: str) -> None:
    st.markdown(
        "**CIFAKE** holds 60,000 photographs of CIFAR-10 and 60,000 images of Stable Diffusion 1.4, 32 x 32 pixels "
        "each. It is fetched from the Hugging Face hub."
    )
    per_label = st.number_input("Images per label, chosen at random", 10, 60_000, 1000, step=100)
    if st.button("Fetch and import", type="primary", key=f"fetch-{function_id}"):
        with st.spinner("Looking for the hub"):
            require_cifake(workspace().settings.data_dir / "cifake")
        request_import(workspace(), function_id, cifake_payload(int(per_label)), "cifake")
        st.rerun()


def _start(function: Function, pending: Pending, way: str) -> None:
    function_id = function.id
    known = [label.name for label in function_labels(function_id)]
    plan = label_plan(pending, known, f"plan-{pending.path.name}", function.backbone_id)
    if plan is None:
        return
    relabel = chosen.sample_count > 0 and st.checkbox(
        "Images already here under another label get the new one", key=f"relabel-{pending.path.name}"
    )
    if st.button("Start the import", type="primary", key=f"start-{function_id}"):
        request_import(
            workspace(), function_id, pending.payload(plan, relabel), {"zip": "zip", "files": "upload"}.get(way, way)
        )
        forget_upload(function_id)
        given_files(function_id).forget()
        st.rerun()


def _report(batch: ImportBatch, newest: bool) -> None:
    found = imports.batch_counts(workspace().db, batch.id)
    with card(f"batch-{batch.id}"):
        state = {"running": "running", "failed": "stopped"}.get(batch.state, "done")
        st.markdown(f"**{escape(batch.title)}**  :gray[{state} · {ago_text(batch)}]")
        if batch.note:
            st.error(escape(batch.note))
        parts = [f"**{found.imported:,}** imported"]
        if found.present:
            parts.append(f"**{found.present:,}** already there")
        if found.conflict:
            parts.append(f"**{found.conflict:,}** already there with another label, which was kept")
        if found.relabelled:
            parts.append(f"**{found.relabelled:,}** already here, with the new label now")
        parts.append(f"**{found.rejected:,}** rejected")
        whole = f", of **{found.found:,}** found" if batch.state == "done" else ""
        st.markdown(f"{' · '.join(parts)}{whole}")
        rows = imports.batch_rows(workspace().db, batch.id, list(OUTCOMES), _SHOWN_ROWS)
        if rows:
            lines = found.rejected + found.conflict + found.relabelled + found.present
            with st.expander("File by file", expanded=newest and found.rejected > 0):
                st.dataframe(
                    [{"File": row.file, "What": OUTCOMES[row.outcome], "Why": row.reason} for row in rows],
                    hide_index=True,
                    width="stretch",
                )
                with st.container(horizontal=True, vertical_alignment="center"):
                    st.download_button(
                        "Table (CSV)",
                        # Written when it is asked for, not on every run; in a thread, without Streamlit.
                        partial(report_csv, workspace().db, batch.id),
                        f"import-{batch.id}.csv",
                        "text/csv",
                        key=f"report-{batch.id}",
                        on_click="ignore",
                    )
                    if lines > len(rows):
                        st.caption(f"The first {len(rows):,} of {lines:,}; all of them in the CSV.")


def ago_text(batch: ImportBatch) -> str:
    """When a batch began, in words."""
    from datetime import UTC, datetime

    return ago(datetime.fromtimestamp(batch.created_at, UTC))


chosen = require_function()
function_id = chosen.function.id
heading("Import", f"Images for {chosen.shown}, which has {count(chosen.sample_count, 'sample')} so far.")
st.caption(how_many_images(chosen.function.false_accusation_limit))
if jobs.list_jobs(workspace().db, function_id):
    with card("running"):
        jobs_of(function_id)
        st.caption("You may leave this page; the work goes on.")
if (lacking := lacking_room(workspace().settings)) is not None:
    st.warning(str(lacking))
if not may(LABEL):
    st.info("Images are imported by users with the role 'label' or 'manage'. Ask one of them.")
way = st.segmented_control(
    "From",
    list(_WAYS),
    format_func=_WAYS.__getitem__,
    default="zip",
    required=True,
    label_visibility="collapsed",
    key="way",
)
try:
    if may(LABEL) and way == "cifake":
        _cifake(function_id)
    elif may(LABEL):
        pending = {"zip": from_zip, "files": from_files, "folder": from_folder}[way](function_id)
        if pending is not None:
            _start(chosen.function, pending, way)
except DetectorError as error:
    st.error(escape(str(error)))
batches = imports.list_batches(workspace().db, function_id, limit=8)
if batches:
    st.subheader("Imports so far", anchor=False)
    if chosen.model_version is not None and st.button("Read the metrics"):
        go("metrics.py", function_id)
    for position, batch in enumerate(batches):
        _report(batch, position == 0)
