"""Import: a ZIP, files, or a folder of the server; then labels, progress, and a report of every file."""

from __future__ import annotations

import secrets
from functools import partial
from pathlib import Path

import streamlit as st

from detector.errors import DetectorError
from detector.import_report import OUTCOMES, report_csv
from detector.importing.archive_names import ENCODINGS
from detector.importing.batch import cifake_payload
from detector.importing.pending import Pending, import_folders, pending_folder, pending_zip
from detector.importing.spool import spool_files
from detector.jobs import request_import
from detector.samplesets.cifake import require_cifake
from detector.storage import imports, jobs
from detector.storage.functions import Function
from detector.storage.imports import ImportBatch
from detector.words import ago, count, file_size
from pages._jobs import jobs_of
from pages._label_plan import label_plan
from pages._state import (
    IMAGE_TYPES,
    escape,
    function_labels,
    go,
    heading,
    largest_upload_mb,
    require_function,
    workspace,
)
from pages._style import card
from pages._zip_upload import forget_upload, zip_upload

#: Lines of a report in the page; a browser draws no hundred thousand of them.
_SHOWN_ROWS = 1000

_WAYS = {"zip": "ZIP archive", "files": "Files", "folder": "Folder of the server", "cifake": "CIFAKE"}


@st.cache_data(show_spinner="Reading the archive", max_entries=8)
def _listed_zip(path: str, title: str, encoding: str | None = None) -> Pending:
    return pending_zip(workspace(), Path(path), title, encoding)


def _with_names(pending: Pending) -> Pending:
    """The archive with its names read as a person says, where only a guess says how they are written."""
    if pending.names is None or not pending.names.guessed:
        return pending
    encodings = list(ENCODINGS)
    shown = next((path for path in pending.paths if not path.isascii()), "")
    chosen = st.selectbox(
        "The archive does not say how its file names are written. This is a guess; choose another if they look wrong.",
        encodings,
        index=encodings.index(pending.names.encoding),
        format_func=ENCODINGS.__getitem__,
        key=f"names-{pending.path.name}",
    )
    if chosen != pending.names.encoding:
        pending = _listed_zip(str(pending.path), pending.title, chosen)
        shown = next((path for path in pending.paths if not path.isascii()), shown)
    st.caption(escape(f"For example: {shown}"))
    return pending


def _with_columns(pending: Pending) -> Pending:
    """The parquet file with the column for its labels that a person chooses."""
    from detector.importing.parquet import ParquetColumns, guess_parquet_columns, parquet_column_names

    guess = guess_parquet_columns(pending.path, pending.title)
    names = [name for name in parquet_column_names(pending.path, pending.title) if name != guess.image]
    options = ["no labels", *names]
    chosen = st.selectbox(
        "Column that holds the labels",
        options,
        index=options.index(guess.label) if guess.label in options else 0,
        key=f"column-{pending.path.name}",
    )
    wanted = None if chosen == options[0] else chosen
    if wanted == guess.label:
        return pending
    columns = ParquetColumns(guess.image, wanted, guess.source, guess.split)
    return pending_zip(workspace(), pending.path, pending.title, columns=columns)


def _from_zip() -> Pending | None:
    upload = zip_upload("zip")
    if upload is None:
        st.caption(
            "Far more than 1,000 images at once are fine. Folders inside may name labels and sources. "
            f"Limit: {file_size(workspace().settings.max_zip_bytes)}."
        )
        return None
    st.caption(f"{escape(upload.title)} · {file_size(upload.byte_count)}")
    pending = _listed_zip(str(upload.path), upload.title)
    return _with_columns(pending) if pending.source["from"] == "parquet" else _with_names(pending)


def _from_files() -> Pending | None:
    files = st.file_uploader(
        "Images",
        accept_multiple_files=True,
        type=IMAGE_TYPES,
        max_upload_size=largest_upload_mb(),
        label_visibility="collapsed",
        key=f"files-{st.session_state.get('files-round', 0)}",
    )
    st.caption("For hundreds of files. The browser holds them all in memory: for more than about 900, make a ZIP.")
    if not files:
        return None
    marker = tuple(file.file_id for file in files)
    if st.session_state.get("files-marker") != marker:
        path = workspace().spool / f"{secrets.token_hex(12)}.zip"
        spool_files(path, ((file.name, file.getvalue()) for file in files))
        st.session_state["files-marker"], st.session_state["files-path"] = marker, str(path)
    return _listed_zip(st.session_state["files-path"], count(len(files), "file"))


def _from_folder() -> Pending | None:
    if not workspace().settings.import_root:
        st.info("Reading folders of the server is off. Whoever runs it can set DETECTOR_IMPORT_ROOT to allow one.")
        return None
    wanted = st.selectbox(
        "Folder, below the one that the server allows",
        import_folders(workspace()),
        index=None,
        accept_new_options=True,
        placeholder="Choose, or type a path such as archive/train",
    )
    return pending_folder(workspace(), wanted) if wanted else None


def _cifake(function_id: str) -> None:
    st.markdown(
        "**CIFAKE** holds 60,000 photographs of CIFAR-10 and 60,000 images of Stable Diffusion 1.4, 32 x 32 pixels "
        "each. It is fetched from the Hugging Face hub."
    )
    per_label = st.number_input("Images a label, chosen at random", 10, 60_000, 1000, step=100)
    if st.button("Fetch and import", type="primary"):
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
        "Images that are here under another label get the new one", key=f"relabel-{pending.path.name}"
    )
    if st.button("Start the import", type="primary"):
        request_import(
            workspace(), function_id, pending.payload(plan, relabel), {"zip": "zip", "files": "upload"}.get(way, way)
        )
        forget_upload("zip")
        st.session_state["files-round"] = st.session_state.get("files-round", 0) + 1
        st.session_state.pop("files-marker", None)
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
        st.markdown(" · ".join(parts))
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
heading("Import", f"Images for {chosen.function.name}, which has {count(chosen.sample_count, 'sample')} so far.")
if jobs.list_jobs(workspace().db, function_id):
    with card("running"):
        jobs_of(function_id)
        st.caption("You may leave this page; the work goes on.")
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
    if way == "cifake":
        _cifake(function_id)
    else:
        pending = {"zip": _from_zip, "files": _from_files, "folder": _from_folder}[way]()
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
