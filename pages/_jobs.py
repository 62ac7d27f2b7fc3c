"""How far running work is: the same lines in the sidebar of every page and on the Import page."""

from __future__ import annotations

import streamlit as st

from detector.formatting import rate, time_left
from detector.jobs import IMPORT, IN_THE_BACKGROUND, INVOKE, as_known, is_preparation
from detector.progress import says_amounts
from detector.storage import functions, jobs
from detector.storage.jobs import Job
from pages._rerun_guard import rerun_if_changed
from pages._sign_in import is_shut_out
from pages._state import escape, workspace

#: How often a page looks whether work has begun or ended.
_BUSY_SECONDS, _IDLE_SECONDS = 1.0, 3.0


def running_jobs(function_id: str | None) -> None:
    """Bars of all running work, and a redrawn page when some of it ends. Call it once a run, before the page.

    The page that follows shows the world of now, so only the ticks of the clock after it may ask for another run. Asked
    for in the middle of a run, it can meet a tick that the browser has sent already, and then nobody draws the page.
    """
    active = jobs.list_jobs(workspace().db)
    st.session_state["jobs-seen"] = _state(function_id, active)
    st.fragment(_bars, run_every=_BUSY_SECONDS if active else _IDLE_SECONDS)(function_id)


def _bars(function_id: str | None) -> None:
    if is_shut_out():
        rerun_if_changed(True, shut_out=True)
        return
    active = jobs.list_jobs(workspace().db)
    for job in reversed(active):
        job_line(job, function_id)
    rerun_if_changed(st.session_state.get("jobs-seen") != _state(function_id, active))


def _state(function_id: str | None, active: list[Job]) -> tuple[object, ...]:
    """What a page depends on besides the samples: it is drawn anew when something began, ended or went live."""
    live = functions.find_live(workspace().db, function_id) if function_id is not None else None
    return function_id, live, tuple((job.id, job.state) for job in active)


@st.fragment(run_every=1.0)
def jobs_of(function_id: str) -> None:
    """Bars of one function's running work, for the page itself: on a narrow screen the sidebar is folded."""
    for job in reversed(jobs.list_jobs(workspace().db, function_id)):
        job_line(job, function_id)


def job_line(job: Job, function_id: str | None) -> None:
    """One job as a thin bar with words and time left; the function's name where it is not the one at hand."""
    job, other = as_known(job), ""
    if job.function_id != function_id:
        name = functions.shown_names(workspace().db).get(job.function_id)
        if name is None:
            return
        other = f" · {name}"
    if job.state == "queued":
        if job.message:
            # It was begun and put off: the machine stands in the way.
            st.caption(escape(f"{job.message}{other}"))
            return
        if is_preparation(job):
            return  # the build that follows it has its own line
        if job.kind in IN_THE_BACKGROUND:
            # Nobody waits for it; the Metrics page says that it is to come.
            return
        waiting = {IMPORT: "The import is queued", INVOKE: "The pictures are queued"}
        st.caption(escape(f"{waiting.get(job.kind, 'Training starts in a moment')}{other}"))
        return
    st.progress(min(job.done / job.total, 1.0) if job.total else 0.0)
    # A job that was begun anew after a kill has said nothing yet.
    parts = [f"{job.message}{other}".removeprefix(" · ")]
    if job.total and not says_amounts(job.message):
        parts.append(f"{job.done:,} of {job.total:,}")
    if job.rate and job.phase in ("import", "embed", "invoke"):
        parts.append(rate(job.rate))
    if job.seconds_left is not None:
        parts.append(time_left(job.seconds_left))
    st.caption(escape(" · ".join(part for part in parts if part)))
