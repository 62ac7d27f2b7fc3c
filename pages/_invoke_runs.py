"""Many pictures on the Invoke page: given at once, judged in the background, and opened again by their address."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

import streamlit as st

from detector.errors import DetectorError, NotFound
from detector.evidence.runs import picture_bytes
from detector.formatting import ago, count, file_size, share, time_left
from detector.importing.pending import Pending, pending_zip
from detector.importing.run_files import KEPT_DAYS
from detector.importing.spool import spool_files
from detector.jobs import INVOKE, as_known
from detector.operations.runs import start_run as begin
from detector.operations.runs import stop_run
from detector.storage import invoke_runs, jobs
from detector.storage.invoke_runs import Run
from detector.storage.jobs import Job
from pages._import_ways import from_folder
from pages._run_results import run_results
from pages._state import escape, workspace
from pages._style import card
from pages._zip_upload import Upload, forget_upload, zip_upload

#: The archive that is dropped here is none of the Import page.
_PLACE = "invoke-zip"

_STATES = {"running": "being judged", "done": "done", "failed": "ended early"}


def start_run(function_id: str, given: Upload | Pending | Sequence[tuple[str, bytes]]) -> str:
    """Have pictures judged in the background; returns the run's id.

    Parameters
    ----------
    given : Upload, Pending or sequence of (name, bytes)
        An archive in the spool, a folder of the server, or files.

    Raises
    ------
    ArchiveError, InvalidInput, NoModel
    """
    ws = workspace()
    if isinstance(given, Pending):
        return begin(ws, function_id, given)
    if isinstance(given, Upload):
        return begin(ws, function_id, pending_zip(ws, given.path, given.title))
    path = ws.spool / f"{secrets.token_hex(12)}.zip"
    try:
        spool_files(path, given)
        return begin(ws, function_id, pending_zip(ws, path, count(len(given), "picture")))
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def open_run(run_id: str) -> None:
    """Show a run: its id stands in the address from now on. Ends the run of the page."""
    st.query_params["run"] = run_id
    st.query_params.pop("picture", None)
    st.rerun()


def many_ways(function_id: str) -> None:
    """The ways for more pictures than a browser can hold: an archive that is streamed, and a folder of the server."""
    ws = workspace()
    try:
        upload = zip_upload(function_id, _PLACE)
        st.caption(f"Thousands of pictures at once, with their folders. Limit: {file_size(ws.settings.max_zip_bytes)}.")
        if upload is not None:
            forget_upload(function_id, _PLACE)
            try:
                run_id = start_run(function_id, upload)
            except DetectorError:
                upload.path.unlink(missing_ok=True)
                raise
            open_run(run_id)
        if ws.settings.import_root:
            pending = from_folder(function_id)
            if pending is not None and st.button("Judge this folder", type="primary", key=f"judge-{function_id}"):
                open_run(start_run(function_id, pending))
    except DetectorError as error:
        st.error(escape(str(error)))


def run_picture(function_id: str, run_id: str, position: int) -> tuple[str, bytes]:
    """(name, bytes) of one picture of a run, to be looked at alone.

    Raises
    ------
    NotFound, ImageError, ArchiveError
    """
    run = _run_of(function_id, run_id)
    name = invoke_runs.names(workspace().db, run.id, [position]).get(position)
    if name is None:
        raise NotFound("picture", f"{run_id}-{position}")
    return name, picture_bytes(workspace(), run_id, position)


def picture_bar(run_id: str, position: int) -> None:
    """The way back from one picture to its run, and on to the pictures beside it, in the order in which they lay."""
    order = st.session_state.get(f"run-{run_id}-order") or sorted(invoke_runs.names(workspace().db, run_id))
    at = order.index(position) if position in order else None

    def show(place: int | None) -> None:
        if place is None:
            st.query_params.pop("picture", None)
        else:
            st.query_params["picture"] = str(place)

    before = order[at - 1] if at else None
    after = order[at + 1] if at is not None and at + 1 < len(order) else None
    with st.container(horizontal=True, vertical_alignment="center", key=f"run-{run_id}-picture"):
        st.button("All pictures", icon=":material/arrow_back:", key=f"run-{run_id}-close", on_click=show, args=(None,))
        st.button("Previous", key=f"run-{run_id}-previous", disabled=before is None, on_click=show, args=(before,))
        st.button("Next", key=f"run-{run_id}-following", disabled=after is None, on_click=show, args=(after,))
        if at is not None:
            st.caption(f"{at + 1:,} of {len(order):,}", width="content")


def run_view(function_id: str, run_id: str) -> None:
    """A run as its address names it: how far it is, what came out, and what can be done with it."""
    try:
        run = _run_of(function_id, run_id)
        if run.state == "running":
            _progress(run)
    except DetectorError as error:
        st.error(escape(str(error)))
    else:
        run_results(run_id)
    if st.button("Judge other pictures", icon=":material/arrow_back:", key=f"leave-{run_id}"):
        st.query_params.pop("run", None)
        st.rerun()


def recent_runs(function_id: str) -> None:
    """Earlier runs of a function, to be opened again; nothing where there are none."""
    found = invoke_runs.list_runs(workspace().db, function_id, limit=8)
    if not found:
        return
    st.subheader("Many pictures, so far", anchor=False)
    st.caption(f"Kept for {KEPT_DAYS} days with their files, or until you delete them.")
    for run in found:
        with st.container(horizontal=True, vertical_alignment="center", key=f"run-line-{run.id}"):
            if st.button(escape(run.title), key=f"open-run-{run.id}", type="tertiary", icon=":material/photo_library:"):
                open_run(run.id)
            st.caption(
                f"{count(run.total, 'picture') if run.total else 'not listed yet'} · {_STATES[run.state]} · "
                f"{ago(datetime.fromtimestamp(run.created_at, UTC))}"
            )


def _run_of(function_id: str, run_id: str) -> Run:
    run = invoke_runs.get_run(workspace().db, run_id)
    if run.function_id != function_id:
        raise NotFound("run", run_id)
    return run


def _job_of(run: Run) -> Job | None:
    active = jobs.list_jobs(workspace().db, run.function_id, limit=1000)
    return next((as_known(job) for job in active if job.kind == INVOKE and job.payload.get("run") == run.id), None)


def _progress(run: Run) -> None:
    with card("run-progress"):
        st.fragment(_how_far, run_every=1.0)(run)
        if st.button("Stop here", key=f"stop-{run.id}", help="What is judged so far stays."):
            stop_run(workspace(), run.id)
            st.rerun()


def _how_far(run: Run) -> None:
    job = _job_of(run)
    if job is None:
        # It has just ended: the sidebar sees that, and the page is drawn anew.
        st.progress(1.0)
        st.caption("Judged.")
        return
    if job.state == "queued":
        st.progress(0.0)
        st.caption(escape(job.message) or "Waiting for its turn. You may leave this page.")
        return
    st.progress(min(job.done / job.total, 1.0) if job.total else 0.0)
    parts = ["Judging" if job.total else "Making ready", share(job.done, job.total) if job.total else ""]
    parts.append(time_left(job.seconds_left) if job.seconds_left is not None else "")
    st.caption(f"{', '.join(filter(None, parts))}. You may leave this page.")
